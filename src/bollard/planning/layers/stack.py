"""Sizes through a resource's layer stack: what each layer gives to the one above it. Arithmetic only.

One rule a layer; the order of the stack is that of the API, the highest first.
"""

from collections.abc import Mapping

import msgspec

from bollard.domain.layers import LayerKind
from bollard.domain.nodes import Props
from bollard.domain.units import align_up
from bollard.planning.layers import caches, drbd, luks

__all__ = ["DEVICE_LAYERS", "Level", "levels", "net_kib", "overhead_kib"]

DEVICE_LAYERS = frozenset(
    {LayerKind.LUKS, LayerKind.CACHE, LayerKind.WRITECACHE, LayerKind.BCACHE, LayerKind.NVME}
)
"""Those that stand between storage and what serves it."""

Options = Mapping[LayerKind, Props]
_NONE: Options = {}


class Level(msgspec.Struct, frozen=True):
    """A layer of a stack and how much it gives to the one above; STORAGE is the last."""

    kind: LayerKind
    size_kib: int


def overhead_kib(kind: LayerKind, options: Props) -> int:
    """What a device layer keeps of the device below it, whatever that one's size."""
    match kind:
        case LayerKind.LUKS:
            return luks.header_kib(options.get("FormatOptions", ""))
        case LayerKind.BCACHE:
            return caches.data_offset_kib(kind, options)
        case _:
            return 0


def levels(
    net: int,
    stack: tuple[LayerKind, ...],
    *,
    peer_slots: int,
    options: Options = _NONE,
    external: bool = False,
) -> tuple[Level, ...]:
    """The stack with sizes, the highest layer first, for users to get `net` KiB.

    `external`: DRBD's metadata is elsewhere.
    """
    found, size_kib = [], net
    for kind in stack:
        found.append(Level(kind, size_kib))
        if kind is LayerKind.DRBD:
            size_kib = align_up(size_kib, 4) if external else drbd.gross_kib(size_kib, peer_slots)
        elif kind in DEVICE_LAYERS:
            size_kib = align_up(size_kib, 4) + overhead_kib(kind, options.get(kind, {}))
    return tuple(found)


def net_kib(
    gross: int,
    stack: tuple[LayerKind, ...],
    *,
    peer_slots: int,
    options: Options = _NONE,
    external: bool = False,
) -> int:
    """What users get when storage has `gross` KiB; 0 when the layers take it all."""
    size_kib = gross
    for kind in reversed(stack):
        if kind is LayerKind.DRBD and external:
            size_kib -= size_kib % 4
        elif kind is LayerKind.DRBD:
            size_kib = drbd.net_kib(align_up(size_kib, 4), peer_slots)
        elif kind in DEVICE_LAYERS:
            size_kib -= overhead_kib(kind, options.get(kind, {}))
    return max(0, size_kib)
