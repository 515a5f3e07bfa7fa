"""Where DRBD's metadata lies on a device, to the byte, and how large a device must be for a volume.

Arithmetic only: nothing here reads or writes. drbdmeta refuses anything but these exact sizes.
"""

from enum import StrEnum

import msgspec

from bollard.domain.units import SECTOR_BYTES, align_up
from bollard.replica.metadata.errors import MetadataError

__all__ = [
    "AL_STRIPE_BYTES",
    "BLOCK_BYTES",
    "INDEXED_AREA_BYTES",
    "MAX_PEERS",
    "MAX_USABLE_BYTES",
    "PAGE_BYTES",
    "Geometry",
    "Layout",
    "Place",
    "bitmap_bytes",
    "check_geometry",
    "external",
    "external_device_bytes",
    "indexed",
    "internal",
    "internal_device_bytes",
]

PAGE_BYTES = 4096
"""Superblock, activity log block and the unit the bitmap is rounded to and written in."""
BLOCK_BYTES = 4096
"""What one bit stands for, unless the geometry says otherwise."""
BLOCK_BYTES_MAX = 1 << 20
MAX_PEERS = 31
AL_STRIPE_BYTES = 32 << 10
AL_BYTES_MAX = 16 << 30
INDEXED_AREA_BYTES = 128 << 20
MAX_USABLE_BYTES = 1 << 50
"""1 PiB, the largest DRBD device."""
DEVICE_BYTES_MIN = 68 << 10
"""drbdmeta refuses smaller devices."""

_WORD_BITS = 64


class Place(StrEnum):
    """Where the metadata is, relative to the data."""

    INTERNAL = "internal"
    EXTERNAL = "external"
    INDEXED = "indexed"


class Geometry(msgspec.Struct, frozen=True, kw_only=True):
    """What is chosen when metadata is created: peer slots (1..31), activity log stripes, bytes per bit.

    DRBD 8.4 (v08) is the case of one peer.
    """

    max_peers: int = 1
    al_stripes: int = 1
    al_stripe_bytes: int = AL_STRIPE_BYTES
    block_bytes: int = BLOCK_BYTES

    @property
    def al_bytes(self) -> int:
        """Bytes of the whole activity log ring."""
        return self.al_stripes * self.al_stripe_bytes


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Byte offsets from the start of the device that carries the metadata; `usable_bytes` is for the volume.

    With external metadata the volume is also limited by the size of its data device, which is not known here.
    """

    place: Place
    device_bytes: int
    geometry: Geometry
    superblock_offset_bytes: int
    al_offset_bytes: int
    bitmap_offset_bytes: int
    bitmap_bytes: int
    md_size_sectors: int
    usable_bytes: int

    @property
    def al_bytes(self) -> int:
        """Bytes of the activity log ring."""
        return self.geometry.al_bytes

    @property
    def al_offset_sectors(self) -> int:
        """The superblock's field: sectors from the superblock to the log, negative if that lies before."""
        return (self.al_offset_bytes - self.superblock_offset_bytes) // SECTOR_BYTES

    @property
    def bitmap_offset_sectors(self) -> int:
        """The superblock's field: sectors from the superblock to the bitmap, negative if it lies before."""
        return (self.bitmap_offset_bytes - self.superblock_offset_bytes) // SECTOR_BYTES

    @property
    def area(self) -> range:
        """The bytes of the device that the metadata owns."""
        start = min(self.superblock_offset_bytes, self.bitmap_offset_bytes)
        end = start + self.md_size_sectors * SECTOR_BYTES
        return range(start, end)


def check_geometry(geometry: Geometry, *, where: str = "geometry") -> None:
    """Raise MetadataError when a number is outside of what DRBD accepts."""
    if not 1 <= geometry.max_peers <= MAX_PEERS:
        raise MetadataError(
            f"{geometry.max_peers} peer slots", where=where, next_step=f"choose 1 to {MAX_PEERS} peers"
        )
    block = geometry.block_bytes
    if not BLOCK_BYTES <= block <= BLOCK_BYTES_MAX or block & (block - 1):
        raise MetadataError(
            f"{block} bytes per bitmap bit",
            where=where,
            next_step="choose a power of two from 4096 to 1048576",
        )
    sound = (
        geometry.al_stripes >= 1
        and geometry.al_stripe_bytes >= PAGE_BYTES
        and geometry.al_stripe_bytes % PAGE_BYTES == 0
        and AL_STRIPE_BYTES <= geometry.al_bytes <= AL_BYTES_MAX
    )
    if not sound:
        raise MetadataError(
            f"an activity log of {geometry.al_stripes} stripes of {geometry.al_stripe_bytes} bytes",
            where=where,
            next_step="choose stripes of whole 4 KiB blocks, 32 KiB to 16 GiB in all",
        )


