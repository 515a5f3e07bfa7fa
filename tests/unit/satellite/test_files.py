"""External files on a node: only where it is allowed, only what is wanted, never over somebody's change."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from bollard.domain.seen import Problem
from bollard.domain.targets import TargetFile
from bollard.satellite.files import FileKeeper, NoFiles


class Place:
    """An allowed folder and a keeper of its files."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "allowed"
        self.folder.mkdir()
        self.memory = root / "state" / "files.json"
        self.restart()

    def restart(self) -> None:
        self.keeper = FileKeeper([str(self.folder)], self.memory)

    def file(self, name: str, content: bytes = b"one", suffixes: tuple[str, ...] = ()) -> TargetFile:
        return TargetFile(str(self.folder / name), content, suffixes)

    def settle(self, *files: TargetFile, wanted: list[TargetFile] | bool | None = True) -> Problem | None:
        everything = list(files) if wanted is True else wanted
        assert not isinstance(everything, bool)
        return asyncio.run(self.keeper.settle(lambda: everything, files))

    def read(self, name: str) -> bytes | None:
        path = self.folder / name
        return path.read_bytes() if path.exists() else None


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_what_is_wanted_is_written_and_mended(place: Place) -> None:
    assert place.settle(place.file("a"), place.file("b", b"two")) is None
    assert (place.read("a"), place.read("b")) == (b"one", b"two")
    (place.folder / "a").write_bytes(b"changed by hand")
    assert place.settle(place.file("a"), place.file("b", b"three")) is None
    assert (place.read("a"), place.read("b")) == (b"one", b"three")
    assert sorted(it.name for it in place.folder.iterdir()) == ["a", "b"], "no half files are left"


def test_what_is_wanted_no_more_goes_also_after_a_restart(place: Place) -> None:
    place.settle(place.file("a"), place.file("b"))
    place.restart()
    assert place.settle(place.file("b")) is None
    assert place.read("a") is None
    assert place.read("b") == b"one"
    assert place.settle() is None
    assert place.read("b") is None


def test_what_someone_else_has_changed_or_made_stays(place: Place) -> None:
    place.settle(place.file("a"))
    (place.folder / "a").write_bytes(b"mine now")
    (place.folder / "own").write_bytes(b"never ours")
    place.settle()
    assert place.read("a") == b"mine now"
    assert place.read("own") == b"never ours"


def test_nothing_is_removed_while_not_all_is_known(place: Place) -> None:
    place.settle(place.file("a"))
    assert place.settle(place.file("b"), wanted=None) is None
    assert (place.read("a"), place.read("b")) == (b"one", b"one")


@pytest.mark.parametrize("path", ["{0}/sub/x", "{0}/../x", "/etc/x", "{0}", "{0}//x", "{0}x"])
def test_other_places_are_refused(place: Place, path: str) -> None:
    where = path.format(place.folder)
    assert not place.keeper.allows(where)
    problem = place.settle(TargetFile(where, b"x"))
    assert problem is not None
    assert problem.code == "file-forbidden"
    assert place.keeper.status(where, ()) == ("", "")


def test_the_variant_that_is_there_is_the_one(place: Place) -> None:
    (place.folder / "a.off").write_bytes(b"old")
    file = place.file("a", b"new", (".off", ".bak"))
    assert place.settle(file) is None
    assert (place.read("a"), place.read("a.off")) == (None, b"new")
    actual = str(place.folder / "a.off")
    assert place.keeper.status(file.path, file.alt_suffixes) == (actual, hashlib.sha256(b"new").hexdigest())
    (place.folder / "a").write_bytes(b"both")
    problem = place.settle(file)
    assert problem is not None
    assert problem.code == "file-ambiguous"


def test_a_folder_that_is_gone_is_said(place: Place) -> None:
    place.folder.rmdir()
    problem = place.settle(place.file("a"))
    assert problem is not None
    assert problem.code == "file-unwritable"


def test_nothing_is_written_through_a_link(place: Place, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"safe")
    (place.folder / ".a.bollard-new").symlink_to(tmp_path / "victim")
    assert place.settle(place.file("a")) is not None
    assert (tmp_path / "victim").read_bytes() == b"safe"


def test_a_satellite_without_files_says_so(place: Place) -> None:
    nothing = NoFiles()
    assert asyncio.run(nothing.settle(list, ())) is None
    problem = asyncio.run(nothing.settle(list, (place.file("a"),)))
    assert problem is not None
