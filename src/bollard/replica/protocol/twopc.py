"""Two-phase commits: asking every reachable node before a change counts. Initiator and participant.

What a change means is decided by the checks and effects that are passed in; here is only the protocol.
"""

from collections.abc import Callable
from enum import IntEnum

from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import ANY_NODE, CONNECTION_VOLUME, NODE_ID_COUNT
from bollard.replica.protocol.model import Core, Peer, Timer

ALL_NODES = (1 << NODE_ID_COUNT) - 1
_Prepare = p.TwoPcPrepare | p.TwoPcPrepareResize


class Vote(IntEnum):
    """How a transaction ended for its initiator, or what a node answers."""

    YES = 0
    NO = 1
    RETRY = 2


_REPLIES: dict[Vote, type[p.TwoPcYes] | type[p.TwoPcNo] | type[p.TwoPcRetry]] = {
    Vote.YES: p.TwoPcYes,
    Vote.NO: p.TwoPcNo,
    Vote.RETRY: p.TwoPcRetry,
}


class Transaction:
    """One cluster-wide change under way. `parent` is None on the node that started it."""

    def __init__(self, prepare: _Prepare, *, volume: int, parent: Peer | None) -> None:
        self.prepare = prepare
        self.volume = volume
        self.parent = parent
        self.children: dict[int, Vote | None] = {}
        self.own: Vote | None = Vote.YES
        self.reachable = 0
        self.primaries = 0
        self.weak = 0
        self.max_sectors = (1 << 63) - 1
        self.timer: Timer | None = None
        self.answered = False
        self.on_votes: Callable[[Transaction], Vote] | None = None
        self.on_end: Callable[[Vote, Transaction], None] | None = None

    @property
    def initiator(self) -> int:
        return self.prepare.initiator_node_id

    @property
    def is_resize(self) -> bool:
        return isinstance(self.prepare, p.TwoPcPrepareResize)


class Rules:
    """What the rest of the core knows about changes: asked at prepare, told at commit or abort."""

    def check(self, tx: Transaction) -> Vote | None:
        """A participant's vote; None = it comes later through `decide`."""
        raise NotImplementedError

    def apply(self, tx: Transaction, commit: p.TwoPcCommit) -> None:
        """The change counts now."""
        raise NotImplementedError

    def undo(self, tx: Transaction) -> None:
        """The change does not happen."""
        raise NotImplementedError

    def probe(self, peer: Peer) -> None:
        """Find out soon whether this neighbour is still there: the transaction waits for it."""
        raise NotImplementedError

    def ask84(self, tx: Transaction, peer: Peer) -> Vote | None:
        """A peer of 8.4 takes part in no transaction: its vote, None = it comes later through `replied`."""
        raise NotImplementedError

    def own_masks(self, tx: Transaction) -> tuple[int, int, int]:
        """(reachable, primary, weak) of this node, or (reachable, diskful primaries, sectors) of a resize."""
        raise NotImplementedError


