"""The volume's bitmap: rounding, interleave on the disk, dirty pages, wire words, growth."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.replica.metadata.bitmap import Bitmap
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.layout import bitmap_bytes
from unit.replica.metadata.records import refuses

SIZES = st.one_of(
    st.integers(1, 300 << 20),
    st.sampled_from([4096, 128 << 20, (128 << 20) + 4096, 256 << 20, (256 << 20) - 512]),
)


@st.composite
def filled(draw: st.DrawFn) -> tuple[Bitmap, dict[int, set[int]]]:
    """A bitmap with some bits, and which: a few runs in a few slots."""
    bitmap = Bitmap(draw(SIZES), max_peers=draw(st.integers(1, 31)))
    model: dict[int, set[int]] = {}
    for _ in range(draw(st.integers(0, 6))):
        slot = draw(st.integers(0, bitmap.max_peers - 1))
        first = draw(st.integers(0, bitmap.bits - 1))
        count = draw(st.integers(1, min(200, bitmap.bits - first)))
        bitmap.set_bits(slot, first, count)
        model.setdefault(slot, set()).update(range(first, first + count))
    return bitmap, model


@settings(max_examples=60)
@given(filled())
def test_a_bit_lies_where_the_format_has_it(made: tuple[Bitmap, dict[int, set[int]]]) -> None:
    bitmap, model = made
    expected = bytearray(bitmap.pages * 4096)
    for slot, bits in model.items():
        for bit in bits:
            position = (bit & ~31) * bitmap.max_peers + slot * 32 + (bit & 31)
            expected[position >> 3] |= 1 << (position & 7)
    assert bitmap.encode_pages(0, bitmap.pages) == expected
    assert bitmap.pages * 4096 == bitmap_bytes(-(-bitmap.size_bytes // 512) * 512, max_peers=bitmap.max_peers)


@settings(max_examples=60)
@given(filled(), st.data())
def test_pages_load_in_any_cut(made: tuple[Bitmap, dict[int, set[int]]], data: st.DataObject) -> None:
    bitmap, model = made
    raw = bitmap.encode_pages(0, bitmap.pages)
    copy = Bitmap(bitmap.size_bytes, max_peers=bitmap.max_peers)
    copy.set_all(0)
    page = 0
    while page < bitmap.pages:
        count = data.draw(st.integers(1, bitmap.pages - page))
        copy.load_pages(page, raw[page * 4096 : (page + count) * 4096])
        page += count
    assert not copy.is_dirty
    for slot in range(bitmap.max_peers):
        assert copy.count(slot) == len(model.get(slot, ()))
    assert copy.encode_pages(0, copy.pages) == raw


@settings(max_examples=80)
@given(filled(), st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.floats(0, 1), st.floats(0, 1))))
def test_dirty_pages_bring_the_disk_up_to_date(
    made: tuple[Bitmap, dict[int, set[int]]], changes: list[tuple[bool, int, float, float]]
) -> None:
    bitmap, _ = made
    disk = bytearray(bitmap.encode_pages(0, bitmap.pages))
    bitmap.forget_dirty()
    for on, slot, start, part in changes:
        first = int(start * (bitmap.bits - 1))
        count = max(1, int(part * (bitmap.bits - first)))
        (bitmap.set_bits if on else bitmap.clear_bits)(slot % bitmap.max_peers, first, count)
    for run in bitmap.take_dirty(limit_pages=3) + bitmap.take_dirty():
        disk[run.offset_bytes : run.offset_bytes + len(run.data)] = run.data
    assert not bitmap.is_dirty
    assert disk == bitmap.encode_pages(0, bitmap.pages)


@pytest.mark.parametrize("peers", [1, 3, 10, 31])
@pytest.mark.parametrize("size", [4096, 44 << 20, 300 << 20])
def test_the_last_page_is_written_too(size: int, peers: int) -> None:
    bitmap = Bitmap(size, max_peers=peers)
    for slot in range(peers):
        bitmap.set_all(slot)
        disk = bytearray(bitmap.pages * 4096)
        for run in bitmap.take_dirty():
            disk[run.offset_bytes : run.offset_bytes + len(run.data)] = run.data
        assert disk == bitmap.encode_pages(0, bitmap.pages)
        bitmap.clear_all(slot)
        bitmap.forget_dirty()


def test_only_touched_pages_are_written() -> None:
    bitmap = Bitmap(64 << 30, max_peers=7)
    assert bitmap.pages == 7 * 512
    assert bitmap.set_bits(3, 32768 * 100 + 5, 1) == 1
    assert bitmap.dirty_pages() == [700]
    assert bitmap.set_bits(3, 32768 * 100 + 5, 1) == 0
    (run,) = bitmap.take_dirty()
    assert (run.first_page, len(run.data)) == (700, 4096)
    assert bitmap.set_bits(3, 32768 * 100 + 5, 1) == 0
    assert not bitmap.is_dirty
    bitmap.mark_dirty(run.first_page, 1)
    assert bitmap.dirty_pages(range(600, 701)) == [700]
    assert bitmap.dirty_pages(range(600, 700)) == []


@given(st.integers(0, 1 << 30), st.integers(1, 8 << 20), st.integers(1, 31))
def test_pages_of_a_range_hold_its_bits(offset: int, length: int, peers: int) -> None:
    bitmap = Bitmap(2 << 30, max_peers=peers)
    bitmap.mark(range(peers), offset, length)
    pages = bitmap.pages_of(offset, length)
    dirty = bitmap.dirty_pages()
    assert set(dirty) <= set(pages)
    assert dirty[0] == pages[0]
    assert dirty[-1] == pages[-1]


@given(st.integers(1, 40 << 10), st.integers(0, 50 << 10), st.integers(0, 50 << 10))
def test_marking_rounds_out_and_cleaning_rounds_in(size: int, offset: int, length: int) -> None:
    bitmap = Bitmap(size, max_peers=2)
    touched = {byte // 4096 for byte in range(offset, min(offset + length, size))}
    assert bitmap.mark((1,), offset, length) == len(touched)
    assert {bit for bit in range(bitmap.bits) if bitmap.test(1, bit)} == touched
    assert bitmap.count(0) == 0
    bitmap.set_all(0)
    bitmap.clean(0, offset, length)
    covered = {
        bit
        for bit in range(bitmap.bits)
        if length and offset <= bit * 4096 and min((bit + 1) * 4096, size) <= offset + length
    }
    assert {bit for bit in range(bitmap.bits) if not bitmap.test(0, bit)} == covered


@settings(max_examples=60)
@given(filled(), st.data())
def test_words_go_over_the_wire(made: tuple[Bitmap, dict[int, set[int]]], data: st.DataObject) -> None:
    bitmap, model = made
    target = Bitmap(bitmap.size_bytes, max_peers=2)
    already = data.draw(st.integers(0, bitmap.bits - 1))
    target.set_bits(1, already, 1)
    slot = data.draw(st.sampled_from(sorted(model) or [0]))
    news, word = 0, 0
    while word < bitmap.wire_words:
        count = data.draw(st.integers(1, min(509, bitmap.wire_words - word)))
        sent = bitmap.words(slot, word, count)
        assert len(sent) == count * 8
        news += target.merge_words(1, word, sent)
        word += count
    expected = model.get(slot, set()) | {already}
    assert news == len(expected) - 1
    assert {bit for bit, length in target.runs(1) for bit in range(bit, bit + length)} == expected
    assert target.count(0) == 0


def test_word_bits_are_little_endian() -> None:
    bitmap = Bitmap(1 << 20, max_peers=3)
    bitmap.set_bits(2, 0, 1)
    bitmap.set_bits(2, 9, 1)
    bitmap.set_bits(2, 70, 1)
    assert bitmap.words(2, 0, 2) == b"\x01\x02" + bytes(6) + b"\x40" + bytes(7)


@given(
    st.integers(1, 8 << 20),
    st.sampled_from([8192, 65536, 1 << 20]),
    st.sets(st.integers(0, 2047), max_size=5),
)
def test_coarse_blocks_talk_in_4_kib(size: int, block: int, wire_bits: set[int]) -> None:
    coarse = Bitmap(size, max_peers=1, block_bytes=block)
    fine = Bitmap(size, max_peers=1)
    for bit in wire_bits:
        if bit < fine.bits:
            fine.set_bits(0, bit, 1)
    coarse.merge_words(0, 0, fine.words(0, 0, fine.wire_words))
    scale = block // 4096
    touched = {bit // scale for bit in wire_bits if bit < fine.bits}
    assert {bit for bit in range(coarse.bits) if coarse.test(0, bit)} == touched
    back = Bitmap(size, max_peers=1)
    half = coarse.wire_words // 2
    back.merge_words(0, 0, coarse.words(0, 0, half))
    back.merge_words(0, half, coarse.words(0, half, coarse.wire_words - half))
    assert {bit // scale for bit in range(back.bits) if back.test(0, bit)} == touched
    assert back.count(0) == sum(min(scale, back.bits - bit * scale) for bit in touched)


@given(st.integers(-5, 40), st.binary(max_size=200))
def test_any_words_from_a_peer(first: int, data: bytes) -> None:
    bitmap = Bitmap(10 << 20, max_peers=2)
    refuses(bitmap.merge_words, 0, first, data)
    assert bitmap.count(0) <= bitmap.bits
    refuses(bitmap.words, 0, first, len(data))


@given(st.integers(-3, 10), st.binary(max_size=64), st.integers(0, 3))
def test_any_pages_from_the_disk(first: int, piece: bytes, pages: int) -> None:
    bitmap = Bitmap(300 << 20, max_peers=2)
    data = (piece * (pages * 4096))[: pages * 4096] if piece else bytes(1)
    refuses(bitmap.load_pages, first, data)
    assert all(bitmap.count(slot) <= bitmap.bits for slot in range(2))


@settings(max_examples=60)
@given(filled(), SIZES, st.booleans())
def test_resize_keeps_old_bits(made: tuple[Bitmap, dict[int, set[int]]], size: int, new_set: bool) -> None:
    bitmap, model = made
    old_bits = bitmap.bits
    bitmap.resize(size, new_bits_set=new_set)
    new = set(range(old_bits, bitmap.bits)) if new_set else set()
    for slot in range(bitmap.max_peers):
        kept = {bit for bit in model.get(slot, ()) if bit < bitmap.bits}
        assert bitmap.count(slot) == len(kept | new)
    assert len(bitmap.dirty_pages()) == bitmap.pages


def test_copying_a_slot() -> None:
    bitmap = Bitmap(1 << 30, max_peers=3)
    bitmap.set_bits(1, 77, 1000)
    bitmap.set_bits(2, 0, 5)
    bitmap.copy_slot(1, 2)
    assert list(bitmap.runs(2)) == [(77, 1000)]
    bitmap.clear_all(1)
    assert bitmap.count(2) == 1000


def test_words_beyond_the_volume_are_refused() -> None:
    bitmap = Bitmap(1 << 20, max_peers=1)
    with pytest.raises(MetadataError, match="another idea of the volume's size"):
        bitmap.merge_words(0, 4, bytes(8))
    with pytest.raises(MetadataError, match="not whole"):
        bitmap.merge_words(0, 0, bytes(7))
    assert bitmap.merge_words(0, 0, b"\xff" * 32) == 256


def test_a_4_tib_volume_is_quick_and_small() -> None:
    bitmap = Bitmap(4 << 40, max_peers=7)
    start = time.perf_counter()
    bitmap.set_all(0)
    bitmap.clear_bits(0, 12345, 1)
    assert bitmap.next_clear(0) == 12345
    assert list(bitmap.runs(0)) == [(0, 12345), (12346, bitmap.bits - 12346)]
    bitmap.clear_all(0)
    bitmap.set_bits(1, bitmap.bits - 1, 1)
    assert bitmap.next_set(1) == bitmap.bits - 1
    for offset in range(0, 4 << 40, 1 << 30):
        bitmap.mark((2,), offset, 4096)
    assert bitmap.count(2) == 4096
    assert sum(1 for _ in bitmap.runs(2)) == 4096
    assert time.perf_counter() - start < 5, "generous: it takes about 0.3 s"
