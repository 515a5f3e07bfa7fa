"""The blocks of DRBD's activity log ring: their bytes, their place, and what a ring says after a crash.

Knows nothing of a running log; that is activity_log.py.
"""

import struct
from collections.abc import Iterable, Sequence

import msgspec

from bollard.replica.metadata.crc32c import crc32c_raw
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import PAGE_BYTES

__all__ = [
    "CONTEXT_MAX",
    "EXTENTS_MAX",
    "EXTENTS_MIN",
    "EXTENT_BYTES",
    "FREE",
    "INITIALISED_BLOCK",
    "UPDATES_MAX",
    "AlBlock",
    "Replay",
    "decode_block",
    "encode_block",
    "max_extents",
    "replay",
    "ring_block",
]

EXTENT_BYTES = 4 << 20
"""What one entry of the log stands for."""
UPDATES_MAX = 64
CONTEXT_MAX = 919
EXTENTS_MIN = 67
EXTENTS_MAX = 65534
FREE = 0xFFFFFFFF
"""The extent number of an unused slot."""

_MAGIC = 0x69CB65A2
_TYPE_UPDATE, _TYPE_INITIALISED = 0, 0xFFFF
_NO_SLOT = 0xFFFF
_HEAD = struct.Struct(">IIIHHHH16x")
_SLOTS = struct.Struct(f">{UPDATES_MAX}H")
_EXTENTS = struct.Struct(f">{UPDATES_MAX}I")
_CONTEXT = struct.Struct(f">{CONTEXT_MAX}I")
_CRC_AT = 8
_NUMBERS = 1 << 32
_WHERE = "activity log block"


