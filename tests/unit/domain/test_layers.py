"""Layers and providers: what may stand on what."""

import itertools

import pytest

from bollard.domain.errors import Invalid, Subject
from bollard.domain.layers import LayerKind, ProviderKind, complete_stack, layer_kind, provider_kind

K = LayerKind
ORDER = {K.DRBD: 80, K.CACHE: 60, K.WRITECACHE: 60, K.BCACHE: 60, K.LUKS: 50, K.NVME: 20, K.STORAGE: 10}


def test_words_in_any_case() -> None:
    assert layer_kind("drbd") is K.DRBD
    assert provider_kind("file_thin") is ProviderKind.FILE_THIN
    with pytest.raises(Invalid) as caught:
        layer_kind("nope")
    assert caught.value.subject is Subject.LAYER_KIND
    with pytest.raises(Invalid):
        provider_kind("floppy")


@pytest.mark.parametrize(
    ("stack", "whole", "added"),
    [
        ((), (K.STORAGE,), True),
        ((K.DRBD,), (K.DRBD, K.STORAGE), True),
        ((K.DRBD, K.STORAGE), (K.DRBD, K.STORAGE), False),
        ((K.DRBD, K.LUKS, K.STORAGE), (K.DRBD, K.LUKS, K.STORAGE), False),
        ((K.NVME, K.STORAGE), (K.NVME, K.STORAGE), False),
    ],
)
def test_stacks(stack: tuple[K, ...], whole: tuple[K, ...], added: bool) -> None:
    assert complete_stack(stack) == (whole, added)


@pytest.mark.parametrize(
    "stack",
    [
        (K.STORAGE, K.DRBD),
        (K.DRBD, K.DRBD, K.STORAGE),
        (K.LUKS, K.DRBD, K.STORAGE),
        (K.CACHE, K.WRITECACHE, K.CACHE, K.STORAGE),
    ],
)
def test_impossible_stacks(stack: tuple[K, ...]) -> None:
    with pytest.raises(Invalid) as caught:
        complete_stack(stack)
    assert caught.value.subject is Subject.LAYER_STACK


def test_nothing_stands_on_what_ranks_above_drbd() -> None:
    for upper, lower in itertools.product(K, K):
        try:
            complete_stack((upper, lower, K.STORAGE) if lower is not K.STORAGE else (upper, lower))
        except Invalid:
            continue
        assert lower is not K.DRBD
        assert upper is not K.STORAGE
        assert upper is not lower
        assert ORDER[upper] >= ORDER[lower] or upper is K.NVME
