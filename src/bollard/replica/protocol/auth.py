"""Shared-secret authentication (cram-hmac): what to answer and whether an answer is right. Pure.

Challenges come in as arguments. Secrets and responses never appear in errors.
"""

import hashlib
import hmac
from typing import Final

from bollard.replica.protocol.dialect import Dialect
from bollard.replica.protocol.errors import ProtocolError

CHALLENGE_BYTES: Final = 64
ALGORITHMS: Final = frozenset({"md5", "sha1", "sha224", "sha256", "sha384", "sha512"})


def response(
    algorithm: str, secret: bytes, challenge: bytes, *, responder: int, dialect: Dialect, ours: bytes = b""
) -> bytes:
    """The answer to a challenge; `responder` is the answering node's id, signed along from 110 on.

    `ours` is the challenge we sent: an equal one is a reflection and refused with ProtocolError.
    """
    if len(challenge) < CHALLENGE_BYTES:
        raise ProtocolError("challenge", expected=f"{CHALLENGE_BYTES} bytes or more", got=len(challenge))
    if ours and hmac.compare_digest(ours, challenge):
        raise ProtocolError("challenge of the peer", expected="its own random bytes", got="ours sent back")
    return _sign(algorithm, secret, challenge, responder, dialect)


def verify(
    answer: bytes, algorithm: str, secret: bytes, challenge: bytes, *, responder: int, dialect: Dialect
) -> None:
    """Raises ProtocolError unless the peer knows the secret; takes the same time for any wrong answer."""
    if not hmac.compare_digest(answer, _sign(algorithm, secret, challenge, responder, dialect)):
        raise ProtocolError(
            "authentication of the peer", expected="the shared secret", got="a wrong response"
        )


def _sign(algorithm: str, secret: bytes, challenge: bytes, responder: int, dialect: Dialect) -> bytes:
    assert algorithm in ALGORITHMS, "checked when the configuration is read"
    message = challenge + responder.to_bytes(4, "big") if dialect.drbd9 else challenge
    return hmac.new(secret, message, getattr(hashlib, algorithm)).digest()
