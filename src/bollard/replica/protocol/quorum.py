"""Quorum of one volume from one node's point of view; a pure function of what it knows of the others.

The guarantee (majority, with or without tiebreaker): of two groups that cannot talk, at most one has quorum.
"""

from enum import StrEnum
from typing import Final

import msgspec

from bollard.replica.protocol.states import DiskState

OFF: Final = 0
MAJORITY: Final = -1
ALL: Final = -2
"""Values of `Rules.quorum` and `Rules.minimum_redundancy`; a positive number is that many nodes."""


class Rules(msgspec.Struct, frozen=True):
    """The configuration: OFF, MAJORITY, ALL or a count; `tiebreaker` lets diskless nodes break a tie."""

    quorum: int = MAJORITY
    minimum_redundancy: int = OFF
    tiebreaker: bool = True


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of another node.

    `disk` is its last known state, UNKNOWN if it left without saying. `diskless`: without a disk on purpose.
    `member`: part of the group that had quorum last. `votes_tie` is off for nodes without allow-remote-read
    or configured as no tiebreaker. `quorum` is the bit of its last P_STATE.
    """

    node_id: int
    connected: bool
    disk: DiskState = DiskState.UNKNOWN
    diskless: bool = False
    member: bool = True
    votes_tie: bool = True
    quorum: bool = False


class Self(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of itself.

    `had_quorum`: the result of the last evaluation, kept on disk across restarts. `restored_alone`: this node
    restarted, and its disk says that it had quorum, was UpToDate and was the only member.
    """

    disk: DiskState
    diskless: bool = False
    had_quorum: bool = False
    restored_alone: bool = False


class Reason(StrEnum):
    """Why there is quorum, or why not."""

    OFF = "quorum is off"
    VOTES = "enough nodes"
    TIEBREAKER = "tiebreaker"
    RESTORED = "last one standing before the restart"
    PEER = "a peer with quorum"
    TOO_FEW = "too few nodes"
    REDUNDANCY = "too few UpToDate nodes"


class Votes(msgspec.Struct, frozen=True, kw_only=True):
    """How the nodes count; diskless ones are counted apart. `doubtful`: those present that are Consistent."""

    up_to_date: int = 0
    present: int = 0
    doubtful: int = 0
    outdated: int = 0
    quorumless: int = 0
    unknown: int = 0
    diskless_connected: int = 0
    diskless_missing: int = 0

    @property
    def here(self) -> int:
        """Votes on our side."""
        return self.up_to_date + self.present

    @property
    def missing(self) -> int:
        """Votes that are away, harmless or not."""
        return self.outdated + self.quorumless + self.unknown

    @property
    def all(self) -> int:
        """All nodes with a disk."""
        return self.here + self.missing


class Verdict(msgspec.Struct, frozen=True):
    """The result with the numbers behind it."""

    have: bool
    reason: Reason
    votes: Votes
    voters: int
    needed: int


def evaluate(me: Self, peers: tuple[Peer, ...], rules: Rules) -> Verdict:
    """Whether this node may let its volume be written."""
    votes = count(me, peers)
    voters = _voters(votes, rules)
    needed = _needed(rules.quorum, voters)
    if rules.quorum == OFF:
        return Verdict(have=True, reason=Reason.OFF, votes=votes, voters=voters, needed=0)
    reason = _diskless_reason(votes, peers, needed) if me.diskless else _reason(me, votes, voters, rules)
    enough = reason not in (Reason.TOO_FEW, Reason.REDUNDANCY)
    return Verdict(have=enough, reason=reason, votes=votes, voters=voters, needed=needed)


def count(me: Self, peers: tuple[Peer, ...]) -> Votes:
    """Sort the nodes into the classes."""
    counts = dict.fromkeys(Votes.__struct_fields__, 0)
    trusted = me.had_quorum and (me.diskless or me.disk >= DiskState.CONSISTENT)
    if not me.diskless:
        counts["up_to_date" if me.disk is DiskState.UP_TO_DATE else "present"] += 1
    elif me.diskless:
        counts["diskless_connected"] += 1
    for peer in peers:
        kind = _class(peer, trust_members=trusted)
        if kind is not None:
            counts[kind] += 1
    disks = [peer.disk for peer in peers if peer.connected and not peer.diskless]
    counts["doubtful"] = [*disks, me.disk].count(DiskState.CONSISTENT)
    return Votes(**counts)


