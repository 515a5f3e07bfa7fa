"""Sockets and HTTP servers of the REST API: bound first, served later, stopped with a deadline."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from bollard.controller.pki import Pki

BACKLOG = 2048
GRACE_S = 10


class CannotListen(Exception):
    """The address cannot be used; the sentence says why and what to do."""


class _Server(uvicorn.Server):
    """Leaves signals to the program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def bind(address: str, port: int) -> socket.socket:
    """A bound TCP socket; port 0 takes a free one. Raises CannotListen."""
    try:
        family, _, _, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Connections inherit it; not every event loop sets it on them, and without it an answer that is
            # written in two parts takes 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
            sock.bind(where)
            # Listening now makes a taken port an error of the start; connections wait until we serve.
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "another program has this port; stop it, or choose another with --rest-bind",
            errno.EADDRNOTAVAIL: "this machine has no such address; choose another with --rest-bind",
            errno.EACCES: "this user may not use this port; choose one above 1023 with --rest-bind",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise CannotListen(f"cannot listen on {address} port {port}: {reason}") from error
    return sock


class Serving:
    """The running servers."""

    def __init__(self) -> None:
        self._servers: list[tuple[_Server, asyncio.Task[None]]] = []

    async def start(
        self,
        app: ASGIApp,
        sock: socket.socket,
        tls: Pki | None = None,
        *,
        protocol: Any = "httptools",
    ) -> None:
        """Serve the application on this socket; returns when it accepts."""
        options: dict[str, Any] = {}
        if tls is not None:
            # A client may show a certificate of this authority; the guard decides what it opens.
            options = {
                "ssl_certfile": str(tls.certificate),
                "ssl_keyfile": str(tls.key),
                "ssl_ca_certs": str(tls.ca_certificate),
                "ssl_cert_reqs": ssl.CERT_OPTIONAL,
            }
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            timeout_keep_alive=75,
            **options,
        )
        server = _Server(config)
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[sock]), name="rest")
        self._servers.append((server, task))
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Take no more requests, let those under way end, at most GRACE_S."""
        for server, _ in self._servers:
            server.should_exit = True
        tasks = [task for _, task in self._servers]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE_S + 5)
