"""Agreement on a protocol version and feature bits from two P_CONNECTION_FEATURES. Pure."""

from typing import Final

from bollard.replica.protocol.dialect import DRBD84, MAX_DRBD9, MIN_DRBD9, Dialect, Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.packets import ConnectionFeatures

OFFERED: Final = (
    Feature.TRIM
    | Feature.THIN_RESYNC
    | Feature.WSAME
    | Feature.WZEROES
    | Feature.RESYNC_DAGTAG
    | Feature.TWOPC_V2
)
"""The pinned set (0x3F) that live kernels were seen to work with."""
FEATURES_84: Final = Feature.TRIM | Feature.THIN_RESYNC | Feature.WSAME | Feature.WZEROES
_KNOWN: Final = Feature(0x3FF)
_VERSIONS: Final = frozenset({DRBD84, *range(MIN_DRBD9, MAX_DRBD9 + 1)})


def our_features(
    *, me: int, peer: int, offered: Feature = OFFERED, minimum: int = MIN_DRBD9, maximum: int = MAX_DRBD9
) -> ConnectionFeatures:
    """What we send. `minimum` 101 meets 8.4 nodes too, `maximum` 101 only those."""
    assert minimum in _VERSIONS, minimum
    assert maximum in _VERSIONS, maximum
    assert minimum <= maximum, (minimum, maximum)
    if maximum == DRBD84:
        return ConnectionFeatures(DRBD84, int(offered & FEATURES_84), DRBD84)
    return ConnectionFeatures(minimum, int(offered), maximum, me, peer)


def agree(ours: ConnectionFeatures, theirs: ConnectionFeatures) -> Dialect:
    """The smaller maximum and the common bits. Raises ProtocolError if ranges or node ids do not meet.

    102 to 109 never existed and 110 to 117 are spoken by nobody any more.
    """
    low, high = theirs.proto_min, theirs.proto_max or theirs.proto_min
    if low > high:
        raise ProtocolError("protocol range of the peer", expected="minimum <= maximum", got=f"{low}..{high}")
    version = min(ours.proto_max, high)
    if version < max(ours.proto_min, low) or (DRBD84 < version < MIN_DRBD9):
        expected = f"one within {ours.proto_min}..{ours.proto_max}"
        raise ProtocolError("protocol range of the peer", expected=expected, got=f"{low}..{high}")
    common = Feature(theirs.feature_flags & ours.feature_flags & int(_KNOWN))
    if version <= DRBD84:
        return Dialect(version, common & FEATURES_84)
    if theirs.sender_node_id != ours.receiver_node_id:
        raise ProtocolError("node id of the peer", expected=ours.receiver_node_id, got=theirs.sender_node_id)
    if theirs.receiver_node_id != ours.sender_node_id:
        raise ProtocolError(
            "node id the peer expects of us", expected=ours.sender_node_id, got=theirs.receiver_node_id
        )
    return Dialect(version, common)
