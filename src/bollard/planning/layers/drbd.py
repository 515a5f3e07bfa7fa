"""How much of a device DRBD's metadata (version 09) takes, internal or on its own. Arithmetic only."""

from bollard.domain.units import align_up

__all__ = [
    "GROSS_KIB_MIN",
    "PEER_SLOTS_DEFAULT",
    "PEER_SLOTS_MAX",
    "external_kib",
    "gross_kib",
    "metadata_kib",
    "net_kib",
]

PEER_SLOTS_DEFAULT = 7
PEER_SLOTS_MAX = 31
GROSS_KIB_MIN = 68
"""Smaller devices are refused by the tools."""
EXTERNAL_KIB_MIN = 1024
"""Smaller devices for metadata alone are refused by the kernel."""

_SUPERBLOCK_KIB = 4
_ACTIVITY_LOG_KIB = 32


def metadata_kib(device_kib: int, peer_slots: int, block_kib: int = 4) -> int:
    """Superblock, activity log, and one bitmap per peer that covers `device_kib`; a multiple of 4 KiB."""
    assert 1 <= peer_slots <= PEER_SLOTS_MAX, peer_slots
    assert block_kib in {4 << shift for shift in range(9)}, block_kib
    bits = -(-device_kib // block_kib)
    bitmap_bytes = align_up(-(-bits // 8), 8) * peer_slots
    return align_up(align_up(bitmap_bytes, 1024) // 1024 + _SUPERBLOCK_KIB + _ACTIVITY_LOG_KIB, 4)


def external_kib(net: int, peer_slots: int = PEER_SLOTS_DEFAULT) -> int:
    """What a device for the metadata alone must hold, for a volume of `net` KiB; a multiple of 4 KiB."""
    return max(metadata_kib(align_up(net, 4), peer_slots), EXTERNAL_KIB_MIN)


def gross_kib(net: int, peer_slots: int = PEER_SLOTS_DEFAULT, block_kib: int = 4) -> int:
    """What the device below must hold so that users get at least `net` KiB; a multiple of 4 KiB.

    The bitmap covers the whole device, itself included, so the sum is repeated until it holds.
    """
    data = align_up(net, block_kib)
    gross = data + metadata_kib(data, peer_slots, block_kib)
    while (larger := data + metadata_kib(gross, peer_slots, block_kib)) > gross:
        gross = larger
    return max(gross, GROSS_KIB_MIN)


def net_kib(gross: int, peer_slots: int = PEER_SLOTS_DEFAULT, block_kib: int = 4) -> int:
    """What users get of a device of `gross` KiB; 0 when it is too small for the metadata."""
    whole = gross - gross % 4
    return max(0, whole - metadata_kib(whole, peer_slots, block_kib))
