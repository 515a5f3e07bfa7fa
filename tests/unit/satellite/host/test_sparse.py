"""Copies of files: the same bytes, and no more room than the source takes."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bollard.satellite.host.sparse import copy_sparse

MIB = 1 << 20


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 63), st.binary(min_size=1, max_size=9000)), max_size=6),
    st.integers(0, 5 * MIB),
)
def test_a_copy_is_equal_up_to_its_size(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, bytes]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    source, target = folder / "a", folder / "b"
    with source.open("wb") as file:
        file.truncate(4 * MIB)
        for place, data in writes:
            file.seek(place * (MIB // 16))
            file.write(data)
    target.write_bytes(b"old" * MIB)
    copy_sparse(str(source), str(target), size)
    whole = source.read_bytes()[:size]
    assert target.read_bytes() == whole + bytes(size - len(whole))


def test_holes_stay_holes(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    with source.open("wb") as file:
        file.truncate(256 * MIB)
        file.seek(128 * MIB)
        file.write(b"x" * MIB)
    copy_sparse(str(source), str(target), 256 * MIB)
    assert target.stat().st_size == 256 * MIB
    assert target.stat().st_blocks * 512 <= 2 * MIB
