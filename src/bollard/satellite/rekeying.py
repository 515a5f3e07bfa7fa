"""Passphrases that were changed: each header on this node gets the new one in the place of an old one.

What was done is known for the life of this process; after that each header is tried once more.
"""

from collections.abc import Mapping

from bollard.domain.ids import Key, Uuid
from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetPool, TargetResource
from bollard.satellite.apply import pool_of
from bollard.satellite.drivers.luks import rekey
from bollard.satellite.host.base import Host, LayerMark
from bollard.satellite.sight import Sight

__all__ = ["Rekeying"]


class Rekeying:
    """Of one node. Called when nothing else is left to do for a resource."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._done: dict[Uuid, tuple[str, ...]] = {}

    async def advance(
        self, target: TargetResource | None, sight: Sight, pools: Mapping[Key, TargetPool]
    ) -> None:
        """Change what is not changed yet. Raises HostError; it may be repeated."""
        backings = {backing.local.volume_uuid: backing for backing in sight.backings}
        for volume in target.volumes if target is not None else ():
            layer = next((it for it in volume.layers if it.kind is LayerKind.LUKS), None)
            backing = backings.get(volume.uuid)
            if layer is None or backing is None or LayerKind.LUKS not in backing.local.made:
                continue
            wanted = (layer.secret or "", *layer.secrets_before)
            if not layer.secrets_before or self._done.get(volume.uuid) == wanted:
                continue
            _, provider = pool_of(volume.pool, pools)
            path = await provider.activate(backing, self._host, block=True)
            mark = LayerMark(backing.resource, volume.number, volume.uuid, made=True)
            await rekey(layer, path, mark, self._host)
            self._done[volume.uuid] = wanted
