"""What the handshake is decided on, and what comes out of it: records only, shared by both rule tables."""

from enum import StrEnum
from typing import Final

import msgspec

from bollard.replica.protocol.commands import AfterSplitBrain, WireProtocol
from bollard.replica.protocol.dialect import Feature
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import UNSET, UuidFlag


class LostPrimary(msgspec.Struct, frozen=True):
    """A Primary that vanished, and how far its change stream was received (P_PEER_DAGTAG)."""

    node_id: int
    dagtag: int


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one node sent for one volume, with what the connection knows of it.

    `bitmap_uuids` are (node id, uuid); `quorum` is the bit of P_STATE; `disk` is the state to be judged (for
    a disk under negotiation: what its metadata says). `dirty_bits` are those toward the other side.
    """

    node_id: int
    current: int
    bitmap_uuids: tuple[tuple[int, int], ...] = ()
    history: tuple[int, ...] = ()
    flags: int = int(UuidFlag.NONE)
    dirty_bits: int = 0
    disk: DiskState = DiskState.UP_TO_DATE
    role: Role = Role.SECONDARY
    resolve_conflicts: bool = False
    quorum: bool = True
    lost_primary: LostPrimary | None = None

    def slot(self, node_id: int) -> int:
        """The generation at which that node stopped, 0 = none."""
        return next((uuid for node, uuid in self.bitmap_uuids if node == node_id), UNSET)

    def has(self, flags: UuidFlag) -> bool:
        """Any of the flags is set."""
        return bool(self.flags & flags)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the connection. All but discard-local and discard-remote are equal on both sides.

    `copy_slots`: trust the bits kept for one node to be right for another that stopped at the same point
    (rules bitmap-peer-other and bitmap-self-other). They are not once a resync of the first one has begun,
    which no metadata shows; without it such a resync is a full one.
    """

    version: int = 124
    features: Feature = Feature.NONE
    protocol: WireProtocol = WireProtocol.C
    after_sb_0p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_1p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_2p: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    always_asbp: bool = False
    quorum_configured: bool = False
    copy_slots: bool = False

    def mirrored(self) -> "Settings":
        """The same settings as the other side has them."""
        swap = {
            AfterSplitBrain.DISCARD_LOCAL: AfterSplitBrain.DISCARD_REMOTE,
            AfterSplitBrain.DISCARD_REMOTE: AfterSplitBrain.DISCARD_LOCAL,
        }
        return msgspec.structs.replace(self, after_sb_0p=swap.get(self.after_sb_0p, self.after_sb_0p))


class Strategy(StrEnum):
    """What to do about the data."""

    NO_SYNC = "no-sync"
    SYNC_SOURCE = "sync-source"
    SYNC_TARGET = "sync-target"
    SPLIT_BRAIN = "split-brain"
    UNRELATED = "unrelated-data"
    RETRY_CONNECT = "retry-connect"


class Rule(StrEnum):
    """Which rule decided."""

    INITIAL_HANDSHAKE_CHANGED = "initial-handshake-changed"
    JUST_CREATED_BOTH = "just-created-both"
    JUST_CREATED_SELF = "just-created-self"
    JUST_CREATED_PEER = "just-created-peer"
    SYNC_SOURCE_MISSED_FINISH = "sync-source-missed-finish"
    SYNC_TARGET_PEER_MISSED_FINISH = "sync-target-peer-missed-finish"
    RECONNECTED = "reconnected"
    CRASHED_PRIMARY = "crashed-primary"
    LOST_QUORUM = "lost-quorum"
    BOTH_OFF = "both-off"
    BITMAP_PEER = "bitmap-peer"
    BITMAP_PEER_OTHER = "bitmap-peer-other"
    BITMAP_SELF = "bitmap-self"
    BITMAP_SELF_OTHER = "bitmap-self-other"
    HISTORY_PEER = "history-peer"
    HISTORY_SELF = "history-self"
    BITMAP_BOTH = "bitmap-both"
    HISTORY_BOTH = "history-both"
    UNRELATED = "unrelated"
    SYNC_UUID_LOST_PEER = "sync-uuid-lost-peer"
    SYNC_UUID_LOST_SELF = "sync-uuid-lost-self"
    SURVIVORS = "survivors"


_MIRROR: Final = {
    Rule.JUST_CREATED_SELF: Rule.JUST_CREATED_PEER,
    Rule.SYNC_SOURCE_MISSED_FINISH: Rule.SYNC_TARGET_PEER_MISSED_FINISH,
    Rule.BITMAP_PEER: Rule.BITMAP_SELF,
    Rule.BITMAP_PEER_OTHER: Rule.BITMAP_SELF_OTHER,
    Rule.HISTORY_PEER: Rule.HISTORY_SELF,
    Rule.SYNC_UUID_LOST_PEER: Rule.SYNC_UUID_LOST_SELF,
    Strategy.SYNC_SOURCE: Strategy.SYNC_TARGET,
}
_MIRRORED: Final = {**_MIRROR, **{right: left for left, right in _MIRROR.items()}}


class Basis(StrEnum):
    """What had the last word."""

    GENERATIONS = "generations"
    DISK_STATES = "disk-states"
    LEFTOVER_BITS = "leftover-bits"
    QUORUM = "quorum"
    AFTER_SPLIT_BRAIN = "after-split-brain"
    DISCARD_MY_DATA = "discard-my-data"
    UNSTABLE = "unstable"
    BOTH_INCONSISTENT = "both-inconsistent"
    INCONSISTENT_SOURCE = "inconsistent-source"
    UNSTABLE_SOURCE = "unstable-source"
    OTHER_SOURCE = "other-source"


class Decision(msgspec.Struct, frozen=True):
    """The outcome for one side.

    `full`: every block is to be synced, set all bits. `slot`: the source first copies its bits for that node
    into those for this peer, the target first clears its own (not with `keep_bits`). `if_both_failed`: the
    generations alone did not settle the direction. `split_brain`: handler initial-split-brain is due.
    `demote_loser`: the target must stop being Primary first, or else run handler pri-lost-after-sb and
    disconnect. `checksums`: compare before sending. `number` is the rule's number in 8.4. `parked`: the
    resync has to wait, connect without it. `keep_bits` without a resync: this connection settles no bits.
    """

    rule: Rule
    strategy: Strategy
    full: bool = False
    slot: int | None = None
    if_both_failed: bool = False
    split_brain: bool = False
    demote_loser: bool = False
    checksums: bool = False
    basis: Basis = Basis.GENERATIONS
    number: int = 0
    keep_bits: bool = False
    parked: bool = False

    @property
    def in_sync(self) -> bool:
        """The data is equal: slots and bits for each other may be cleared. Two new disks leave them."""
        return (
            self.strategy is Strategy.NO_SYNC
            and self.rule is not Rule.JUST_CREATED_BOTH
            and not self.keep_bits
        )

    @property
    def disconnect(self) -> bool:
        """No way to go on: both sides become StandAlone."""
        return self.strategy in (Strategy.SPLIT_BRAIN, Strategy.UNRELATED)

    def mirrored(self) -> "Decision":
        """The outcome the other side must have come to (8.4's rule number aside)."""
        rule = Rule(_MIRRORED.get(self.rule, self.rule))
        strategy = Strategy(_MIRRORED.get(self.strategy, self.strategy))
        return msgspec.structs.replace(self, rule=rule, strategy=strategy, number=0)
