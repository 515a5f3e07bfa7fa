"""What two peers agreed to speak: protocol version, feature bits, digest size. No negotiation here."""

from enum import IntFlag
from typing import Final

import msgspec

MIN_DRBD9: Final = 118
MAX_DRBD9: Final = 124
DRBD84: Final = 101


class Feature(IntFlag):
    """Feature bits of P_CONNECTION_FEATURES."""

    NONE = 0
    TRIM = 1
    THIN_RESYNC = 2
    WSAME = 4
    WZEROES = 8
    RESYNC_DAGTAG = 16
    TWOPC_V2 = 32
    RS_SKIP_UUID = 64
    RESYNC_WITHOUT_REPLICATION = 128
    BM_BLOCK_SHIFT = 256
    RECONCILE_RECONNECT = 512
    KEEPS_LEFTOVERS = 1 << 28
    """Ours, unknown to kernels: bits between nodes of one generation are never dropped, and one resync at a
    time, from a source that no Primary writes past, brings a node up to date."""
    ORDERS_WRITES = 1 << 29
    """Ours too: writes and their acks say in `seq` which of the other side's writes came before."""


class Dialect(msgspec.Struct, frozen=True):
    """The agreed form of every packet of one connection.

    `digest_bytes` is the size of the data-integrity digest in front of data payloads (0 = none); it is known
    once P_PROTOCOL was exchanged.
    """

    version: int
    features: Feature = Feature.NONE
    digest_bytes: int = 0

    @property
    def drbd9(self) -> bool:
        """Multi-peer protocol (110 and later) rather than 8.4's."""
        return self.version >= 110

    @property
    def big_header(self) -> bool:
        """16-byte headers with a volume number."""
        return self.version >= 100

    @property
    def twopc_v2(self) -> bool:
        """Two-phase commit packets carry flags."""
        return bool(self.features & Feature.TWOPC_V2)

    @property
    def queue_limits(self) -> bool:
        """P_SIZES carries queue limits."""
        return bool(self.features & Feature.WSAME)

    @property
    def echoes_block_ids(self) -> bool:
        """Resync and verify requests carry the requester's own block id (122)."""
        return self.version >= 122

    @property
    def dagtag_requests(self) -> bool:
        """Resync and verify requests may name a change-stream position."""
        return self.drbd9 and bool(self.features & Feature.RESYNC_DAGTAG)


SETUP: Final = Dialect(version=0)
"""Before the features were exchanged: only the opening packets and P_CONNECTION_FEATURES are known."""
