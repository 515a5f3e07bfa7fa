"""Hypothesis strategies for metadata records and a device in memory; used by several test modules here."""

from hypothesis import strategies as st

from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import Geometry, Layout, internal
from bollard.replica.metadata.superblock import DeviceFlag, PeerFlag, PeerSlot, Superblock

U64 = st.integers(0, 2**64 - 1)
ALL_DEVICE_FLAGS = (
    DeviceFlag.CONSISTENT
    | DeviceFlag.WAS_UP_TO_DATE
    | DeviceFlag.PRIMARY_IND
    | DeviceFlag.CRASHED_PRIMARY
    | DeviceFlag.AL_CLEAN
    | DeviceFlag.AL_DISABLED
    | DeviceFlag.PRIMARY_LOST_QUORUM
    | DeviceFlag.HAVE_QUORUM
)
ALL_PEER_FLAGS = (
    PeerFlag.CONNECTED
    | PeerFlag.OUTDATED
    | PeerFlag.FENCING
    | PeerFlag.FULL_SYNC
    | PeerFlag.DEVICE_SEEN
    | PeerFlag.NODE_EXISTS
)


class Disk:
    """A sparse device in memory."""

    def __init__(self, size_bytes: int, area: range) -> None:
        self.size_bytes = size_bytes
        self.area = area
        self.bytes = bytearray(b"\xd1" * len(area))

    def read(self, offset: int, length: int) -> bytes:
        assert offset in self.area, "reads stay in the area"
        return bytes(self.bytes[offset - self.area.start : offset - self.area.start + length])

    def write(self, offset: int, data: bytes) -> None:
        start = offset - self.area.start
        assert 0 <= start <= start + len(data) <= len(self.bytes)
        self.bytes[start : start + len(data)] = data


@st.composite
def layouts(draw: st.DrawFn, max_bytes: int = 2 << 30) -> Layout:
    geometry = Geometry(
        max_peers=draw(st.integers(1, 31)),
        al_stripes=draw(st.sampled_from([1, 1, 1, 2, 4])),
        al_stripe_bytes=draw(st.sampled_from([32768, 32768, 65536])),
    )
    return internal(draw(sizes(geometry.max_peers, max_bytes)), geometry)


def sizes(peers: int, max_bytes: int) -> st.SearchStrategy[int]:
    """Device sizes, half of them within a few sectors of where the bitmap needs one page more."""
    anything = st.integers(1 << 20, max_bytes)
    pages = peers * max_bytes >> 27
    if not pages:
        return anything
    edges = st.integers(1, pages).map(lambda page: page * 512 // peers * 64 * 4096)
    near = st.tuples(edges, st.integers(-20, 20)).map(lambda edge: edge[0] + edge[1] * 512)
    return st.one_of(near.filter(lambda size: 1 << 20 <= size <= max_bytes), anything)


@st.composite
def superblocks(draw: st.DrawFn, layout: Layout | None = None) -> Superblock:
    """Any sound superblock for the layout (or any layout), every field free."""
    layout = layout or draw(layouts())
    geometry = layout.geometry
    node_id = draw(st.integers(-1, 31))
    owners = draw(st.permutations([node for node in range(32) if node != node_id]))
    slots = draw(st.permutations(range(geometry.max_peers)))
    count = draw(st.integers(0, min(geometry.max_peers, 6)))
    index_of = dict(zip(owners[:count], slots, strict=False))
    peers = tuple(
        PeerSlot(
            bitmap_uuid=draw(U64),
            bitmap_dagtag_sectors=draw(U64),
            flags=PeerFlag(draw(st.integers(0, 0x1F)) | draw(st.sampled_from([0, 0x10000]))),
            bitmap_index=index_of.get(node, -1),
        )
        for node in range(32)
    )
    return Superblock(
        effective_size_sectors=draw(st.integers(0, layout.usable_bytes // 512)),
        current_uuid=draw(U64),
        members=draw(st.integers(0, 2**32 - 1)),
        device_uuid=draw(U64),
        flags=DeviceFlag(draw(st.integers(0, 0x7FF))) & ALL_DEVICE_FLAGS,
        md_size_sectors=layout.md_size_sectors,
        al_offset_sectors=layout.al_offset_sectors,
        al_extents=draw(st.integers(67, 6433)),
        bitmap_offset_sectors=layout.bitmap_offset_sectors,
        peer_max_bio_bytes=draw(st.sampled_from([0, 4096, 1 << 20])),
        max_peers=geometry.max_peers,
        node_id=node_id,
        al_stripes=geometry.al_stripes,
        al_stripe_blocks=geometry.al_stripe_bytes // 4096,
        peers=peers,
        history=tuple(draw(st.lists(U64, min_size=32, max_size=32))),
    )


def refuses(read: object, *arguments: object) -> bool:
    """True when the call ends in a MetadataError; any other exception propagates."""
    assert callable(read)
    try:
        read(*arguments)
    except MetadataError as error:
        return bool(error.what and error.where and error.next_step)
    return False
