"""The numbers of all packets that Bollard sends or accepts, and the flag words inside them. Pure values."""

from enum import IntEnum, IntFlag, StrEnum
from typing import Final


class Channel(StrEnum):
    """The two TCP connections of a peer pair."""

    DATA = "data"
    CONTROL = "control"


class Cmd(IntEnum):
    """Command numbers."""

    DATA = 0x00
    DATA_REPLY = 0x01
    RS_DATA_REPLY = 0x02
    BARRIER = 0x03
    BITMAP = 0x04
    UNPLUG_REMOTE = 0x07
    DATA_REQUEST = 0x08
    RS_DATA_REQUEST = 0x09
    PROTOCOL = 0x0B
    UUIDS = 0x0C
    SIZES = 0x0D
    STATE = 0x0E
    SYNC_UUID = 0x0F
    AUTH_CHALLENGE = 0x10
    AUTH_RESPONSE = 0x11
    STATE_CHG_REQ = 0x12
    PING = 0x13
    PING_ACK = 0x14
    RECV_ACK = 0x15
    WRITE_ACK = 0x16
    RS_WRITE_ACK = 0x17
    SUPERSEDED = 0x18
    NEG_ACK = 0x19
    NEG_DREPLY = 0x1A
    NEG_RS_DREPLY = 0x1B
    BARRIER_ACK = 0x1C
    STATE_CHG_REPLY = 0x1D
    OV_REQUEST = 0x1E
    OV_REPLY = 0x1F
    OV_RESULT = 0x20
    CSUM_RS_REQUEST = 0x21
    RS_IS_IN_SYNC = 0x22
    SYNC_PARAM89 = 0x23
    COMPRESSED_BITMAP = 0x24
    OUT_OF_SYNC = 0x28
    RS_CANCEL = 0x29
    CONN_ST_CHG_REQ = 0x2A
    CONN_ST_CHG_REPLY = 0x2B
    RETRY_WRITE = 0x2C
    PROTOCOL_UPDATE = 0x2D
    TWOPC_PREPARE = 0x2E
    TWOPC_ABORT = 0x2F
    DAGTAG = 0x30
    TRIM = 0x31
    RS_THIN_REQ = 0x32
    RS_DEALLOCATED = 0x33
    TWOPC_PREP_RSZ = 0x35
    ZEROES = 0x36
    PEER_ACK = 0x40
    PEERS_IN_SYNC = 0x41
    UUIDS110 = 0x42
    PEER_DAGTAG = 0x43
    CURRENT_UUID = 0x44
    TWOPC_YES = 0x45
    TWOPC_NO = 0x46
    TWOPC_COMMIT = 0x47
    TWOPC_RETRY = 0x48
    CONFIRM_STABLE = 0x49
    RS_CANCEL_AHEAD = 0x4A
    DISCONNECT = 0x4B
    RS_DAGTAG_REQ = 0x4C
    RS_CSUM_DAGTAG_REQ = 0x4D
    RS_THIN_DAGTAG_REQ = 0x4E
    OV_DAGTAG_REQ = 0x4F
    OV_DAGTAG_REPLY = 0x50
    WRITE_ACK_IN_SYNC = 0x51
    RS_NEG_ACK = 0x52
    OV_RESULT_ID = 0x53
    RS_DEALLOCATED_ID = 0x54
    FLUSH_REQUESTS = 0x55
    FLUSH_FORWARD = 0x56
    FLUSH_REQUESTS_ACK = 0x57
    ENABLE_REPLICATION_NEXT = 0x58
    ENABLE_REPLICATION = 0x59
    INITIAL_META = 0xFFF1
    INITIAL_DATA = 0xFFF2
    CONNECTION_FEATURES = 0xFFFE


class DataFlag(IntFlag):
    """dp_flags of P_DATA, P_TRIM and P_ZEROES."""

    SYNC = 2
    MAY_SET_IN_SYNC = 4
    FUA = 16
    FLUSH = 32
    DISCARD = 64
    SEND_RECEIVE_ACK = 128
    SEND_WRITE_ACK = 256
    WSAME = 512
    ZEROES = 1024


class SizeFlag(IntFlag):
    """dds_flags of P_SIZES and the resize transaction."""

    ASSUME_PEER_HAS_SPACE = 1
    NO_RESYNC = 2


class ConnFlag(IntFlag):
    """conn_flags of P_PROTOCOL."""

    DISCARD_MY_DATA = 1
    DRY_RUN = 2


class TwoPcFlag(IntFlag):
    """Flags of a two-phase commit packet (feature TWOPC_V2)."""

    NONE = 0
    PRIMARY_INCAPABLE = 0x20000000
    HAS_REACHABLE = 0x40000000
    HAS_FLAGS = 0x80000000


class WireProtocol(IntEnum):
    """When a write counts as done."""

    A = 1
    B = 2
    C = 3


class AfterSplitBrain(IntEnum):
    """What to do after a split brain; the numbers of P_PROTOCOL."""

    DISCONNECT = 0
    DISCARD_YOUNGER = 1
    DISCARD_OLDER = 2
    DISCARD_ZERO_CHANGES = 3
    DISCARD_LEAST_CHANGES = 4
    DISCARD_LOCAL = 5
    DISCARD_REMOTE = 6
    CONSENSUS = 7
    DISCARD_SECONDARY = 8
    CALL_HELPER = 9
    VIOLENTLY = 10
    RETRY_CONNECT = 11
    AUTO_DISCARD = 12


class OvResultCode(IntEnum):
    """Outcome of one verified block in P_OV_RESULT_ID (122)."""

    SKIPPED = 0
    IN_SYNC = 1
    OUT_OF_SYNC = 2


OV_ID_SKIPPED: Final = 4710
OV_ID_IN_SYNC: Final = 4711
OV_ID_OUT_OF_SYNC: Final = 4712
"""Outcome of one verified block as the block id of P_OV_RESULT (below 122)."""

ID_SYNCER: Final = 0xFFFF_FFFF_FFFF_FFFF
"""Block id of resync requests below 122."""
CONNECTION_VOLUME: Final = -1
"""The volume of packets that belong to the connection."""
NODE_ID_COUNT: Final = 32
ANY_NODE: Final = -1
"""Target of a two-phase commit that concerns all nodes."""
