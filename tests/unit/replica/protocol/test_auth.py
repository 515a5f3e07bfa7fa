"""Answers to challenges in both dialects, and what is refused."""

import hashlib
import hmac

import pytest

from bollard.replica.protocol.auth import ALGORITHMS, response, verify
from bollard.replica.protocol.dialect import Dialect
from bollard.replica.protocol.errors import ProtocolError

NINE, FOUR = Dialect(124), Dialect(101)
OURS, THEIRS = bytes(range(64)), bytes(range(1, 65))
SECRET = b"correct horse"


def test_old_dialect_signs_the_challenge_alone() -> None:
    answer = response("sha1", SECRET, THEIRS, responder=5, dialect=FOUR)
    assert answer == hmac.new(SECRET, THEIRS, hashlib.sha1).digest()


def test_new_dialect_signs_the_responder_too() -> None:
    answer = response("sha256", SECRET, THEIRS, responder=5, dialect=NINE, ours=OURS)
    assert answer == hmac.new(SECRET, THEIRS + b"\0\0\0\5", hashlib.sha256).digest()
    verify(answer, "sha256", SECRET, THEIRS, responder=5, dialect=NINE)
    with pytest.raises(ProtocolError):
        verify(answer, "sha256", SECRET, THEIRS, responder=4, dialect=NINE)


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.parametrize("dialect", [NINE, FOUR])
def test_each_algorithm(algorithm: str, dialect: Dialect) -> None:
    answer = response(algorithm, SECRET, THEIRS, responder=0, dialect=dialect)
    verify(answer, algorithm, SECRET, THEIRS, responder=0, dialect=dialect)
    for wrong in (answer[:-1], b"", answer[::-1]):
        with pytest.raises(ProtocolError):
            verify(wrong, algorithm, SECRET, THEIRS, responder=0, dialect=dialect)
    with pytest.raises(ProtocolError):
        verify(answer, algorithm, b"other", THEIRS, responder=0, dialect=dialect)


def test_our_own_challenge_sent_back_is_refused() -> None:
    with pytest.raises(ProtocolError, match="ours sent back"):
        response("sha256", SECRET, OURS, responder=0, dialect=NINE, ours=OURS)


def test_short_challenges_are_refused() -> None:
    with pytest.raises(ProtocolError):
        response("sha256", SECRET, bytes(63), responder=0, dialect=NINE)


def test_errors_hold_no_secret() -> None:
    with pytest.raises(ProtocolError) as caught:
        verify(b"x", "sha256", SECRET, THEIRS, responder=0, dialect=NINE)
    assert SECRET.decode() not in str(caught.value)
