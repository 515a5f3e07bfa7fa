"""Sizes through the layers: what goes in on top comes out at the bottom, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain.layers import LayerKind, complete_stack
from bollard.planning.layers import caches, drbd, luks
from bollard.planning.layers.stack import levels, net_kib

K = LayerKind
STACKS = (
    (K.STORAGE,),
    (K.LUKS, K.STORAGE),
    (K.DRBD, K.STORAGE),
    (K.DRBD, K.LUKS, K.STORAGE),
    (K.DRBD, K.WRITECACHE, K.LUKS, K.STORAGE),
    (K.DRBD, K.BCACHE, K.LUKS, K.STORAGE),
    (K.CACHE, K.NVME, K.STORAGE),
)


def test_the_stacks_are_possible() -> None:
    assert all(complete_stack(stack) == (stack, False) for stack in STACKS)


@given(st.sampled_from(STACKS), st.integers(4, 1 << 34), st.integers(1, 31))
def test_nobody_gets_less_than_they_asked_for(stack: tuple[LayerKind, ...], net: int, slots: int) -> None:
    found = levels(net, stack, peer_slots=slots)
    assert [level.kind for level in found] == list(stack)
    assert found[0].size_kib == net
    sizes = [level.size_kib for level in found]
    assert sizes == sorted(sizes)
    assert net <= net_kib(sizes[-1], stack, peer_slots=slots) <= net + 72


def test_luks_takes_its_header_under_the_metadata() -> None:
    (top, between, storage) = levels(1024 * 1024, (K.DRBD, K.LUKS, K.STORAGE), peer_slots=7)
    assert between.size_kib == drbd.gross_kib(top.size_kib, 7)
    assert storage.size_kib == between.size_kib + 16384


@pytest.mark.parametrize(
    ("options", "kib"),
    [
        ("", 16384),
        ("--offset 65536 --pbkdf pbkdf2", 32768),
        ("--offset=8", 4),
        ("--type luks1", 2048),
        ("--type luks1 --align-payload 8192", 4096),
        ("--align-payload=65536", 32768),
    ],
)
def test_the_header_follows_the_options(options: str, kib: int) -> None:
    assert luks.header_kib(options) == kib


def test_companions_have_the_size_that_the_options_name() -> None:
    gib = 1024 * 1024
    assert caches.companion_kib(K.WRITECACHE, gib, {"Size": "10%"}) == 106496
    assert caches.companion_kib(K.WRITECACHE, gib, {"Size": "200000"}) == 200704
    assert caches.companion_kib(K.BCACHE, gib, {"Size": "5%"}) == caches.BCACHE_MIN_KIB
    assert caches.companion_kib(K.CACHE, gib, {}) == 53248 + caches.CACHE_META_KIB
    assert caches.companion_kib(K.CACHE, gib, {"Cachesize": "20%", "Metasize": "20000"}) == 212992 + 20480
    assert caches.companion_kib(K.LUKS, gib, {}) == 0
    assert caches.pool_name(K.CACHE, {"CachePool": "fast"}) == "fast"
    assert caches.pool_name(K.WRITECACHE, {"PoolName": "fast"}) == "fast"
    assert caches.pool_name(K.LUKS, {"PoolName": "fast"}) == ""


def test_bcache_keeps_its_offset() -> None:
    (_, storage) = levels(4096, (K.BCACHE, K.STORAGE), peer_slots=1)
    assert storage.size_kib == 4096 + 8
    (_, storage) = levels(4096, (K.BCACHE, K.STORAGE), peer_slots=1, options={K.BCACHE: {"DataOffset": "64"}})
    assert storage.size_kib == 4096 + 32
