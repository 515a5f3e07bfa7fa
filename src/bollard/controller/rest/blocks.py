"""Long lists put together from blocks that are joined and compressed once, and again only when they change.

A block ends where the identity of an object says so, not after a number of objects: what is new or gone in
the middle of a list changes the block it is in and no other. Whole answers are kept too, for as long as
nothing at all has changed.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

_LEVEL: Final = 1
_HEAD: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_LAST: Final = b"\x01\x00\x00\xff\xff"
"""An empty stored block that ends the stream."""
_MASK: Final = 0x7F
"""One object in 128 ends a block."""
_KEPT: Final = 4
"""Whole answers: clients that watch ask the same thing again and again."""
_SPARE: Final = 64

Piece = tuple[str, bytes]
"""The uuid of an object and its JSON."""


class Block(msgspec.Struct):
    """Neighbours in a list; compressed when that is first asked for."""

    pieces: list[bytes]
    text: bytes
    deflated: bytes = b""

    def packed(self) -> bytes:
        """Deflated, ending on a byte: blocks can be put one after the other."""
        if not self.deflated:
            packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
            self.deflated = packer.compress(self.text) + packer.flush(zlib.Z_FULL_FLUSH)
        return self.deflated


class Blocks:
    """The blocks by the uuid of their first object."""

    def __init__(self) -> None:
        self._known: dict[str, Block] = {}
        self.made = 0
        """How many were not known or not the same any more."""

    def of(self, pieces: Iterable[Piece]) -> Iterator[Block]:
        """The blocks of a list."""
        first, run = "", list[bytes]()
        for uuid, piece in pieces:
            first = first or uuid
            run.append(piece)
            if zlib.crc32(uuid.encode()) & _MASK == 0:
                yield self._block(first, run)
                first, run = "", []
        if run:
            yield self._block(first, run)

    def _block(self, first: str, run: list[bytes]) -> Block:
        known = self._known.get(first)
        # Pieces that have not changed are the same objects: comparing them is looking at their addresses.
        if known is not None and known.pieces == run:
            return known
        self.made += 1
        found = self._known[first] = Block(run, b",".join(run))
        return found

    def keep_within(self, count: int) -> None:
        """Start anew when there are many more blocks than a list of so many objects has."""
        if len(self._known) > 4 * (count // (_MASK + 1)) + _SPARE:
            self._known.clear()


def joined(blocks: list[Block]) -> bytes:
    """The JSON list."""
    return b"[" + b",".join([block.text for block in blocks]) + b"]"


def gzipped(blocks: list[Block]) -> bytes:
    """The JSON list as one gzip stream."""
    parts, check, length = [_HEAD], 0, 0
    for index, block in enumerate(blocks or [_EMPTY]):
        sign = b"," if index else b"["
        check = zlib.crc32(block.text, zlib.crc32(sign, check))
        length += len(sign) + len(block.text)
        parts += (_stored(sign), block.packed())
    check, length = zlib.crc32(b"]", check), length + 1
    parts += (_stored(b"]"), _LAST, check.to_bytes(4, "little"), (length & 0xFFFFFFFF).to_bytes(4, "little"))
    return b"".join(parts)


_EMPTY: Final = Block([], b"")


def _stored(text: bytes) -> bytes:
    """A deflate block that is not compressed, for a byte or two between others."""
    size = len(text)
    return b"\x00" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little") + text


class Whole(msgspec.Struct, frozen=True):
    """An answer as it was sent."""

    version: str
    content: bytes


class Wholes:
    """The newest answers by what was asked."""

    def __init__(self) -> None:
        self._kept: dict[str, Whole] = {}

    def get(self, asked: str, version: str) -> bytes | None:
        """The answer, if nothing has changed since."""
        found = self._kept.get(asked)
        return found.content if found is not None and found.version == version else None

    def put(self, asked: str, version: str, content: bytes) -> None:
        """Keep an answer; the one that was kept for the longest time goes."""
        self._kept.pop(asked, None)
        self._kept[asked] = Whole(version, content)
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
