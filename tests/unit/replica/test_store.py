"""The state directory: atomic, private, locked, and plain about what is wrong with it."""

from pathlib import Path

import pytest

from bollard.replica.store import StateDir, StateDirError
from bollard.wire.engine import Kind, ResourceSpec, VolumeSpec


def spec(name: str, uuid: str = "u") -> ResourceSpec:
    volume = VolumeSpec(number=0, size_bytes=4096, minor=1000, backing="/b")
    return ResourceSpec(name=name, uuid=uuid, kind=Kind.PLAIN, volumes=(volume,), shared_secret="hush")


def test_what_is_saved_comes_back_and_what_is_forgotten_does_not(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "s"))
    for name in ("a", "odd/../name", "ü"):
        state.save(spec(name))
    state.save(spec("a", "second"))
    state.forget("ü")
    state.forget("never was")
    state.close()
    again = StateDir(str(tmp_path / "s"))
    specs, complaints = again.load()
    again.close()
    assert sorted((one.name, one.uuid) for one in specs) == [("a", "second"), ("odd/../name", "u")]
    assert complaints == []
    assert not (tmp_path / "name.json").exists()


def test_files_are_for_the_owner_only(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "s"))
    state.save(spec("a"))
    state.remember_size("a", 0, 123)
    for path in (tmp_path / "s").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    state.close()


def test_an_unreadable_file_is_named_and_the_rest_is_loaded(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "s"))
    state.save(spec("a"))
    (tmp_path / "s" / "resources" / "broken.json").write_bytes(b'{"name": 5}')
    specs, complaints = state.load()
    assert [one.name for one in specs] == ["a"]
    assert "broken.json" in complaints[0]
    state.close()


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "s"))
    with pytest.raises(StateDirError, match="in use by another bollard-replica"):
        StateDir(str(tmp_path / "s"))
    state.close()
    StateDir(str(tmp_path / "s")).close()


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "s"))
    state.save(spec("a", "old"))
    (tmp_path / "s" / "resources" / "a.json.tmp").mkdir()
    with pytest.raises(StateDirError, match="resource a cannot be saved"):
        state.save(spec("a", "new"))
    assert [one.uuid for one in state.load()[0]] == ["old"]
    state.close()


def test_sizes_are_remembered_by_volume_and_forgotten_with_the_resource(tmp_path: Path) -> None:
    state = StateDir(str(tmp_path / "s"))
    state.remember_size("a", 0, 1 << 30)
    state.remember_size("a", 3, 5)
    assert state.last_sizes("a") == {0: 1 << 30, 3: 5}
    (tmp_path / "s" / "resources" / "a.sizes").write_bytes(b"junk")
    assert state.last_sizes("a") == {}
    state.forget("a")
    assert state.last_sizes("a") == {}
    assert state.load() == ([], [])
    state.close()
