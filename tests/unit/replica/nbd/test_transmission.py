"""Requests are judged before anything is done for them; replies have exactly the bytes the protocol wants."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bollard.replica.nbd import transmission as t
from bollard.wire import nbd as wire
from bollard.wire.nbd import Command, CommandFlag, NbdError, TransmissionFlag

SIZE = 1 << 20


def judge(command: int, flags: int = 0, offset: int = 0, length: int = 512, **over: bool | int) -> NbdError:
    asked = {"size_bytes": SIZE, "read_only": False, "block_status": True, "block_bytes": 512, **over}
    return t.refusal(command, flags, offset, length, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (judge(Command.READ), NbdError.OK),
        (judge(Command.READ, offset=SIZE - 512), NbdError.OK),
        (judge(Command.READ, offset=SIZE), NbdError.EINVAL),
        (judge(Command.READ, offset=2**64 - 512), NbdError.EINVAL),
        (judge(Command.WRITE, offset=SIZE), NbdError.ENOSPC),
        (judge(Command.WRITE_ZEROES, offset=SIZE - 512, length=1024), NbdError.ENOSPC),
        (judge(Command.WRITE, read_only=True), NbdError.EPERM),
        (judge(Command.TRIM, read_only=True), NbdError.EPERM),
        (judge(Command.WRITE, offset=1), NbdError.EINVAL),
        (judge(Command.WRITE, offset=1, block_bytes=1), NbdError.OK),
        (judge(Command.WRITE, CommandFlag.FUA), NbdError.OK),
        (judge(Command.WRITE, CommandFlag.NO_HOLE), NbdError.EINVAL),
        (judge(Command.FLUSH, length=0), NbdError.OK),
        (judge(Command.FLUSH, length=1), NbdError.EINVAL),
        (judge(Command.READ, length=wire.MAX_PAYLOAD_BYTES + 512, size_bytes=1 << 40), NbdError.EOVERFLOW),
        (judge(Command.BLOCK_STATUS, block_status=False), NbdError.EINVAL),
        (judge(Command.BLOCK_STATUS, length=0), NbdError.EINVAL),
        (judge(99), NbdError.EINVAL),
    ],
)
def test_judgement(answer: NbdError, expected: NbdError) -> None:
    assert answer is expected


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_what_is_let_through_lies_inside_the_volume(
    command: int, flags: int, offset: int, length: int
) -> None:
    if judge(command, flags, offset, length) is NbdError.OK:
        assert offset + length <= SIZE
        assert command in {c.value for c in Command} - {Command.DISC}


def test_flags_say_what_is_served() -> None:
    writable = TransmissionFlag(t.export_flags(read_only=False))
    assert (
        TransmissionFlag.SEND_FUA | TransmissionFlag.SEND_TRIM | TransmissionFlag.CAN_MULTI_CONN in writable
    )
    read_only = TransmissionFlag(t.export_flags(read_only=True))
    assert TransmissionFlag.READ_ONLY in read_only
    assert TransmissionFlag.SEND_TRIM not in read_only


def test_replies() -> None:
    assert t.simple_reply(7, 5) == struct.pack(">IIQ", 0x67446698, 5, 7)
    assert t.error_reply(7, 5, structured=False) == t.simple_reply(7, 5)
    assert t.error_reply(7, 5, structured=True) == struct.pack(">IHHQIIH", 0x668E33EF, 1, 0x8001, 7, 6, 5, 0)
    assert t.read_reply_head(7, 4096, 512) == struct.pack(">IHHQIQ", 0x668E33EF, 1, 1, 7, 520, 4096)
    assert t.block_status_reply(7, [(4096, False), (512, True)]) == struct.pack(
        ">IHHQIIIIII", 0x668E33EF, 1, 5, 7, 20, 1, 4096, 0, 512, 3
    )


def test_errors_are_the_protocols_own() -> None:
    assert t.nbd_error(28) == 28
    assert t.nbd_error(122) == NbdError.EIO
