"""LUKS and the caches on a real kernel: made once, found again, grown, closed, whole after a crash."""

import asyncio
import os
from collections.abc import Iterator

import pytest
from tests.lab_host import LabFiles, LabRunner, NoEngine

from bollard.domain.ids import Uuid
from bollard.domain.layers import LayerKind
from bollard.domain.targets import TargetLayer
from bollard.lab.cluster import Lab
from bollard.satellite.drivers import DEVICE_LAYERS, DeviceLayer, Wipes
from bollard.satellite.host.base import Host, HostError, LayerMark, LayerSeen
from lab_cluster import lacking

_SECRET = "correct horse battery"  # of this test alone
_QUICK = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000"
_MODULES = ("dm-crypt", "dm-cache", "dm-cache-smq", "dm-writecache", "bcache")
_LOWER, _FAST = "/dev/mapper/lower", "/dev/ubdc"
_UUID = Uuid("6f1f7e1c-6f0f-4b0e-9d5c-0a8c3c4f6b11")
_HALF, _WHOLE = 262144, 393216
_START = 2048
"""Of what is built on, in sectors: what is found on the whole disk is not what is on this."""
_WORD = "what a user wrote"
_STOP_BCACHE = """
for stop in /sys/block/*/bcache/stop /sys/fs/bcache/*-*/stop; do [ ! -e $stop ] || echo 1 >$stop; done
while [ -e /sys/block/bcache0 ] || ls -d /sys/fs/bcache/*-*; do sleep 0.05; done
"""


_LACKING = lacking("cryptsetup", "dmsetup", "blkid", "make-bcache")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]


class Bench:
    """A node with a device to build on, whose size can be changed, and a fast one beside it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = self._host()

    def _host(self) -> Host:
        runner = LabRunner(self.lab, 1)
        return Host(LabFiles(runner), runner, NoEngine(), "")  # type: ignore[arg-type]

    def ready(self, sectors: int = _HALF) -> None:
        self.lab.exec(1, "dmsetup", "create", "lower", "--table", f"0 {sectors} linear /dev/ubdb {_START}")

    def clear(self) -> None:
        """As after a fresh boot, with empty disks. A passing look of udev's may keep a device for a while."""
        self.lab.exec(1, "sh", "-c", _STOP_BCACHE)
        script = (
            'until udevadm settle && dmsetup remove_all --force && test -z "$(dmsetup ls -o blkdevname'
            " | grep -v '^No devices')\"; do sleep 0.1; done"
        )
        self.lab.exec(1, "sh", "-c", script)
        for path in ("/dev/ubdb", _FAST):
            self.lab.exec(1, "dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=2", "conv=fsync")
        self.host = self._host()
        self.ready()

    def widen(self) -> None:
        self.lab.exec(1, "dmsetup", "suspend", "lower")
        self.lab.exec(1, "dmsetup", "load", "lower", "--table", f"0 {_WHOLE} linear /dev/ubdb {_START}")
        self.lab.exec(1, "dmsetup", "resume", "lower")

    def crash(self) -> None:
        self.lab.kill(1)
        self.lab.boot(1)
        self.host = self._host()
        self.ready()

    def write(self, path: str) -> None:
        self.lab.exec(1, "dd", f"of={path}", "bs=4096", "conv=fsync,sync", stdin=_WORD.encode())

    def read(self, path: str, length: int = len(_WORD)) -> str:
        return self.lab.exec(1, "head", "-c", str(length), path)

    def raise_(self, layer: TargetLayer, *, made: bool) -> str:
        path = asyncio.run(_driver(layer.kind).raise_(layer, _LOWER, _mark(made=made), self.host))
        if layer.kind is LayerKind.BCACHE:  # it would let what it holds back grow 30 s old
            self.lab.exec(1, "tee", "/sys/block/bcache0/bcache/writeback_delay", stdin=b"1\n")
        return path

    def seen(self, kind: LayerKind) -> LayerSeen:
        (found,) = asyncio.run(_driver(kind).observe(self.host))
        return found

    def lower(self, kind: LayerKind) -> None:
        asyncio.run(_driver(kind).lower(self.seen(kind), _mark(made=True), self.host))


def _driver(kind: LayerKind) -> DeviceLayer:
    return DEVICE_LAYERS[kind]


