"""The handshake machine: examples of each option, and that no bytes whatever can upset it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.nbd.negotiation import (
    Action,
    Close,
    ExportInfo,
    Negotiation,
    OpenExport,
    Send,
    StartTls,
    Transmit,
)
from bollard.wire import nbd as wire
from bollard.wire.nbd import InfoType, Option, OptionReply

VOLUME = ExportInfo(1 << 20, 0x1ED, "a test volume", 512)
FLAGS = (3).to_bytes(4)


def talk(**kwargs: bool) -> Negotiation:
    known = {"vol/0": VOLUME}
    return Negotiation(known.get, lambda: sorted(known), **kwargs)


def option(number: int, payload: bytes = b"") -> bytes:
    return wire.OPTION_HEAD.pack(wire.OPTION_MAGIC, number, len(payload)) + payload


def go(name: str, *infos: int) -> bytes:
    raw = name.encode()
    return struct.pack(f">I{len(raw)}sH{len(infos)}H", len(raw), raw, len(infos), *infos)


def replies(actions: list[Action]) -> list[tuple[int, bytes]]:
    found = []
    for action in actions:
        if isinstance(action, Send):
            magic, _, kind, length = wire.OPTION_REPLY_HEAD.unpack_from(action.data)
            assert magic == wire.OPTION_REPLY_MAGIC
            assert length == len(action.data) - wire.OPTION_REPLY_HEAD.size
            found.append((kind, action.data[wire.OPTION_REPLY_HEAD.size :]))
    return found


def test_go_opens_then_tells_size_and_block_size_then_transmits() -> None:
    machine = talk()
    assert machine.receive(FLAGS + option(Option.GO, go("vol/0", InfoType.BLOCK_SIZE))) == [
        OpenExport("vol/0")
    ]
    actions = machine.opened()
    assert replies(actions) == [
        (OptionReply.INFO, struct.pack(">HQH", 0, VOLUME.size_bytes, VOLUME.flags)),
        (OptionReply.INFO, struct.pack(">HIII", 3, 512, 4096, wire.MAX_PAYLOAD_BYTES)),
        (OptionReply.ACK, b""),
    ]
    assert actions[-1] == Transmit(structured=False, block_status=False)


def test_refused_open_is_a_policy_error_with_words_and_the_client_may_go_on() -> None:
    machine = talk()
    machine.receive(FLAGS + option(Option.GO, go("vol/0")))
    assert replies(machine.refused("n2 is Primary")) == [(OptionReply.ERR_POLICY, b"n2 is Primary")]
    assert machine.receive(option(Option.GO, go("vol/0"))) == [OpenExport("vol/0")]


def test_refused_export_name_can_only_close() -> None:
    machine = talk()
    assert machine.receive(FLAGS + option(Option.EXPORT_NAME, b"vol/0")) == [OpenExport("vol/0")]
    assert machine.refused("no") == [Close("no")]


@pytest.mark.parametrize(("client_flags", "padding"), [(1, 124), (3, 0)])
def test_export_name_answers_without_a_reply_header(client_flags: int, padding: int) -> None:
    machine = talk()
    machine.receive(client_flags.to_bytes(4) + option(Option.EXPORT_NAME, b"vol/0"))
    first = machine.opened()[0]
    assert first == Send(struct.pack(">QH", VOLUME.size_bytes, VOLUME.flags) + bytes(padding))


def test_unknown_export_is_unknown_and_info_does_not_open() -> None:
    machine = talk()
    assert replies(machine.receive(FLAGS + option(Option.GO, go("nope"))))[0][0] == OptionReply.ERR_UNKNOWN
    answers = replies(machine.receive(option(Option.INFO, go("vol/0", InfoType.DESCRIPTION))))
    assert [kind for kind, _ in answers] == [OptionReply.INFO, OptionReply.INFO, OptionReply.ACK]
    assert answers[1][1] == struct.pack(">H", InfoType.DESCRIPTION) + b"a test volume"


def test_list_names_every_export() -> None:
    answers = replies(talk().receive(FLAGS + option(Option.LIST)))
    assert answers == [(OptionReply.SERVER, struct.pack(">I", 5) + b"vol/0"), (OptionReply.ACK, b"")]


def test_meta_context_needs_structured_replies_and_holds_for_its_export_only() -> None:
    query = struct.pack(">I5sII", 5, b"vol/0", 1, 15) + b"base:allocation"
    machine = talk()
    refused = replies(machine.receive(FLAGS + option(Option.SET_META_CONTEXT, query)))
    assert refused[0][0] == OptionReply.ERR_INVALID
    machine.receive(option(Option.STRUCTURED_REPLY))
    answers = replies(machine.receive(option(Option.SET_META_CONTEXT, query)))
    assert answers[0] == (OptionReply.META_CONTEXT, struct.pack(">I", 1) + b"base:allocation")
    machine.receive(option(Option.GO, go("vol/0")))
    assert machine.opened()[-1] == Transmit(structured=True, block_status=True)


def test_required_tls_refuses_everything_before_starttls() -> None:
    machine = talk(tls_offered=True, tls_required=True)
    assert replies(machine.receive(FLAGS + option(Option.LIST)))[0][0] == OptionReply.ERR_TLS_REQD
    actions = machine.receive(option(Option.STARTTLS))
    assert actions[-1] == StartTls()
    assert replies(machine.receive(option(Option.LIST)))[-1][0] == OptionReply.ACK


def test_bytes_smuggled_in_before_tls_close_the_connection() -> None:
    machine = talk(tls_offered=True, tls_required=True)
    actions = machine.receive(FLAGS + option(Option.STARTTLS) + option(Option.LIST))
    assert isinstance(actions[-1], Close)


def test_starttls_without_a_certificate_is_refused() -> None:
    assert replies(talk().receive(FLAGS + option(Option.STARTTLS)))[0][0] == OptionReply.ERR_POLICY


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\2",
        b"\0\0\0\7",
        FLAGS + b"x" * 16,
        FLAGS + wire.OPTION_HEAD.pack(wire.OPTION_MAGIC, Option.GO, wire.MAX_OPTION_BYTES + 1),
        FLAGS + option(Option.ABORT),
    ],
)
def test_hopeless_clients_are_closed(data: bytes) -> None:
    assert isinstance(talk().receive(data)[-1], Close)


def test_a_client_that_floods_while_its_volume_opens_is_closed() -> None:
    machine = talk()
    machine.receive(FLAGS + option(Option.GO, go("vol/0")))
    assert isinstance(machine.receive(bytes(200 << 10))[-1], Close)


def test_a_name_longer_than_the_limit_is_invalid() -> None:
    answers = replies(talk().receive(FLAGS + option(Option.GO, go("v" * 4097))))
    assert answers[0][0] == OptionReply.ERR_INVALID


OPTIONS = st.builds(
    option,
    st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    st.one_of(
        st.binary(max_size=64),
        st.builds(go, st.sampled_from(["", "vol/0", "x"])),
        st.builds(lambda n, q: struct.pack(">I5sI", 5, b"vol/0", n) + q, st.integers(0, 80), st.binary()),
    ),
)


@given(st.lists(st.one_of(OPTIONS, st.binary(max_size=40)), max_size=12), st.data(), st.booleans())
def test_no_bytes_upset_the_machine(chunks: list[bytes], data: st.DataObject, tls: bool) -> None:
    machine = talk(tls_offered=tls)
    stream = FLAGS + b"".join(chunks)
    position = 0
    while position < len(stream):
        step = data.draw(st.integers(1, 200))
        actions = machine.receive(stream[position : position + step])
        position += step
        if actions and isinstance(actions[-1], OpenExport):
            actions = machine.opened() if data.draw(st.booleans()) else machine.refused("no")
        if any(isinstance(action, Close | Transmit) for action in actions):
            break
    assert len(machine.rest()) <= wire.MAX_OPTION_BYTES + wire.OPTION_HEAD.size + len(stream)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_how_the_bytes_are_cut_does_not_matter(tail: bytes, cut: int) -> None:
    stream = FLAGS + option(Option.LIST) + option(Option.INFO, go("vol/0")) + option(99, tail)
    whole = talk().receive(stream)
    machine = talk()
    pieces = [
        action for at in range(0, len(stream), cut) for action in machine.receive(stream[at : at + cut])
    ]
    assert pieces == whole
