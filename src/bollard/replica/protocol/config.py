"""The configuration of a resource as the protocol core sees it, and the reading of DRBD's option names.

Pure values. Unknown options are refused by name, so that a typing error cannot pass for a setting.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from bollard.replica.protocol.commands import AfterSplitBrain, WireProtocol
from bollard.replica.protocol.dialect import MAX_DRBD9


class ConfigError(ValueError):
    """An option that cannot be: names it, its value, and what would be right."""


class OnNoQuorum(StrEnum):
    """What requests of a Primary get while quorum is lost."""

    SUSPEND_IO = "suspend-io"
    IO_ERROR = "io-error"


class Fencing(StrEnum):
    """Whether a lost peer is fenced, and whether requests wait for that."""

    DONT_CARE = "dont-care"
    RESOURCE_ONLY = "resource-only"
    RESOURCE_AND_STONITH = "resource-and-stonith"


class OnIoError(StrEnum):
    """What a failing local disk leads to."""

    DETACH = "detach"
    PASS_ON = "pass_on"  # noqa: S105  the name of a policy
    CALL_LOCAL_IO_ERROR = "call-local-io-error"


class Handler(StrEnum):
    """Programs of the operator that are run when something happens; options of the same name."""

    AFTER_RESYNC_TARGET = "after-resync-target"
    BEFORE_RESYNC_SOURCE = "before-resync-source"
    BEFORE_RESYNC_TARGET = "before-resync-target"
    DISCONNECTED = "disconnected"
    FENCE_PEER = "fence-peer"
    INITIAL_SPLIT_BRAIN = "initial-split-brain"
    LOCAL_IO_ERROR = "local-io-error"
    OUT_OF_SYNC = "out-of-sync"
    PRI_LOST = "pri-lost"
    PRI_LOST_AFTER_SB = "pri-lost-after-sb"
    PRI_ON_INCON_DEGR = "pri-on-incon-degr"
    QUORUM_LOST = "quorum-lost"
    SPLIT_BRAIN = "split-brain"
    UNFENCE_PEER = "unfence-peer"


class OnCongestion(StrEnum):
    """What a Primary does with a peer that does not keep up."""

    BLOCK = "block"
    PULL_AHEAD = "pull-ahead"
    DISCONNECT = "disconnect"


QUORUM_OFF: Final = 0
QUORUM_MAJORITY: Final = 32
QUORUM_ALL: Final = 33
"""Quorum settings besides a plain number of nodes 1..31."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a resource, already in units: `_s` seconds, `_bytes`, counts.

    `quorum` is QUORUM_OFF, QUORUM_MAJORITY, QUORUM_ALL or a number of nodes. `handlers` are those that there
    are; what they run is known to the shell.
    """

    protocol: WireProtocol = WireProtocol.C
    quorum: int = QUORUM_OFF
    quorum_minimum_redundancy: int = QUORUM_OFF
    on_no_quorum: OnNoQuorum = OnNoQuorum.SUSPEND_IO
    on_no_data_suspend: bool = False
    force_secondary_when_outdated: bool = False
    auto_promote: bool = True
    auto_promote_timeout_s: float = 2.0
    twopc_timeout_s: float = 30.0
    twopc_retry_timeout_s: float = 0.1
    allow_two_primaries: bool = False
    cram_hmac_alg: str = ""
    shared_secret: str = ""
    verify_alg: str = "sha256"
    csums_alg: str = "sha256"
    csums_after_crash_only: bool = True
    data_integrity_alg: str = ""
    after_sb_0pri: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_1pri: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    after_sb_2pri: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    always_asbp: bool = False
    rr_conflict: AfterSplitBrain = AfterSplitBrain.DISCONNECT
    fencing: Fencing = Fencing.DONT_CARE
    on_io_error: OnIoError = OnIoError.DETACH
    ping_interval_s: float = 10.0
    ping_timeout_s: float = 0.5
    connect_interval_s: float = 10.0
    timeout_s: float = 6.0
    ko_count: int = 7
    on_congestion: OnCongestion = OnCongestion.BLOCK
    congestion_fill_bytes: int = 0
    congestion_extents: int = 1237
    max_epoch_size: int = 2048
    max_buffers: int = 2048
    al_extents: int = 1237
    resync_bytes_per_s: int = 0
    resync_request_bytes: int = 1 << 18
    rs_discard_granularity_bytes: int = 0
    max_version: int = MAX_DRBD9
    use_rle: bool = True
    allow_remote_read: bool = True
    handlers: frozenset[Handler] = frozenset()

    def __repr__(self) -> str:
        return f"Options(protocol={self.protocol.name}, quorum={self.quorum})"


class VolumeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One volume here. `size_bytes` is what users shall see, a multiple of 4096; 0 = as much as all hold.

    `options` go before the resource's, where they are about a disk. Raises ConfigError.
    """

    number: int
    minor: int
    size_bytes: int = 0
    diskless: bool = False
    backing_name: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        parse_options(self.options)


class PeerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Another node: its id (0..31), its name in views, and whether it is diskless on purpose."""

    node_id: int
    name: str
    diskless: bool = False
    local_address: str = ""
    address: str = ""


class ResourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a `Resource` is made from; volumes and peers follow as events."""

    name: str
    node_id: int
    options: Options = Options()


def parse_options(raw: Iterable[tuple[str, str]]) -> Options:
    """Options by DRBD's names (`ping-int`, `quorum`, ...) with DRBD's units. Raises ConfigError."""
    values: dict[str, object] = {}
    handlers: set[Handler] = set()
    for name, text in raw:
        if name in HANDLERS:
            if text.strip():
                handlers.add(Handler(name))
            continue
        reader = _READERS.get(name)
        if reader is None:
            if name in IGNORED:
                continue
            raise ConfigError(f"option {name}: not known; check the spelling")
        field, parse = reader
        try:
            values[field] = parse(text.strip())
        except (ValueError, KeyError) as error:
            raise ConfigError(f"option {name}: {text!r} is not a valid value ({error})") from None
    options = msgspec.structs.replace(Options(handlers=frozenset(handlers)), **values)
    if options.allow_two_primaries and options.protocol is not WireProtocol.C:
        raise ConfigError(
            "option allow-two-primaries: needs protocol C, which makes both copies equal at once"
        )
    if options.on_congestion is not OnCongestion.BLOCK and options.protocol is not WireProtocol.A:
        raise ConfigError(f"option on-congestion: {options.on_congestion} needs protocol A")
    return options


def _flag(text: str) -> bool:
    if text in ("yes", "true", "on", "1"):
        return True
    if text in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no is wanted")


def _number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"{low}..{high} is wanted")
        return value

    return parse


def _scaled(unit_s: float, low: int, high: int) -> Callable[[str], float]:
    number = _number(low, high)
    return lambda text: number(text) * unit_s


def _size(high_bytes: int, unit_bytes: int = 1) -> Callable[[str], int]:
    """Bytes; a number without a letter counts in `unit_bytes`."""

    def parse(text: str) -> int:
        scale = {"s": 512, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 0)
        value = int(text[:-1]) * scale if scale else int(text) * unit_bytes
        if not 0 <= value <= high_bytes:
            raise ValueError(f"0..{high_bytes} bytes is wanted")
        return value

    return parse


def _kib_per_s(text: str) -> int:
    scale = {"k": 1, "K": 1, "M": 1 << 10, "G": 1 << 20}.get(text[-1:], 0)
    value = int(text[:-1]) * scale if scale else int(text)
    if value < 0:
        raise ValueError("a rate is not negative")
    return value << 10


def _quorum(text: str) -> int:
    named = {"off": QUORUM_OFF, "majority": QUORUM_MAJORITY, "all": QUORUM_ALL}
    return named[text] if text in named else _number(1, 31)(text)


def _hash_name(text: str) -> str:
    if len(text) > 63 or not all(letter.isalnum() or letter in "-_()" for letter in text):
        raise ValueError("a name of a digest is wanted")
    return text


_POLICIES: Final = {
    "disconnect": AfterSplitBrain.DISCONNECT,
    "discard-younger-primary": AfterSplitBrain.DISCARD_YOUNGER,
    "discard-older-primary": AfterSplitBrain.DISCARD_OLDER,
    "discard-zero-changes": AfterSplitBrain.DISCARD_ZERO_CHANGES,
    "discard-least-changes": AfterSplitBrain.DISCARD_LEAST_CHANGES,
    "discard-local": AfterSplitBrain.DISCARD_LOCAL,
    "discard-remote": AfterSplitBrain.DISCARD_REMOTE,
    "consensus": AfterSplitBrain.CONSENSUS,
    "discard-secondary": AfterSplitBrain.DISCARD_SECONDARY,
    "call-pri-lost-after-sb": AfterSplitBrain.CALL_HELPER,
    "violently-as0p": AfterSplitBrain.VIOLENTLY,
    "violently": AfterSplitBrain.VIOLENTLY,
    "call-pri-lost": AfterSplitBrain.CALL_HELPER,
    "retry-connect": AfterSplitBrain.RETRY_CONNECT,
    "auto-discard": AfterSplitBrain.AUTO_DISCARD,
}

