"""The one table of this edge: which code an error has, and which HTTP status a code has.

No other place of the controller maps errors to codes or statuses.
"""

from collections.abc import Sequence

from bollard.domain.errors import (
    Busy,
    Conflict,
    Denied,
    DomainError,
    Exhausted,
    Exists,
    InUse,
    Invalid,
    NotFound,
    Subject,
    Unavailable,
    Unsupported,
)
from bollard.wire.rest import codes
from bollard.wire.rest.answers import ApiCallRc

FAMILIES: tuple[type[DomainError], ...] = (
    Invalid,
    NotFound,
    Exists,
    Conflict,
    InUse,
    Busy,
    Exhausted,
    Unavailable,
    Denied,
    Unsupported,
)

_DEFAULTS: dict[type[DomainError], str] = {
    Invalid: "INVLD_REQUEST",
    NotFound: "NOT_FOUND_RSC_DFN",
    Exists: "EXISTS_RSC_DFN",
    Conflict: "INVLD_RSC_STATE",
    InUse: "IN_USE",
    Busy: "RSC_BUSY",
    Exhausted: "NOT_ENOUGH_NODES",
    Unavailable: "NOT_CONNECTED",
    Denied: "ACC_DENIED_COMMAND",
    Unsupported: "INVLD_REQUEST",
}
"""Of subjects that a family has no better word for."""

