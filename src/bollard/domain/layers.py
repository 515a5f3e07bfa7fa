"""Layers and providers: what may stand on what."""

import itertools
from enum import StrEnum

from bollard.domain.errors import Invalid, Subject


class LayerKind(StrEnum):
    """Layers of a resource, as the API names them."""

    DRBD = "DRBD"
    CACHE = "CACHE"
    WRITECACHE = "WRITECACHE"
    BCACHE = "BCACHE"
    LUKS = "LUKS"
    NVME = "NVME"
    STORAGE = "STORAGE"


class ReplicationKind(StrEnum):
    """What runs the DRBD layer of a resource on a node: three implementations of one layer."""

    USER = "user"
    """The data process, in user space."""
    DRBD9 = "drbd9"
    """The kernel's DRBD 9 module."""
    DRBD84 = "drbd84"
    """The in-tree DRBD 8.4 module: two nodes, no quorum."""
    NVME = "nvme"
    """None of them: the volumes are another node's, by NVMe."""


class AttachWay(StrEnum):
    """How a volume of the data process becomes a block device of its node, the best first."""

    LOOP = "loop"
    """A loop device on a file of the data process's FUSE file system."""


class ProviderKind(StrEnum):
    """Providers of a storage pool, as the API names them."""

    DISKLESS = "DISKLESS"
    LVM = "LVM"
    LVM_THIN = "LVM_THIN"
    ZFS = "ZFS"
    ZFS_THIN = "ZFS_THIN"
    FILE = "FILE"
    FILE_THIN = "FILE_THIN"
    SPDK = "SPDK"
    REMOTE_SPDK = "REMOTE_SPDK"
    EBS_INIT = "EBS_INIT"
    EBS_TARGET = "EBS_TARGET"
    STORAGE_SPACES = "STORAGE_SPACES"
    STORAGE_SPACES_THIN = "STORAGE_SPACES_THIN"


THIN_PROVIDERS = frozenset(
    {ProviderKind.LVM_THIN, ProviderKind.ZFS_THIN, ProviderKind.FILE_THIN, ProviderKind.STORAGE_SPACES_THIN}
)

_K = LayerKind
_BELOW: dict[LayerKind, frozenset[LayerKind]] = {
    _K.DRBD: frozenset({_K.NVME, _K.LUKS, _K.STORAGE, _K.WRITECACHE, _K.CACHE, _K.BCACHE}),
    _K.LUKS: frozenset({_K.STORAGE}),
    _K.NVME: frozenset({_K.LUKS, _K.STORAGE, _K.WRITECACHE, _K.CACHE, _K.BCACHE}),
    _K.WRITECACHE: frozenset({_K.NVME, _K.LUKS, _K.STORAGE, _K.CACHE, _K.BCACHE}),
    _K.CACHE: frozenset({_K.NVME, _K.LUKS, _K.STORAGE, _K.WRITECACHE, _K.BCACHE}),
    _K.BCACHE: frozenset({_K.NVME, _K.LUKS, _K.STORAGE, _K.WRITECACHE}),
    _K.STORAGE: frozenset(),
}

DEFAULT_STACK = (LayerKind.DRBD, LayerKind.STORAGE)


def layer_kind(text: str) -> LayerKind:
    """Parse a layer name in any case. Raises Invalid."""
    try:
        return LayerKind(text.upper())
    except ValueError:
        raise Invalid(
            Subject.LAYER_KIND,
            text,
            f"'{text[:48]}' is not a layer",
            correction="Known layers: " + ", ".join(LayerKind) + ".",
        ) from None


def provider_kind(text: str) -> ProviderKind:
    """Parse a provider name in any case. Raises Invalid."""
    try:
        return ProviderKind(text.upper())
    except ValueError:
        raise Invalid(
            Subject.PROVIDER,
            text,
            f"'{text[:48]}' is not a storage provider",
            correction="Known providers: " + ", ".join(ProviderKind) + ".",
        ) from None


def complete_stack(stack: tuple[LayerKind, ...]) -> tuple[tuple[LayerKind, ...], bool]:
    """The stack with STORAGE at its end, and whether that was added. Raises Invalid for an illegal order."""
    added = not stack or stack[-1] is not LayerKind.STORAGE
    whole = (*stack, LayerKind.STORAGE) if added else stack
    for upper, lower in itertools.pairwise(whole):
        if lower not in _BELOW[upper]:
            raise Invalid(
                Subject.LAYER_STACK,
                ",".join(whole),
                f"The layer stack {', '.join(whole)} is not possible",
                cause=f"{upper} cannot stand directly on {lower}.",
            )
    if len(set(whole)) != len(whole):
        raise Invalid(
            Subject.LAYER_STACK,
            ",".join(whole),
            f"The layer stack {', '.join(whole)} is not possible",
            cause="Each layer may occur once.",
        )
    return whole, added
