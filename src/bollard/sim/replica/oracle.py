"""What a client may read: each acknowledged write, unless all its holders lost power before a flush."""

from struct import Struct

BLOCK = 4096
_SECTOR = 512
_STAMP = Struct(">QQ")


class Violation(AssertionError):
    """The engines broke a promise."""


class Write:
    """One write of one block. `holders`: nodes with it when it was acknowledged, and their crashes so far."""

    __slots__ = ("acked", "holders", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.acked = False
        self.holders: dict[int, int] = {}


class Oracle:
    """Knows all writes of all blocks in the order of their submission."""

    def __init__(self) -> None:
        self._writes: dict[int, list[Write]] = {}
        self._flushed: dict[int, int] = {}
        self._number = 0
        self.reads = 0
        self.acks = 0

    @property
    def blocks(self) -> list[int]:
        """Blocks that were ever written."""
        return sorted(self._writes)

    def submit(self, block: int) -> tuple[Write, bytes]:
        """A new write of a block, and its content."""
        self._number += 1
        write = Write(self._number)
        self._writes.setdefault(block, [Write(0)]).append(write)
        return write, _STAMP.pack(block, write.number) * (BLOCK // _STAMP.size)

    def newest(self, block: int) -> int:
        """The number of the block's newest write, done or not."""
        writes = self._writes.get(block)
        return writes[-1].number if writes else 0

    def acknowledged(self, write: Write, holders: dict[int, int]) -> None:
        write.acked = True
        write.holders = holders
        self.acks += 1

    def flush_begins(self) -> dict[int, int]:
        """What a flush that starts now covers: the newest acknowledged write of each block."""
        return {block: self._newest_acked(writes) for block, writes in self._writes.items()}

    def flush_ended(self, covered: dict[int, int]) -> None:
        for block, index in covered.items():
            self._flushed[block] = max(self._flushed.get(block, 0), index)

    @staticmethod
    def _newest_acked(writes: list[Write]) -> int:
        return max((index for index, write in enumerate(writes) if write.acked), default=0)

    def permitted(self, block: int, crashes: dict[int, int]) -> set[int]:
        """Numbers of the writes whose content a read may return; 0 is the block as it was at first."""
        writes = self._writes.get(block, [])
        floor = self._flushed.get(block, 0)
        newest = self._newest_acked(writes)
        oldest = floor
        for index in range(newest, floor, -1):
            write = writes[index]
            if write.acked and any(crashes[node] == count for node, count in write.holders.items()):
                oldest = index
                break
        return {write.number for write in writes[oldest:]} or {0}

    def check(self, block: int, data: bytes, crashes: dict[int, int], where: str) -> None:
        """Raises Violation when a sector of what was read is none of the permitted writes' content."""
        self.reads += 1
        permitted = self.permitted(block, crashes)
        for at in range(0, BLOCK, _SECTOR):
            sector = bytes(data[at : at + _SECTOR])
            stamp, number = _STAMP.unpack_from(sector)
            known = sector == _STAMP.pack(stamp, number) * (_SECTOR // _STAMP.size)
            if not known or (number and stamp != block) or number not in permitted:
                raise Violation(
                    f"{where}: block {block} sector {at // _SECTOR} holds write {number},"
                    f" permitted {sorted(permitted)}"
                )
