"""One suite for the real machine's files and the simulated one's: a fake that nobody compares rots."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bollard.satellite.host.base import Files, HostError
from bollard.satellite.host.local import LocalFiles
from bollard.sim.files import Disk, SimFiles
from bollard.sim.host import no_pause

Use = Callable[[Files, str], Awaitable[None]]


@pytest.fixture(params=["local", "sim"])
def use(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Use], None]:
    """Run a body with files and an empty folder of theirs."""
    folder = str(tmp_path)

    def run(body: Use) -> None:
        if request.param == "local":
            asyncio.run(_with(body, LocalFiles(), folder))
        else:
            disk = Disk()
            disk.folders.add(folder)
            asyncio.run(_with(body, SimFiles(disk, no_pause), folder))

    return run


async def _with(body: Use, files: Files, folder: str) -> None:
    await body(files, folder)


def test_absence_is_a_value(use: Callable[[Use], None]) -> None:
    async def body(files: Files, folder: str) -> None:
        assert await files.look(f"{folder}/a") is None
        assert await files.read(f"{folder}/a") is None
        assert not await files.remove(f"{folder}/a")
        assert await files.marked(folder, ".owner") == ()

    use(body)


def test_a_missing_folder_is_a_missing_pool(use: Callable[[Use], None]) -> None:
    async def body(files: Files, folder: str) -> None:
        for call in (files.space(f"{folder}/no"), files.marked(f"{folder}/no", ".owner")):
            with pytest.raises(HostError) as caught:
                await call
            assert caught.value.code == "pool-missing"

    use(body)


@pytest.mark.parametrize("thick", [True, False])
def test_allocate_makes_grows_and_never_shrinks(use: Callable[[Use], None], thick: bool) -> None:
    async def body(files: Files, folder: str) -> None:
        path = f"{folder}/v"
        assert await files.allocate(path, 1 << 20, thick=thick)
        assert not await files.allocate(path, 1 << 20, thick=thick)
        assert not await files.allocate(path, 4096, thick=thick)
        seen = await files.look(path)
        assert seen is not None
        assert seen.size_bytes == 1 << 20
        assert (seen.allocated_bytes >= 1 << 20) is thick
        assert await files.allocate(path, 2 << 20, thick=thick)
        grown = await files.look(path)
        assert grown is not None
        assert grown.size_bytes == 2 << 20

    use(body)


def test_what_was_written_is_read_and_replaced_whole(use: Callable[[Use], None]) -> None:
    async def body(files: Files, folder: str) -> None:
        path = f"{folder}/m"
        await files.write(path, b"one")
        await files.write(path, b"longer than one")
        assert await files.read(path) == b"longer than one"
        assert await files.remove(path)
        assert await files.read(path) is None

    use(body)


def test_marked_finds_markers_by_prefix_in_any_case(use: Callable[[Use], None]) -> None:
    async def body(files: Files, folder: str) -> None:
        await files.write(f"{folder}/Data_00000.img.owner", b"d")
        await files.allocate(f"{folder}/Data_00000.img", 4096, thick=False)
        await files.write(f"{folder}/lone_00000.img.owner", b"l")
        await files.allocate(f"{folder}/foreign_00000.img", 4096, thick=False)
        everything = await files.marked(folder, ".owner")
        assert [(one.name, one.content, one.file is not None) for one in everything] == [
            ("Data_00000.img", b"d", True),
            ("lone_00000.img", b"l", False),
        ]
        assert [one.name for one in await files.marked(folder, ".owner", prefix="dATA_")] == [
            "Data_00000.img"
        ]

    use(body)


def test_no_space_leaves_nothing_half_made(use: Callable[[Use], None]) -> None:
    async def body(files: Files, folder: str) -> None:
        room = (await files.space(folder)).total_bytes
        await files.allocate(f"{folder}/old", 8192, thick=True)
        for name in ("new", "old"):
            with pytest.raises(HostError) as caught:
                await files.allocate(f"{folder}/{name}", room * 2, thick=True)
            assert caught.value.code == "no-space"
        assert await files.look(f"{folder}/new") is None
        old = await files.look(f"{folder}/old")
        assert old is not None
        assert old.size_bytes == 8192

    use(body)
