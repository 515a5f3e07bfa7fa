"""Listening NBD sockets, Unix or TCP, each with an optional default export and optional TLS.

It accepts and counts connections; what they say is the connection's business.
"""

import errno
import logging
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import Final

from bollard.replica.export import Exports
from bollard.replica.loop import READ, Loop
from bollard.replica.nbd.server import NbdConnection

__all__ = ["ListenError", "NbdListener", "listen_tcp", "listen_unix"]

_SEND_BYTES: Final = 1 << 20  # the kernel doubles it
_SO_SNDBUFFORCE: Final = 32
_BACKLOG: Final = 128
_MAX_CONNECTIONS: Final = 1024
_REST_S: Final = 0.5
_log = logging.getLogger(__name__)


class ListenError(OSError):
    """A socket that cannot be listened on; the text says which, why, and what to do."""


def listen_unix(path: str, mode: int = 0o600) -> socket.socket:
    """A listening Unix socket; a stale one of a dead process is replaced, a live one is refused."""
    target = Path(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if target.exists() and stat.S_ISSOCK(target.stat().st_mode):
            if _answers(path):
                raise ListenError(errno.EADDRINUSE, f"socket {path} is in use by a running process")
            target.unlink()
        old_mask = os.umask(0o777 & ~mode)
        try:
            sock.bind(path)
        finally:
            os.umask(old_mask)
        sock.listen(_BACKLOG)
    except ListenError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise ListenError(
            error.errno, f"cannot listen on socket {path}: {error.strerror or error}"
        ) from error
    return sock


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raises ListenError, plainly when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        cause = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            cause = "the port is taken by another process; stop it or choose another port"
        elif error.errno == errno.EADDRNOTAVAIL:
            cause = "this machine does not have that address"
        raise ListenError(error.errno, f"cannot listen on {host}:{port}: {cause}") from error
    return sock


def _widen(sock: socket.socket) -> None:
    """Room for long answers at once: a Unix socket has 208 KiB, and does not grow as TCP's do."""
    for option in (_SO_SNDBUFFORCE, socket.SO_SNDBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, _SEND_BYTES)
        except OSError:
            # Beyond the system's limit only with CAP_NET_ADMIN: then as much as the limit allows.
            continue
        return


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


class NbdListener:
    """Accepts NBD clients on one listening socket, which it owns."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        exports: Exports,
        *,
        default_export: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._exports = exports
        self._default = default_export
        self._tls = tls
        self.connections: set[NbdConnection] = set()
        sock.setblocking(False)
        loop.watch(sock.fileno(), READ, self._on_ready)

    @property
    def address(self) -> str:
        """`unix:/path` or `host:port`, as the client's address parser takes it."""
        name = self._sock.getsockname()
        return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"

    def close(self) -> None:
        """Stops listening and drops every client; a Unix socket's file is removed."""
        self._loop.forget(self._sock.fileno())
        name = self._sock.getsockname()
        self._sock.close()
        if isinstance(name, str):
            Path(name).unlink(missing_ok=True)
        for connection in list(self.connections):
            connection.close()

    def _rest(self, error: OSError) -> None:
        """Out of descriptors or memory: clients wait in the queue for a while instead of spinning."""
        _log.warning("NBD clients of %s must wait: %s", self.address, error.strerror)
        self._loop.change(self._sock.fileno(), 0)
        self._loop.after(_REST_S, self._wake)

    def _wake(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.change(self._sock.fileno(), READ)

    def _on_ready(self, _events: int) -> None:
        while True:
            try:
                sock, _ = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    self._rest(error)
                return
            if len(self.connections) >= _MAX_CONNECTIONS:
                sock.close()
                continue
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            else:
                _widen(sock)
            connection = NbdConnection(
                self._loop,
                sock,
                self._exports,
                default_export=self._default,
                tls=self._tls,
                on_closed=self.connections.discard,
            )
            if not connection.closed:
                self.connections.add(connection)
