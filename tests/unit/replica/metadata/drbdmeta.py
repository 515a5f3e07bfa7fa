"""Runs drbd-utils' drbdmeta on plain files, and reads its dumps; used by the tests with it as oracle."""

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.image import AnySuperblock, Metadata, fresh_image, read_metadata
from bollard.replica.metadata.layout import Layout

PROGRAM = shutil.which("drbdmeta", path="/usr/sbin:/sbin:/usr/bin:/bin")
LAST_SIZES = Path("/var/lib/drbd")

if PROGRAM is None:
    WHY_NOT = "drbdmeta (drbd-utils) is not installed"
elif os.geteuid() != 0:
    WHY_NOT = "drbdmeta locks and remembers devices in directories of root"
else:
    WHY_NOT = ""

needs_drbdmeta = [pytest.mark.tool, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "present")]

oracle = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

RUNS = st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1), st.integers(1, 3000)), max_size=5)
"""(slot, place, bits) to set."""

_numbers = itertools.count(200_000 + os.getpid() % 100_000 * 8)


@contextmanager
def unused_minor() -> Iterator[int]:
    """A minor number that no device has; drbdmeta's note of its last size is removed."""
    minor = next(_numbers)
    note = LAST_SIZES / f"drbd-minor-{minor}.lkbd"
    note.unlink(missing_ok=True)
    try:
        yield minor
    finally:
        note.unlink(missing_ok=True)


def run(minor: int, version: str, device: Path, place: str, *command: str) -> str:
    """One call; its output, or a failed assertion with both streams."""
    assert PROGRAM is not None
    done = subprocess.run(
        [PROGRAM, "--force", str(minor), version, str(device), place, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def sparse_file(path: Path, size: int, *, dirt: range | None = None) -> Path:
    """A file of that size, with rubbish in `dirt` so that what the tool leaves alone shows."""
    with path.open("wb") as file:
        file.truncate(size)
        if dirt is not None:
            file.seek(dirt.start)
            file.write(b"\xd1" * len(dirt))
    return path


def slice_of(path: Path, area: range) -> bytes:
    with path.open("rb") as file:
        file.seek(area.start)
        return file.read(len(area))


def write_fresh(path: Path, layout: Layout, superblock: AnySuperblock | None = None) -> None:
    with path.open("r+b") as file:
        for region in fresh_image(layout, superblock):
            for offset, data in region.writes():
                file.seek(offset)
                file.write(data)


def load(path: Path, layout: Layout, *, volume_bytes: int | None = None) -> Metadata:
    def read(offset: int, length: int) -> bytes:
        return slice_of(path, range(offset, offset + length))

    return read_metadata(
        read, device_bytes=layout.device_bytes, place=layout.place, volume_bytes=volume_bytes
    )


def with_bits(layout: Layout, superblock: AnySuperblock, runs: list[tuple[int, float, int]]) -> Bitmap:
    peers = layout.geometry.max_peers
    size = superblock.effective_size_sectors * 512 or layout.usable_bytes
    bitmap = Bitmap(size, max_peers=peers)
    for slot, start, count in runs:
        first = int(start * (bitmap.bits - 1))
        bitmap.set_bits(slot % peers, first, min(count, bitmap.bits - first))
    return bitmap


def write_bitmap(path: Path, layout: Layout, bitmap: Bitmap) -> None:
    with path.open("r+b") as file:
        for run in bitmap.take_dirty():
            file.seek(layout.bitmap_offset_bytes + run.offset_bytes)
            file.write(run.data)


def bits_of(bitmap: Bitmap) -> list[set[int]]:
    return [
        {bit for first, count in bitmap.runs(slot) for bit in range(first, first + count)}
        for slot in range(bitmap.max_peers)
    ]


def dumped_numbers(dump: str) -> dict[str, int]:
    """The `name value;` lines, also those in comments; of a repeated name the last one."""
    found = re.findall(r"^[#\s]*([a-z_-]+[a-z])\s+(-?(?:0x)?[0-9A-Fa-f]+);?$", dump, re.MULTILINE)
    return {name: int(value, 0) for name, value in found}


def dumped_peers(dump: str) -> list[tuple[int, int, int, int]]:
    """(bitmap-index, bitmap-uuid, bitmap-dagtag, flags) by node id."""
    form = (
        r"peer\[\d+\] \{\s+bitmap-index (-?\d+);\s+bitmap-uuid (\w+);"
        r"\s+bitmap-dagtag (\w+);\s+flags (\w+);"
    )
    return [(int(i), int(u, 16), int(d, 16), int(f, 16)) for i, u, d, f in re.findall(form, dump)]


def dumped_history(dump: str) -> list[int]:
    (block,) = re.findall(r"history-uuids \{([^}]*)\}", dump)
    return [int(value, 16) for value in re.findall(r"0x[0-9A-Fa-f]+", block)]


def dumped_bits(dump: str) -> list[set[int]]:
    """The set bits of each slot."""
    slots = []
    for block in re.findall(r"^(?:bitmap\[\d+\]|bm) \{([^}]*)\}", dump, re.MULTILINE):
        bits, word = set[int](), 0
        for times, value in re.findall(r"(?:(\d+) times )?0x([0-9A-Fa-f]{16});", block):
            content = int(value, 16)
            for number in range(word, word + int(times or 1)) if content else ():
                bits.update(number * 64 + bit for bit in range(64) if content >> bit & 1)
            word += int(times or 1)
        slots.append(bits)
    return slots
