"""The records of a fresh cluster: default properties, default group, default pool definitions.

A fresh cluster answers I/O without quorum with errors (on-no-quorum=io-error), as LINSTOR's does: clients
that were set up for it count on a failing write rather than a hanging one. Set suspend-io to change that.
"""

from bollard.domain import props
from bollard.domain.cluster import Record
from bollard.domain.ids import DEFAULT_GROUP, DEFAULT_POOL, DISKLESS_POOL
from bollard.domain.nodes import Props, StoragePoolDefinition
from bollard.domain.ports import Draw
from bollard.domain.resources import ControllerSettings, ResourceGroup, SelectFilter

__all__ = ["initial_records"]

_VERIFY_ALGORITHMS = "crct10dif;crc32c;sha384;sha512;sha256;sha1;md5;windrbd"


def initial_records(draw: Draw) -> tuple[Record, ...]:
    """What an empty store is filled with before the first command."""
    cluster_uuid = draw.uuid()
    controller: Props = {
        props.CLUSTER_ID.key: cluster_uuid,
        props.AUTO_TIEBREAKER.key: "True",
        props.AUTO_DISKFUL_CLEANUP.key: "True",
        props.AUTO_EVICT.key: "True",
        props.ON_NO_QUORUM.key: "io-error",
        props.VERIFY_ALLOWED.key: _VERIFY_ALGORITHMS,
        props.AUTO_RESYNC_AFTER_DISABLE.key: "true",
    }
    return (
        ControllerSettings(cluster_uuid, controller),
        StoragePoolDefinition(name=DEFAULT_POOL, uuid=draw.uuid()),
        StoragePoolDefinition(name=DISKLESS_POOL, uuid=draw.uuid()),
        ResourceGroup(
            name=DEFAULT_GROUP,
            uuid=draw.uuid(),
            description="Definitions that name no group belong to this one.",
            select_filter=SelectFilter(place_count=2),
        ),
    )
