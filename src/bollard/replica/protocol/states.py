"""Roles, disk, replication and connection states with DRBD 9's numbers, and the 32-bit state word.

Pure values; which change is allowed is decided elsewhere. Protocol 101 numbers disks differently.
"""

from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from bollard.replica.protocol.errors import ProtocolError


class Role(IntEnum):
    """Who may write."""

    UNKNOWN = 0
    PRIMARY = 1
    SECONDARY = 2


class DiskState(IntEnum):
    """How far the data of a disk can be trusted; ordered."""

    DISKLESS = 0
    ATTACHING = 1
    DETACHING = 2
    FAILED = 3
    NEGOTIATING = 4
    INCONSISTENT = 5
    OUTDATED = 6
    UNKNOWN = 7
    CONSISTENT = 8
    UP_TO_DATE = 9


class ConnState(IntEnum):
    """The life of a connection; the number 9 on the wire is shared with ReplState.OFF."""

    STAND_ALONE = 0
    DISCONNECTING = 1
    UNCONNECTED = 2
    TIMEOUT = 3
    BROKEN_PIPE = 4
    NETWORK_FAILURE = 5
    PROTOCOL_ERROR = 6
    TEAR_DOWN = 7
    CONNECTING = 8
    CONNECTED = 9


class ReplState(IntEnum):
    """What replication does for one volume and one peer."""

    OFF = 9
    ESTABLISHED = 10
    STARTING_SYNC_S = 11
    STARTING_SYNC_T = 12
    WF_BITMAP_S = 13
    WF_BITMAP_T = 14
    WF_SYNC_UUID = 15
    SYNC_SOURCE = 16
    SYNC_TARGET = 17
    VERIFY_S = 18
    VERIFY_T = 19
    PAUSED_SYNC_S = 20
    PAUSED_SYNC_T = 21
    AHEAD = 22
    BEHIND = 23


ROLE_NAMES: Final = ("Unknown", "Primary", "Secondary")
DISK_NAMES: Final = (
    "Diskless", "Attaching", "Detaching", "Failed", "Negotiating",
    "Inconsistent", "Outdated", "DUnknown", "Consistent", "UpToDate",
)  # fmt: skip
CONN_NAMES: Final = (
    "StandAlone", "Disconnecting", "Unconnected", "Timeout", "BrokenPipe",
    "NetworkFailure", "ProtocolError", "TearDown", "Connecting", "Connected",
)  # fmt: skip
REPL_NAMES: Final = (
    "Off", "Established", "StartingSyncS", "StartingSyncT", "WFBitMapS", "WFBitMapT", "WFSyncUUID",
    "SyncSource", "SyncTarget", "VerifyS", "VerifyT", "PausedSyncS", "PausedSyncT", "Ahead", "Behind",
)  # fmt: skip


def name_of(state: Role | DiskState | ConnState | ReplState) -> str:
    """The word that status and events show, spelled as DRBD's tools spell it."""
    match state:
        case Role():
            return ROLE_NAMES[state]
        case DiskState():
            return DISK_NAMES[state]
        case ConnState():
            return CONN_NAMES[state]
        case ReplState():
            return REPL_NAMES[state - ReplState.OFF]


FIRST_DRBD9_VERSION: Final = 110


class Field(IntFlag):
    """Where each part sits in the state word; also the masks of a requested change."""

    ROLE = 0x3
    PEER_ROLE = 0xC
    CONN = 0x1F0
    DISK = 0x1E00
    PEER_DISK = 0x1E000
    SUSPENDED = 1 << 17
    AFTER_ISP = 1 << 18
    PEER_ISP = 1 << 19
    USER_ISP = 1 << 20
    SUSPENDED_NO_DATA = 1 << 21
    SUSPENDED_FENCING = 1 << 22
    QUORUM = 1 << 23


class StateWord(msgspec.Struct, frozen=True, kw_only=True):
    """P_STATE as values. `conn` is 0..23: below 9 a ConnState, from 9 on a ReplState."""

    role: Role = Role.UNKNOWN
    peer_role: Role = Role.UNKNOWN
    conn: int = int(ConnState.CONNECTED)
    disk: DiskState = DiskState.DISKLESS
    peer_disk: DiskState = DiskState.DISKLESS
    suspended: bool = False
    after_isp: bool = False
    peer_isp: bool = False
    user_isp: bool = False
    suspended_no_data: bool = False
    suspended_fencing: bool = False
    quorum: bool = False

    @property
    def repl(self) -> ReplState:
        """The replication state; OFF while the connection is not up."""
        return ReplState(max(self.conn, int(ReplState.OFF)))

    @property
    def cstate(self) -> ConnState:
        """The connection state; CONNECTED for every replication state."""
        return ConnState(min(self.conn, int(ConnState.CONNECTED)))


