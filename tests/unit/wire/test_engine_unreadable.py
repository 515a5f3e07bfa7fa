"""What no client may send: each is unreadable to the control socket and to the link, and nothing worse."""

import msgspec
import pytest

from bollard.wire import engine, link

UNREADABLE = {
    "no UTF-8": b'{"op":"status","name":"\xff"}',
    "too deep": b'{"op":"status","other":' + b"[" * 100_000,
    "too deep, in a specification": b'{"op":"configure","resource":' + b'{"a":' * 50_000,
    "no JSON": b"\xff",
    "half a pair": b'"\xed\xa0\x80"',
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE)
def test_lines_of_the_control_socket(raw: bytes) -> None:
    for decode in (engine.decode_request, engine.decode_reply, engine.decode_spec):
        with pytest.raises(msgspec.DecodeError):
            decode(raw)


@pytest.mark.parametrize(
    "raw", [b"\x82\xa4type\xa4ping\xa1x" + b"\x91" * 100_000, b"\x81\xa4type\xa4p\xffng"]
)
def test_messages_of_the_link(raw: bytes) -> None:
    with pytest.raises(link.LinkError):
        link.decode(raw)
