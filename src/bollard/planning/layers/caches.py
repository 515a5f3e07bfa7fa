"""How large the companions of CACHE, WRITECACHE and BCACHE are, and what these take of the data device.

Arithmetic only.
"""

import math
from typing import Final

from bollard.domain import props
from bollard.domain.layers import LayerKind
from bollard.domain.nodes import Props
from bollard.domain.units import KIB, SECTOR_BYTES, align_up

__all__ = [
    "BCACHE_MIN_KIB",
    "CACHE_META_KIB",
    "cache_meta_kib",
    "companion_kib",
    "data_offset_kib",
    "pool_name",
]

BCACHE_MIN_KIB: Final = 512 * 1024
CACHE_META_KIB: Final = 12288
_PIECE_KIB: Final = 4096
_DEFAULT: Final = "5%"
_BCACHE_OFFSET_SECTORS: Final = 16
_POOL_KEY: Final = {
    LayerKind.CACHE: "CachePool",
    LayerKind.WRITECACHE: "PoolName",
    LayerKind.BCACHE: "PoolName",
}


def pool_name(kind: LayerKind, options: Props) -> str:
    """The pool of the layer's companion by its options (keys without the namespace); empty: none is named."""
    return options.get(_POOL_KEY.get(kind, ""), "")


def companion_kib(kind: LayerKind, data_kib: int, options: Props) -> int:
    """The size of the storage beside a volume of `data_kib`; 0 for a layer that has none.

    Of CACHE it holds the cache and, before it, its metadata.
    """
    match kind:
        case LayerKind.WRITECACHE | LayerKind.BCACHE:
            least = BCACHE_MIN_KIB if kind is LayerKind.BCACHE else _PIECE_KIB
            return max(least, _size_kib(options.get("Size") or _DEFAULT, data_kib))
        case LayerKind.CACHE:
            cache = max(_PIECE_KIB, _size_kib(options.get("Cachesize") or _DEFAULT, data_kib))
            return cache + cache_meta_kib(cache, options)
        case _:
            return 0


def cache_meta_kib(cache_kib: int, options: Props) -> int:
    """The part of CACHE's companion that holds its metadata."""
    given = options.get("Metasize")
    return max(CACHE_META_KIB, _size_kib(given, cache_kib) if given else 0)


def data_offset_kib(kind: LayerKind, options: Props) -> int:
    """What the layer keeps for itself at the start of the data device."""
    if kind is not LayerKind.BCACHE:
        return 0
    given = options.get("DataOffset", "")
    sectors = int(given) if given.isdecimal() else _BCACHE_OFFSET_SECTORS
    return -(-sectors * SECTOR_BYTES // KIB)


def _size_kib(text: str, whole_kib: int) -> int:
    return align_up(math.ceil(props.size_kib(text, whole_kib)), _PIECE_KIB)
