"""The API under TLS: when it is served, with which certificate, and what the plain port says meanwhile."""

import asyncio
import contextlib
import logging
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn.protocols.http.httptools_impl as http
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bollard.controller.config import Https
from bollard.controller.pki import Pki
from bollard.controller.rest import scopes
from bollard.controller.serving import CannotListen, Serving, bind
from bollard.domain import access
from bollard.domain.errors import Subject, Unavailable
from bollard.domain.ports import Clock

_HOST = re.compile(r"[A-Za-z0-9.-]{1,255}|\[[0-9A-Fa-f:.]{2,64}\]")
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})
_log = logging.getLogger(__name__)


class TlsProtocol(http.HttpToolsProtocol):
    """HTTP under TLS that tells the application which certificate the client has shown."""

    def on_message_begin(self) -> None:
        """See HttpToolsProtocol."""
        super().on_message_begin()
        tls = self.transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        if shown is not None:
            self.scope["extensions"] = {"tls": {"client_certificate": shown}}


class Secure:
    """The listener under TLS. Without the cluster's authority it makes one of its own, for this alone."""

    def __init__(self, settings: Https, listen: str, pki: Pki, own: Path, clock: Clock) -> None:
        self._settings = settings
        self._listen = listen
        self._pki = pki
        self._own = own
        self._clock = clock
        self._port: int | None = None
        self._serving: Serving | None = None
        self._app: ASGIApp | None = None
        self._turn = asyncio.Lock()

    @property
    def port(self) -> int | None:
        """See Https."""
        return self._port

    @property
    def redirects(self) -> bool:
        """Whether the plain port says where this one is."""
        return self._port is not None and self._settings.redirect

    def attach(self, serving: Serving, app: ASGIApp) -> None:
        """Serve this application, when that is asked for."""
        self._serving, self._app = serving, app

    def bind(self) -> socket.socket:
        """The socket. Raises CannotListen."""
        return bind(self._listen, self._settings.port)

    async def enable(self) -> int:
        """See Https."""
        async with self._turn:
            if self._port is not None:
                return self._port
            try:
                return await self.serve(self.bind())
            except CannotListen as error:
                raise Unavailable(
                    Subject.CONTROLLER,
                    "https",
                    "The API cannot be served under TLS",
                    cause=str(error),
                    correction="Choose another port in the section [https], or say 'no_https'.",
                ) from error

    def _names(self) -> list[str]:
        """Names and addresses under which clients reach this machine, as far as it knows them."""
        host = socket.gethostname()
        names = [host]
        with contextlib.suppress(OSError):
            names += [str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(host, None)]
        if self._listen not in _EVERYWHERE:
            names.append(self._listen)
        return list(dict.fromkeys(names))

    async def serve(self, sock: socket.socket) -> int:
        """Serve on a bound socket; returns the port."""
        assert self._serving is not None, "attached first"
        assert self._app is not None
        pki = self._pki
        if not pki.ready:
            pki = Pki(self._own)
            if not pki.ready:
                fingerprint = await asyncio.to_thread(pki.init, self._clock.now_ms(), self._names())
                _log.warning("made a certificate of our own for the API in %s, %s", self._own, fingerprint)
        await self._serving.start(self._app, sock, pki, protocol=TlsProtocol)
        self._port = int(sock.getsockname()[1])
        return self._port


class ToHttps:
    """The plain port: where the API is under TLS, it only says so, but for what is open to everyone."""

    def __init__(self, app: ASGIApp, secure: Secure, metrics_too: Callable[[], bool] = lambda: False) -> None:
        self._app = app
        self._secure = secure
        self._metrics_too = metrics_too

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or redirect."""
        if self._secure.redirects and scope["type"] == "http" and self._closed(scope):
            await RedirectResponse(self._target(scope), status_code=302)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _closed(self, scope: Scope) -> bool:
        path = scope["path"].rstrip("/") or "/"
        if scopes.needs(scope["method"], path) is access.Scope.OPEN:
            return False
        return path.startswith("/v1") or (path.startswith("/metrics") and self._metrics_too())

    def _target(self, scope: Scope) -> str:
        named = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        host = re.sub(r":\d*\Z", "", named)
        if not _HOST.fullmatch(host):
            host = scope["server"][0] if scope.get("server") else "localhost"
        raw: Any = scope.get("raw_path") or scope["path"].encode()
        query = scope.get("query_string", b"")
        path = raw.partition(b"?")[0].decode("latin-1") + ("?" + query.decode("latin-1") if query else "")
        return f"https://{host}:{self._secure.port}{path}"
