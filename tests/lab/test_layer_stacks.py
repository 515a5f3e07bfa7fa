"""Encrypted and cached volumes through the API on real kernels: life, failover, locks, crashes."""

from collections.abc import Iterator

import pytest

from bollard.lab.satellites import LabCluster
from lab_cluster import (
    cluster,
    define,
    delete,
    lacking,
    logical_volumes,
    place,
    pool,
    resource,
    state,
    take_snapshot,
    volume,
    wait_ready,
)

_LACKING = lacking("lvcreate", "thin_check", "cryptsetup", "dmsetup", "blkid", "nbdcopy")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
MODULES = ("dm-thin-pool", "dm-snapshot", "dm-crypt", "dm-cache", "dm-cache-smq", "dm-writecache", "loop")
_MASTER = "the lab's own passphrase"  # of this test alone
_PLACES = {
    "StorDriver/LuksFormatOptions": "--pbkdf pbkdf2 --pbkdf-force-iterations 1000",
    "Writecache/PoolName": "fast",
    "Writecache/Size": "8192",
    "Cache/CachePool": "fast",
    "Cache/MetaPool": "fast",
    "Cache/Cachesize": "8192",
    "Cache/OpMode": "writeback",
}
_BLOCK = 4096


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("stacks")
    with cluster(root, nodes=2, disks=2, disk_mib=512, load=MODULES) as made:
        for node in made.lab.nodes:
            made.lab.exec(node, "vgcreate", "-q", "vg", "/dev/ubdb")
            made.lab.exec(node, "lvcreate", "-q", "-L", "320M", "-T", "vg/tp")
            made.lab.exec(node, "vgcreate", "-q", "quick", "/dev/ubdc")
            pool(made, node, "thin", "LVM_THIN", "vg/tp")
            pool(made, node, "thick", "LVM", "vg")
            pool(made, node, "fast", "LVM", "quick")
        made.call("POST", "/v1/controller/properties", {"override_props": _PLACES})
        made.call("POST", "/v1/encryption/passphrase", {"new_passphrase": _MASTER})
        yield made


def _put(lab: LabCluster, node: int, path: str, word: str) -> None:
    """Durably, as the first block of a device or of an export."""
    block = word.encode().ljust(_BLOCK)
    if not path.startswith("nbd"):
        lab.lab.exec(node, "dd", f"of={path}", "bs=4096", "conv=nocreat,fsync", "oflag=direct", stdin=block)
        return
    lab.lab.exec(node, "sh", "-c", 'cat >/run/block && nbdcopy --flush /run/block "$0"', path, stdin=block)


def _get(lab: LabCluster, node: int, path: str) -> str:
    if not path.startswith("nbd"):
        return lab.lab.exec(node, "dd", f"if={path}", "iflag=direct", "bs=4096", "count=1").strip()
    return lab.lab.exec(node, "sh", "-c", 'nbdcopy "$0" - | head -c 4096', path).strip()


def _below(lab: LabCluster, node: int, name: str, word: str) -> bool:
    """Whether the storage below a volume has this word anywhere."""
    found = resource(lab, name, node)
    assert found is not None
    layer = found["layer_object"]
    while layer["type"] != "STORAGE":
        (layer,) = layer["children"]
    path = layer["storage"]["storage_volumes"][0]["device_path"]
    assert path.startswith("/dev/vg/"), path
    grep = lab.lab.try_exec(node, "grep", "-q", "-a", "-F", word, path)
    assert grep.code in (0, 1), grep.stderr
    return grep.code == 0


def _path(lab: LabCluster, name: str, node: int) -> str:
    return str(volume(lab, name, node).get("device_path", ""))


def _mapped(lab: LabCluster, node: int, name: str) -> list[str]:
    """The open device layers of a resource."""
    listed = lab.lab.exec(node, "dmsetup", "ls").splitlines()
    names = [line.split()[0] for line in listed if "No devices" not in line]
    return [one for one in names if name in one and not one.startswith(("vg-", "quick-"))]


def _delete_all(lab: LabCluster, node: int, *names: str) -> None:
    for name in names:
        delete(lab, name)
    for name in names:
        _wait_gone(lab, node, name)


