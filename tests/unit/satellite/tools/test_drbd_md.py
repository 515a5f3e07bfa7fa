"""Metadata of fresh devices: drbdmeta takes it, and finds in it what was said."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bollard.domain.layers import ReplicationKind
from bollard.planning.layers import drbd
from bollard.satellite.tools.drbd_md import dump_of, format_of

GENERATION = "1234567890ABCDEE"
NET_KIB = 8192


@pytest.mark.tool
@pytest.mark.skipif(shutil.which("drbdmeta") is None, reason="drbdmeta is not installed")
@pytest.mark.parametrize(
    ("kind", "slots"),
    [(ReplicationKind.DRBD84, 1), (ReplicationKind.DRBD9, 1), (ReplicationKind.DRBD9, 7)],
)
def test_drbdmeta_restores_it(kind: ReplicationKind, slots: int, tmp_path: Path) -> None:
    disk, dump = tmp_path / "disk", tmp_path / "dump"
    with disk.open("wb") as file:
        file.truncate(drbd.gross_kib(NET_KIB, slots) << 10)
    dump.write_text(dump_of(kind, current_gi=GENERATION, size_kib=NET_KIB, peer_slots=slots))

    def meta(*argv: str) -> str:
        command = ["drbdmeta", "--force", "147", format_of(kind), str(disk), "internal", *argv]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    meta("create-md", *(() if kind is ReplicationKind.DRBD84 else (str(slots),)))
    meta("restore-md", str(dump))
    after = meta("dump-md")
    assert f"la-size-sect {NET_KIB * 2};" in after
    assert f"0x{GENERATION}" in after
    assert "# bits-set 0;" in after
    if kind is ReplicationKind.DRBD9:
        assert "flags 0x00000091;" in after


def test_a_generation_is_all_that_differs() -> None:
    one = dump_of(ReplicationKind.DRBD9, current_gi=GENERATION, size_kib=NET_KIB, peer_slots=3)
    assert one.count("bitmap[") == 3
    assert one.replace(GENERATION, "0" * 16) == dump_of(
        ReplicationKind.DRBD9, current_gi="0" * 16, size_kib=NET_KIB, peer_slots=3
    )
