"""The tool that converts metadata: on files, from the command line, and what it refuses."""

import sys
from pathlib import Path

import pytest

from bollard.replica import app
from bollard.replica.disk import BackingError
from bollard.replica.handover import convert_md
from bollard.replica.loop import Loop
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.superblock import decode
from bollard.replica.metadata.superblock08 import decode08
from bollard.replica.metadisk import create_md, open_disk
from bollard.wire.engine import V08, V09, CreateMd

UUID = "5EED5EED5EED5EE0"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A file with data and fresh v09 metadata of one slot."""
    path = tmp_path / "volume"
    path.write_bytes(b"data" * (1 << 18) + bytes(1 << 20))
    loop = Loop()

    def done(_changed: bool, trouble: object) -> None:
        assert trouble is None
        loop.stop()

    create_md(loop, CreateMd(backing=str(path), max_peers=1, node_id=1, initial_uuid=UUID), done)
    loop.run()
    loop.close()
    return path


def convert(path: Path, to: str, max_peers: int = 1) -> bool:
    return convert_md(str(path), "internal", to=to, node_id=1, peer_node_id=0, max_peers=max_peers)


def test_there_and_back(volume: Path) -> None:
    before = volume.read_bytes()
    assert convert(volume, V08)
    middle = volume.read_bytes()
    assert decode08(middle[-4096:]).current_uuid == int(UUID, 16)
    assert not convert(volume, V08)
    assert volume.read_bytes() == middle
    assert convert(volume, V09)
    assert decode(volume.read_bytes()[-4096:]).current_uuid == int(UUID, 16)
    assert volume.read_bytes()[: 1 << 20] == before[: 1 << 20]


def test_a_volume_in_use_is_left_alone(volume: Path) -> None:
    before = volume.read_bytes()
    loop = Loop()
    disk = open_disk(loop, str(volume), "internal")
    with pytest.raises(BackingError, match="held by another"):
        convert(volume, V08)
    disk.close()
    loop.close()
    assert volume.read_bytes() == before


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackingError):
        convert(tmp_path / "none", V08)
    blank = tmp_path / "blank"
    blank.write_bytes(bytes(1 << 20))
    with pytest.raises(MetadataError, match="magic"):
        convert(blank, V08)
    assert blank.read_bytes() == bytes(1 << 20)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["bollard-replica", "convert-md", *words])
    app.main()


def test_the_command(
    volume: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--to", "v08", "--backing", str(volume), "--node-id", "1", "--peer-node-id", "0"]
    run(monkeypatch, *words)
    assert capsys.readouterr().out == f"metadata of {volume} is now v08\n"
    run(monkeypatch, *words)
    assert "is already v08" in capsys.readouterr().out
    with pytest.raises(SystemExit) as failed:
        run(monkeypatch, *words[:3], "/nowhere/at/all", *words[4:])
    assert "cannot be converted" in str(failed.value.code)
    with pytest.raises(SystemExit) as wrong:
        run(monkeypatch, *words[:-1], "1")
    assert wrong.value.code == 2
