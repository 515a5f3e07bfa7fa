"""The running activity log: which 4 MiB extents may be written without telling the disk first.

Decides and encodes; the caller writes. Order on a miss: the bitmap pages of evicted extents, then the block
with a flush before and after it, then `commit`, then the data.
"""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from bollard.replica.metadata.al_block import (
    CONTEXT_MAX,
    EXTENT_BYTES,
    EXTENTS_MAX,
    FREE,
    INITIALISED_BLOCK,
    UPDATES_MAX,
    AlBlock,
    encode_block,
    max_extents,
    ring_block,
)
from bollard.replica.metadata.layout import PAGE_BYTES

__all__ = ["AL_EXTENTS_DEFAULT", "ActivityLog", "AlTransaction", "extents_of"]

AL_EXTENTS_DEFAULT = 1237
"""4.8 GiB that can be hot at once: DRBD's default."""


class AlTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """A block to write at `offset_bytes` of the activity log area.

    `activated` are writable once it is durable; before it is written, the bitmap pages of `evicted` must be.
    """

    number: int
    offset_bytes: int
    data: bytes
    activated: tuple[int, ...]
    evicted: tuple[int, ...]


def extents_of(offset_bytes: int, length_bytes: int) -> range:
    """The extents that a range of the volume touches."""
    return range(offset_bytes // EXTENT_BYTES, -(-(offset_bytes + length_bytes) // EXTENT_BYTES))


class ActivityLog:
    """The log of one volume: `slots` extents can be active; those without a reference get evicted.

    Starts empty, with the ring initialised on the disk (the replayed content of an older ring belongs in the
    bitmap first). `next_number` goes on from a ring that was not initialised. One transaction at a time.
    """

    __slots__ = (
        "_active",
        "_context_start",
        "_free",
        "_held",
        "_idle",
        "_next_number",
        "_pending",
        "_pending_updates",
        "_stripe_blocks",
        "_stripes",
        "_table",
    )

    def __init__(
        self,
        *,
        slots: int = AL_EXTENTS_DEFAULT,
        stripes: int = 1,
        stripe_blocks: int = 8,
        next_number: int = 0,
    ) -> None:
        assert 1 <= slots <= max_extents(stripes * stripe_blocks) <= EXTENTS_MAX, slots
        self._stripes = stripes
        self._stripe_blocks = stripe_blocks
        self._next_number = next_number
        self._context_start = 0
        self._pending: AlTransaction | None = None
        self._pending_updates: tuple[tuple[int, int], ...] = ()
        self._table = [FREE] * slots
        self._active: dict[int, int] = {}  # extent -> slot
        self._held: dict[int, int] = {}  # extent -> references, at least 1
        self._idle: OrderedDict[int, None] = OrderedDict()  # active without a reference, oldest first
        self._free = list(range(slots))  # the highest is given first, as DRBD does

    @property
    def slots(self) -> int:
        """How many extents can be active at once."""
        return len(self._table)

    @property
    def active(self) -> frozenset[int]:
        """The extents that may be written now."""
        return frozenset(self._active)

    @property
    def held_count(self) -> int:
        """How many extents have a reference."""
        return len(self._held)

    @property
    def pending(self) -> AlTransaction | None:
        """The transaction that waits for `commit` or `abort`."""
        return self._pending

    def is_active(self, extent: int) -> bool:
        """Whether the extent may be written now."""
        return extent in self._active

    def hold(self, extent: int) -> bool:
        """Take a reference if the extent is active; False means that it needs a transaction first."""
        held = self._held
        if extent in held:
            held[extent] += 1
            return True
        if extent in self._idle:
            del self._idle[extent]
            held[extent] = 1
            return True
        return False

    def hold_all(self, extents: Iterable[int]) -> tuple[int, ...]:
        """Take a reference on each of the extents, or on none; returns those that need a transaction."""
        wanted = tuple(extents)
        missing = tuple(extent for extent in wanted if extent not in self._active)
        if not missing:
            for extent in wanted:
                self.hold(extent)
        return missing

    def release(self, extent: int) -> None:
        """Give a reference back: no write in the extent is on its way, and all acks for it have come."""
        references = self._held[extent] - 1
        if references:
            self._held[extent] = references
        else:
            del self._held[extent]
            self._idle[extent] = None

    def prepare(self, extents: Iterable[int]) -> AlTransaction | None:
        """A transaction that activates the first of the extents: up to 64, and as many as slots can be had.

        None when all of them are active, or when every slot is held: try again after a `release`. Evicted
        extents are inactive at once. Call `commit` when the block is durable, `abort` when writing it failed.
        """
        assert self._pending is None, "one transaction at a time"
        missing = [extent for extent in dict.fromkeys(extents) if extent not in self._active]
        count = min(len(missing), UPDATES_MAX, len(self._free) + len(self._idle))
        if not count:
            return None
        updates, evicted = [], []
        for extent in missing[:count]:
            assert 0 <= extent < FREE, extent
            if self._free:
                slot = self._free.pop()
            else:
                victim, _ = self._idle.popitem(last=False)
                slot = self._active.pop(victim)
                evicted.append(victim)
            self._table[slot] = extent
            updates.append((slot, extent))
        self._pending_updates = tuple(updates)
        self._pending = self._transaction(self._pending_updates, tuple(evicted))
        return self._pending

    def commit(self, transaction: AlTransaction) -> None:
        """The block is durable: its extents are active, without a reference yet, and newest in the order."""
        assert transaction is self._pending, transaction.number
        self._pending = None
        for slot, extent in self._pending_updates:
            self._active[extent] = slot
            self._idle[extent] = None

    def abort(self, transaction: AlTransaction) -> None:
        """The block could not be written: its extents stay inactive, and the next one takes its number.

        What the disk has at that place does not matter: before or after, it names no extent too few.
        """
        assert transaction is self._pending, transaction.number
        self._pending = None
        self._next_number = transaction.number
        for slot, _ in self._pending_updates:
            self._table[slot] = FREE
            self._free.append(slot)

    def whole_ring(self) -> bytes:
        """The ring anew, saying exactly what is active: for a log that moves while extents are in use.

        To be written at the start of the (new) activity log area, when no transaction is pending; the next
        transactions go on from it.
        """
        assert self._pending is None, "a pending block belongs to the old ring"
        ring = bytearray(INITIALISED_BLOCK * (self._stripes * self._stripe_blocks))
        self._context_start = 0
        for _ in range(0, len(self._table), CONTEXT_MAX):
            block = self._transaction((), ())
            ring[block.offset_bytes : block.offset_bytes + PAGE_BYTES] = block.data
        return bytes(ring)

    def _transaction(self, updates: tuple[tuple[int, int], ...], evicted: tuple[int, ...]) -> AlTransaction:
        number = self._next_number
        start = self._context_start
        context = tuple(self._table[start : start + CONTEXT_MAX])
        self._next_number = (number + 1) % (1 << 32)
        # Rotate, so that every slot is on the disk again within ceil(slots / 919) transactions.
        self._context_start = start + CONTEXT_MAX if start + CONTEXT_MAX < len(self._table) else 0
        block = AlBlock(
            number=number, slots=len(self._table), updates=updates, context_start=start, context=context
        )
        ring = ring_block(number, stripes=self._stripes, stripe_blocks=self._stripe_blocks)
        return AlTransaction(
            number=number,
            offset_bytes=ring * PAGE_BYTES,
            data=encode_block(block),
            activated=tuple(extent for _, extent in updates),
            evicted=evicted,
        )
