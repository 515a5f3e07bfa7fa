"""Metadata on real files: created once, found again, refused when it cannot be; as drbdmeta makes it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.replica.loop import Loop
from bollard.replica.metadata import layout, superblock
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.superblock import DeviceFlag
from bollard.replica.metadisk import create_md, open_disk
from bollard.replica.trouble import Trouble
from bollard.wire.engine import CreateMd, ErrorCode

MIB = 1 << 20


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def sparse(path: Path, size_bytes: int) -> str:
    with path.open("ab") as out:
        out.truncate(size_bytes)
    return str(path)


def create(loop: Loop, request: CreateMd) -> bool:
    ended: list[tuple[bool, Trouble | None]] = []
    create_md(loop, request, lambda changed, trouble: ended.append((changed, trouble)))
    end = loop.now() + 10
    while not ended:
        assert loop.now() < end
        loop.run_once(0.05)
    changed, trouble = ended[0]
    if trouble is not None:
        raise trouble
    return changed


def test_create_is_idempotent_and_force_starts_anew(tmp_path: Path, loop: Loop) -> None:
    path = sparse(tmp_path / "disk", 64 * MIB)
    request = CreateMd(backing=path, initial_uuid="00000000DEADBEE1", node_id=3, size_bytes=32 * MIB)
    assert create(loop, request)
    assert not create(loop, request)
    disk = open_disk(loop, path, "internal")
    record = superblock.decode(disk.read_meta(0).superblock)
    disk.close()
    assert record.current_uuid == 0xDEADBEE0
    assert record.node_id == 3
    assert record.effective_size_sectors == 65536
    assert DeviceFlag.WAS_UP_TO_DATE | DeviceFlag.CONSISTENT in record.flags
    assert create(loop, CreateMd(backing=path, force=True))
    disk = open_disk(loop, path, "internal")
    fresh = superblock.decode(disk.read_meta(0).superblock)
    disk.close()
    assert (fresh.current_uuid, fresh.node_id) == (superblock.UUID_JUST_CREATED, -1)


@pytest.mark.parametrize(
    ("over", "code", "words"),
    [
        ({"initial_uuid": "xyz"}, ErrorCode.INVALID, "16 hexadecimal digits"),
        ({"initial_uuid": "0000000000000004"}, ErrorCode.INVALID, "16 hexadecimal digits"),
        ({"size_bytes": 64 * MIB}, ErrorCode.CONFLICT, "remain beside the metadata"),
        ({"max_peers": 99}, ErrorCode.INVALID, "99 peer slots"),
        ({"backing": "/nowhere/disk"}, ErrorCode.NOT_FOUND, "cannot be opened"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cause(
    tmp_path: Path, loop: Loop, over: dict[str, object], code: ErrorCode, words: str
) -> None:
    path = sparse(tmp_path / "disk", 64 * MIB)
    with pytest.raises(Trouble) as caught:
        create(loop, CreateMd(**{"backing": path, **over}))  # type: ignore[arg-type]
    error = caught.value.error
    assert error.code == code
    assert words in error.message + error.cause


def test_other_geometry_is_a_conflict_not_an_overwrite(tmp_path: Path, loop: Loop) -> None:
    path = sparse(tmp_path / "disk", 64 * MIB)
    create(loop, CreateMd(backing=path, max_peers=7))
    before = Path(path).read_bytes()
    with pytest.raises(Trouble, match="metadata for 7 peers"):
        create(loop, CreateMd(backing=path, max_peers=3))
    assert Path(path).read_bytes() == before


def test_a_grown_backing_is_found_by_its_last_size(tmp_path: Path, loop: Loop) -> None:
    path = sparse(tmp_path / "disk", 64 * MIB)
    create(loop, CreateMd(backing=path))
    sparse(Path(path), 96 * MIB)
    disk = open_disk(loop, path, "internal")
    with pytest.raises(MetadataError):
        disk.read_meta(0)
    found = disk.read_meta(64 * MIB)
    assert found.superblock_offset_bytes == 64 * MIB - 4096
    geometry = layout.Geometry(max_peers=7)
    assert len(found.bitmap) == layout.internal(64 * MIB, geometry).bitmap_bytes
    assert len(found.activity_log) == 32 << 10
    disk.close()


def test_external_metadata_leaves_the_data_device_alone(tmp_path: Path, loop: Loop) -> None:
    data, meta = sparse(tmp_path / "data", 64 * MIB), sparse(tmp_path / "meta", 2 * MIB)
    assert create(loop, CreateMd(backing=data, meta=meta, max_peers=1))
    assert not any(Path(data).read_bytes())
    disk = open_disk(loop, data, meta)
    found = disk.read_meta(0)
    assert found.superblock_offset_bytes == 0
    assert not disk.internal
    disk.write_meta(((4096, bytes(4096)),), flush_data=True)
    disk.close()
    assert Path(meta).read_bytes()[4096:8192] == bytes(4096)


@pytest.mark.tool
@pytest.mark.parametrize(("size_bytes", "max_peers"), [(64 * MIB, 7), (257 * MIB + 4096, 3), (MIB, 1)])
def test_drbdmeta_makes_the_same_bytes(tmp_path: Path, loop: Loop, size_bytes: int, max_peers: int) -> None:
    drbdmeta = shutil.which("drbdmeta") or shutil.which("/usr/sbin/drbdmeta")
    if drbdmeta is None:
        pytest.skip("drbdmeta (drbd-utils) is not installed")
    ours, theirs = sparse(tmp_path / "ours", size_bytes), sparse(tmp_path / "theirs", size_bytes)
    create(loop, CreateMd(backing=ours, max_peers=max_peers))
    argv = [drbdmeta, "--force", "-", "v09", theirs, "internal", "create-md", str(max_peers)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    assert Path(ours).read_bytes() == Path(theirs).read_bytes()
