"""One request: its parameters, its body, and the ways to answer it. Handlers use this and nothing of HTTP."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bollard.controller.rest import errors
from bollard.controller.rest.api import Api, Visitor
from bollard.controller.rest.routing import Route
from bollard.domain.answers import Explained
from bollard.domain.commands import Command
from bollard.domain.errors import DomainError, Invalid, Subject
from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import Props
from bollard.wire.rest import answers
from bollard.wire.rest.answers import About, ApiCallRc

_T = TypeVar("_T")
GZIP_FROM_BYTES = 1000
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31

_REFS = {
    "node": "Node",
    "resource": "RscDfn",
    "resource_group": "RscGrp",
    "storagepool": "StorPoolDfn",
    "volume_number": "VlmNr",
    "node_a": "FirstNode",
    "node_b": "SecondNode",
    "netinterface": "NetIf",
}


class MalformedBody(Exception):
    """The request body is not what the endpoint takes."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Call:
    """A request on its way through a handler."""

    def __init__(self, api: Api, request: Request, route: Route, names: dict[str, str]) -> None:
        self.api = api
        self.request = request
        self.route = route
        self.names = names
        self._raw = b""
        self.visitor = Visitor(dict(request.headers), peer_of(request), _certificate(request))
        self.who = ""
        """The caller, once the guard knows it."""
        self.codes: tuple[int, ...] = ()
        """Of the answer, for the audit log."""
        self.began_ms = api.clock.now_ms()
        refs = {_REFS[name]: value for name, value in names.items() if name in _REFS}
        self.about = About(route.act, route.noun, refs if route.act else {}, route.keep_act)

    @property
    def now_ms(self) -> int:
        """The time of the answer."""
        return self.api.clock.now_ms()

    def refer(self, **refs: str) -> None:
        """Name the objects that the body is about, for the entries of the answer."""
        self.about = msgspec.structs.replace(self.about, refs={**self.about.refs, **refs})

    # -- what the client said

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean of the query, in any case; everything but `true` is false."""
        value = self.request.query_params.get(name)
        return default if value is None else value.strip().lower() == "true"

    def number(self, name: str) -> int | None:
        """A whole number of the query. Raises Invalid."""
        text = self.request.query_params.get(name)
        if text is None or text == "":
            return None
        try:
            return int(text)
        except ValueError:
            raise Invalid(
                Subject.REQUEST,
                name,
                f"'{text[:64]}' is not a number",
                cause=f"Query parameter '{name}' takes a whole number.",
            ) from None

    def volume_number(self) -> int:
        """The volume number of the path. Raises Invalid."""
        text = self.names["volume_number"]
        try:
            return int(text)
        except ValueError:
            raise Invalid(
                Subject.VOLUME_NUMBER,
                text,
                f"'{text[:64]}' is not a volume number",
                cause="It is not a number.",
            ) from None

    def keys(self, name: str) -> frozenset[Key] | None:
        """The names of a repeatable filter, folded for comparison; None: no filter."""
        found = frozenset(key_of(text) for text in self.request.query_params.getlist(name) if text)
        return found or None

    def has_props(self, props: Props) -> bool:
        """Whether properties pass the filter `props`: each `key` is there, each `key=value` as it says."""
        for wanted in self.request.query_params.getlist("props"):
            key, sign, value = wanted.partition("=")
            if key not in props or (sign and props[key] != value):
                return False
        return True

    def page(self, items: Sequence[_T]) -> Sequence[_T]:
        """The part asked for: an offset counts only with a limit, and what is not positive is ignored."""
        limit, offset = self.number("limit") or 0, self.number("offset") or 0
        if limit <= 0:
            return items
        start = max(offset, 0)
        return items[start : start + limit]

    async def body(self) -> Any:
        """The body as the route's type. Raises MalformedBody."""
        self._raw = raw = await read(self.request, self.api.info.body_bytes_max)
        if not raw.strip() or (raw.strip() == b"null" and self.route.optional_body):
            if self.route.optional_body:
                return self.route.body()
            raise MalformedBody("The request has no body")
        _check_type(self.request)
        try:
            return msgspec.convert(msgspec.json.decode(raw), self.route.body, strict=False)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedBody(f"The request body is not what is expected here: {_said(error)}") from None

    # -- what the client gets

    async def run(self, command: Command) -> Response:
        """Carry out a command and answer with what it did."""
        answer = await self.api.service.submit(command)
        entries = [answers.of_entry(entry, self.about, self.now_ms) for entry in answer.entries]
        return self.entries(explained(entries, answer.explanation))

    def entries(self, entries: Sequence[ApiCallRc]) -> Response:
        """A list of entries, with the status that they call for."""
        self.codes = tuple(entry.ret_code for entry in entries)
        return self.json(entries, status=errors.status_of(entries, self.route.status))

    def refused(self, error: DomainError, *, status: int | None = None) -> Response:
        """The answer for an error, with the status that it calls for, or with another."""
        entry = answers.of_error(error, errors.code_for(error), self.about, self.now_ms)
        entries = explained([entry], getattr(error, "explanation", ()))
        self.codes = (entry.ret_code,)
        return self.json(entries, status=status or errors.status_of(entries, self.route.status))

    def json(self, value: Any, *, status: int | None = None) -> Response:
        """Any value as JSON."""
        return self.encoded(msgspec.json.encode(value), status=status)

    @property
    def takes_gzip(self) -> bool:
        """Whether the client can take a compressed answer."""
        return "gzip" in self.request.headers.get("accept-encoding", "")

    def unchanged(self, tag: str) -> Response | None:
        """The short answer for a client that has this version already, if it has."""
        given = [text.strip() for text in self.request.headers.get("if-none-match", "").split(",")]
        return Response(status_code=304, headers={"ETag": tag}) if tag in given else None

    def ready(self, content: bytes, *, tag: str, gzipped: bool) -> Response:
        """JSON that is as it is to be sent, with its version."""
        headers = {"Vary": "Accept-Encoding", "ETag": tag}
        if gzipped:
            headers["Content-Encoding"] = "gzip"
        return Response(
            content, status_code=self.route.status, media_type="application/json", headers=headers
        )

    def encoded(self, content: bytes, *, status: int | None = None, tag: str = "") -> Response:
        """JSON that is encoded already, compressed if it is long and the client can take it."""
        headers = {"Vary": "Accept-Encoding"} | ({"ETag": tag} if tag else {})
        if len(content) >= GZIP_FROM_BYTES and self.takes_gzip:
            packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            content = packer.compress(content) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        return Response(
            content,
            status_code=self.route.status if status is None else status,
            media_type="application/json",
            headers=headers,
        )

    def text(self, content: str, *, status: int = 200, media_type: str = "text/plain") -> Response:
        """Anything but JSON."""
        return Response(content, status_code=status, media_type=media_type)