class TwoPc:
    """At most one transaction at a time on a node."""

    def __init__(self, core: Core, rules: Rules) -> None:
        self._core = core
        self._rules = rules
        self.current: Transaction | None = None

    # -- starting one

    def start(
        self,
        prepare: _Prepare,
        *,
        volume: int = CONNECTION_VOLUME,
        also: Peer | None = None,
        on_votes: Callable[[Transaction], Vote] | None = None,
        on_end: Callable[[Vote, Transaction], None],
        own: Vote | None = Vote.YES,
    ) -> bool:
        """Ask all connected nodes (and `also`, who is about to be). False: another one is under way.

        `on_votes` has the last word once all said yes; `on_end` is told the outcome, after commit or abort
        were sent. `own` None: this node's consent follows by `decide`.
        """
        if self.current is not None:
            return False
        core = self._core
        tx = Transaction(prepare, volume=volume, parent=None)
        tx.on_votes, tx.on_end, tx.own = on_votes, on_end, own
        children = [peer for peer in core.peers.values() if peer.connected or peer is also]
        self._begin(tx, children)
        return True

    def prepare_fields(self, target: int = ANY_NODE) -> tuple[int, int, int]:
        """A fresh tid, this node's id, the target."""
        return self._core.draw_u64() & 0xFFFF_FFFF or 1, self._core.node_id, target

    def abandon(self) -> None:
        """Give up a transaction that this node started; its `on_end` is told to retry."""
        if self.current is not None and self.current.parent is None:
            self._finish(self.current, Vote.RETRY)

    def decide(self, tx: Transaction, vote: Vote) -> None:
        """This node's own late vote."""
        if self.current is tx and tx.own is None:
            tx.own = vote
            self._count(tx)

    # -- packets

    def on_prepare(self, peer: Peer, volume: int, packet: _Prepare) -> None:
        current = self.current
        if current is not None:
            same = current.prepare.tid == packet.tid and current.initiator == packet.initiator_node_id
            if same:
                self._reply(peer, packet, Vote.YES, *self._rules.own_masks(current))
                return
            if current.parent is None and packet.initiator_node_id < current.initiator:
                self._finish(current, Vote.RETRY)
            else:
                self._reply(peer, packet, Vote.RETRY, 0, 0, 0)
                return
            if self.current is not None:
                self._reply(peer, packet, Vote.RETRY, 0, 0, 0)
                return
        core = self._core
        tx = Transaction(packet, volume=volume, parent=peer)
        children = [
            other
            for other in core.connected_peers()
            if other is not peer
            and other.node_id != packet.initiator_node_id
            and packet.nodes_to_reach >> other.node_id & 1
        ]
        self._begin(tx, children)

    def on_reply(self, peer: Peer, packet: p.TwoPcYes | p.TwoPcNo | p.TwoPcRetry) -> None:
        tx = self.current
        if tx is None or tx.prepare.tid != packet.tid or tx.children.get(peer.node_id, Vote.NO) is not None:
            return
        match packet:
            case p.TwoPcYes():
                vote = Vote.YES
                tx.reachable |= packet.reachable_nodes
                tx.primaries |= packet.primary_nodes
                if tx.is_resize:
                    tx.max_sectors = min(tx.max_sectors, packet.weak_nodes)
                else:
                    tx.weak |= packet.weak_nodes
            case p.TwoPcNo():
                vote = Vote.NO
            case p.TwoPcRetry():
                vote = Vote.RETRY
        self.replied(tx, peer, vote)

    def replied(self, tx: Transaction, peer: Peer, vote: Vote) -> None:
        """The vote of one of those that were asked."""
        if self.current is tx and peer.node_id in tx.children:
            tx.children[peer.node_id] = vote
            self._count(tx)

    def on_commit(self, peer: Peer, packet: p.TwoPcCommit) -> None:
        tx = self.current
        if tx is None or tx.parent is not peer or tx.prepare.tid != packet.tid:
            return
        self._end(tx)
        self._to_children(tx, packet)
        self._rules.apply(tx, packet)

    def on_abort(self, peer: Peer, packet: p.TwoPcAbort) -> None:
        tx = self.current
        if tx is not None and tx.parent is peer and tx.prepare.tid == packet.tid:
            self._abort(tx)

    def peer_lost(self, peer: Peer) -> None:
        tx = self.current
        if tx is None:
            return
        if tx.parent is peer:
            self._abort(tx)
        elif peer.node_id in tx.children:
            del tx.children[peer.node_id]
            if tx.parent is None:
                self._finish(tx, Vote.RETRY)
            else:
                tx.own = Vote.RETRY
                self._count(tx)

    # -- the course of one

    def _begin(self, tx: Transaction, children: list[Peer]) -> None:
        core = self._core
        self.current = tx
        tx.children = {peer.node_id: None for peer in children}
        reached = sum(1 << peer.node_id for peer in children) | 1 << core.node_id
        parent_reach = tx.prepare.nodes_to_reach if tx.parent is not None else ALL_NODES
        forward = _with_reach(tx.prepare, parent_reach & ~reached & ALL_NODES)
        tx.reachable, tx.primaries, third = self._rules.own_masks(tx)
        if tx.is_resize:
            tx.max_sectors = third
        else:
            tx.weak = third
        tx.timer = core.after(core.options.twopc_timeout_s, lambda: self._timeout(tx))
        for peer in children:
            if peer.dialect.drbd9:
                core.send(peer, forward, tx.volume)
            else:
                tx.children[peer.node_id] = self._rules.ask84(tx, peer)
            if peer.connected:
                self._rules.probe(peer)
        if tx.parent is not None:
            tx.own = self._rules.check(tx)
            if self.current is not tx:
                return
        self._count(tx)

    def _count(self, tx: Transaction) -> None:
        votes = [*tx.children.values(), tx.own]
        if tx.answered or self.current is not tx:
            return
        refused = Vote.NO in votes
        if not refused and Vote.RETRY not in votes and None in votes:
            return
        verdict = Vote.NO if refused else Vote.RETRY if Vote.RETRY in votes else Vote.YES
        if tx.parent is not None:
            tx.answered = True
            third = tx.max_sectors if tx.is_resize else tx.weak
            self._reply(tx.parent, tx.prepare, verdict, tx.reachable, tx.primaries, third)
            return
        if verdict == Vote.YES and tx.on_votes is not None:
            verdict = tx.on_votes(tx)
            if self.current is not tx:
                return
        self._finish(tx, verdict)

    def _finish(self, tx: Transaction, verdict: Vote) -> None:
        """The initiator's end."""
        self._end(tx)
        if verdict == Vote.YES:
            self._to_children(tx, self.commit_packet(tx))
        else:
            self._send_abort(tx)
        assert tx.on_end is not None
        tx.on_end(verdict, tx)

    def commit_packet(self, tx: Transaction) -> p.TwoPcCommit:
        prepare = tx.prepare
        reachable = tx.max_sectors if tx.is_resize else tx.reachable
        return p.TwoPcCommit(
            prepare.tid,
            prepare.initiator_node_id,
            prepare.target_node_id,
            0,
            tx.primaries,
            reachable,
            prepare.flags,
        )

    def _abort(self, tx: Transaction) -> None:
        self._end(tx)
        self._send_abort(tx)
        self._rules.undo(tx)

    def _timeout(self, tx: Transaction) -> None:
        if self.current is not tx:
            return
        if tx.parent is None:
            self._finish(tx, Vote.RETRY)
        else:
            self._abort(tx)

    def _end(self, tx: Transaction) -> None:
        self.current = None
        if tx.timer is not None:
            tx.timer.cancel()

    def _send_abort(self, tx: Transaction) -> None:
        head = tx.prepare
        self._to_children(
            tx, p.TwoPcAbort(head.tid, head.initiator_node_id, head.target_node_id, 0, head.flags)
        )

    def _to_children(self, tx: Transaction, packet: p.TwoPcAbort | p.TwoPcCommit) -> None:
        for node_id in tx.children:
            peer = self._core.peers.get(node_id)
            if peer is not None and peer.dialect.drbd9:
                self._core.send(peer, packet, tx.volume)

    def _reply(self, peer: Peer, packet: _Prepare, vote: Vote, *masks: int) -> None:
        record = _REPLIES[vote]
        self._core.send(peer, record(packet.tid, packet.initiator_node_id, *masks))


def _with_reach(packet: _Prepare, reach: int) -> _Prepare:
    if isinstance(packet, p.TwoPcPrepareResize):
        return p.TwoPcPrepareResize(
            packet.tid, packet.initiator_node_id, reach, packet.user_sectors, packet.dds_flags,
            packet.target_node_id, packet.flags,
        )  # fmt: skip
    return p.TwoPcPrepare(
        packet.tid,
        packet.initiator_node_id,
        packet.target_node_id,
        reach,
        packet.mask,
        packet.value,
        packet.flags,
    )
