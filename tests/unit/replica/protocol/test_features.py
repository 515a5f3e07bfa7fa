"""Meeting at a version and a set of features."""

import pytest

from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.errors import ProtocolError
from bollard.replica.protocol.features import OFFERED, agree, our_features
from bollard.replica.protocol.packets import ConnectionFeatures

OURS = our_features(me=1, peer=0)
BOTH = our_features(me=1, peer=0, minimum=101)


@pytest.mark.parametrize(
    ("ours", "theirs", "version", "features"),
    [
        (OURS, ConnectionFeatures(118, 0x3FF, 124, 0, 1), 124, 0x3F),
        (OURS, ConnectionFeatures(118, 0x3F, 122, 0, 1), 122, 0x3F),
        (OURS, ConnectionFeatures(86, 0x0F, 118, 0, 1), 118, 0x0F),
        (BOTH, ConnectionFeatures(118, 0x3FF, 124, 0, 1), 124, 0x3F),
        (BOTH, ConnectionFeatures(86, 0x0F, 101), 101, 0x0F),
        (our_features(me=1, peer=0, minimum=101, maximum=101), ConnectionFeatures(86, 0x0F, 101), 101, 0x0F),
        (BOTH, ConnectionFeatures(101, 0x0F, 0), 101, 0x0F),
    ],
)
def test_agreement(ours: ConnectionFeatures, theirs: ConnectionFeatures, version: int, features: int) -> None:
    dialect = agree(ours, theirs)
    assert (dialect.version, dialect.features) == (version, Feature(features))
    assert dialect.drbd9 == (version >= 118)


@pytest.mark.parametrize(
    ("ours", "theirs", "what"),
    [
        (OURS, ConnectionFeatures(86, 0x0F, 101), "range"),
        (BOTH, ConnectionFeatures(86, 0x0F, 100), "range"),
        (BOTH, ConnectionFeatures(86, 0x0F, 117, 0, 1), "range"),
        (OURS, ConnectionFeatures(125, 0x3F, 130, 0, 1), "range"),
        (OURS, ConnectionFeatures(124, 0x3F, 118, 0, 1), "range"),
        (OURS, ConnectionFeatures(118, 0x3F, 124, 2, 1), "node id of the peer"),
        (OURS, ConnectionFeatures(118, 0x3F, 124, 0, 3), "node id the peer expects"),
    ],
)
def test_refusals(ours: ConnectionFeatures, theirs: ConnectionFeatures, what: str) -> None:
    with pytest.raises(ProtocolError, match=what):
        agree(ours, theirs)


def test_we_offer_the_pinned_set() -> None:
    assert int(OFFERED) == 0x3F
    assert ConnectionFeatures(118, 0x3F, 124, 1, 0) == OURS