class AlBlock(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction: `updates` are (slot, extent), `context` the extents of the slots from `context_start`.

    `slots` is the size of the log in extents. The context is 919 entries, or up to the last slot; FREE stands
    for a slot without an extent.
    """

    number: int
    slots: int
    updates: tuple[tuple[int, int], ...] = ()
    context_start: int = 0
    context: tuple[int, ...] = ()


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """What a ring says: the extents that may have been written, and the number the next transaction takes.

    `complete` is False when blocks are missing or damaged beyond the one that a crash may tear: then every
    extent may have been written. `transactions` and `damaged` count blocks.
    """

    hot: frozenset[int]
    next_number: int
    transactions: int
    damaged: int
    complete: bool


def max_extents(blocks: int) -> int:
    """The most extents that a ring of so many blocks can hold: all contexts fit without the newest block."""
    return min(EXTENTS_MAX, (blocks - 1) * CONTEXT_MAX)


def ring_block(number: int, *, stripes: int, stripe_blocks: int) -> int:
    """Which block of the ring transaction `number` goes to; stripes take turns."""
    turn = number % (stripes * stripe_blocks)
    return turn % stripes * stripe_blocks + turn // stripes


def encode_block(block: AlBlock) -> bytes:
    """The 4096 bytes of a transaction, sum included."""
    assert 0 <= block.number < _NUMBERS, block.number
    assert 1 <= block.slots <= EXTENTS_MAX, block.slots
    assert len(block.updates) <= UPDATES_MAX, len(block.updates)
    assert block.context_start < block.slots, block.context_start
    # Missing entries would be read as free slots.
    assert len(block.context) == min(CONTEXT_MAX, block.slots - block.context_start), len(block.context)
    unused = UPDATES_MAX - len(block.updates)
    head = (block.number, _TYPE_UPDATE, len(block.updates), block.slots, block.context_start)
    body = (
        _SLOTS.pack(*(slot for slot, _ in block.updates), *(_NO_SLOT,) * unused)
        + _EXTENTS.pack(*(extent for _, extent in block.updates), *(FREE,) * unused)
        + _CONTEXT.pack(*block.context, *(FREE,) * (CONTEXT_MAX - len(block.context)))
    )
    return _sealed(head, body)


def decode_block(data: bytes) -> AlBlock | None:
    """Read a block; None for one that was initialised and never used.

    Raises MetadataError when the block is short, damaged or says what cannot be.
    """
    if len(data) != PAGE_BYTES:
        raise _refuse(f"{len(data)} bytes instead of {PAGE_BYTES}")
    magic, _, stored, kind, updates, slots, context_start = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise _refuse(f"magic 0x{magic:08x} instead of 0x{_MAGIC:08x}")
    actual = crc32c_raw(data[:_CRC_AT] + bytes(4) + data[_CRC_AT + 4 :])
    if actual != stored:
        raise _refuse(f"sum 0x{stored:08x} instead of 0x{actual:08x}")
    if kind == _TYPE_INITIALISED:
        return None
    if kind != _TYPE_UPDATE or updates > UPDATES_MAX or not 1 <= slots <= EXTENTS_MAX:
        raise _refuse(f"type {kind} with {updates} updates of {slots} slots")
    if context_start >= slots:
        raise _refuse(f"a context from slot {context_start} of {slots}")
    block = _fields(data)
    if any(slot >= slots for slot, _ in block.updates):
        raise _refuse(f"an update of slot {max(block.updates)[0]} of {slots}")
    return block


def _fields(data: bytes) -> AlBlock:
    """Unpack a block that was found to be sound."""
    _, number, _, _, updates, slots, context_start = _HEAD.unpack_from(data)
    slots_at = _HEAD.size
    extents_at = slots_at + _SLOTS.size
    slot_numbers = _SLOTS.unpack_from(data, slots_at)[:updates]
    extents = _EXTENTS.unpack_from(data, extents_at)[:updates]
    context = _CONTEXT.unpack_from(data, extents_at + _EXTENTS.size)[: slots - context_start]
    return AlBlock(
        number=number,
        slots=slots,
        updates=tuple(zip(slot_numbers, extents, strict=True)),
        context_start=context_start,
        context=context,
    )


def replay(blocks: Iterable[bytes], *, stripes: int = 1) -> Replay:
    """Read a whole ring, its blocks in the order of the disk: what was hot when the writer stopped?

    Never raises for damage: it says so in the result, and the caller then takes every extent for hot.
    """
    good: list[
        tuple[int, bytes]
    ] = []  # as bytes: a ring may be long, and unpacked it is eight times as large
    damaged: list[int] = []
    total = 0
    for position, data in enumerate(blocks):
        total += 1
        try:
            block = decode_block(data)
        except MetadataError:
            damaged.append(position)
            continue
        if block is not None:
            good.append((block.number, data))
    ordered = _oldest_first(good)
    slots: dict[int, int] = {}
    for _, data in ordered:
        block = _fields(data)
        slots.update(enumerate(block.context, block.context_start))
        slots.update(block.updates)
    next_number = (ordered[-1][0] + 1) % _NUMBERS if ordered else 0
    next_position = ring_block(next_number, stripes=stripes, stripe_blocks=max(1, total // stripes))
    return Replay(
        hot=frozenset(slots.values()) - {FREE},
        next_number=next_number,
        transactions=len(ordered),
        damaged=len(damaged),
        complete=_is_complete(ordered, damaged, next_position),
    )


def _oldest_first(blocks: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """By number, beginning behind the widest gap: numbers wrap at 2^32."""
    ordered = sorted(blocks, key=lambda block: block[0])
    if len(ordered) < 2:
        return ordered
    gaps = [(block[0] - ordered[index - 1][0]) % _NUMBERS for index, block in enumerate(ordered)]
    first = gaps.index(max(gaps))
    return ordered[first:] + ordered[:first]


def _is_complete(ordered: Sequence[tuple[int, bytes]], damaged: Sequence[int], next_position: int) -> bool:
    """At most the block that was being written is missing, so no transaction that counted is lost."""
    if not ordered:
        return len(damaged) <= 1  # the very first one, whatever its number was
    span = (ordered[-1][0] - ordered[0][0]) % _NUMBERS + 1
    return span == len(ordered) and all(position == next_position for position in damaged)


def _sealed(head: tuple[int, int, int, int, int], body: bytes) -> bytes:
    number, kind, updates, slots, context_start = head
    tail = body.ljust(PAGE_BYTES - _HEAD.size, b"\0")
    bare = _HEAD.pack(_MAGIC, number, 0, kind, updates, slots, context_start)
    return _HEAD.pack(_MAGIC, number, crc32c_raw(bare + tail), kind, updates, slots, context_start) + tail


def _refuse(what: str) -> MetadataError:
    return MetadataError(
        what, where=_WHERE, next_step="take every extent for out of sync, then write the log anew"
    )


INITIALISED_BLOCK = _sealed((0, _TYPE_INITIALISED, 0, 0, 0), b"")
"""What create-md fills the ring with."""