_S = Subject
_CODES: dict[type[DomainError], dict[Subject, str]] = {
    Invalid: {
        _S.NODE: "MISSING_NETCOM",
        _S.NODE_NAME: "INVLD_NODE_NAME",
        _S.NODE_TYPE: "INVLD_NODE_TYPE",
        _S.NET_IF: "INVLD_NET_NAME",
        _S.NET_IF_NAME: "INVLD_NET_NAME",
        _S.NET_ADDRESS: "INVLD_NET_ADDR",
        _S.NET_PORT: "INVLD_NET_PORT",
        _S.POOL: "INVLD_STOR_POOL_NAME",
        _S.POOL_NAME: "INVLD_STOR_POOL_NAME",
        _S.POOL_DEFINITION: "INVLD_STOR_POOL_NAME",
        _S.POOL_CONFIGURATION: "STOR_POOL_CONFIGURATION_ERROR",
        _S.PROVIDER: "INVLD_LAYER_KIND",
        _S.GROUP: "INVLD_RSC_GRP_NAME",
        _S.GROUP_NAME: "INVLD_RSC_GRP_NAME",
        _S.VOLUME_GROUP: "INVLD_VLM_NR",
        _S.RESOURCE_DEFINITION: "MISSING_EXT_NAME",
        _S.RESOURCE_NAME: "INVLD_RSC_NAME",
        _S.EXTERNAL_NAME: "INVLD_EXT_NAME",
        _S.VOLUME_DEFINITION: "INVLD_VLM_NR",
        _S.VOLUME_NUMBER: "INVLD_VLM_NR",
        _S.VOLUME_SIZE: "INVLD_VLM_SIZE",
        _S.VOLUME_SIZES: "INVLD_VLM_SIZES",
        _S.VOLUME_COUNT: "INVLD_VLM_COUNT",
        _S.RESOURCE_STATE: "INVLD_RSC_STATE",
        _S.SNAPSHOT: "INVLD_SNAPSHOT_NAME",
        _S.SNAPSHOT_NAME: "INVLD_SNAPSHOT_NAME",
        _S.SATELLITE_CONNECTION: "NO_STLT_CONN_DEFINED",
        _S.KEY_VALUE_STORE: "INVLD_KVS_NAME",
        _S.EXTERNAL_FILE: "INVLD_EXT_FILE_NAME",
        _S.REMOTE: "INVLD_REMOTE_NAME",
        _S.SCHEDULE: "INVLD_SCHEDULE_NAME",
        _S.PASSPHRASE: "INVLD_CRYPT_PASSPHRASE",
        _S.PROPERTY: "INVLD_PROP",
        _S.LAYER_KIND: "INVLD_LAYER_KIND",
        _S.LAYER_STACK: "INVLD_LAYER_STACK",
        _S.PLACE_COUNT: "INVLD_PLACE_COUNT",
        _S.TCP_PORT: "INVLD_TCP_PORT",
        _S.MINOR: "INVLD_MINOR_NR",
        _S.NODE_ID: "INVLD_NODE_ID",
        _S.CONTROLLER: "INVLD_CONF",
        _S.DATABASE: "SQL",
        _S.REPLICA_COUNT: "INSUFFICIENT_REPLICA_COUNT",
        _S.PEER_SLOTS: "INSUFFICIENT_PEER_SLOTS",
        _S.FREE_SPACE: "NOT_ENOUGH_FREE_SPACE",
    },
    NotFound: {
        _S.NODE: "NOT_FOUND_NODE",
        _S.NODE_NAME: "NOT_FOUND_NODE",
        _S.NODE_TYPE: "NOT_FOUND_NODE",
        _S.NET_IF: "NOT_FOUND_NET_IF",
        _S.NET_IF_NAME: "NOT_FOUND_NET_IF",
        _S.NET_ADDRESS: "NOT_FOUND_NET_IF",
        _S.NET_PORT: "NOT_FOUND_NET_IF",
        _S.POOL: "NOT_FOUND_STOR_POOL",
        _S.POOL_NAME: "NOT_FOUND_STOR_POOL",
        _S.POOL_DEFINITION: "NOT_FOUND_STOR_POOL_DFN",
        _S.POOL_CONFIGURATION: "NOT_FOUND_DFLT_STOR_POOL",
        _S.PROVIDER: "NOT_FOUND_STOR_POOL",
        _S.GROUP: "NOT_FOUND_RSC_GRP",
        _S.GROUP_NAME: "NOT_FOUND_RSC_GRP",
        _S.VOLUME_GROUP: "NOT_FOUND_VLM_GRP",
        _S.VOLUME_DEFINITION: "NOT_FOUND_VLM_DFN",
        _S.VOLUME_NUMBER: "NOT_FOUND_VLM_DFN",
        _S.VOLUME: "NOT_FOUND_VLM",
        _S.RESOURCE: "NOT_FOUND_RSC",
        _S.RESOURCE_STATE: "NOT_FOUND_RSC",
        _S.SNAPSHOT: "NOT_FOUND_SNAPSHOT",
        _S.SNAPSHOT_NAME: "NOT_FOUND_SNAPSHOT",
        _S.SNAPSHOT_DEFINITION: "NOT_FOUND_SNAPSHOT_DFN",
        _S.NODE_CONNECTION: "NOT_FOUND_NODE_CONN",
        _S.RESOURCE_CONNECTION: "NOT_FOUND_RSC_CONN",
        _S.KEY_VALUE_STORE: "NOT_FOUND_KVS",
        _S.EXTERNAL_FILE: "NOT_FOUND_EXT_FILE",
        _S.REMOTE: "NOT_FOUND_REMOTE",
        _S.SCHEDULE: "NOT_FOUND_SCHEDULE",
        _S.COMMAND: "NOT_FOUND_CRYPT_KEY",
        _S.PASSPHRASE: "NOT_FOUND_CRYPT_KEY",
    },
    Exists: {
        _S.NODE: "EXISTS_NODE",
        _S.NODE_NAME: "EXISTS_NODE",
        _S.NET_IF: "EXISTS_NET_IF",
        _S.NET_IF_NAME: "EXISTS_NET_IF",
        _S.NET_ADDRESS: "EXISTS_NET_IF",
        _S.POOL: "EXISTS_STOR_POOL",
        _S.POOL_NAME: "EXISTS_STOR_POOL",
        _S.POOL_DEFINITION: "EXISTS_STOR_POOL_DFN",
        _S.GROUP: "EXISTS_RSC_GRP",
        _S.GROUP_NAME: "EXISTS_RSC_GRP",
        _S.VOLUME_GROUP: "EXISTS_VLM_GRP",
        _S.EXTERNAL_NAME: "EXISTS_EXT_NAME",
        _S.VOLUME_DEFINITION: "EXISTS_VLM_DFN",
        _S.VOLUME_NUMBER: "EXISTS_VLM_DFN",
        _S.VOLUME: "EXISTS_VLM",
        _S.RESOURCE: "EXISTS_RSC",
        _S.RESOURCE_STATE: "EXISTS_RSC",
        _S.SNAPSHOT: "EXISTS_SNAPSHOT_DFN",
        _S.SNAPSHOT_NAME: "EXISTS_SNAPSHOT_DFN",
        _S.SNAPSHOT_DEFINITION: "EXISTS_SNAPSHOT_DFN",
        _S.NODE_CONNECTION: "EXISTS_NODE_CONN",
        _S.RESOURCE_CONNECTION: "EXISTS_RSC_CONN",
        _S.SATELLITE_CONNECTION: "EXISTS_STLT_CONN",
        _S.REMOTE: "EXISTS_REMOTE",
        _S.SCHEDULE: "EXISTS_SCHEDULE",
        _S.PASSPHRASE: "EXISTS_CRYPT_PASSPHRASE",
        _S.LAYER_STACK: "EXISTS_RSC",
        _S.NVME_TARGET: "EXISTS_NVME_TARGET_PER_RSC_DFN",
        _S.MINOR: "INVLD_MINOR_NR",
        _S.TCP_PORT: "INVLD_TCP_PORT",
        _S.NODE_ID: "INVLD_NODE_ID",
    },
    Conflict: {
        _S.NODE: "EVACUATING",
        _S.NODE_TYPE: "INVLD_STOR_DRIVER",
        _S.NET_IF: "INVLD_REQUEST",
        _S.POOL: "INVLD_STOR_POOL_NAME",
        _S.POOL_CONFIGURATION: "STOR_POOL_CONFIGURATION_ERROR",
        _S.POOL_DEFINITION: "IN_USE",
        _S.PROVIDER: "SP_MIXING_NOT_ALLOWED",
        _S.GROUP: "EXISTS_RSC_DFN",
        _S.RESOURCE_DEFINITION: "INVLD_RSC_STATE",
        _S.VOLUME_DEFINITION: "INVLD_VLM_SIZE",
        _S.VOLUME_SIZE: "INVLD_VLM_SIZE",
        _S.PROPERTY: "INVLD_PROP",
        _S.LAYER_KIND: "INVLD_LAYER_STACK",
        _S.LAYER_STACK: "INVLD_LAYER_STACK",
        _S.PLACEMENT: "UNDECIDABLE_AUTOPLACMENT",
        _S.PEER_SLOTS: "INSUFFICIENT_PEER_SLOTS",
        _S.REPLICA_COUNT: "INSUFFICIENT_REPLICA_COUNT",
        _S.FREE_SPACE: "NOT_ENOUGH_FREE_SPACE",
        _S.TCP_PORT: "PORT_BLOCKED_DRBD_ADJUST",
        _S.MINOR: "INVLD_MINOR_NR",
        _S.NODE_ID: "INVLD_NODE_ID",
        _S.SATELLITE_CONNECTION: "EXISTS_STLT_CONN",
        _S.SNAPSHOT: "SNAPSHOT_NOT_UPTODATE",
        _S.DATABASE: "SQL",
        _S.REQUEST: "INVLD_REQUEST",
        _S.COMMAND: "INVLD_REQUEST",
        _S.CONTROLLER: "INVLD_CONF",
        _S.PASSPHRASE: "MISSING_PROPS",
        _S.NVME_TARGET: "MISSING_NVME_TARGET",
    },
    InUse: {
        _S.NVME_TARGET: "EXISTS_NVME_INITIATOR_PER_RSC_DFN",
        _S.NODE: "NODE_HAS_USED_RSC",
        _S.GROUP: "EXISTS_RSC_DFN",
        _S.SNAPSHOT: "EXISTS_SNAPSHOT_DFN",
        _S.RESOURCE: "IN_USE",
        _S.DATABASE: "SQL",
        _S.TCP_PORT: "PORT_BLOCKED_DRBD_ADJUST",
        _S.SATELLITE_CONNECTION: "EXISTS_STLT_CONN",
        _S.MINOR: "INVLD_MINOR_NR",
        _S.NODE_ID: "INVLD_NODE_ID",
    },
    Busy: {_S.DATABASE: "SQL", _S.SNAPSHOT: "SNAPSHOT_ROLLBACK_IN_PROGRESS"},
    Exhausted: {
        _S.VOLUME_NUMBER: "POOL_EXHAUSTED_VLM_NR",
        _S.MINOR: "POOL_EXHAUSTED_MINOR_NR",
        _S.TCP_PORT: "POOL_EXHAUSTED_TCP_PORT",
        _S.NODE_ID: "POOL_EXHAUSTED_NODE_ID",
        _S.PEER_SLOTS: "INSUFFICIENT_PEER_SLOTS",
        _S.REPLICA_COUNT: "INSUFFICIENT_REPLICA_COUNT",
        _S.FREE_SPACE: "NOT_ENOUGH_FREE_SPACE",
        _S.POOL: "NOT_ENOUGH_FREE_SPACE",
        _S.DATABASE: "SQL",
        _S.REQUEST: "INVLD_REQUEST",
    },
    Unavailable: {_S.DATABASE: "SQL", _S.PASSPHRASE: "CRYPT_INIT", _S.CONTROLLER: "UNKNOWN_ERROR"},
    Denied: {
        _S.NODE: "ACC_DENIED_NODE",
        _S.RESOURCE_DEFINITION: "ACC_DENIED_RSC_DFN",
        _S.RESOURCE: "ACC_DENIED_RSC",
        _S.VOLUME_DEFINITION: "ACC_DENIED_VLM_DFN",
        _S.VOLUME: "ACC_DENIED_VLM",
        _S.POOL_DEFINITION: "ACC_DENIED_STOR_POOL_DFN",
        _S.POOL: "ACC_DENIED_STOR_POOL",
        _S.NODE_CONNECTION: "ACC_DENIED_NODE_CONN",
        _S.RESOURCE_CONNECTION: "ACC_DENIED_RSC_CONN",
        _S.SATELLITE_CONNECTION: "ACC_DENIED_STLT_CONN",
        _S.CONTROLLER: "ACC_DENIED_CTRL_CFG",
        _S.SNAPSHOT: "ACC_DENIED_SNAPSHOT",
        _S.KEY_VALUE_STORE: "ACC_DENIED_KVS",
        _S.GROUP: "ACC_DENIED_RSC_GRP",
        _S.VOLUME_GROUP: "ACC_DENIED_VLM_GRP",
        _S.EXTERNAL_FILE: "ACC_DENIED_EXT_FILE",
        _S.REMOTE: "ACC_DENIED_REMOTE",
        _S.SCHEDULE: "ACC_DENIED_SCHEDULE",
    },
    Unsupported: {
        _S.PROVIDER: "STLT_DOES_NOT_SUPPORT_PROVIDER",
        _S.LAYER_KIND: "STLT_DOES_NOT_SUPPORT_LAYER",
        _S.LAYER_STACK: "STLT_DOES_NOT_SUPPORT_LAYER",
        _S.SNAPSHOT: "SNAPSHOTS_NOT_SUPPORTED",
        _S.POOL: "SNAPSHOTS_NOT_SUPPORTED",
        _S.NODE_TYPE: "INVLD_NODE_TYPE",
        _S.DATABASE: "SQL",
    },
}

_SIGN_IN = codes.FAIL["SIGN_IN"]
_NO_CREDENTIALS = codes.FAIL["SIGN_IN_MISSING_CREDENTIALS"]


def code_for(error: DomainError) -> str:
    """The name of the error's code, for any family and subject."""
    for family in FAMILIES:
        if isinstance(error, family):
            return _CODES[family].get(error.subject, _DEFAULTS[family])
    return "UNKNOWN_ERROR"


def status_for(number: int) -> int:
    """The HTTP status of an error with this return code."""
    if number == codes.PARSE_ERROR:
        return 400
    code = codes.code_of(number)
    if code == _NO_CREDENTIALS:
        return 401
    if 400 <= code < 500 or code == _SIGN_IN:
        return 403
    return 404 if 300 <= code < 400 else 500


def status_of(entries: Sequence[ApiCallRc], success: int) -> int:
    """The HTTP status of an answer: the first error decides; warnings and infos do not count."""
    for entry in entries:
        if codes.is_error(entry.ret_code):
            return status_for(entry.ret_code)
    return success
