"""Names and ids: validated, case-insensitive, case-preserving; the grammar is LINSTOR's.

A name is shown as it was first written and compared by its key (upper case).
"""

import re
from typing import NewType

from bollard.domain.errors import Invalid, Subject

NodeName = NewType("NodeName", str)
PoolName = NewType("PoolName", str)
GroupName = NewType("GroupName", str)
ResourceName = NewType("ResourceName", str)
SnapshotName = NewType("SnapshotName", str)
NetIfName = NewType("NetIfName", str)
Uuid = NewType("Uuid", str)
"""A random id of one life of an object: a name that is used again gets a new one."""

Key = NewType("Key", str)
"""A name folded for comparison, or several joined by `/`."""

DEFAULT_GROUP = GroupName("DfltRscGrp")
DEFAULT_POOL = PoolName("DfltStorPool")
DISKLESS_POOL = PoolName("DfltDisklessStorPool")

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HOST_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_RESERVED_RESOURCES = frozenset({"ALL", "PROXY"})


def key_of(*names: str) -> Key:
    """The comparison key of a name or of a path of names."""
    return Key("/".join(names).upper())


def node_name(text: str) -> NodeName:
    """A host name by RFC 1123, 2 to 255 characters. Raises Invalid."""
    labels = text.split(".")
    if not 2 <= len(text) <= 255 or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise Invalid(
            Subject.NODE_NAME,
            text,
            f"'{text}' is not a valid node name",
            cause="A node name is a host name: letters, digits, '-' and '.', 2 to 255 characters.",
        )
    return NodeName(text)


def pool_name(text: str) -> PoolName:
    """3 to 48 characters. Raises Invalid."""
    return PoolName(_word(text, 3, 48, Subject.POOL_NAME, "storage pool name"))


def group_name(text: str) -> GroupName:
    """2 to 48 characters. Raises Invalid."""
    return GroupName(_word(text, 2, 48, Subject.GROUP_NAME, "resource group name"))


def resource_name(text: str) -> ResourceName:
    """2 to 48 characters, not a word the DRBD tools reserve. Raises Invalid."""
    if text.upper() in _RESERVED_RESOURCES:
        raise Invalid(
            Subject.RESOURCE_NAME,
            text,
            f"'{text}' is not a valid resource name",
            cause="'all' and 'proxy' are reserved words of the DRBD tools.",
        )
    return ResourceName(_word(text, 2, 48, Subject.RESOURCE_NAME, "resource name"))


def snapshot_name(text: str) -> SnapshotName:
    """2 to 48 characters. Raises Invalid."""
    return SnapshotName(_word(text, 2, 48, Subject.SNAPSHOT_NAME, "snapshot name"))


def net_if_name(text: str) -> NetIfName:
    """3 to 32 characters. Raises Invalid."""
    return NetIfName(_word(text, 3, 32, Subject.NET_IF_NAME, "network interface name"))


def _word(text: str, low: int, high: int, subject: Subject, what: str) -> str:
    if (
        not low <= len(text) <= high
        or not _WORD.fullmatch(text)
        or not any(letter.isalpha() for letter in text)
    ):
        raise Invalid(
            subject,
            text,
            f"'{text[:64]}' is not a valid {what}",
            cause=f"A {what} has {low} to {high} characters: letters, digits, '_' and '-', "
            "starts with a letter or '_' and holds at least one letter.",
        )
    return text
