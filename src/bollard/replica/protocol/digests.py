"""Digests by the names DRBD uses: of data on the wire, of blocks that are compared."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from bollard.replica.metadata.crc32c import crc32c_raw
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.events import Buffer
from bollard.replica.protocol.model import Peer

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

Digest = Callable[[Buffer], bytes]


def _crc32c(data: Buffer) -> bytes:
    # The kernel's digest: register all ones at the start, inverted at the end, least significant byte first.
    return (crc32c_raw(data, 0xFFFF_FFFF) ^ 0xFFFF_FFFF).to_bytes(4, "little")


def digest_of(name: str) -> Digest | None:
    """The function of a digest's name, None when it is not known here."""
    if name == "crc32c":
        return _crc32c
    if name in hashlib.algorithms_available and not name.startswith("shake"):
        maker = getattr(hashlib, name, None)
        if maker is not None:
            return lambda data: cast(bytes, maker(data, usedforsecurity=False).digest())
        return lambda data: hashlib.new(name, data, usedforsecurity=False).digest()
    return None


class Digests:
    """The digests one resource is configured with."""

    def __init__(self, resource: "Resource") -> None:
        self.core = resource.core

    def integrity(self, peer: Peer, data: Buffer) -> bytes:
        """What goes before data on the wire."""
        if not peer.dialect.digest_bytes:
            return b""
        digest = digest_of(peer.integrity_alg)
        assert digest is not None
        return digest(data)

    def check(self, peer: Peer, data: Buffer, digest: bytes) -> None:
        """Raises ProtocolError when the data is not what the peer sent."""
        if peer.dialect.digest_bytes and self.integrity(peer, data) != digest:
            raise ProtocolError("digest of data", expected="the sender's", got="another one")
