"""OpenStack's Cinder driver for LINSTOR, unmodified, through the life of volumes. Argument: the API's URI.

It runs in an environment of its own (cinder, python-linstor), knows nothing of Bollard, and prints one line a
step.
"""

import itertools
import sys
import uuid
from typing import Any

import linstor
from cinder.volume import configuration
from cinder.volume.drivers import linstordrv
from oslo_config import cfg

POOL = "pthin"
NODES = ("n1", "n2", "n3")
GIB_KIB = 1024 * 1024
NUMBERS = itertools.count(1)


def say(step: str, outcome: str = "ok") -> None:
    sys.stdout.write(f"{step}: {outcome}\n")


def cluster(client: Any) -> None:
    """Three nodes; two have the pool."""
    for number, name in enumerate(NODES, 1):
        client.node_create(name, "satellite", f"10.99.0.1{number}")
    for name in NODES[:2]:
        folder = f"/srv/recorded/pools/{name}/thin"
        client.storage_pool_create(name, POOL, linstor.StoragePoolDriver.FILEThin, folder)


def made(uri: str, host: str, count: int) -> Any:
    """A driver as Cinder's volume service makes it, on the node `host`."""
    config = configuration.Configuration(linstordrv.linstor_opts)
    driver = linstordrv.LinstorDrbdDriver(configuration=config)
    driver.default_pool, driver.default_uri, driver.ap_count = POOL, uri, count
    driver.default_backend_name, driver.host_name = "backend", host
    driver.default_downsize_factor = 4096
    driver.diskless = True
    driver.check_for_setup_error()
    return driver


def volume(size: int = 1) -> dict[str, Any]:
    return {"id": str(uuid.UUID(int=next(NUMBERS))), "size": size, "migration_status": None, "name": "volume"}


def snapshot(source: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(uuid.UUID(int=next(NUMBERS))), "volume_id": source["id"], "volume_size": source["size"]}


def size_kib(client: Any, name: str) -> int:
    (found,) = (rd for rd in client.resource_dfn_list_raise().resource_definitions if rd.name == name)
    return found.volume_definitions[0].size


def places(client: Any, source: dict[str, Any]) -> dict[str, bool]:
    """Nodes of a volume's resources, and whether each has a disk."""
    name = "CV_" + source["id"]
    return {
        each.node_name: "DISKLESS" not in each.flags
        for each in client.resource_list_raise().resources
        if each.name == name
    }


def life(driver: Any, client: Any, count: int) -> None:
    """Create, attach, extend, snapshot, from a snapshot, clone, detach, delete."""
    source = volume()
    driver.create_volume(source)
    diskful = [node for node, disk in places(client, source).items() if disk]
    assert len(diskful) == count, places(client, source)
    assert size_kib(client, "CV_" + source["id"]) == GIB_KIB - 4096
    say(f"{count} create")
    path = driver.initialize_connection(source, {"host": "n3"})["data"]["device_path"]
    assert path not in ("", "None"), path
    assert places(client, source)["n3"] is False
    say(f"{count} attach", path.partition("?")[0])
    driver.extend_volume(source, 2)
    assert size_kib(client, "CV_" + source["id"]) == 2 * GIB_KIB - 4096
    source["size"] = 2
    say(f"{count} extend")
    kept = snapshot(source)
    driver.create_snapshot(kept)
    assert [one.name for one in client.snapshot_dfn_list()[0].snapshots] == ["SN_" + kept["id"]]
    say(f"{count} snapshot")
    restored = volume(size=3)
    driver.create_volume_from_snapshot(restored, kept)
    assert size_kib(client, "CV_" + restored["id"]) == 3 * GIB_KIB - 4096
    say(f"{count} from snapshot")
    clone = volume(size=2)
    driver.create_cloned_volume(clone, source)
    assert "n3" in places(client, clone)
    say(f"{count} clone")
    stats = driver.get_volume_stats()["pools"][0]
    assert stats["total_volumes"] >= 3, stats
    say(f"{count} stats")
    driver.terminate_connection(source, {"host": "n3"})
    driver.delete_snapshot(kept)
    for each in (clone, restored, source):
        driver.delete_volume(each)
        assert places(client, each) == {}
    assert not client.snapshot_dfn_list()[0].snapshots
    say(f"{count} delete")


def main() -> None:
    cfg.CONF([], project="cinder", default_config_files=[])
    uri = sys.argv[1]
    client = linstor.Linstor(uri)
    client.connect()
    cluster(client)
    for count in (1, 2):
        life(made(uri, "n3", count), client, count)
    left = [rd.name for rd in client.resource_dfn_list_raise().resource_definitions]
    assert not left, left
    client.disconnect()


main()