def _class(peer: Peer, *, trust_members: bool) -> str | None:
    """Without quorum, who was left behind is no longer known: they may have met others since.

    Nor does a node with old data know: a majority of such has the votes, but the good copy may be elsewhere.
    """
    if peer.diskless:
        if not peer.votes_tie:
            return None
        return "diskless_connected" if peer.connected else "diskless_missing"
    if peer.connected:
        return "up_to_date" if peer.disk is DiskState.UP_TO_DATE else "present"
    if peer.disk in (DiskState.OUTDATED, DiskState.INCONSISTENT):
        return "outdated"
    return "quorumless" if trust_members and not peer.member else "unknown"


def _voters(votes: Votes, rules: Rules) -> int:
    """Nodes that are known to be harmless do not count, so a group may shrink without losing quorum.

    Those left behind by an earlier majority are harmless only while all that are away together are too few to
    form a group of their own.
    """
    if votes.quorumless and votes.missing >= _needed(rules.quorum, votes.all):
        return votes.all
    if votes.unknown:
        return votes.all - votes.quorumless
    return votes.here


def _needed(setting: int, voters: int) -> int:
    if setting == MAJORITY:
        return voters // 2 + 1
    return voters if setting == ALL else setting


def _reason(me: Self, votes: Votes, voters: int, rules: Rules) -> Reason:
    redundancy = _needed(rules.minimum_redundancy, voters)
    if me.restored_alone and me.disk is DiskState.UP_TO_DATE:
        return Reason.RESTORED if votes.up_to_date >= redundancy else Reason.REDUNDANCY
    needed = _needed(rules.quorum, voters)
    if votes.here >= needed:
        return Reason.VOTES if votes.up_to_date >= redundancy else Reason.REDUNDANCY
    if _breaks_tie(me, votes, voters, rules):
        return Reason.TIEBREAKER if votes.up_to_date >= redundancy else Reason.REDUNDANCY
    return Reason.TOO_FEW


def _breaks_tie(me: Self, votes: Votes, voters: int, rules: Rules) -> bool:
    """An even split that was not one before goes to the side with most of the diskless nodes."""
    diskless = votes.diskless_connected + votes.diskless_missing
    return (
        rules.tiebreaker
        and rules.quorum == MAJORITY
        and me.had_quorum
        and voters % 2 == 0
        and votes.here == voters // 2
        and votes.diskless_connected > diskless // 2
    )


def _diskless_reason(votes: Votes, peers: tuple[Peer, ...], needed: int) -> Reason:
    """A node without a disk trusts an UpToDate peer; by its own count it needs the plain number.

    It breaks no tie for itself: that it had quorum before was a peer's knowledge, which may have moved on.
    """
    if any(peer.connected and peer.quorum and peer.disk is DiskState.UP_TO_DATE for peer in peers):
        return Reason.PEER
    return Reason.VOTES if votes.up_to_date and votes.here >= needed else Reason.TOO_FEW


def members_after(verdict: Verdict, me: int, peers: tuple[Peer, ...], before: int) -> int:
    """The member mask: those we can reach while we have quorum, else as it was."""
    if not verdict.have:
        return before
    return (1 << me) | sum(1 << peer.node_id for peer in peers if peer.connected)


def disk_after(verdict: Verdict, peer: Peer) -> DiskState:
    """What may still be believed of a peer's disk: without quorum, nothing of one that is away.

    It left as Outdated, but others may bring it up to date and form a group that has quorum; only as long as
    we have it ourselves can that not happen.
    """
    good = verdict.have and (verdict.votes.up_to_date or verdict.votes.doubtful)
    if good or peer.connected or peer.diskless:
        return peer.disk
    return DiskState.UNKNOWN


def may_follow(peer: Peer, rules: Rules) -> bool:
    """Whether an Outdated node becomes UpToDate by meeting (or syncing from) this UpToDate peer.

    A peer that was left behind is UpToDate in its own eyes only. An Outdated node, which others count as
    harmless, must not be made good by it, or enough of them could be gathered for a second group.
    """
    return rules.quorum == OFF or peer.quorum
