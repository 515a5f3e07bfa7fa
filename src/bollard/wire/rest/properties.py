"""What the API says of the catalogue of properties: kind, values and default of each, by kind of object."""

import msgspec

from bollard.domain.catalogue.kinds import Kind, Property
from bollard.domain.props import Scope, properties_of


class PropertyInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """One property that may be set."""

    info: str = ""
    prop_type: str = ""
    value: str = ""
    dflt: str = ""
    unit: str = ""


OBJECTS: dict[str, Scope | None] = {
    "CTRL": Scope.CONTROLLER,
    "NODE": Scope.NODE,
    "NODE_CONN": Scope.NODE_CONNECTION,
    "RSC": Scope.RESOURCE,
    "RSC_DFN": Scope.RESOURCE_DEFINITION,
    "RSC_CONN": Scope.RESOURCE_CONNECTION,
    "STOR_POOL": Scope.POOL,
    "STOR_POOL_DFN": Scope.POOL_DEFINITION,
    "VLM": Scope.VOLUME,
    "VLM_DFN": Scope.VOLUME_DEFINITION,
    "RSC_GRP": None,
    "VLM_GRP": None,
    "KVS": None,
    "NET_IF": None,
    "SNAP": None,
    "SNAP_DFN": None,
    "SNAP_VLM": None,
    "SNAP_VLM_DFN": None,
    "VLM_CONN": None,
    "SNAP_RSC": None,
    "SNAP_VLM_VLM": None,
    "SNAP_DFN_RSC_DFN": None,
    "SNAP_VLM_DFN_VLM_DFN": None,
    "STLT": None,
    "EMPTY_RO_PROPS": None,
    "DRBD_PROXY": None,
    "DRBD_PROXY_LZ4": None,
    "DRBD_PROXY_LZMA": None,
    "DRBD_PROXY_ZLIB": None,
    "DRBD_PROXY_ZSTD": None,
}
"""Kinds of objects as the API names them; those without a scope are checked like another or not at all."""

_UNITS = {
    "BackupShipping/BackupTimeout": "seconds",
    "DrbdOptions/Disk/disk-timeout": "1/10 seconds",
    "DrbdOptions/Disk/rs-discard-granularity": "bytes",
    "DrbdOptions/Net/congestion-fill": "bytes",
    "DrbdOptions/Net/connect-int": "seconds",
    "DrbdOptions/Net/ping-int": "seconds",
    "DrbdOptions/Net/ping-timeout": "1/10 seconds",
    "DrbdOptions/Net/rcvbuf-size": "bytes",
    "DrbdOptions/Net/sndbuf-size": "bytes",
    "DrbdOptions/Net/timeout": "1/10 seconds",
    "DrbdOptions/PeerDevice/c-delay-target": "1/10 seconds",
    "DrbdOptions/PeerDevice/c-fill-target": "bytes",
    "DrbdOptions/PeerDevice/c-max-rate": "bytes/second",
    "DrbdOptions/PeerDevice/c-min-rate": "bytes/second",
    "DrbdOptions/PeerDevice/c-plan-ahead": "1/10 seconds",
    "DrbdOptions/PeerDevice/resync-rate": "bytes/second",
    "DrbdOptions/Resource/auto-promote-timeout": "1/10 seconds",
    "DrbdOptions/Resource/peer-ack-delay": "milliseconds",
    "DrbdOptions/Resource/peer-ack-window": "bytes",
    "DrbdOptions/Resource/twopc-retry-timeout": "1/10 seconds",
    "DrbdOptions/Resource/twopc-timeout": "1/10 seconds",
}
_DEFAULT_WORDS = {
    "DrbdOptions/AutoEvictMinReplicaCount": "the place count of the resource group, where there is one",
    "FileSystem/Group": "the group that the root of the file system has after it was made",
    "FileSystem/User": "the user that the root of the file system has after it was made",
    "Writecache/Options/AutocommitBlocks": "64 for pmem, 65536 for ssd",
    "Writecache/Options/WritebackJobs": "unlimited",
}
"""Defaults that are no single value."""
_SAID_TO_BE_TEXT = frozenset(
    {
        "BackupShipping/AllowForceRestore",
        "DrbdOptions/auto-rs-discard-granularity",
        "Linstor/Drbd/auto-block-size",
        "Linstor/Drbd/auto-discard-granularity",
        "Linstor/Drbd/freeze-block-size",
    }
)
"""Truth values that the API has always called text."""
_TRUTH = "(?i)(?:true|false|yes|no)"
_YES_NO = "(?i)(?:yes|no)"
_YES_NO_DEFAULTS = {"yes": "True", "no": "False"}


def infos(scope: Scope) -> dict[str, PropertyInfo]:
    """The properties of one kind of object by key."""
    return {row.key: info_of(row) for row in properties_of(scope)}


def all_infos() -> dict[str, dict[str, PropertyInfo]]:
    """The properties of all kinds of objects."""
    return {name: infos(scope) if scope is not None else {} for name, scope in OBJECTS.items()}


def info_of(row: Property) -> PropertyInfo:
    """One row of the catalogue as clients see it."""
    kind, value = _shape(row)
    default = _YES_NO_DEFAULTS.get(row.default, row.default) if row.kind is Kind.YES_NO else row.default
    return PropertyInfo(
        prop_type=kind,
        value=value,
        dflt=_DEFAULT_WORDS.get(row.key, default),
        unit=_UNITS.get(row.key, ""),
    )


def _shape(row: Property) -> tuple[str, str]:
    match row.kind:
        case Kind.TRUTH if row.key in _SAID_TO_BE_TEXT:
            return Kind.STRING, ""
        case Kind.TRUTH:
            return "boolean_true_false", _TRUTH
        case Kind.YES_NO:
            return "boolean", _YES_NO
        case Kind.RANGE:
            low, high = row.values.split()
            return "range", f"({low} - {high})"
        case Kind.RANGE_FLOAT:
            return "range_float", "(0.0 - 1000.0)"
        case Kind.SYMBOL:
            return "regex", _words(row)
        case Kind.NUMBER_OR_SYMBOL:
            return "numeric_or_symbol", "(1 - 32) or " + _words(row)
        case Kind.LONG | Kind.STRING:
            return row.kind, ""
        case Kind.REGEX:
            return row.kind, row.values


def _words(row: Property) -> str:
    return "(?:" + "|".join(sorted(row.values.split())) + ")"
