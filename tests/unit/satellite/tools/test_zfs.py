"""ZFS's tables as OpenZFS 2.1 writes them, and the command lines."""

from pathlib import Path

import pytest

from bollard.domain.layers import LayerKind
from bollard.satellite.tools import zfs
from bollard.satellite.tools.tags import Tags

MINE = Tags("n1", "Data-1", 0, volume="11111111-aaaa", layers=(LayerKind.LUKS,), thin=True)
MARK = (
    "bollard.node=n1,bollard.resource=Data-1,bollard.number=0,bollard.volume=11111111-aaaa,"
    "bollard.layers=LUKS,bollard.thin=yes"
)
# Captured from zfs 2.1.11 (module 2.1.5) by `list_datasets`; the marks are put in here.
TABLE = (Path(__file__).parent / "zfs-list.txt").read_text().replace("@MARK@", MARK)
POOLS = "tank\t2013265920\t0\tONLINE\toff\nold\t2013265920\t91\tDEGRADED\ton\n"


def test_the_table_of_datasets() -> None:
    pool, place, mine, kept, copy, odd = zfs.parse_datasets(TABLE.encode())
    assert (pool.type, place.available) == ("filesystem", "1839711744")
    assert (mine.parent, mine.size_kib, mine.unit_kib, mine.reserved, mine.active) == (
        "tank/ds", 16384, 8, False, True,
    )  # fmt: skip
    assert mine.tags == MINE
    assert kept.tags is None, "a snapshot shows what its volume has"
    assert (kept.volume, kept.parent, kept.doomed, kept.size_kib) == (mine.name, "tank/ds", True, 16384)
    assert (copy.origin, copy.active, copy.tags) == (kept.name, False, None)
    assert (odd.reserved, odd.path) == (True, "/dev/zvol/tank/odd")


def test_the_table_of_pools() -> None:
    tank, old = zfs.parse_pools(POOLS.encode())
    assert (tank.usable, tank.size, old.usable, old.capacity, old.readonly) == (
        True, "2013265920", True, "91", "on",
    )  # fmt: skip


def test_what_is_no_table_is_refused() -> None:
    assert zfs.parse_datasets(b"") == ()
    with pytest.raises(ValueError, match="columns"):
        zfs.parse_datasets(b"The ZFS modules cannot be auto-loaded.\n")


def test_numbers_of_devices() -> None:
    assert zfs.parse_numbers(b"e6:30 /dev/zvol/tank/a b\ne6:0 /dev/zvol/tank/c\n") == {
        "/dev/zvol/tank/a b": "230:48",
        "/dev/zvol/tank/c": "230:0",
    }


@pytest.mark.parametrize(
    ("options", "kib"),
    [
        ("", 16), ("-b 64K", 64), ("-b 8192", 8), ("-o volblocksize=128k", 128), ("-b 1M", 1024),
        ("-o compression=lz4 -o volblocksize=4096", 4), ("-o compression=on", 16),
    ],
)  # fmt: skip
def test_sizes_are_whole_blocks(options: str, kib: int) -> None:
    given = {"ZfscreateOptions": options}
    assert zfs.block_kib(given) == kib
    words = zfs.create("tank/x", 1, MINE, options=given)
    assert words[words.index("-V") + 1] == str(kib << 10)


def test_room_is_reserved_unless_thin_and_marks_are_set_at_once() -> None:
    thick = Tags("n1", "Data-1", 0, volume="11111111-aaaa")
    assert "-s" not in zfs.create("tank/x", 16, thick, options={})
    words = zfs.create("tank/x", 16, MINE, options={"ZfscreateOptions": "-o compression=lz4"})
    assert "-s" in words
    assert f"bollard:mark={MARK}" in words
    assert words[-3:] == ("-o", "compression=lz4", "tank/x")
    assert zfs.change("tank/x", MINE, volsize="8192")[2:] == (
        "volsize=8192",
        f"bollard:mark={MARK}",
        "tank/x",
    )
