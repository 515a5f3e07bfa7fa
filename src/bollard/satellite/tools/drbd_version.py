"""Which DRBD a node has, from /proc/drbd, `modinfo` and `drbdadm --version`; and its option names. Pure."""

import re
from typing import Final

from bollard.domain.layers import ReplicationKind

__all__ = ["kernel_version", "kind_of", "option_names", "utils_suffice", "utils_version"]

_PROC: Final = re.compile(r"^version:\s*(\d+(?:\.\d+)+\S*)", re.MULTILINE)
_PLAIN: Final = re.compile(r"^\s*(\d+(?:\.\d+)+\S*)")
_UTILS: Final = re.compile(r"^DRBDADM_VERSION=(\S+)", re.MULTILINE)
_OPTION: Final = re.compile(r'<option\s+name="([a-z0-9_-]+)"')
_UTILS_MIN: Final = (9, 0)


def kernel_version(text: str) -> str:
    """From /proc/drbd, /sys/module/drbd/version or `modinfo -F version`; empty when it says none."""
    found = _PROC.search(text) or _PLAIN.search(text)
    return found.group(1) if found is not None else ""


def utils_version(text: str) -> str:
    """From `drbdadm --version`; empty when it says none."""
    found = _UTILS.search(text)
    return found.group(1) if found is not None else ""


def kind_of(version: str) -> ReplicationKind | None:
    """The implementation that a module of this version is; None for one that is neither."""
    if version.startswith("9."):
        return ReplicationKind.DRBD9
    return ReplicationKind.DRBD84 if version.startswith("8.4.") else None


def option_names(xml: str) -> frozenset[str]:
    """The options of a command, from `drbdsetup xml-help COMMAND`."""
    return frozenset(_OPTION.findall(xml))


def utils_suffice(version: str) -> bool:
    """Whether these tools drive both modules."""
    parts = version.split(".")[:2]
    return len(parts) == 2 and all(part.isdigit() for part in parts) and tuple(map(int, parts)) >= _UTILS_MIN
