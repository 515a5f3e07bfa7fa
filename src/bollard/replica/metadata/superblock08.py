"""DRBD 8.4's superblock (v08) as a frozen record, with a strict codec: one peer, four UUIDs.

Layout and activity log are v09's with one peer slot. Converting between versions is convert.py's work.
"""

import struct

import msgspec

from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import PAGE_BYTES, Geometry, Layout
from bollard.replica.metadata.superblock import (
    AL_EXTENTS_FRESH,
    AL_EXTENTS_MAX,
    MAGIC_V08,
    MAGIC_V08_UNCLEAN,
    MAGIC_V09,
    UUID_JUST_CREATED,
    DeviceFlag,
    check_offsets,
)

__all__ = ["HISTORY_UUIDS_V08", "Superblock08", "decode08", "encode08", "fresh08"]

HISTORY_UUIDS_V08 = 2

_HEAD = struct.Struct(">QQQQQQ8xIIIiIiIIII")
_WHERE = "v08 superblock"
_NUMBER_MAX = (1 << 32) - 1
_UUID_MAX = (1 << 64) - 1
_STRIPES_IMPLIED, _STRIPE_BLOCKS_IMPLIED = 1, 8


class Superblock08(msgspec.Struct, frozen=True, kw_only=True):
    """The v08 superblock, field by field, in the units of the disk.

    `unclean` is the kernel's other magic: the log must be applied before the next attach. An `al_stripes` and
    `al_stripe_blocks` of 0 are what old tools wrote for 1 and 8; `geometry` knows that.
    """

    effective_size_sectors: int = 0
    current_uuid: int = UUID_JUST_CREATED
    bitmap_uuid: int = 0
    history: tuple[int, int] = (0, 0)
    device_uuid: int = 0
    flags: DeviceFlag = DeviceFlag.AL_CLEAN
    unclean: bool = False
    md_size_sectors: int
    al_offset_sectors: int
    al_extents: int = AL_EXTENTS_FRESH
    bitmap_offset_sectors: int
    block_bytes: int = 4096
    peer_max_bio_bytes: int = 0
    al_stripes: int = _STRIPES_IMPLIED
    al_stripe_blocks: int = _STRIPE_BLOCKS_IMPLIED

    @property
    def geometry(self) -> Geometry:
        """The choices made at creation, for the layout formulas."""
        return Geometry(
            max_peers=1,
            al_stripes=self.al_stripes or _STRIPES_IMPLIED,
            al_stripe_bytes=(self.al_stripe_blocks or _STRIPE_BLOCKS_IMPLIED) * PAGE_BYTES,
            block_bytes=self.block_bytes,
        )


def fresh08(layout: Layout) -> Superblock08:
    """The superblock as `drbdmeta ... v08 ... create-md` makes it; the layout must be for one peer."""
    geometry = layout.geometry
    assert geometry.max_peers == 1, geometry.max_peers
    return Superblock08(
        md_size_sectors=layout.md_size_sectors,
        al_offset_sectors=layout.al_offset_sectors,
        bitmap_offset_sectors=layout.bitmap_offset_sectors,
        block_bytes=geometry.block_bytes,
        al_stripes=geometry.al_stripes,
        al_stripe_blocks=geometry.al_stripe_bytes // PAGE_BYTES,
    )


def encode08(superblock: Superblock08) -> bytes:
    """The 4096 bytes on disk. Raises MetadataError for a record that `decode08` would refuse."""
    _check(superblock)
    packed = _HEAD.pack(
        superblock.effective_size_sectors,
        superblock.current_uuid,
        superblock.bitmap_uuid,
        *superblock.history,
        superblock.device_uuid,
        superblock.flags,
        MAGIC_V08_UNCLEAN if superblock.unclean else MAGIC_V08,
        superblock.md_size_sectors,
        superblock.al_offset_sectors,
        superblock.al_extents,
        superblock.bitmap_offset_sectors,
        superblock.block_bytes,
        superblock.peer_max_bio_bytes,
        superblock.al_stripes,
        superblock.al_stripe_blocks,
    )
    return packed.ljust(PAGE_BYTES, b"\0")


def decode08(data: bytes) -> Superblock08:
    """Read one 4096-byte block; reserved bytes are ignored. Raises MetadataError as `decode` does."""
    if len(data) != PAGE_BYTES:
        raise MetadataError(
            f"{len(data)} bytes instead of {PAGE_BYTES}",
            where=_WHERE,
            next_step="check that the device is as large as it was when the metadata was created",
        )
    fields = _HEAD.unpack_from(data)
    magic = fields[7]
    if magic not in (MAGIC_V08, MAGIC_V08_UNCLEAN):
        found = "the metadata is version v09" if magic == MAGIC_V09 else f"magic 0x{magic:08x}"
        raise MetadataError(
            f"{found} instead of 0x{MAGIC_V08:08x}",
            where=_WHERE,
            next_step="read it as v09, or check that this is the right device and size",
        )
    superblock = Superblock08(
        effective_size_sectors=fields[0],
        current_uuid=fields[1],
        bitmap_uuid=fields[2],
        history=(fields[3], fields[4]),
        device_uuid=fields[5],
        flags=DeviceFlag(fields[6]),
        unclean=magic == MAGIC_V08_UNCLEAN,
        md_size_sectors=fields[8],
        al_offset_sectors=fields[9],
        al_extents=fields[10],
        bitmap_offset_sectors=fields[11],
        block_bytes=fields[12],
        peer_max_bio_bytes=fields[13],
        al_stripes=fields[14],
        al_stripe_blocks=fields[15],
    )
    _check(superblock)
    return superblock


def _check(superblock: Superblock08) -> None:
    check_offsets(superblock, where=_WHERE)
    uuids = (superblock.current_uuid, superblock.bitmap_uuid, superblock.device_uuid, *superblock.history)
    numbers = (superblock.flags, superblock.peer_max_bio_bytes)
    sound = (
        1 <= superblock.al_extents <= AL_EXTENTS_MAX
        and len(superblock.history) == HISTORY_UUIDS_V08
        and all(0 <= uuid <= _UUID_MAX for uuid in uuids)
        and all(0 <= number <= _NUMBER_MAX for number in numbers)
    )
    if not sound:
        raise MetadataError(
            "a number is out of range",
            where=_WHERE,
            next_step="restore the metadata from a dump, or create it anew and resync",
        )
