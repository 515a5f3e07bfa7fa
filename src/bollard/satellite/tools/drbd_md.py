"""DRBD's metadata for a fresh device as `drbdmeta restore-md` reads it, when it needs no sync. Pure.

`create-md` alone makes a device that is inconsistent and of no size: with the size and the generation in it
two such devices connect as equals, without a sync and without a bit in their bitmaps.
"""

from typing import Final

from bollard.domain.layers import ReplicationKind

__all__ = ["dump_of", "format_of"]

_NODES: Final = 32
_HISTORY: Final = 32
_EQUAL: Final = 0x91
"""Consistent, was up to date, activity log clean."""
_NO_UUID: Final = "0x0000000000000000"


def format_of(kind: ReplicationKind) -> str:
    """The metadata's version as the tools call it."""
    return "v08" if kind is ReplicationKind.DRBD84 else "v09"


def dump_of(kind: ReplicationKind, *, current_gi: str, size_kib: int, peer_slots: int) -> str:
    """The text for a device of `size_kib` for users, in the data generation `current_gi` (16 hex digits)."""
    sectors = size_kib * 2
    tail = [
        f"la-size-sect {sectors};",
        "bm-byte-per-bit 4096;",
        f"device-uuid {_NO_UUID};",
        "la-peer-max-bio-size 0;",
        "al-stripes 1;",
        "al-stripe-size-4k 8;",
    ]
    if kind is ReplicationKind.DRBD84:
        head = [
            'version "v08";',
            f"uuid {{ 0x{current_gi}; {_NO_UUID}; {_NO_UUID}; {_NO_UUID}; flags 0x{_EQUAL:08x}; }}",
        ]
        return "\n".join([*head, *tail, "bm { }", ""])
    head = [
        'version "v09";',
        f"max-peers {peer_slots};",
        "node-id -1;",
        f"current-uuid 0x{current_gi};",
        f"flags 0x{_EQUAL:08x};",
        *(
            f"peer[{node}] {{ bitmap-index -1; bitmap-uuid {_NO_UUID}; bitmap-dagtag {_NO_UUID}; "
            "flags 0x00000000; }"
            for node in range(_NODES)
        ),
        f"history-uuids {{ {' '.join([f'{_NO_UUID};'] * _HISTORY)} }}",
    ]
    return "\n".join([*head, *tail, *(f"bitmap[{slot}] {{ }}" for slot in range(peer_slots)), ""])
