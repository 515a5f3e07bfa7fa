"""Names of backing files and of the markers beside them that say whose they are. Pure text.

The file name is the one LINSTOR gives; the marker is what makes removing it safe.
"""

from typing import Final

import msgspec

from bollard.domain.layers import LayerKind

__all__ = [
    "MARKER_SUFFIX",
    "SNAPSHOT_SUFFIX",
    "Kept",
    "Owner",
    "decode_kept",
    "decode_owner",
    "encode_kept",
    "encode_owner",
    "file_name",
    "marker_name",
    "snapshot_file_name",
    "snapshot_marker_name",
]

MARKER_SUFFIX: Final = ".owner"
SNAPSHOT_SUFFIX: Final = ".snapshot"


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose a backing file is: one life of one volume on this node."""

    resource: str
    number: int
    volume_uuid: str
    made: bool = False
    """Whether the file was finished once: if it is gone now, it was lost, not never made."""
    metadata: bool = False
    """Whether DRBD metadata was written on it."""
    layers: tuple[LayerKind, ...] = ()
    """Device layers that were made on it, the lowest first."""
    filesystem: str = ""
    """`making` while its first file system is made, `made` afterwards."""
    loop: bool = False
    """Whether a loop device may be attached to it."""
    format: int = 1


def file_name(resource: str, number: int, suffix: str = "") -> str:
    """`<RESOURCE>_<NNNNN><suffix>.img`; `suffix` is empty, or `.1`, `.2` while older lives have the name."""
    assert 0 <= number <= 99999, number
    return f"{resource}_{number:05d}{suffix}.img"


def marker_name(backing_name: str) -> str:
    """The marker that belongs to a backing file."""
    return backing_name + MARKER_SUFFIX


def encode_owner(owner: Owner) -> bytes:
    """The marker's content."""
    return msgspec.json.encode(owner) + b"\n"


def decode_owner(content: bytes) -> Owner | None:
    """The inverse; None when it is not a marker (a torn or foreign file)."""
    try:
        return msgspec.json.decode(content, type=Owner)
    except msgspec.MsgspecError:
        return None


class Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a snapshot's file is: one volume of one resource at one instant."""

    resource: str
    number: int
    snapshot: str
    snapshot_uuid: str
    size_kib: int
    made: bool = False
    """Whether the copy was finished: without it the file is good for nothing."""
    layers: tuple[LayerKind, ...] = ()
    """Device layers that its content has, the lowest first."""
    format: int = 1


def snapshot_file_name(resource: str, number: int, snapshot: str, suffix: str = "") -> str:
    """`<RESOURCE>_<NNNNN>_<SNAPSHOT><suffix>.img`."""
    assert 0 <= number <= 99999, number
    return f"{resource}_{number:05d}_{snapshot}{suffix}.img"


def snapshot_marker_name(snapshot_file: str) -> str:
    """The marker that belongs to a snapshot's file."""
    return snapshot_file + SNAPSHOT_SUFFIX


def encode_kept(kept: Kept) -> bytes:
    """The marker's content."""
    return msgspec.json.encode(kept) + b"\n"


def decode_kept(content: bytes) -> Kept | None:
    """The inverse; None when it is not a marker (a torn or foreign file)."""
    try:
        return msgspec.json.decode(content, type=Kept)
    except msgspec.MsgspecError:
        return None
