"""The server's side of NBD's fixed-newstyle handshake as a pure machine: bytes in, actions out.

It bounds every length before it waits for the bytes. It must not touch sockets or volumes.
"""

import struct
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from msgspec import Struct

from bollard.wire import nbd as wire
from bollard.wire.nbd import InfoType, Option, OptionReply, ServerFlag

__all__ = [
    "GREETING",
    "Action",
    "Close",
    "ExportInfo",
    "Negotiation",
    "OpenExport",
    "Send",
    "StartTls",
    "Transmit",
]

GREETING: Final = wire.INIT_MAGIC + int(ServerFlag.FIXED_NEWSTYLE | ServerFlag.NO_ZEROES).to_bytes(2)

_ALLOCATION_ID: Final = 1
_KNOWN_CLIENT_FLAGS: Final = 3
_MAX_META_QUERIES: Final = 64
_MAX_EARLY_BYTES: Final = 128 << 10


class ExportInfo(Struct, frozen=True):
    """What a client learns of an export."""

    size_bytes: int
    flags: int
    description: str
    block_bytes: int = 1


class Send(Struct, frozen=True):
    data: bytes


class OpenExport(Struct, frozen=True):
    """Ask the volume `name` to open; answer with `Negotiation.opened` or `.refused` before more input."""

    name: str


class StartTls(Struct, frozen=True):
    """Everything after the bytes sent so far is inside TLS."""


class Transmit(Struct, frozen=True):
    """The handshake is over; what `Negotiation.rest` returns belongs to the transmission phase."""

    structured: bool
    block_status: bool


class Close(Struct, frozen=True):
    """End the connection; `why` is "" when the client asked for it."""

    why: str


Action = Send | OpenExport | StartTls | Transmit | Close


class _Phase(Enum):
    FLAGS = auto()
    OPTIONS = auto()
    OPENING = auto()
    DONE = auto()


def _reply(option: int, kind: OptionReply, payload: bytes = b"") -> Send:
    head = wire.OPTION_REPLY_HEAD.pack(wire.OPTION_REPLY_MAGIC, option, kind, len(payload))
    return Send(head + payload)


def _text(raw: bytes) -> str | None:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in name or len(raw) > wire.MAX_NAME_BYTES else name


