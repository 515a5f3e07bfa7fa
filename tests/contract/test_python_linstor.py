"""LINSTOR's own Python client, unmodified, against the API over HTTP. Skipped where it is not installed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from served_town import served

linstor = pytest.importorskip(
    "linstor", reason="python-linstor is not installed (pip install python-linstor)"
)
pytestmark = pytest.mark.tool


@pytest.fixture
def client() -> Iterator[Any]:
    with served() as port:
        client = linstor.Linstor(f"linstor://127.0.0.1:{port}")
        client.connect()
        yield client
        client.disconnect()


def done(replies: Any) -> None:
    """Nothing in the replies is an error."""
    errors = [str(reply) for reply in replies if hasattr(reply, "is_error") and reply.is_error()]
    assert not errors, errors


def test_the_life_of_a_volume(client: Any) -> None:
    for number in (1, 2, 3):
        done(client.node_create(f"n{number}", "satellite", f"10.99.0.1{number}"))
        folder = f"/srv/recorded/pools/n{number}/thin"
        done(client.storage_pool_create(f"n{number}", "pthin", linstor.StoragePoolDriver.FILEThin, folder))
    done(client.resource_group_create("g1", description="d", place_count=2, storage_pool=["pthin"]))
    done(client.volume_group_create("g1"))
    done(client.resource_group_spawn("g1", "r1", ["100M"]))
    resources = client.resource_list_raise().resources
    assert {each.node_name for each in resources} == {"n1", "n2", "n3"}
    volumes = client.volume_list_raise().resources
    states = sorted(volume.state.disk_state for each in volumes for volume in each.volumes)
    assert states == ["Diskless", "UpToDate", "UpToDate"]
    done(client.resource_group_qmvs("g1"))
    done(client.resource_make_available("n3", "r1"))
    done(client.volume_dfn_modify("r1", 0, size=204800))
    done(client.resource_dfn_modify("r1", {"Aux/a": "b", "DrbdOptions/Net/protocol": "C"}))
    done(client.resource_dfn_modify("r1", {}, ["Aux/a"]))
    done(client.resource_conn_modify("r1", "n1", "n2", {"DrbdOptions/Net/allow-two-primaries": "yes"}, []))
    done(client.resource_dfn_delete("r1"))
    done(client.resource_group_delete("g1"))
    done(client.storage_pool_delete("n1", "pthin"))
    done(client.node_delete("n3"))


READS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("nodes", lambda client: client.node_list()),
    ("pools", lambda client: client.storage_pool_list()),
    ("pool definitions", lambda client: client.storage_pool_dfn_list()),
    ("definitions", lambda client: client.resource_dfn_list(True)),
    ("resources", lambda client: client.resource_list()),
    ("volumes", lambda client: client.volume_list()),
    ("groups", lambda client: client.resource_group_list_raise().resource_groups),
    ("snapshots", lambda client: client.snapshot_dfn_list()),
    ("key-value stores", lambda client: client.keyvaluestores()),
    ("error reports", lambda client: client.error_report_list()),
    ("devices", lambda client: client.physical_storage_list()),
    ("remotes", lambda client: client.remote_list()),
    ("schedules", lambda client: client.schedule_list()),
    ("files", lambda client: client.file_list()),
    ("backup queue", lambda client: client.backup_queue_list()),
    ("properties", lambda client: client.controller_props()),
    ("passphrase", lambda client: client.crypt_status()),
    ("counts", lambda client: client.stats()),
)


def test_every_list_is_understood(client: Any) -> None:
    for name, read in READS:
        found = read(client)
        assert found is not None, name
        done(found if isinstance(found, list) else [found])