def _wait_gone(lab: LabCluster, node: int, name: str) -> None:
    lab.until(
        lambda: not any(name in one for one in logical_volumes(lab, node)), f"{name} to go from node{node}"
    )
    assert _mapped(lab, node, name) == [], "layers close before their storage goes"


def _grow(lab: LabCluster, name: str, size_kib: int) -> None:
    lab.call("PUT", f"/v1/resource-definitions/{name}/volume-definitions/0", {"size_kib": size_kib})


def _sectors(lab: LabCluster, node: int, path: str) -> int:
    return int(lab.lab.exec(node, "blockdev", "--getsz", path))


def test_the_life_of_an_encrypted_volume(lab: LabCluster) -> None:
    """Create, grow, snapshot, restore, roll back, power cut, delete; only ciphertext is below at any time."""
    define(lab, "sealed", "LUKS", "STORAGE")
    place(lab, "sealed", 1, "thin")
    wait_ready(lab, "sealed", 1)
    path = _path(lab, "sealed", 1)
    assert path == "/dev/mapper/Linstor-Crypt-sealed_00000"
    _put(lab, 1, path, "the-first-word")
    assert not _below(lab, 1, "sealed", "the-first-word")
    _grow(lab, "sealed", 40960)
    lab.until(lambda: _sectors(lab, 1, path) == 40960 * 2, "the open volume to grow")
    wait_ready(lab, "sealed", 1)
    take_snapshot(lab, "sealed", "s1")
    _put(lab, 1, path, "the-second-word")

    define(lab, "copied", "LUKS", "STORAGE", sizes=())
    for verb in ("volume-definition", "resource"):
        to = {"to_resource": "copied"}
        lab.call("POST", f"/v1/resource-definitions/sealed/snapshot-restore-{verb}/s1", to)
    wait_ready(lab, "copied", 1)
    assert _get(lab, 1, _path(lab, "copied", 1)) == "the-first-word"
    assert _sectors(lab, 1, _path(lab, "copied", 1)) == 40960 * 2
    assert _get(lab, 1, path) == "the-second-word"
    lab.call("POST", "/v1/resource-definitions/sealed/snapshot-rollback/s1")
    lab.until(lambda: _reads(lab, "sealed", 1, "the-first-word"), "the volume to be rolled back")
    _put(lab, 1, path, "the-third-word")

    lab.power_cycle(1)
    for name, word in (("sealed", "the-third-word"), ("copied", "the-first-word")):
        wait_ready(lab, name, 1)
        assert _get(lab, 1, _path(lab, name, 1)) == word
        assert not _below(lab, 1, name, word)
    lab.call("DELETE", "/v1/resource-definitions/sealed/snapshots/s1")
    _delete_all(lab, 1, "sealed", "copied")


def _reads(lab: LabCluster, name: str, node: int, word: str) -> bool:
    path = _path(lab, name, node)
    return bool(path) and state(lab, name, node) == "Created" and _get(lab, node, path) == word


@pytest.mark.parametrize("kind", ["WRITECACHE", "CACHE"])
def test_a_cached_volume_keeps_its_cache_in_a_second_group(lab: LabCluster, kind: str) -> None:
    name = kind.lower() + "d"
    define(lab, name, kind, "STORAGE", sizes=(65536,))
    place(lab, name, 1, "thick")
    wait_ready(lab, name, 1)
    path = _path(lab, name, 1)
    assert path == f"/dev/mapper/linstor_{kind.lower()}_{name}_00000"
    beside = lab.lab.exec(1, "lvs", "--noheadings", "-o", "lv_name", "quick").split()
    assert beside == [f"{name}.{kind.lower()}_00000"]
    _put(lab, 1, path, "cached-word")
    _grow(lab, name, 81920)
    lab.until(lambda: _sectors(lab, 1, path) == 81920 * 2, "the cached volume to grow")
    wait_ready(lab, name, 1)
    assert _get(lab, 1, path) == "cached-word"
    _put(lab, 1, path, "later-word")
    lab.power_cycle(1)
    wait_ready(lab, name, 1)
    assert _get(lab, 1, _path(lab, name, 1)) == "later-word"
    _delete_all(lab, 1, name)
    lab.until(lambda: not lab.lab.exec(1, "lvs", "--noheadings", "quick").split(), "the cache to go")


