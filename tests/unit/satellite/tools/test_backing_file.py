"""Names and markers of backing files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.satellite.tools.backing_file import Owner, decode_owner, encode_owner, file_name, marker_name


@pytest.mark.parametrize(
    ("resource", "number", "suffix", "name"),
    [("data", 0, "", "data_00000.img"), ("Web-1", 12345, ".1", "Web-1_12345.1.img")],
)
def test_names_are_linstors(resource: str, number: int, suffix: str, name: str) -> None:
    assert file_name(resource, number, suffix) == name
    assert marker_name(name) == name + ".owner"


@given(st.text(), st.integers(0, 65535), st.text(), st.booleans(), st.booleans())
def test_markers_are_read_back(resource: str, number: int, uuid: str, made: bool, metadata: bool) -> None:
    try:
        owner = Owner(resource, number, uuid, made, metadata)
        content = encode_owner(owner)
    except UnicodeEncodeError:
        return
    assert decode_owner(content) == owner


@given(st.binary())
def test_garbage_is_no_marker(content: bytes) -> None:
    owner = decode_owner(content)
    assert owner is None or isinstance(owner, Owner)


def test_a_newer_marker_is_understood() -> None:
    owner = decode_owner(b'{"resource":"a","number":1,"volume_uuid":"u","format":9,"colour":"red"}')
    assert owner == Owner("a", 1, "u", format=9)
