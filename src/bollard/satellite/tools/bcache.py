"""What bcache's tools print, and what they are to be told. Pure."""

import re
from typing import Final

import msgspec

from bollard.domain.nodes import Props

__all__ = ["LSBLK", "Block", "Super", "make_backing", "make_cache", "parse_blocks", "parse_super"]

Argv = tuple[str, ...]
LSBLK: Final = ("lsblk", "--json", "--list", "--bytes", "--output", "KNAME,MAJ:MIN,SIZE")
_NAME = re.compile(r"bcache\d+")
_TRUE: Final = ("true", "yes")


class Super(msgspec.Struct, frozen=True):
    """A superblock: of a backing device or of a cache."""

    device: str
    """The uuid of the device itself."""
    set_: str
    """The uuid of the cache set that it belongs to."""


class Block(msgspec.Struct, frozen=True):
    """A block device of the machine."""

    kname: str
    number: str = msgspec.field(name="maj:min", default="")
    size: int = 0

    @property
    def is_bcache(self) -> bool:
        """Whether it is what bcache makes of two others."""
        return _NAME.fullmatch(self.kname) is not None


class _Report(msgspec.Struct):
    blockdevices: list[Block] = []


def parse_blocks(output: bytes) -> dict[str, Block]:
    """The rows of `LSBLK` by name. Raises msgspec.MsgspecError."""
    return {block.kname: block for block in msgspec.json.decode(output, type=_Report).blockdevices}


def parse_super(text: str) -> Super | None:
    """From what `bcache-super-show` prints; None when it has found no superblock."""
    fields = dict(line.split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) > 1)
    if not fields.get("sb.magic", "").startswith("ok"):
        return None
    return Super(fields.get("dev.uuid", "").strip(), fields.get("cset.uuid", "").strip())


def make_backing(path: str, set_: str, options: Props) -> Argv:
    """Make a device of it that can have a cache. It refuses what carries a superblock already."""
    offset = ("--data-offset", options["DataOffset"]) if options.get("DataOffset", "").isdecimal() else ()
    mode = ("--writeback",) if writeback(options) else ()
    return ("make-bcache", "--bdev", path, "--cset-uuid", set_, *_blocks(options), *offset, *mode)


def make_cache(path: str, set_: str, options: Props) -> Argv:
    """Make a cache of it. It refuses what carries a superblock already."""
    bucket = ("--bucket", options["Bucketsize"]) if options.get("Bucketsize", "").isdecimal() else ()
    discard = ("--discard",) if options.get("Discard", "").lower() in _TRUE else ()
    policy = options.get("CacheReplacementPolicy", "").lower()
    replaced = (f"--cache_replacement_policy={policy}",) if policy in {"lru", "fifo"} else ()
    return (
        "make-bcache", "--cache", path, "--cset-uuid", set_,
        *_blocks(options), *bucket, *discard, *replaced,
    )  # fmt: skip


def writeback(options: Props) -> bool:
    """Whether writes may be held back."""
    return options.get("Writeback", "").lower() in _TRUE


def _blocks(options: Props) -> Argv:
    return ("--block", options["Blocksize"]) if options.get("Blocksize", "").isdecimal() else ()
