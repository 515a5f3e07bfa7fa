"""The control socket: one answer a request whatever arrives, events in order, and nobody else may connect."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bollard.replica.control import Answer, ControlServer
from bollard.replica.loop import Loop
from bollard.replica.nbd.listen import ListenError, listen_unix
from bollard.wire import engine as wire


class Echo:
    """A handler that answers with what it was asked, or later, and lets the test emit events."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.emit: Callable[[wire.Event], None] | None = None
        self.ended = 0

    def handle(self, request: wire.Request, answer: Answer) -> None:
        reply = wire.Reply(id=request.id, ok=True, result=type(request).__name__)
        if isinstance(request, wire.Status):
            self.loop.after(0.01, lambda: answer(reply))
        else:
            answer(reply)

    def watch(self, name: str, emit: Callable[[wire.Event], None]) -> Callable[[], None]:
        self.emit = emit
        emit(wire.Event(time="t", action="exists", object="-"))
        return self._end

    def _end(self) -> None:
        self.ended += 1
        self.emit = None


class Bench:
    def __init__(self, directory: Path) -> None:
        self.loop = Loop()
        self.path = str(directory / "c.sock")
        self.echo = Echo(self.loop)
        self.server = ControlServer(self.loop, listen_unix(self.path), self.echo)

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        sock.setblocking(False)
        return sock

    def lines(self, sock: socket.socket, count: int) -> list[dict[str, object]]:
        data = b""
        end = self.loop.now() + 5
        while data.count(b"\n") < count:
            assert self.loop.now() < end, data
            self.loop.run_once(0.01)
            try:
                got = sock.recv(1 << 16)
            except BlockingIOError:
                continue
            if not got:
                break
            data += got
        return [json.loads(line) for line in data.splitlines()]

    def close(self) -> None:
        self.server.close()
        self.loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()
    assert made.loop.failures == 0
    assert not Path(made.path).exists()


def test_many_requests_in_one_piece_and_one_in_many(bench: Bench) -> None:
    sock = bench.connect()
    sock.sendall(b'{"op":"version","id":1}\n\n{"op":"status","id":2}\n{"op":"sh')
    assert [one["id"] for one in bench.lines(sock, 2)] == [1, 2]
    sock.sendall(b'ow","id":3}\n')
    assert bench.lines(sock, 1) == [{"id": 3, "ok": True, "result": "Show"}]
    sock.close()


def test_a_bad_line_is_answered_with_its_id_and_the_next_one_is_served(bench: Bench) -> None:
    sock = bench.connect()
    sock.sendall(b'{"op":"primary","id":9}\n{"op":"version","id":10,"oops":1}\nnot json\n{"op":"version"}\n')
    answers = bench.lines(sock, 4)
    assert [one["ok"] for one in answers] == [False, False, False, True]
    assert [one["id"] for one in answers] == [9, 10, 0, 0]
    assert "name" in str(answers[0]["error"])
    sock.close()


def test_events_follow_and_end_with_the_connection(bench: Bench) -> None:
    sock = bench.connect()
    sock.sendall(b'{"op":"events2","id":4}\n')
    answers = bench.lines(sock, 2)
    assert answers[0] == {"id": 4, "ok": True}
    assert bench.echo.emit is not None
    bench.echo.emit(wire.Event(time="t", action="change", object="resource", fields={"name": "x"}))
    assert bench.lines(sock, 1)[0]["fields"] == {"name": "x"}
    sock.close()
    end = bench.loop.now() + 5
    while not bench.echo.ended:
        assert bench.loop.now() < end
        bench.loop.run_once(0.01)


def test_an_endless_line_ends_the_connection(bench: Bench) -> None:
    sock = bench.connect()
    sent = 0
    chunk = b"x" * 65536
    end = bench.loop.now() + 10
    while True:
        assert bench.loop.now() < end
        assert sent <= wire.MAX_LINE_BYTES * 4
        try:
            sent += sock.send(chunk)
        except BlockingIOError:
            pass
        except OSError:
            break
        bench.loop.run_once(0)
    sock.close()


def test_the_socket_is_the_owners_and_a_live_one_is_not_replaced(bench: Bench) -> None:
    assert Path(bench.path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(ListenError, match="in use by a running process"):
        listen_unix(bench.path)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "stale")
    listen_unix(path).close()
    listen_unix(path).close()


def test_a_secret_is_in_no_representation() -> None:
    volume = wire.VolumeSpec(number=0, size_bytes=0, minor=1)
    spec = wire.ResourceSpec(name="r", uuid="u", volumes=(volume,), shared_secret="hush")
    assert "hush" not in repr(spec)
    assert "hush" not in repr(wire.Configure(resource=spec))
    assert spec.redacted().shared_secret == ""
    assert wire.decode_spec(wire.encode_spec(spec)) == spec


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=80).map(lambda raw: raw.replace(b"\n", b"")), max_size=5))
def test_no_bytes_upset_the_server(bench: Bench, lines: list[bytes]) -> None:
    sock = bench.connect()
    wanted = sum(1 for line in lines if line.strip())
    sock.sendall(b"".join(line + b"\n" for line in lines) + b'{"op":"version","id":77}\n')
    answers = bench.lines(sock, wanted + 1)
    assert len(answers) == wanted + 1
    assert answers[-1]["id"] == 77
    sock.close()