class Negotiation:
    """One connection's handshake. `look` finds an export's info by name ("" = the default), or None."""

    def __init__(
        self,
        look: Callable[[str], ExportInfo | None],
        names: Callable[[], list[str]],
        *,
        tls_offered: bool = False,
        tls_required: bool = False,
    ) -> None:
        self._look = look
        self._names = names
        self._tls_offered = tls_offered
        self._tls_needed = tls_required
        self._input = bytearray()
        self._phase = _Phase.FLAGS
        self._no_zeroes = False
        self._structured = False
        self._context_export: str | None = None
        self._opening: tuple[int, str, list[int]] = (0, "", [])

    def receive(self, data: bytes) -> list[Action]:
        """Takes what arrived; the actions in order. At most one OpenExport is open at a time."""
        self._input += data
        actions: list[Action] = []
        while self._phase in {_Phase.FLAGS, _Phase.OPTIONS}:
            step = self._flags() if self._phase is _Phase.FLAGS else self._next_option()
            if step is None:
                break
            actions += step
            if any(isinstance(action, Close | StartTls) for action in step):
                break
        if self._phase is _Phase.OPENING and len(self._input) > _MAX_EARLY_BYTES:
            actions += self._close("too many bytes before the export was open")
        return actions

    def rest(self) -> bytes:
        """The bytes after the handshake (or after STARTTLS: any are a protocol violation)."""
        data = bytes(self._input)
        self._input.clear()
        return data

    def opened(self) -> list[Action]:
        """The volume granted the open."""
        assert self._phase is _Phase.OPENING, "no open is pending"
        option, name, wanted = self._opening
        info = self._look(name)
        if info is None:
            return self.refused(f"export {name} is gone")
        self._phase = _Phase.DONE
        if option == Option.EXPORT_NAME:
            padding = b"" if self._no_zeroes else bytes(124)
            answer: list[Action] = [Send(struct.pack(">QH", info.size_bytes, info.flags) + padding)]
        else:
            answer = self._infos(option, name, info, wanted)
        block_status = self._context_export == name
        return [*answer, Transmit(self._structured, block_status)]

    def refused(self, why: str) -> list[Action]:
        """The volume did not grant the open; `why` reaches the client where the option allows words."""
        assert self._phase is _Phase.OPENING, "no open is pending"
        option, _, _ = self._opening
        if option == Option.EXPORT_NAME:
            self._phase = _Phase.DONE
            return [Close(why)]
        self._phase = _Phase.OPTIONS
        return [_reply(option, OptionReply.ERR_POLICY, why.encode()[:4096])]

    # -- input

    def _flags(self) -> list[Action] | None:
        if len(self._input) < 4:
            return None
        flags = int.from_bytes(self._take(4))
        self._phase = _Phase.OPTIONS
        self._no_zeroes = bool(flags & 2)
        if not flags & 1 or flags & ~_KNOWN_CLIENT_FLAGS:
            return self._close(f"client flags {flags:#x} are not of fixed newstyle")
        return []

    def _next_option(self) -> list[Action] | None:
        if len(self._input) < wire.OPTION_HEAD.size:
            return None
        magic, option, length = wire.OPTION_HEAD.unpack_from(self._input)
        if magic != wire.OPTION_MAGIC:
            return self._close("bad option magic")
        if length > wire.MAX_OPTION_BYTES:
            return self._close(f"option {option} of {length} bytes is too long")
        if len(self._input) < wire.OPTION_HEAD.size + length:
            return None
        self._take(wire.OPTION_HEAD.size)
        return self._option(option, self._take(length))

    def _take(self, count: int) -> bytes:
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    def _close(self, why: str) -> list[Action]:
        self._phase = _Phase.DONE
        return [Close(why)]

    # -- options

    def _option(self, option: int, payload: bytes) -> list[Action]:
        if self._tls_needed and option not in {Option.STARTTLS, Option.ABORT}:
            if option == Option.EXPORT_NAME:
                return self._close("TLS is required")
            return [_reply(option, OptionReply.ERR_TLS_REQD, b"this server speaks TLS only")]
        match option:
            case Option.EXPORT_NAME:
                return self._export_name(payload)
            case Option.ABORT:
                return [_reply(option, OptionReply.ACK), *self._close("")]
            case Option.LIST:
                return self._list(payload)
            case Option.STARTTLS:
                return self._start_tls(payload)
            case Option.INFO | Option.GO:
                return self._info(option, payload)
            case Option.STRUCTURED_REPLY:
                if payload:
                    return [_reply(option, OptionReply.ERR_INVALID)]
                self._structured = True
                return [_reply(option, OptionReply.ACK)]
            case Option.LIST_META_CONTEXT | Option.SET_META_CONTEXT:
                return self._meta_context(option, payload)
            case _:
                return [_reply(option, OptionReply.ERR_UNSUP)]

    def _export_name(self, payload: bytes) -> list[Action]:
        name = _text(payload)
        if name is None or self._look(name) is None:
            return self._close("unknown export asked for by EXPORT_NAME")
        return self._open(Option.EXPORT_NAME, name, [])

    def _open(self, option: int, name: str, wanted: list[int]) -> list[Action]:
        self._phase = _Phase.OPENING
        self._opening = (option, name, wanted)
        return [OpenExport(name)]

    def _list(self, payload: bytes) -> list[Action]:
        if payload:
            return [_reply(Option.LIST, OptionReply.ERR_INVALID, b"LIST takes no data")]
        names = [name.encode() for name in self._names()]
        servers = [
            _reply(Option.LIST, OptionReply.SERVER, struct.pack(">I", len(raw)) + raw) for raw in names
        ]
        return [*servers, _reply(Option.LIST, OptionReply.ACK)]

    def _start_tls(self, payload: bytes) -> list[Action]:
        if payload:
            return [_reply(Option.STARTTLS, OptionReply.ERR_INVALID)]
        if not self._tls_offered:
            return [_reply(Option.STARTTLS, OptionReply.ERR_POLICY, b"no TLS on this socket")]
        if self._input:
            return self._close("bytes before the TLS handshake")
        self._tls_offered = False
        self._tls_needed = False
        self._structured = False
        self._context_export = None
        return [_reply(Option.STARTTLS, OptionReply.ACK), StartTls()]

    def _info(self, option: int, payload: bytes) -> list[Action]:
        if len(payload) < 6:
            return [_reply(option, OptionReply.ERR_INVALID)]
        (name_length,) = struct.unpack_from(">I", payload)
        if name_length > len(payload) - 6:
            return [_reply(option, OptionReply.ERR_INVALID)]
        name = _text(payload[4 : 4 + name_length])
        (count,) = struct.unpack_from(">H", payload, 4 + name_length)
        if name is None or len(payload) != 6 + name_length + 2 * count:
            return [_reply(option, OptionReply.ERR_INVALID)]
        wanted = list(struct.unpack_from(f">{count}H", payload, 6 + name_length))
        info = self._look(name)
        if info is None:
            return [_reply(option, OptionReply.ERR_UNKNOWN, f"no export {name!r} on this node".encode())]
        if option == Option.GO:
            return self._open(option, name, wanted)
        return self._infos(option, name, info, wanted)

    @staticmethod
    def _infos(option: int, name: str, info: ExportInfo, wanted: list[int]) -> list[Action]:
        export = struct.pack(">HQH", InfoType.EXPORT, info.size_bytes, info.flags)
        actions: list[Action] = [_reply(option, OptionReply.INFO, export)]
        if InfoType.NAME in wanted:
            actions.append(_reply(option, OptionReply.INFO, struct.pack(">H", InfoType.NAME) + name.encode()))
        if InfoType.DESCRIPTION in wanted:
            words = info.description.encode()[:4096]
            actions.append(_reply(option, OptionReply.INFO, struct.pack(">H", InfoType.DESCRIPTION) + words))
        sizes = struct.pack(">HIII", InfoType.BLOCK_SIZE, info.block_bytes, 4096, wire.MAX_PAYLOAD_BYTES)
        if InfoType.BLOCK_SIZE in wanted:
            actions.append(_reply(option, OptionReply.INFO, sizes))
        return [*actions, _reply(option, OptionReply.ACK)]

    def _meta_context(self, option: int, payload: bytes) -> list[Action]:
        if not self._structured:
            words = b"structured replies come first"
            return [_reply(option, OptionReply.ERR_INVALID, words)]
        parsed = _parse_meta_queries(payload)
        if parsed is None:
            return [_reply(option, OptionReply.ERR_INVALID)]
        name, queries = parsed
        if self._look(name) is None:
            return [_reply(option, OptionReply.ERR_UNKNOWN)]
        if option == Option.SET_META_CONTEXT:
            self._context_export = None
            found = wire.ALLOCATION_CONTEXT in queries
        else:
            found = not queries or not {"base:", wire.ALLOCATION_CONTEXT}.isdisjoint(queries)
        actions: list[Action] = []
        if found:
            context = struct.pack(">I", _ALLOCATION_ID) + wire.ALLOCATION_CONTEXT.encode()
            actions.append(_reply(option, OptionReply.META_CONTEXT, context))
            if option == Option.SET_META_CONTEXT:
                self._context_export = name
        return [*actions, _reply(option, OptionReply.ACK)]


def _parse_meta_queries(payload: bytes) -> tuple[str, list[str]] | None:
    """(export, queries), or None when the lengths do not add up."""
    fields: list[bytes] = []
    position, expected = 0, 1
    while len(fields) < expected:
        if position + 4 > len(payload):
            return None
        (length,) = struct.unpack_from(">I", payload, position)
        position += 4
        if length > wire.MAX_NAME_BYTES or position + length > len(payload):
            return None
        fields.append(payload[position : position + length])
        position += length
        if len(fields) == 1:
            if position + 4 > len(payload):
                return None
            (count,) = struct.unpack_from(">I", payload, position)
            position += 4
            if count > _MAX_META_QUERIES:
                return None
            expected = 1 + count
    name = _text(fields[0])
    if name is None or position != len(payload):
        return None
    return name, [raw.decode(errors="replace") for raw in fields[1:]]
