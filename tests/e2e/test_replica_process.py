"""The data process as a process: start, stop, restart, refusals, and what survives, with plain volumes."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.client.nbd import NbdClient
from bollard.wire import engine as wire
from replica_process import Control, ReplicaProcess

MIB = 1 << 20


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ReplicaProcess]:
    made = ReplicaProcess(tmp_path / "state")
    yield made
    made.kill()


def plain(tmp_path: Path, **over: object) -> wire.ResourceSpec:
    backing = tmp_path / "backing"
    if not backing.exists():
        with backing.open("wb") as out:
            out.truncate(8 * MIB)
    volume = wire.VolumeSpec(number=0, size_bytes=4 * MIB, minor=1000, backing=str(backing))
    fields = {"name": "data", "uuid": "u1", "kind": wire.Kind.PLAIN, "volumes": (volume,), **over}
    return wire.ResourceSpec(**fields)  # type: ignore[arg-type]


def test_configure_is_idempotent_and_survives_kill_and_stop(tmp_path: Path, process: ReplicaProcess) -> None:
    spec = plain(tmp_path)
    process.start()
    assert process.control.must(wire.Configure(resource=spec)).changed
    assert not process.control.must(wire.Configure(resource=spec)).changed
    with NbdClient(process.nbd, "data") as client:
        client.write(0, b"kept" + bytes(508), fua=True)
        assert process.until("data", lambda state: state["role"] == "Primary")
    process.kill()
    process.start()
    with NbdClient(process.nbd, "data/0") as client:
        assert client.read(0, 4) == b"kept"
        assert client.size_bytes == 4 * MIB
    assert process.terminate() == 0
    assert not (process.directory / "control.sock").exists()
    process.start()
    assert process.control.must(wire.Remove(name="data")).changed
    assert not process.control.must(wire.Remove(name="data")).changed
    process.kill()
    process.start()
    assert process.control.must(wire.Status()).result == []


def test_grow_suspend_resume_and_a_socket_of_its_own(tmp_path: Path, process: ReplicaProcess) -> None:
    spec = plain(tmp_path)
    process.start()
    own = str(tmp_path / "own.sock")
    volume = wire.VolumeSpec(
        number=0, size_bytes=8 * MIB, minor=1000, backing=spec.volumes[0].backing, nbd_socket=own
    )
    process.control.must(wire.Configure(resource=spec))
    assert process.control.must(wire.Configure(resource=plain(tmp_path, volumes=(volume,)))).changed
    with NbdClient(f"unix:{own}") as client:
        assert client.size_bytes == 8 * MIB
        assert process.control.must(wire.SuspendIo(name="data")).changed
        cookie = client.submit_write(0, b"\x07" * 4096)
        assert process.status("data")["suspended-user"]
        assert Path(str(volume.backing)).read_bytes()[:1] == b"\0"
        assert process.control.must(wire.ResumeIo(name="data")).changed
        client.wait(cookie)
        assert client.read(0, 1) == b"\x07"


def test_a_freeze_ends_by_itself_and_loses_no_write(tmp_path: Path, process: ReplicaProcess) -> None:
    process.start()
    process.control.must(wire.Configure(resource=plain(tmp_path)))
    ask = wire.SuspendIo(name="data", token="t1", deadline_ms=700)
    with NbdClient(process.nbd, "data") as client:
        client.write(0, b"\x01" * 4096)
        frozen = process.control.must(ask).result
        assert frozen["held"]
        cookie = client.submit_write(0, b"\x07" * 4096)
        again = process.control.must(ask).result
        assert again["held"]
        assert (again["changes"], again["instance"]) == (frozen["changes"], frozen["instance"])
        assert Path(str(plain(tmp_path).volumes[0].backing)).read_bytes()[:1] == b"\x01"
        client.wait(cookie)  # nobody has thawed it
        assert client.read(0, 1) == b"\x07"
        late = process.control.must(wire.ResumeIo(name="data", token="t1"))
        assert not late.changed
        assert not late.result["held"]
        assert late.result["changes"] > frozen["changes"]
        assert not process.control.must(ask).result["held"], "a token freezes once"
        client.write(4096, b"\x08" * 4096)


def test_refusals_name_the_object_and_the_next_step(tmp_path: Path, process: ReplicaProcess) -> None:
    process.start()
    ask = process.control.ask
    spec = plain(tmp_path)
    process.control.must(wire.Configure(resource=spec))
    other = ask(wire.Configure(resource=plain(tmp_path, uuid="u2"))).error
    assert other is not None
    assert (other.code, "data" in other.message) == (wire.ErrorCode.CONFLICT, True)
    assert "remove" in other.correction
    with NbdClient(process.nbd, "data"):
        busy = ask(wire.Remove(name="data")).error
        assert busy is not None
        assert busy.code == wire.ErrorCode.BUSY
    missing = ask(wire.Primary(name="nope")).error
    assert missing is not None
    assert missing.code == wire.ErrorCode.NOT_FOUND
    taken = plain(tmp_path, name="second")
    held = ask(wire.Configure(resource=taken)).error
    assert held is not None
    assert "held by another process" in held.cause
    odd = process.control.raw(b'{"op":"fly","id":7}')
    assert odd.error is not None
    assert (odd.id, odd.error.code) == (7, wire.ErrorCode.INVALID)


def test_everything_is_private_to_the_owner(tmp_path: Path, process: ReplicaProcess) -> None:
    process.start()
    process.control.must(wire.Configure(resource=plain(tmp_path, shared_secret="correct horse")))
    for path in [process.directory, *process.directory.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0 or path.is_dir(), path
    assert (process.directory / "resources").stat().st_mode & 0o777 == 0o700
    shown = process.control.must(wire.Show()).result
    assert "correct horse" not in str(shown)
    assert "correct horse" not in process.log()
    assert process.process is not None
    assert b"correct horse" not in Path(f"/proc/{process.process.pid}/cmdline").read_bytes()


def test_one_process_a_state_directory(tmp_path: Path, process: ReplicaProcess) -> None:
    process.start()
    second = ReplicaProcess(process.directory)
    second.log_path = tmp_path / "second.log"
    second.spawn()
    assert second.wait() == 1
    assert "in use by another bollard-replica" in second.log()


def test_a_taken_port_is_said_plainly(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        process = ReplicaProcess(tmp_path / "state", "--listen-nbd", f"127.0.0.1:{sock.getsockname()[1]}")
        process.spawn()
        assert process.wait() == 1
        assert "the port is taken by another process" in process.log()
        assert "Traceback" not in process.log()


def test_a_state_directory_that_cannot_be_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = ReplicaProcess(tmp_path / "file" / "state")
    process.log_path = tmp_path / "log"
    process.spawn()
    assert process.wait() == 1
    assert "choose another --state-dir" in process.log()


def test_it_refuses_to_run_without_its_assertions(tmp_path: Path) -> None:
    process = ReplicaProcess(tmp_path / "state")
    process.spawn("-O")
    assert process.wait() == 1
    assert "refusing to run with -O" in process.log()


def test_a_broken_stored_configuration_does_not_keep_the_others_away(
    tmp_path: Path, process: ReplicaProcess
) -> None:
    process.start()
    process.control.must(wire.Configure(resource=plain(tmp_path)))
    process.kill()
    (process.directory / "resources" / "bad.json").write_text("{")
    gone = plain(
        tmp_path, name="gone", volumes=(wire.VolumeSpec(number=0, size_bytes=0, minor=1, backing="/no"),)
    )
    (process.directory / "resources" / "gone.json").write_bytes(wire.encode_spec(gone))
    process.start()
    assert [one["name"] for one in process.control.must(wire.Status()).result] == ["data"]
    assert "bad.json" in process.log()
    assert "gone" in process.log()


def test_the_event_stream_tells_of_use_and_removal(tmp_path: Path, process: ReplicaProcess) -> None:
    process.start()
    process.control.must(wire.Configure(resource=plain(tmp_path)))
    watcher = Control(process.directory / "control.sock")
    assert watcher.ask(wire.WatchEvents()).ok
    import msgspec

    def event() -> wire.Event:
        return msgspec.json.decode(watcher._lines.readline(), type=wire.Event)

    first = [event(), event(), event()]
    assert [one.action for one in first] == ["exists"] * 3
    assert [one.object for one in first] == ["resource", "device", "-"]
    NbdClient(process.nbd, "data").close()
    assert (event().fields["role"], event().fields["role"]) == ("Primary", "Secondary")
    process.control.must(wire.Remove(name="data"))
    assert [(one.action, one.object) for one in (event(), event())] == [
        ("destroy", "device"),
        ("destroy", "resource"),
    ]
    watcher.close()


def test_a_configuration_that_cannot_be_saved_is_refused_and_serving_goes_on(
    tmp_path: Path, process: ReplicaProcess
) -> None:
    process.start()
    # A temporary file that cannot be opened takes the same path as a full disk.
    obstacle = process.directory / "resources" / "data.json.tmp"
    obstacle.mkdir()
    reply = process.control.ask(wire.Configure(resource=plain(tmp_path)))
    assert reply.error is not None
    assert "cannot be saved" in reply.error.cause + reply.error.message
    obstacle.rmdir()
    process.control.must(wire.Configure(resource=plain(tmp_path)))
    assert (process.directory / "resources" / "data.json").exists()
    assert process.terminate() == 0


def test_shutdown_over_the_control_socket_is_a_clean_stop(tmp_path: Path, process: ReplicaProcess) -> None:
    process.start()
    process.control.must(wire.Configure(resource=plain(tmp_path)))
    with NbdClient(process.nbd, "data") as client:
        client.write(0, b"x" * 512)
        process.control.must(wire.Shutdown())
        assert process.wait() == 0
    assert not (process.directory / "nbd.sock").exists()