def test_replicas_on_encrypted_storage_fail_over(lab: LabCluster) -> None:
    """What one node wrote is read on the other after the first lost its power; below is ciphertext."""
    define(lab, "pair", "DRBD", "LUKS", "STORAGE")
    for node in (1, 2):
        place(lab, "pair", node, "thin")
    wait_ready(lab, "pair", 1, 2)
    assert _mapped(lab, 1, "pair") == _mapped(lab, 2, "pair") == ["Linstor-Crypt-pair_00000"]
    _put(lab, 1, _path(lab, "pair", 1), "written-on-one")
    lab.lose(1)
    lab.until(lambda: _answers(lab, "pair", 2, "written-on-one"), "the other node to give the data")
    _put(lab, 2, _path(lab, "pair", 2), "written-on-two")
    lab.bring_back(1)
    wait_ready(lab, "pair", 1, 2)
    assert _get(lab, 1, _path(lab, "pair", 1)) == "written-on-two"
    _grow(lab, "pair", 40960)
    lab.until(lambda: _served_kib(lab, "pair", 1) == _served_kib(lab, "pair", 2) == 40960, "both to grow")
    wait_ready(lab, "pair", 1, 2)
    for node in (1, 2):
        assert not _below(lab, node, "pair", "written-on-two")
    delete(lab, "pair")
    for node in (1, 2):
        _wait_gone(lab, node, "pair")


def _answers(lab: LabCluster, name: str, node: int, word: str) -> bool:
    """Whether an export can be read now; it is refused while the peer may still be Primary."""
    path = _path(lab, name, node)
    text = 'nbdcopy "$0" - | head -c 4096'
    return bool(path) and lab.lab.try_exec(node, "sh", "-c", text, path).stdout.strip() == word


def _served_kib(lab: LabCluster, name: str, node: int) -> int:
    text = lab.lab.exec(node, "nbdinfo", "--size", _path(lab, name, node))
    return int(text) // 1024


def test_a_locked_controller_holds_back_the_encrypted_and_nothing_else(lab: LabCluster) -> None:
    define(lab, "secret", "LUKS", "STORAGE")
    place(lab, "secret", 1, "thin")
    define(lab, "open", "STORAGE")
    place(lab, "open", 1, "thin")
    wait_ready(lab, "secret", 1)
    path = _path(lab, "secret", 1)
    _put(lab, 1, path, "kept-word")
    lab.stop()
    lab.start_controller()
    lab.wait_online(1, 2)
    assert lab.call("GET", "/v1/encryption/passphrase")["status"] == "locked"
    assert _get(lab, 1, path) == "kept-word", "what is open stays open"
    assert "passphrase" in _said(lab, "secret", 1)
    _grow(lab, "secret", 40960)
    _grow(lab, "open", 40960)
    lab.until(lambda: logical_volumes(lab, 1)["open_00000"] == 40, "the other to grow")
    wait_ready(lab, "open", 1)
    assert _sectors(lab, 1, path) == 20480 * 2

    lab.power_cycle(1)
    wait_ready(lab, "open", 1)
    assert _mapped(lab, 1, "secret") == [], "nobody has told the node how to open it"
    assert "passphrase" in _said(lab, "secret", 1)
    refused = lab.call("PATCH", "/v1/encryption/passphrase", "a wrong one", ok=False)
    assert "wrong" in str(refused)
    lab.call("PATCH", "/v1/encryption/passphrase", _MASTER)
    wait_ready(lab, "secret", 1)
    assert _sectors(lab, 1, path) == 40960 * 2
    assert _get(lab, 1, path) == "kept-word"
    _delete_all(lab, 1, "secret", "open")


def _said(lab: LabCluster, name: str, node: int) -> str:
    found = resource(lab, name, node)
    return str(found.get("observed", {}).get("problem", "")) if found is not None else ""
