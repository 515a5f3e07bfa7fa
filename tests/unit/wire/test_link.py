"""Frames and messages between controller and satellite: round trip, limits, skew, and nonsense."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.seen import Capabilities, Observation, SeenResource
from bollard.domain.targets import Target, TargetDelta
from bollard.wire import version
from bollard.wire.link import (
    FRAME_BYTES_MAX,
    GREETING_BYTES_MAX,
    AnyMessage,
    Bye,
    FrameReader,
    Hello,
    LinkError,
    NeedFull,
    Ping,
    Pong,
    Query,
    QueryReply,
    Refused,
    Report,
    TargetFull,
    TargetPart,
    Welcome,
    decode,
    encode,
)

N1 = NodeName("n1")
EXAMPLES: list[AnyMessage] = [
    Hello(cluster_uuid="c", version="1", node="n1", features=("target",)),
    Welcome(node="n1", capabilities=Capabilities("1", features=("target",)), instance="i"),
    Refused(code="wrong-node", message="no"),
    TargetFull(target=Target(N1, Uuid("c"), 7)),
    TargetPart(delta=TargetDelta(N1, 7, 8, gone=(ResourceName("r1"),))),
    NeedFull(revision=3),
    Report(
        observation=Observation(N1, complete=True, resources=(SeenResource(ResourceName("r"), Uuid("u")),))
    ),
    Ping(number=1),
    Pong(number=1),
    Query(number=2, topic="log-level", arguments={"level": "DEBUG"}),
    QueryReply(number=2, body="{}"),
    Bye(code="stopping"),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda it: type(it).__name__)
def test_round_trip(message: AnyMessage) -> None:
    reader = FrameReader()
    reader.feed(encode(message))
    payload = reader.next()
    assert payload is not None
    assert decode(payload) == message
    assert reader.next() is None
    assert reader.pending_bytes == 0


def test_every_type_has_an_example() -> None:
    assert {type(message) for message in EXAMPLES} == set(AnyMessage.__args__)


@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    stream = b"".join(encode(message) for message in EXAMPLES)
    edges = sorted({min(cut * 10, len(stream)) for cut in cuts} | {0, len(stream)})
    reader = FrameReader()
    found = []
    for start, end in itertools.pairwise(edges):
        reader.feed(stream[start:end])
        while (payload := reader.next()) is not None:
            found.append(decode(payload))
    assert found == EXAMPLES


def test_a_newer_neighbour_is_understood() -> None:
    assert decode(msgspec.msgpack.encode({"type": "ping", "number": 4, "mood": "good"})) == Ping(number=4)
    assert decode(msgspec.msgpack.encode({"type": "song", "verse": 1})) is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1, 2]),
        msgspec.msgpack.encode({"number": 1}),
        msgspec.msgpack.encode({"type": 7}),
        msgspec.msgpack.encode({"type": "ping", "number": "one"}),
        msgspec.msgpack.encode({"type": "hello"}),
        b"\x81\xa4type\xa4\xff\xff\xff\xff",
    ],
)
def test_nonsense_is_refused(payload: bytes) -> None:
    with pytest.raises(LinkError):
        decode(payload)


@given(payload=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_an_error(payload: bytes) -> None:
    try:
        decode(payload)
    except LinkError:
        return


def test_an_oversized_frame_is_refused_by_its_header() -> None:
    reader = FrameReader()
    with pytest.raises(LinkError, match="longer than allowed"):
        reader.feed((GREETING_BYTES_MAX + 1).to_bytes(4, "big"))
    reader = FrameReader(FRAME_BYTES_MAX)
    reader.feed(FRAME_BYTES_MAX.to_bytes(4, "big"))
    assert reader.next() is None
    with pytest.raises(LinkError):
        FrameReader(FRAME_BYTES_MAX).feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


def test_the_second_frame_of_a_chunk_is_checked_too() -> None:
    reader = FrameReader()
    reader.feed(encode(Ping()) + b"\xff\xff\xff\xff")
    assert reader.next() is not None
    with pytest.raises(LinkError):
        reader.next()


def test_a_message_too_long_for_a_frame_is_not_sent() -> None:
    with pytest.raises(LinkError, match="longer than a frame"):
        encode(QueryReply(number=1, body="x" * FRAME_BYTES_MAX))


def test_what_is_missing_is_named() -> None:
    assert version.missing(version.SATELLITE_FEATURES) == ()
    assert version.missing(("target",)) == ("observation",)
    assert version.missing(version.CONTROLLER_FEATURES) == ()
