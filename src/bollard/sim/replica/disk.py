"""A disk with a volatile cache: what was not flushed may be lost, torn or kept when the power goes."""

from random import Random

from bollard.replica.metadata import layout
from bollard.replica.metadata.al_block import INITIALISED_BLOCK
from bollard.replica.metadata.superblock import DeviceFlag, encode, fresh

_BLOCK = 4096
_SECTOR = 512
_ZERO = bytes(_BLOCK)


class SimDisk:
    """Sparse blocks of 4 KiB; writes are 512-byte granular, those to the metadata area atomic by block."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.durable: dict[int, bytes] = {}
        self.cache: dict[int, list[bytes]] = {}
        self.failing = False
        self.stalled = False
        """Nothing ends for now."""
        self.bad: set[int] = set()
        """Blocks that can neither be read nor written."""
        self.metadata_at = size_bytes - _BLOCK & ~(_BLOCK - 1)

    def read(self, offset: int, length: int) -> bytes:
        """The bytes as the running machine sees them."""
        first, last = offset // _BLOCK, (offset + length - 1) // _BLOCK
        data = b"".join(self._now(block) for block in range(first, last + 1))
        start = offset - first * _BLOCK
        return data[start : start + length]

    def _now(self, block: int) -> bytes:
        versions = self.cache.get(block)
        return versions[-1] if versions else self.durable.get(block, _ZERO)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Into the cache."""
        assert offset >= 0
        assert offset + len(data) <= self.size_bytes, (offset, len(data))
        at = 0
        while at < len(data):
            block, skip = divmod(offset + at, _BLOCK)
            count = min(len(data) - at, _BLOCK - skip)
            old = self._now(block)
            new = old[:skip] + bytes(data[at : at + count]) + old[skip + count :]
            self.cache.setdefault(block, []).append(new)
            at += count

    def is_bad(self, offset: int, length: int) -> bool:
        """Whether a read or write of these bytes fails, though the disk as a whole does not."""
        return bool(self.bad) and any(
            offset < (block + 1) * _BLOCK and block * _BLOCK < offset + length for block in self.bad
        )

    def cached_blocks(self) -> dict[int, int]:
        """How many versions of each block are in the cache: what a flush that starts now will cover."""
        return {block: len(versions) for block, versions in self.cache.items()}

    def harden(self, covered: dict[int, int]) -> None:
        """Those versions are durable now."""
        for block, count in covered.items():
            versions = self.cache.get(block)
            if not versions:
                continue
            hardened = min(count, len(versions))
            self.durable[block] = versions[hardened - 1]
            rest = versions[hardened:]
            if rest:
                self.cache[block] = rest
            else:
                del self.cache[block]

    def flush(self) -> None:
        self.harden(self.cached_blocks())

    def crash(self, random: Random, atomic_from: int) -> None:
        """Power loss: of each cached block any sector may have any version; metadata blocks are whole."""
        for block, versions in sorted(self.cache.items()):
            choices = [self.durable.get(block, _ZERO), *versions]
            if block * _BLOCK >= atomic_from:
                self.durable[block] = random.choice(choices)
                continue
            mode = random.random()
            if mode < 0.4:
                self.durable[block] = choices[-1]
            elif mode < 0.7:
                self.durable[block] = choices[0]
            else:
                picks = [random.choice(choices) for _ in range(_BLOCK // _SECTOR)]
                self.durable[block] = b"".join(
                    pick[at * _SECTOR : (at + 1) * _SECTOR] for at, pick in enumerate(picks)
                )
        self.cache.clear()


def device_bytes(volume_bytes: int, max_peers: int) -> int:
    """The size of a disk that holds the volume and its metadata."""
    return layout.internal_device_bytes(volume_bytes, layout.Geometry(max_peers=max_peers))


def meta_bytes(volume_bytes: int, max_peers: int) -> int:
    """The size of a disk that holds the metadata of such a volume and nothing else."""
    return layout.external_device_bytes(volume_bytes, layout.Geometry(max_peers=max_peers))


def make_metadata(disk: SimDisk, *, max_peers: int, day0_uuid: int | None, external: bool = False) -> None:
    """Fresh metadata; with a day-0 generation the disk counts as UpToDate."""
    make = layout.external if external else layout.internal
    place = make(disk.size_bytes, layout.Geometry(max_peers=max_peers))
    superblock = fresh(place)
    if day0_uuid is not None:
        flags = DeviceFlag.AL_CLEAN | DeviceFlag.CONSISTENT | DeviceFlag.WAS_UP_TO_DATE
        fields = {name: getattr(superblock, name) for name in superblock.__struct_fields__}
        superblock = type(superblock)(**{**fields, "flags": flags, "current_uuid": day0_uuid})
    disk.write(place.superblock_offset_bytes, encode(superblock))
    disk.write(place.al_offset_bytes, INITIALISED_BLOCK * (place.al_bytes // _BLOCK))
    disk.write(place.bitmap_offset_bytes, bytes(place.bitmap_bytes))
    disk.flush()
