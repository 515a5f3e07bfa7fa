"""Generation identifiers: reserved values, the primary bit, the flags that travel with them. Values only."""

from enum import IntFlag
from typing import Final

JUST_CREATED: Final = 4
"""The generation of a disk that never held data."""
UNSET: Final = 0
UNKNOWN: Final = 0xFFFF_FFFF_FFFF_FFFF
"""On the wire: not comparable (a sync target has no slot of its own for its source)."""
PRIMARY_BIT: Final = 1
"""Set in the current generation while the node is Primary; never part of a comparison."""
SYNC_UUID_OFFSET: Final = 1 << 48
"""8.4: the distance between a bitmap generation and the P_SYNC_UUID made from it."""
UINT64_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


class UuidFlag(IntFlag):
    """Flags of P_UUIDS110; 8.4 peers know only the first four. The top byte is a node id (HAS_UNALLOC)."""

    NONE = 0
    DISCARD_MY_DATA = 0x1
    CRASHED_PRIMARY = 0x2
    INCONSISTENT = 0x4
    SKIP_INITIAL_SYNC = 0x8
    NEW_DATAGEN = 0x10
    STABLE = 0x20
    GOT_STABLE = 0x40
    RESYNC = 0x80
    RECONNECT = 0x100
    DISKLESS_PRIMARY = 0x200
    PRIMARY_LOST_QUORUM = 0x400
    SYNC_TARGET = 0x800
    HAS_UNALLOC = 0x1000


FLAGS_84: Final = (
    UuidFlag.DISCARD_MY_DATA | UuidFlag.CRASHED_PRIMARY | UuidFlag.INCONSISTENT | UuidFlag.SKIP_INITIAL_SYNC
)


def masked(uuid: int) -> int:
    """The generation without the primary bit."""
    return uuid & ~PRIMARY_BIT


def same(left: int, right: int) -> bool:
    """Two comparable generations are one; 0 and UNKNOWN equal nothing."""
    return masked(left) == masked(right) and masked(left) not in (UNSET, masked(UNKNOWN))


def is_random(uuid: int) -> bool:
    """Usable as a new generation: none of the reserved values."""
    return masked(uuid) not in (UNSET, JUST_CREATED, masked(UNKNOWN)) and 0 <= uuid <= UINT64_MASK


def unallocated_slot(flags: int) -> int | None:
    """The node id of the day-0 slot that a peer sent along, if it did."""
    return flags >> 56 if flags & UuidFlag.HAS_UNALLOC else None
