"""Packets of changes that the other side, or the whole cluster, must agree to."""

from bollard.replica.protocol.commands import ANY_NODE, TwoPcFlag
from bollard.replica.protocol.setup_packets import PacketBase


class StateChgReq(PacketBase, frozen=True):
    """8.4: asks the peer to agree to a change; words in the agreed numbering (states.decode_change)."""

    mask: int
    value: int


class StateChgReply(PacketBase, frozen=True):
    """8.4: 1 = agreed, negative = refused."""

    result: int


class ConnStChgReq(PacketBase, frozen=True):
    """8.4: as StateChgReq for the connection."""

    mask: int
    value: int


class ConnStChgReply(PacketBase, frozen=True):
    """8.4: as StateChgReply for the connection."""

    result: int


class TwoPcPrepare(PacketBase, frozen=True):
    """Phase one of a cluster-wide change; words as in states.decode_change."""

    tid: int
    initiator_node_id: int
    target_node_id: int
    nodes_to_reach: int
    mask: int
    value: int
    flags: int = int(TwoPcFlag.NONE)


class TwoPcPrepareResize(PacketBase, frozen=True):
    """Phase one of a resize."""

    tid: int
    initiator_node_id: int
    nodes_to_reach: int
    user_sectors: int
    dds_flags: int = 0
    target_node_id: int = ANY_NODE
    flags: int = int(TwoPcFlag.NONE)


class TwoPcAbort(PacketBase, frozen=True):
    """The change will not happen."""

    tid: int
    initiator_node_id: int
    target_node_id: int
    nodes_to_reach: int
    flags: int = int(TwoPcFlag.NONE)


class TwoPcCommit(PacketBase, frozen=True):
    """Phase two. For a resize the last two are the diskful Primaries and the new size in sectors."""

    tid: int
    initiator_node_id: int
    target_node_id: int
    nodes_to_reach: int
    primary_nodes: int
    reachable_nodes: int
    flags: int = int(TwoPcFlag.NONE)


class _TwoPcReply(PacketBase, frozen=True):
    """For a resize the last two are the diskful Primaries and the largest possible size in sectors."""

    tid: int
    initiator_node_id: int
    reachable_nodes: int
    primary_nodes: int = 0
    weak_nodes: int = 0


class TwoPcYes(_TwoPcReply, frozen=True):
    """Agreed."""


class TwoPcNo(_TwoPcReply, frozen=True):
    """Refused by a rule."""


class TwoPcRetry(_TwoPcReply, frozen=True):
    """Busy; try again later."""
