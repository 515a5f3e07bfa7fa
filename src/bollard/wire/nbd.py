"""Numbers and fixed layouts of the NBD protocol, shared by the export server and the NBD client.

Pure: constants and packers only; it must not read sockets or decide anything.
"""

from enum import IntEnum, IntFlag
from struct import Struct
from typing import Final

__all__ = [
    "ALLOCATION_CONTEXT",
    "BLOCK_STATUS_DATA",
    "BLOCK_STATUS_HOLE_ZERO",
    "INIT_MAGIC",
    "MAX_NAME_BYTES",
    "MAX_OPTION_BYTES",
    "MAX_PAYLOAD_BYTES",
    "OPTION_HEAD",
    "OPTION_MAGIC",
    "OPTION_REPLY_HEAD",
    "OPTION_REPLY_MAGIC",
    "REQUEST",
    "REQUEST_MAGIC",
    "SIMPLE_REPLY",
    "SIMPLE_REPLY_MAGIC",
    "STRUCTURED_HEAD",
    "STRUCTURED_MAGIC",
    "ChunkType",
    "ClientFlag",
    "Command",
    "CommandFlag",
    "InfoType",
    "NbdError",
    "Option",
    "OptionReply",
    "ServerFlag",
    "TransmissionFlag",
]

INIT_MAGIC: Final = b"NBDMAGIC" + b"IHAVEOPT"
OPTION_MAGIC: Final = int.from_bytes(b"IHAVEOPT")
OPTION_REPLY_MAGIC: Final = 0x0003_E889_0455_65A9
REQUEST_MAGIC: Final = 0x2560_9513
SIMPLE_REPLY_MAGIC: Final = 0x6744_6698
STRUCTURED_MAGIC: Final = 0x668E_33EF

MAX_PAYLOAD_BYTES: Final = 32 << 20
MAX_NAME_BYTES: Final = 4096
MAX_OPTION_BYTES: Final = 64 << 10

ALLOCATION_CONTEXT: Final = "base:allocation"
BLOCK_STATUS_DATA: Final = 0
BLOCK_STATUS_HOLE_ZERO: Final = 3

# magic u64, option u32, length u32
OPTION_HEAD: Final = Struct(">QII")
# magic u64, option u32, reply type u32, length u32
OPTION_REPLY_HEAD: Final = Struct(">QIII")
# magic u32, flags u16, command u16, cookie u64, offset u64, length u32
REQUEST: Final = Struct(">IHHQQI")
# magic u32, error u32, cookie u64
SIMPLE_REPLY: Final = Struct(">IIQ")
# magic u32, flags u16, type u16, cookie u64, length u32
STRUCTURED_HEAD: Final = Struct(">IHHQI")


class ServerFlag(IntFlag):
    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class ClientFlag(IntFlag):
    FIXED_NEWSTYLE = 1
    NO_ZEROES = 2


class Option(IntEnum):
    EXPORT_NAME = 1
    ABORT = 2
    LIST = 3
    STARTTLS = 5
    INFO = 6
    GO = 7
    STRUCTURED_REPLY = 8
    LIST_META_CONTEXT = 9
    SET_META_CONTEXT = 10


class OptionReply(IntEnum):
    ACK = 1
    SERVER = 2
    INFO = 3
    META_CONTEXT = 4
    ERR_UNSUP = 0x8000_0001
    ERR_POLICY = 0x8000_0002
    ERR_INVALID = 0x8000_0003
    ERR_PLATFORM = 0x8000_0004
    ERR_TLS_REQD = 0x8000_0005
    ERR_UNKNOWN = 0x8000_0006
    ERR_SHUTDOWN = 0x8000_0007
    ERR_BLOCK_SIZE_REQD = 0x8000_0008
    ERR_TOO_BIG = 0x8000_0009


class InfoType(IntEnum):
    EXPORT = 0
    NAME = 1
    DESCRIPTION = 2
    BLOCK_SIZE = 3


class TransmissionFlag(IntFlag):
    HAS_FLAGS = 1 << 0
    READ_ONLY = 1 << 1
    SEND_FLUSH = 1 << 2
    SEND_FUA = 1 << 3
    ROTATIONAL = 1 << 4
    SEND_TRIM = 1 << 5
    SEND_WRITE_ZEROES = 1 << 6
    SEND_DF = 1 << 7
    CAN_MULTI_CONN = 1 << 8
    SEND_CACHE = 1 << 10
    SEND_FAST_ZERO = 1 << 11


class Command(IntEnum):
    READ = 0
    WRITE = 1
    DISC = 2
    FLUSH = 3
    TRIM = 4
    CACHE = 5
    WRITE_ZEROES = 6
    BLOCK_STATUS = 7


class CommandFlag(IntFlag):
    FUA = 1 << 0
    NO_HOLE = 1 << 1
    DF = 1 << 2
    REQ_ONE = 1 << 3
    FAST_ZERO = 1 << 4


class ChunkType(IntEnum):
    NONE = 0
    OFFSET_DATA = 1
    OFFSET_HOLE = 2
    BLOCK_STATUS = 5
    ERROR = 0x8001
    ERROR_OFFSET = 0x8002


class NbdError(IntEnum):
    """The error numbers of the protocol; equal to Linux's where both exist."""

    OK = 0
    EPERM = 1
    EIO = 5
    ENOMEM = 12
    EINVAL = 22
    ENOSPC = 28
    EOVERFLOW = 75
    ENOTSUP = 95
    ESHUTDOWN = 108
