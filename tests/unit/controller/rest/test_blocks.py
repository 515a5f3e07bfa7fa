"""Long lists of blocks: the same JSON whichever way it is sent, and little work for little news."""

import gzip
import zlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bollard.controller.rest.blocks import Blocks, Wholes, gzipped, joined

NAMES = st.lists(st.uuids().map(str), unique=True, max_size=900)


def piece(name: str, text: str = "") -> tuple[str, bytes]:
    return name, msgspec.json.encode({"name": name, "text": text})


@given(NAMES, st.text(max_size=40))
def test_both_ways_say_the_same(names: list[str], text: str) -> None:
    pieces = [piece(name, text) for name in names]
    blocks = list(Blocks().of(pieces))
    plain = joined(blocks)
    assert msgspec.json.decode(plain) == [msgspec.json.decode(content) for _, content in pieces]
    packed = gzipped(blocks)
    assert gzip.decompress(packed) == plain
    reader = zlib.decompressobj(31)
    assert reader.decompress(packed) == plain
    assert reader.eof
    assert not reader.unused_data, "one member: some clients read no more than the first"


def made_by(blocks: Blocks, pieces: list[tuple[str, bytes]]) -> int:
    before = blocks.made
    list(blocks.of(pieces))
    return blocks.made - before


def test_news_make_only_their_own_block_anew() -> None:
    blocks = Blocks()
    pieces = [piece(f"{zlib.crc32(str(number).encode()):08x}") for number in range(3000)]
    assert made_by(blocks, pieces) > 10
    assert made_by(blocks, list(pieces)) == 0
    changed = [*pieces[:1500], piece(pieces[1500][0], "new"), *pieces[1501:]]
    assert made_by(blocks, changed) == 1
    assert made_by(blocks, [*changed[:700], piece("more"), *changed[700:]]) <= 2
    assert made_by(blocks, [*changed[:900], *changed[901:]]) <= 2


def test_what_is_gone_is_forgotten() -> None:
    blocks = Blocks()
    for number in range(80):
        list(blocks.of([piece(f"only-{number}")]))
        blocks.keep_within(1)
    assert made_by(blocks, [piece("only-3")]) == 1


def test_whole_answers_are_kept_for_their_version_and_not_many() -> None:
    wholes = Wholes()
    for number in range(5):
        wholes.put(f"q{number}", "1", b"x")
    assert wholes.get("q0", "1") is None
    assert wholes.get("q4", "1") == b"x"
    assert wholes.get("q4", "2") is None
