"""Keeps operations on overlapping ranges of one volume apart, in the order they arrived. Pure bookkeeping.

Everything that writes takes its range here first, and so do reads whose result is sent as a resync block.
"""

from collections.abc import Callable
from typing import Final

_NO_LIMIT: Final = 1 << 63

_SHIFT: Final = 17
"""Ranges are found through buckets of 128 KiB: most operations touch one."""


class RangeOp:
    """An operation on bytes [start, end): `run` is called once nothing earlier overlaps it."""

    __slots__ = ("blockers", "end", "followers", "start")

    def __init__(self, start: int, end: int) -> None:
        assert 0 <= start < end, (start, end)
        self.start = start
        self.end = end
        self.blockers = 0
        self.followers: list[RangeOp] | None = None

    def run(self) -> None:
        """Go on."""
        raise NotImplementedError


class RangeCall(RangeOp):
    """An operation that goes on with a call. `writing`: its disk write is under way."""

    __slots__ = ("call", "writing")

    def __init__(self, start: int, end: int, call: Callable[[], None]) -> None:
        super().__init__(start, end)
        self.call = call
        self.writing = False

    def run(self) -> None:
        self.call()


class Exclusion:
    """The operations under way or waiting on one volume."""

    __slots__ = ("_beyond", "_buckets", "_holds", "_limit", "count")

    def __init__(self) -> None:
        self._buckets: dict[int, list[RangeOp]] = {}
        self._beyond: list[RangeOp] = []
        self._limit = _NO_LIMIT
        self._holds = 0
        self.count = 0

    def hold_beyond(self, offset: int) -> None:
        """From now on operations that reach beyond `offset` wait, until as many calls of `lift`."""
        self._holds += 1
        self._limit = min(self._limit, offset)

    def lift(self) -> None:
        """The end of one `hold_beyond`; after the last one those that waited run before this returns."""
        self._holds -= 1
        assert self._holds >= 0, "lifted more often than held"
        if self._holds:
            return
        self._limit = _NO_LIMIT
        held, self._beyond = self._beyond, []
        for op in held:
            op.blockers -= 1
            if not op.blockers:
                op.run()

    def enter(self, op: RangeOp) -> bool:
        """Take part; True when the operation may go on now, else its `run` is called later."""
        buckets = self._buckets
        self.count += 1
        if op.end > self._limit:
            op.blockers += 1
            self._beyond.append(op)
        first, last = op.start >> _SHIFT, (op.end - 1) >> _SHIFT
        if first == last:
            bucket = buckets.get(first)
            if not bucket:
                buckets[first] = [op]
                return not op.blockers
            self._block(op, bucket)
            bucket.append(op)
            return not op.blockers
        met: dict[int, RangeOp] = {}
        for number in range(first, last + 1):
            bucket = buckets.setdefault(number, [])
            for other in bucket:
                met[id(other)] = other
            bucket.append(op)
        self._block(op, list(met.values()))
        return not op.blockers

    @property
    def matters(self) -> bool:
        """Whether `hinders` may be true of anything."""
        return self.count > 0 or self._holds > 0

    def hinders(self, start: int, end: int) -> bool:
        """Whether an operation on [start, end) would have to wait now."""
        return end > self._limit or (self.count > 0 and self.overlaps(start, end))

    def leave(self, op: RangeOp) -> None:
        """The operation has ended; those that waited for it alone run before this returns."""
        buckets = self._buckets
        self.count -= 1
        for number in range(op.start >> _SHIFT, ((op.end - 1) >> _SHIFT) + 1):
            bucket = buckets[number]
            bucket.remove(op)
            if not bucket:
                del buckets[number]
        followers, op.followers = op.followers, None
        if followers:
            for other in followers:
                other.blockers -= 1
                if not other.blockers:
                    other.run()

    def overlaps(self, start: int, end: int) -> bool:
        """Whether something under way or waiting touches [start, end)."""
        buckets = self._buckets
        for number in range(start >> _SHIFT, ((end - 1) >> _SHIFT) + 1):
            for op in buckets.get(number, ()):
                if op.start < end and start < op.end:
                    return True
        return False

    def overlapping(self, start: int, end: int) -> list[RangeOp]:
        """All that are under way or wait and touch [start, end)."""
        found: dict[int, RangeOp] = {}
        for number in range(start >> _SHIFT, ((end - 1) >> _SHIFT) + 1):
            for op in self._buckets.get(number, ()):
                if op.start < end and start < op.end:
                    found[id(op)] = op
        return list(found.values())

    @staticmethod
    def _block(op: RangeOp, others: list[RangeOp]) -> None:
        start, end = op.start, op.end
        for other in others:
            if other.start < end and start < other.end:
                op.blockers += 1
                if other.followers is None:
                    other.followers = [op]
                else:
                    other.followers.append(op)
