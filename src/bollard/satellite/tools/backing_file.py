"""Names of backing files and of the markers beside them that say whose they are. Pure text.

The file name is the one LINSTOR gives; the marker is what makes removing it safe.
"""

import re
from typing import Final

import msgspec

__all__ = ["MARKER_SUFFIX", "Owner", "decode_owner", "encode_owner", "file_name", "marker_name", "parse_name"]

MARKER_SUFFIX: Final = ".owner"

_FILE: Final = re.compile(
    r"(?P<resource>[A-Za-z_][A-Za-z0-9_-]*?)_(?P<number>\d{5})(?P<suffix>(\.[a-z]+)?)\.img"
)


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose a backing file is: one life of one volume on this node."""

    resource: str
    number: int
    volume_uuid: str
    made: bool = False
    """Whether the file was finished once: if it is gone now, it was lost, not never made."""
    metadata: bool = False
    """Whether DRBD metadata was written on it."""
    format: int = 1


def file_name(resource: str, number: int, suffix: str = "") -> str:
    """`<RESOURCE>_<NNNNN><suffix>.img`; `suffix` is empty for data, `.meta` for external metadata."""
    assert 0 <= number <= 99999, number
    return f"{resource}_{number:05d}{suffix}.img"


def marker_name(backing_name: str) -> str:
    """The marker that belongs to a backing file."""
    return backing_name + MARKER_SUFFIX


def parse_name(name: str) -> tuple[str, int, str] | None:
    """Resource, volume number and suffix of a backing file's name; None for any other name."""
    found = _FILE.fullmatch(name)
    if found is None:
        return None
    return found["resource"], int(found["number"]), found["suffix"]


def encode_owner(owner: Owner) -> bytes:
    """The marker's content."""
    return msgspec.json.encode(owner) + b"\n"


def decode_owner(content: bytes) -> Owner | None:
    """The inverse; None when it is not a marker (a torn or foreign file)."""
    try:
        return msgspec.json.decode(content, type=Owner)
    except msgspec.MsgspecError:
        return None
