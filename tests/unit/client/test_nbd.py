"""The NBD client against servers that are wrong, gone, or refuse."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bollard.client.nbd import NbdClient, NbdClientError, parse_address
from bollard.wire import nbd as wire


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("unix:/run/nbd.sock", "/run/nbd.sock"),
        ("/run/nbd.sock", "/run/nbd.sock"),
        ("host:10809", ("host", 10809)),
        ("tcp:10.0.0.1:1", ("10.0.0.1", 1)),
        ("[::1]:10809", ("::1", 10809)),
    ],
)
def test_addresses(text: str, where: object) -> None:
    assert parse_address(text) == where


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:port"])
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="neither unix:/path nor host:port"):
        parse_address(text)


def scripted(directory: Path, play: Callable[[socket.socket], None]) -> tuple[str, threading.Thread]:
    """A server that plays one part to its first client and hangs up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "s"))
    listener.listen()

    def run() -> None:
        with listener:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(5)
                with contextlib.suppress(OSError):
                    play(sock)

    thread = threading.Thread(target=run)
    thread.start()
    return f"unix:{directory / 's'}", thread


def greet(sock: socket.socket) -> None:
    sock.sendall(wire.INIT_MAGIC + (3).to_bytes(2))
    sock.recv(4)
    sock.recv(4096)


def option_reply(kind: int, payload: bytes = b"") -> bytes:
    head = wire.OPTION_REPLY_HEAD.pack(wire.OPTION_REPLY_MAGIC, wire.Option.GO, kind, len(payload))
    return head + payload


OPENED = (
    option_reply(wire.OptionReply.INFO, bytes(2) + (1 << 20).to_bytes(8) + (1).to_bytes(2))
    + option_reply(wire.OptionReply.ACK)
)  # fmt: skip


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"HTTP/1.1 400 Bad Request", "not a fixed-newstyle"),
        (wire.INIT_MAGIC + b"\0\0", "not a fixed-newstyle"),
        (b"NBD", "closed the connection"),
        (b"", "closed the connection"),
    ],
)
def test_a_server_that_is_none(tmp_path: Path, greeting: bytes, words: str) -> None:
    address, thread = scripted(tmp_path, lambda sock: sock.sendall(greeting))
    with pytest.raises(NbdClientError, match=words):
        NbdClient(address)
    thread.join(5)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (option_reply(wire.OptionReply.ERR_POLICY, b"n2 is Primary"), "n2 is Primary"),
        (option_reply(wire.OptionReply.ERR_UNSUP), "0x80000001"),
        (b"x" * 20, "malformed option reply"),
    ],
)
def test_refused_options_are_told_in_the_servers_words(tmp_path: Path, reply: bytes, words: str) -> None:
    def play(sock: socket.socket) -> None:
        greet(sock)
        sock.sendall(reply)
        sock.recv(1)

    address, thread = scripted(tmp_path, play)
    with pytest.raises(NbdClientError, match=words):
        NbdClient(address, "x")
    thread.join(5)


@pytest.mark.parametrize(
    "reply", [b"garbage garbage!", wire.SIMPLE_REPLY.pack(wire.SIMPLE_REPLY_MAGIC, 0, 99), b"short", b""]
)
def test_a_reply_that_cannot_be_ends_the_connection(tmp_path: Path, reply: bytes) -> None:
    def play(sock: socket.socket) -> None:
        greet(sock)
        sock.sendall(OPENED)
        sock.recv(4096)
        sock.sendall(reply)

    address, thread = scripted(tmp_path, play)
    client = NbdClient(address, "x")
    assert client.size_bytes == 1 << 20
    with pytest.raises(NbdClientError, match="connection lost") as caught:
        client.flush()
    assert caught.value.errno == wire.NbdError.ESHUTDOWN
    client.close()
    thread.join(5)


def test_nobody_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NbdClient(f"unix:{tmp_path / 'none'}")
