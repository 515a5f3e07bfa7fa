"""The Incus daemon, unmodified, with its LINSTOR driver: the whole life of its volumes on real block devices.

Only where it is asked for (`make incus`, or BOLLARD_INCUS_ROOT names a root with it): fetching takes minutes.
Skipped where it cannot be fetched from Debian's mirror, or where there can be no block devices.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from block_cluster import BlockCluster, block_cluster, lacking, mounted, must
from incus_daemon import Incus, incus_daemon, root_of

ASKED = bool(os.environ.get("BOLLARD_INCUS") or os.environ.get("BOLLARD_INCUS_ROOT"))
pytestmark = [
    pytest.mark.skipif(not ASKED, reason="the Incus daemon is fetched and run by `make incus` only"),
    pytest.mark.tool,
    pytest.mark.root,
    pytest.mark.timeout(1500),  # most of it for the fetch, from a slow mirror
    pytest.mark.skipif(bool(lacking()), reason=lacking()),
]
MIB = 1 << 20
POOL = "lin"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[BlockCluster]:
    with block_cluster(tmp_path / "nodes") as running:
        yield running


@pytest.fixture
def incus(request: pytest.FixtureRequest, cluster: BlockCluster, tmp_path: Path) -> Iterator[Incus]:
    assert request.config.cache is not None
    root = root_of(Path(request.config.cache.mkdir("incus")))
    with incus_daemon(root, tmp_path / "incus") as running:
        running("config", "set", f"storage.linstor.controller_connection={cluster.servers.controller_url}")
        running("config", "set", "storage.linstor.satellite.name=alpha")
        yield running


class Disk:
    """A block volume of Incus, read and written where it is."""

    def __init__(self, cluster: BlockCluster, name: str) -> None:
        self._cluster = cluster
        self.definition = next(
            item["name"]
            for item in cluster.call("GET", "/v1/resource-definitions")
            if item.get("props", {}).get("Aux/Incus/name", "").endswith(name)
        )

    def device(self) -> str:
        """On the node that the daemon takes for its own."""
        return self._cluster.make_available(self.definition, "alpha")

    def write(self, data: bytes) -> None:
        with Path(self.device()).open("r+b", buffering=0) as opened:
            assert opened.write(data) == len(data)
            os.fsync(opened.fileno())
        self._cluster.until_free(self.definition, "alpha")

    def read(self, length: int) -> bytes:
        with Path(self.device()).open("rb", buffering=0) as opened:
            found = opened.read(length)
        self._cluster.until_free(self.definition, "alpha")
        return found

    def size(self) -> int:
        return int(must("blockdev", "--getsize64", self.device()))


def test_the_life_of_its_volumes(cluster: BlockCluster, incus: Incus, tmp_path: Path) -> None:
    group = "linstor.resource_group"
    incus("storage", "create", POOL, "linstor", f"{group}.place_count=2", f"{group}.storage_pool=pool")
    assert "driver: linstor" in incus("storage", "info", POOL)
    volume = ("storage", "volume")
    # It makes the file system by itself, and mounts it where only it sees that. Growing a mounted ext4 needs
    # a capability that root has not in every container; xfs needs none.
    incus(*volume, "create", POOL, "files", "size=320MiB", "block.filesystem=xfs")
    incus(*volume, "create", POOL, "disk", "--type=block", "size=64MiB")
    listed = incus(*volume, "list", POOL, "--format=csv")
    assert {"files", "disk"} <= set(listed.replace("\n", ",").split(","))

    disk = Disk(cluster, "disk")
    disk.write(first := os.urandom(MIB))
    incus(*volume, "snapshot", "create", POOL, "disk", "before")
    disk.write(second := os.urandom(MIB))
    incus(*volume, "copy", f"{POOL}/disk", f"{POOL}/twin", "--volume-only")
    incus(*volume, "copy", f"{POOL}/disk/before", f"{POOL}/older")
    assert Disk(cluster, "twin").read(MIB) == second
    assert Disk(cluster, "older").read(MIB) == first
    incus(*volume, "snapshot", "restore", POOL, "disk", "before")
    assert disk.read(MIB) == first

    incus(*volume, "set", POOL, "disk", "size=128MiB")
    assert disk.size() == 128 * MIB
    assert disk.read(MIB) == first
    incus(*volume, "set", POOL, "files", "size=512MiB")
    files = Disk(cluster, "files")
    with mounted(files.device(), tmp_path / "mnt", "-o", "nouuid") as where:
        found = os.statvfs(where)
        assert found.f_blocks * found.f_frsize > 400 * MIB
    cluster.until_free(files.definition, "alpha")
    incus(*volume, "rename", POOL, "twin", "double")
    assert Disk(cluster, "double").read(MIB) == second

    incus(*volume, "snapshot", "delete", POOL, "disk", "before")
    for name in ("files", "disk", "double", "older"):
        incus(*volume, "delete", POOL, name)
    incus("storage", "delete", POOL)
    cluster.until(lambda: not cluster.call("GET", "/v1/resource-definitions"))
    assert all(group["name"] != POOL for group in cluster.call("GET", "/v1/resource-groups"))