_Parser = Callable[[str], object]
_READERS: Final[dict[str, tuple[str, _Parser]]] = {
    "protocol": ("protocol", lambda text: WireProtocol[text]),
    "quorum": ("quorum", _quorum),
    "quorum-minimum-redundancy": ("quorum_minimum_redundancy", _quorum),
    "on-no-quorum": ("on_no_quorum", OnNoQuorum),
    "on-no-data-accessible": (
        "on_no_data_suspend",
        lambda text: {"suspend-io": True, "io-error": False}[text],
    ),
    "on-suspended-primary-outdated": (
        "force_secondary_when_outdated",
        lambda text: {"force-secondary": True, "disconnect": False}[text],
    ),
    "auto-promote": ("auto_promote", _flag),
    "auto-promote-timeout": ("auto_promote_timeout_s", _scaled(0.1, 0, 600)),
    "twopc-timeout": ("twopc_timeout_s", _scaled(0.1, 50, 600)),
    "twopc-retry-timeout": ("twopc_retry_timeout_s", _scaled(0.1, 1, 50)),
    "allow-two-primaries": ("allow_two_primaries", _flag),
    "cram-hmac-alg": ("cram_hmac_alg", _hash_name),
    "shared-secret": ("shared_secret", str),
    "verify-alg": ("verify_alg", _hash_name),
    "csums-alg": ("csums_alg", _hash_name),
    "csums-after-crash-only": ("csums_after_crash_only", _flag),
    "data-integrity-alg": ("data_integrity_alg", _hash_name),
    "after-sb-0pri": ("after_sb_0pri", _POLICIES.__getitem__),
    "after-sb-1pri": ("after_sb_1pri", _POLICIES.__getitem__),
    "after-sb-2pri": ("after_sb_2pri", _POLICIES.__getitem__),
    "always-asbp": ("always_asbp", _flag),
    "rr-conflict": ("rr_conflict", _POLICIES.__getitem__),
    "fencing": ("fencing", Fencing),
    "on-io-error": ("on_io_error", OnIoError),
    "ping-int": ("ping_interval_s", _scaled(1.0, 1, 120)),
    "ping-timeout": ("ping_timeout_s", _scaled(0.1, 1, 300)),
    "connect-int": ("connect_interval_s", _scaled(1.0, 1, 120)),
    "timeout": ("timeout_s", _scaled(0.1, 1, 600)),
    "ko-count": ("ko_count", _number(0, 200)),
    "on-congestion": ("on_congestion", OnCongestion),
    "congestion-fill": ("congestion_fill_bytes", _size(10 << 30, unit_bytes=512)),
    "congestion-extents": ("congestion_extents", _number(67, 65534)),
    "max-epoch-size": ("max_epoch_size", _number(1, 20000)),
    "max-buffers": ("max_buffers", _number(32, 131072)),
    "al-extents": ("al_extents", _number(67, 65534)),
    "rs-discard-granularity": ("rs_discard_granularity_bytes", _size(1 << 20)),
    "resync-rate": ("resync_bytes_per_s", _kib_per_s),
    "use-rle": ("use_rle", _flag),
    "allow-remote-read": ("allow_remote_read", _flag),
}

HANDLERS: Final = frozenset(Handler)
OPTION_NAMES: Final = frozenset(_READERS)
IGNORED: Final = frozenset(
    {
        "cpu-mask", "peer-ack-window", "peer-ack-delay", "max-io-depth", "sndbuf-size", "rcvbuf-size",
        "tcp-cork",
        "socket-check-timeout", "transport", "load-balance-paths", "disk-barrier", "disk-flushes",
        "disk-drain", "md-flushes", "resync-after", "al-updates", "discard-zeroes-if-aligned",
        "disable-write-same", "disk-timeout", "read-balancing", "c-plan-ahead",
        "c-delay-target", "c-fill-target", "c-max-rate", "c-min-rate", "max-bio-size", "block-size",
        "discard-granularity", "drbd8-api-compatibility", "tls", "tls-keyring", "tls-privkey",
        "tls-certificate", "bitmap", "resync-without-replication", "peer-tiebreaker",
    }
)  # fmt: skip
"""Options of kernel DRBD that are accepted and have no effect here."""