def _mark(*, made: bool) -> LayerMark:
    return LayerMark("data", 0, _UUID, made=made, companion=_FAST)


def _layer(kind: LayerKind) -> TargetLayer:
    options = {
        LayerKind.LUKS: {"FormatOptions": _QUICK, "AllowDiscards": "True"},
        LayerKind.CACHE: {"OpMode": "writeback", "Blocksize": "64"},
        LayerKind.WRITECACHE: {"Options/HighWatermark": "60", "Options/Fua": "On"},
        LayerKind.BCACHE: {"Writeback": "True", "CacheReplacementPolicy": "fifo", "Bucketsize": "131072"},
    }
    return TargetLayer(
        kind=kind,
        size_kib=1,
        secret=_SECRET if kind is LayerKind.LUKS else None,
        options=options[kind],
    )


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    name = f"l{os.getpid() % 10**6}"
    with Lab(tmp_path_factory.mktemp("lab"), name=name, nodes=1, disks=2, load=_MODULES) as lab:
        lab.boot()
        yield lab


@pytest.fixture
def bench(machine: Lab) -> Bench:
    found = Bench(machine)
    found.clear()
    return found


GROWING = (LayerKind.LUKS, LayerKind.CACHE, LayerKind.WRITECACHE)
KINDS = (*GROWING, LayerKind.BCACHE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_made_once_and_found_again(bench: Bench, kind: LayerKind) -> None:
    path = bench.raise_(_layer(kind), made=False)
    bench.write(path)
    seen = bench.seen(kind)
    assert seen.path == path
    assert seen.below[0] == bench.lab.exec(1, "lsblk", "-dno", "MAJ:MIN", _LOWER).strip()
    bench.lower(kind)
    assert asyncio.run(_driver(kind).observe(bench.host)) == ()
    path = bench.raise_(_layer(kind), made=True)
    assert bench.read(path) == _WORD


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_synced_outlives_a_power_cut(bench: Bench, kind: LayerKind) -> None:
    bench.write(bench.raise_(_layer(kind), made=False))
    bench.crash()
    assert bench.read(bench.raise_(_layer(kind), made=True)) == _WORD


@pytest.mark.parametrize("kind", GROWING)
def test_a_layer_takes_what_grew_below_it(bench: Bench, kind: LayerKind) -> None:
    bench.write(bench.raise_(_layer(kind), made=False))
    before = bench.seen(kind)
    bench.widen()
    assert asyncio.run(_driver(kind).grow(_layer(kind), before, _mark(made=True), bench.host))
    after = bench.seen(kind)
    assert after.size_kib - before.size_kib == (_WHOLE - _HALF) // 2
    assert bench.read(after.path) == _WORD


def test_bcache_takes_what_grew_below_it_when_it_is_opened_again(bench: Bench) -> None:
    layer = _layer(LayerKind.BCACHE)
    bench.write(bench.raise_(layer, made=False))
    before = bench.seen(LayerKind.BCACHE)
    bench.widen()
    with pytest.raises(HostError) as refusal:
        asyncio.run(_driver(LayerKind.BCACHE).grow(layer, before, _mark(made=True), bench.host))
    assert refusal.value.code == "grow-needs-reopen"
    bench.lower(LayerKind.BCACHE)
    path = bench.raise_(layer, made=True)
    assert path == before.path
    assert bench.seen(LayerKind.BCACHE).size_kib - before.size_kib == (_WHOLE - _HALF) // 2
    assert bench.read(path) == _WORD


def test_what_bcache_holds_back_is_written_down_before_it_closes(bench: Bench) -> None:
    path = bench.raise_(_layer(LayerKind.BCACHE), made=False)
    bench.lab.exec(1, "dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=20", "conv=fsync")
    bench.write(path)
    assert bench.lab.exec(1, "cat", "/sys/block/bcache0/bcache/state").strip() == "dirty"
    bench.lower(LayerKind.BCACHE)
    below = bench.lab.exec(
        1, "sh", "-c", f"dd if={_LOWER} bs=4096 skip=2 count=1 2>/dev/null | head -c {len(_WORD)}"
    )
    assert below == _WORD


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_others_is_never_overwritten(bench: Bench, kind: LayerKind) -> None:
    bench.lab.exec(1, "mkfs.ext4", "-q", _LOWER)
    with pytest.raises(HostError) as refusal:
        bench.raise_(_layer(kind), made=False)
    assert refusal.value.code == "device-has-data"
    assert "ext4" in refusal.value.cause
    assert "ext4" in bench.lab.exec(1, "blkid", "-p", _LOWER)


@pytest.mark.parametrize("kind", KINDS)
def test_a_making_that_was_cut_is_done_again(bench: Bench, kind: LayerKind) -> None:
    bench.raise_(_layer(kind), made=False)
    path = bench.raise_(_layer(kind), made=False)
    bench.write(path)
    assert bench.read(path) == _WORD


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_in_use_stays_open(bench: Bench, kind: LayerKind) -> None:
    path = bench.raise_(_layer(kind), made=False)
    bench.lab.exec(1, "mkfs.ext4", "-q", path)
    bench.lab.exec(1, "mount", path, "/mnt")
    with pytest.raises(HostError) as refusal:
        bench.lower(kind)
    assert refusal.value.code == "busy"
    bench.lab.exec(1, "umount", "/mnt")
    bench.lower(kind)


def test_what_is_below_luks_cannot_be_read(bench: Bench) -> None:
    bench.write(bench.raise_(_layer(LayerKind.LUKS), made=False))
    assert _WORD.encode() not in bench.lab.disk(1).read_bytes()[: (_START + _HALF) * 512]


def test_a_wrong_passphrase_is_named_and_nothing_is_harmed(bench: Bench) -> None:
    layer = _layer(LayerKind.LUKS)
    bench.write(bench.raise_(layer, made=False))
    bench.lower(LayerKind.LUKS)
    wrong = TargetLayer(LayerKind.LUKS, 1, secret="another", options=layer.options)  # likewise
    with pytest.raises(HostError) as refusal:
        bench.raise_(wrong, made=True)
    assert refusal.value.code == "wrong-passphrase"
    with pytest.raises(HostError) as locked:
        bench.raise_(TargetLayer(LayerKind.LUKS, 1), made=True)
    assert locked.value.code == "locked"
    assert bench.read(bench.raise_(layer, made=True)) == _WORD


def test_the_passphrase_is_in_no_argument(bench: Bench) -> None:
    bench.raise_(_layer(LayerKind.LUKS), made=False)
    runner = bench.host.runner
    assert isinstance(runner, LabRunner)
    assert any("luksFormat" in argv for argv in runner.ran)
    assert not any(_SECRET in word for argv in runner.ran for word in argv)


@pytest.mark.parametrize("kind", [LayerKind.CACHE, LayerKind.WRITECACHE, LayerKind.BCACHE])
def test_a_lost_cache_is_never_made_anew(bench: Bench, kind: LayerKind) -> None:
    bench.write(bench.raise_(_layer(kind), made=False))
    bench.lower(kind)
    if kind is not LayerKind.BCACHE:
        assert bench.read(_LOWER) == _WORD
    bench.lab.exec(1, "dd", "if=/dev/zero", f"of={_FAST}", "bs=4096", "count=4", "conv=fsync")
    with pytest.raises(HostError) as refusal:
        bench.raise_(_layer(kind), made=True)
    assert refusal.value.code == "companion-lost"


def test_a_wiped_luks_volume_is_gone_for_whoever_has_the_passphrase(bench: Bench) -> None:
    layer = _layer(LayerKind.LUKS)
    bench.write(bench.raise_(layer, made=False))
    bench.lower(LayerKind.LUKS)
    driver = _driver(LayerKind.LUKS)
    assert isinstance(driver, Wipes)
    asyncio.run(driver.wipe(_LOWER, _HALF // 2, bench.host))
    start = _START * 512
    assert not any(bench.lab.disk(1).read_bytes()[start : start + (16 << 20)]), "on the disk itself"
    with pytest.raises(HostError):
        bench.raise_(layer, made=True)
    runner = bench.host.runner
    assert isinstance(runner, LabRunner)
    verbs = [argv[1:3] for argv in runner.ran if argv[0] == "cryptsetup"]
    assert ("--batch-mode", "erase") in verbs