def explained(entries: list[ApiCallRc], explanation: Iterable[Explained]) -> list[ApiCallRc]:
    """The entries with the explanation of a placement on the one that says where, else on the first."""
    parts = tuple(explanation)
    if not parts or not entries:
        return entries
    where = next((index for index, entry in enumerate(entries) if "Node/0" in entry.obj_refs), 0)
    entries = list(entries)
    entries[where] = msgspec.structs.replace(entries[where], explanation=parts)
    return entries


async def read(request: Request, bytes_max: int) -> bytes:
    """The request body. Raises MalformedBody as soon as it is too long."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > bytes_max:
        raise _too_long(bytes_max)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > bytes_max:
            raise _too_long(bytes_max)
        parts.append(part)
    return b"".join(parts)


def _too_long(bytes_max: int) -> MalformedBody:
    return MalformedBody(f"The request body is longer than {bytes_max} bytes", status=413)


def _check_type(request: Request) -> None:
    """JSON only. Some clients leave the header out; what a browser's page sends is known by its origin."""
    given = request.headers.get("content-type")
    if given is None:
        return
    media_type = given.partition(";")[0].strip().lower()
    if media_type == "":
        raise MalformedBody("The Content-Type of the request is empty; send application/json")
    if media_type != "application/json":
        raise MalformedBody(
            f"Content-Type '{media_type[:64]}' is not understood; send application/json", status=415
        )


def _said(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def peer_of(request: Request) -> str:
    """The address of the other end; empty when there is none."""
    return request.client.host if request.client else ""


def _certificate(request: Request) -> bytes | None:
    found: bytes | None = request.scope.get("extensions", {}).get("tls", {}).get("client_certificate")
    return found