def bitmap_bytes(device_bytes: int, *, max_peers: int, block_bytes: int = BLOCK_BYTES) -> int:
    """Bytes of the bitmap area for `max_peers` slots over that many bytes: exactly DRBD's rounding."""
    sectors = device_bytes // SECTOR_BYTES
    bits = align_up(-(-sectors // (block_bytes // SECTOR_BYTES)), _WORD_BITS)
    return align_up(bits // 8 * max_peers, PAGE_BYTES)


def internal(device_bytes: int, geometry: Geometry) -> Layout:
    """Metadata at the end of the device it describes: volume, bitmap, activity log, superblock.

    Raises MetadataError when the device is too small or beyond 1 PiB.
    """
    check_geometry(geometry)
    _check_device(device_bytes)
    superblock = (device_bytes - PAGE_BYTES) & ~(PAGE_BYTES - 1)
    # Sized for the whole device, not for the part that is left to the volume: so does drbdmeta.
    bitmap = bitmap_bytes(device_bytes, max_peers=geometry.max_peers, block_bytes=geometry.block_bytes)
    usable = superblock - geometry.al_bytes - bitmap
    if usable < PAGE_BYTES or usable > MAX_USABLE_BYTES:
        raise MetadataError(
            f"{device_bytes} bytes leave {usable} bytes for the volume",
            where="internal metadata",
            next_step="use a device that leaves 4 KiB to 1 PiB, or external metadata",
        )
    return Layout(
        place=Place.INTERNAL,
        device_bytes=device_bytes,
        geometry=geometry,
        superblock_offset_bytes=superblock,
        al_offset_bytes=superblock - geometry.al_bytes,
        bitmap_offset_bytes=usable,
        bitmap_bytes=bitmap,
        md_size_sectors=(PAGE_BYTES + geometry.al_bytes + bitmap) // SECTOR_BYTES,
        usable_bytes=usable,
    )


def external(device_bytes: int, geometry: Geometry) -> Layout:
    """Metadata alone on a device of its own (flexible): superblock, activity log, bitmap up to the end."""
    check_geometry(geometry)
    _check_device(device_bytes)
    return _forward(Place.EXTERNAL, device_bytes, geometry, start_bytes=0, size_bytes=device_bytes)


def indexed(device_bytes: int, geometry: Geometry, *, index: int) -> Layout:
    """Metadata in the 128 MiB slot `index` of a shared device; default log and bitmap blocks only."""
    check_geometry(geometry)
    if geometry.al_bytes != AL_STRIPE_BYTES or geometry.block_bytes != BLOCK_BYTES:
        raise MetadataError(
            "an indexed slot has a 32 KiB activity log and 4 KiB blocks",
            where=f"metadata index {index}",
            next_step="use flexible external metadata for another geometry",
        )
    start = index * INDEXED_AREA_BYTES
    if index < 0 or start + INDEXED_AREA_BYTES > device_bytes:
        raise MetadataError(
            f"the slot ends beyond the device's {device_bytes} bytes",
            where=f"metadata index {index}",
            next_step="choose a lower index or grow the metadata device",
        )
    return _forward(Place.INDEXED, device_bytes, geometry, start_bytes=start, size_bytes=INDEXED_AREA_BYTES)


def _forward(
    place: Place, device_bytes: int, geometry: Geometry, *, start_bytes: int, size_bytes: int
) -> Layout:
    md_size_sectors = size_bytes // SECTOR_BYTES
    bitmap_offset = start_bytes + PAGE_BYTES + geometry.al_bytes
    bitmap = start_bytes + md_size_sectors * SECTOR_BYTES - bitmap_offset
    # A slot's bits are stored in whole 64-bit words, so a remainder that is shorter serves nobody.
    slot_words = (bitmap & ~(PAGE_BYTES - 1)) // geometry.max_peers // (_WORD_BITS // 8)
    usable = min(slot_words * _WORD_BITS * geometry.block_bytes, MAX_USABLE_BYTES)
    if bitmap < PAGE_BYTES:
        raise MetadataError(
            f"{device_bytes} bytes have no room for a bitmap",
            where=f"{place} metadata",
            next_step=f"use a device of at least {2 * PAGE_BYTES + geometry.al_bytes} bytes",
        )
    return Layout(
        place=place,
        device_bytes=device_bytes,
        geometry=geometry,
        superblock_offset_bytes=start_bytes,
        al_offset_bytes=start_bytes + PAGE_BYTES,
        bitmap_offset_bytes=bitmap_offset,
        bitmap_bytes=bitmap,
        md_size_sectors=md_size_sectors,
        usable_bytes=usable,
    )


def internal_device_bytes(volume_bytes: int, geometry: Geometry) -> int:
    """The smallest device (whole 4 KiB) whose internal layout leaves at least `volume_bytes` usable.

    Raises MetadataError for a volume of nothing or beyond 1 PiB.
    """
    check_geometry(geometry)
    _check_volume(volume_bytes)
    fixed = align_up(volume_bytes, PAGE_BYTES) + PAGE_BYTES + geometry.al_bytes
    device = fixed
    while True:
        # Grows monotonically towards the least fixed point: a bitmap for the bitmap, two or three rounds.
        bitmap = bitmap_bytes(device, max_peers=geometry.max_peers, block_bytes=geometry.block_bytes)
        if fixed + bitmap <= device:
            break
        device = fixed + bitmap
    return max(device, DEVICE_BYTES_MIN)


def external_device_bytes(volume_bytes: int, geometry: Geometry) -> int:
    """The smallest metadata device (whole 4 KiB) whose external layout can describe `volume_bytes`."""
    check_geometry(geometry)
    _check_volume(volume_bytes)
    bits = align_up(-(-volume_bytes // geometry.block_bytes), _WORD_BITS)
    bitmap = align_up(bits // 8 * geometry.max_peers, PAGE_BYTES)
    return max(PAGE_BYTES + geometry.al_bytes + bitmap, DEVICE_BYTES_MIN)


def _check_device(device_bytes: int) -> None:
    if device_bytes < DEVICE_BYTES_MIN:
        raise MetadataError(
            f"the device has {device_bytes} bytes",
            where="metadata device",
            next_step=f"use one of at least {DEVICE_BYTES_MIN} bytes",
        )


def _check_volume(volume_bytes: int) -> None:
    if not 0 < volume_bytes <= MAX_USABLE_BYTES:
        raise MetadataError(
            f"a volume of {volume_bytes} bytes",
            where="volume size",
            next_step=f"choose 1 to {MAX_USABLE_BYTES} bytes (1 PiB)",
        )