def encode_state(state: StateWord, version: int) -> int:
    """The word of P_STATE for an agreed protocol version."""
    assert 0 <= state.conn <= ReplState.BEHIND, state.conn
    word = (
        state.role
        | state.peer_role << 2
        | state.conn << 4
        | _disk_to_wire(state.disk, version) << 9
        | _disk_to_wire(state.peer_disk, version) << 13
        | state.suspended << 17
        | state.after_isp << 18
        | state.peer_isp << 19
        | state.user_isp << 20
        | state.suspended_no_data << 21
        | state.suspended_fencing << 22
    )
    return word | state.quorum << 23 if version >= FIRST_DRBD9_VERSION else word


def decode_state(word: int, version: int) -> StateWord:
    """The values of a P_STATE word. Raises ProtocolError for numbers that name no state."""
    conn = word >> 4 & 0x1F
    if conn > ReplState.BEHIND:
        raise ProtocolError("replication state", expected="0..23", got=conn)
    return StateWord(
        role=_role(word & 3),
        peer_role=_role(word >> 2 & 3),
        conn=conn,
        disk=_disk_from_wire(word >> 9 & 0xF, version),
        peer_disk=_disk_from_wire(word >> 13 & 0xF, version),
        suspended=bool(word & Field.SUSPENDED),
        after_isp=bool(word & Field.AFTER_ISP),
        peer_isp=bool(word & Field.PEER_ISP),
        user_isp=bool(word & Field.USER_ISP),
        suspended_no_data=bool(word & Field.SUSPENDED_NO_DATA),
        suspended_fencing=bool(word & Field.SUSPENDED_FENCING),
        quorum=version >= FIRST_DRBD9_VERSION and bool(word & Field.QUORUM),
    )


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a state that a request wants to set; None = leave as it is."""

    role: Role | None = None
    peer_role: Role | None = None
    conn: int | None = None
    disk: DiskState | None = None
    peer_disk: DiskState | None = None


def encode_change(change: StateChange, version: int) -> tuple[int, int]:
    """Mask and value words of P_TWOPC_PREPARE and P_STATE_CHG_REQ."""
    mask = value = 0
    if change.role is not None:
        mask, value = mask | Field.ROLE, value | change.role
    if change.peer_role is not None:
        mask, value = mask | Field.PEER_ROLE, value | change.peer_role << 2
    if change.conn is not None:
        assert 0 <= change.conn <= ReplState.BEHIND, change.conn
        mask, value = mask | Field.CONN, value | change.conn << 4
    if change.disk is not None:
        mask, value = mask | Field.DISK, value | _disk_to_wire(change.disk, version) << 9
    if change.peer_disk is not None:
        mask, value = mask | Field.PEER_DISK, value | _disk_to_wire(change.peer_disk, version) << 13
    return int(mask), int(value)


def decode_change(mask: int, value: int, version: int) -> StateChange:
    """The request in a pair of words; a field counts only when its mask is complete. Raises ProtocolError."""
    if mask & Field.CONN == Field.CONN and (value >> 4 & 0x1F) > ReplState.BEHIND:
        raise ProtocolError("requested replication state", expected="0..23", got=value >> 4 & 0x1F)
    disk_set = mask & Field.DISK == Field.DISK
    peer_disk_set = mask & Field.PEER_DISK == Field.PEER_DISK
    return StateChange(
        role=_role(value & 3) if mask & Field.ROLE == Field.ROLE else None,
        peer_role=_role(value >> 2 & 3) if mask & Field.PEER_ROLE == Field.PEER_ROLE else None,
        conn=value >> 4 & 0x1F if mask & Field.CONN == Field.CONN else None,
        disk=_disk_from_wire(value >> 9 & 0xF, version) if disk_set else None,
        peer_disk=_disk_from_wire(value >> 13 & 0xF, version) if peer_disk_set else None,
    )


def _role(number: int) -> Role:
    if number > Role.SECONDARY:
        raise ProtocolError("role", expected="0..2", got=number)
    return Role(number)


def _disk_to_wire(disk: DiskState, version: int) -> int:
    if version >= FIRST_DRBD9_VERSION or disk <= DiskState.ATTACHING:
        return int(disk)
    if disk == DiskState.DETACHING:  # 8.4 has no such state: it goes from Failed to Diskless
        return int(DiskState.FAILED) - 1
    return int(disk) - 1


def _disk_from_wire(number: int, version: int) -> DiskState:
    if version < FIRST_DRBD9_VERSION and number > DiskState.ATTACHING:
        number += 1
    if number > DiskState.UP_TO_DATE:
        raise ProtocolError("disk state", expected="0..9 (one less below 110)", got=number)
    return DiskState(number)
