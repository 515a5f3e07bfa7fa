"""The one catalogue of properties: which may be set where, what they mean when nobody sets them.

Code asks with the settings named here, never with a literal key. Values are stored as normalised text.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from bollard.domain.catalogue import drbd, general
from bollard.domain.catalogue.kinds import Kind, Property, describe, normalise
from bollard.domain.errors import Invalid, Subject
from bollard.domain.nodes import Props

KEY_CHARACTERS_MAX = 256
VALUE_CHARACTERS_MAX = 4096
AUX = "Aux/"
PATHS = "Paths/"
EBS_TAGS = "EBS/Tags/"
DRBD_OPTIONS = "DrbdOptions/"


class Scope(enum.StrEnum):
    """The kinds of objects that have properties; groups are checked like what they are templates of."""

    CONTROLLER = "c"
    NODE = "n"
    NODE_CONNECTION = "nc"
    RESOURCE = "r"
    RESOURCE_DEFINITION = "rd"
    RESOURCE_CONNECTION = "rc"
    POOL = "sp"
    POOL_DEFINITION = "spd"
    VOLUME = "v"
    VOLUME_DEFINITION = "vd"


class Setting:
    """One property by name: its row in the catalogue, or a property that only the cluster itself sets."""

    def __init__(self, key: str) -> None:
        self.key = key
        row = CATALOGUE.get(key)
        self.default = row.default if row is not None else ""

    def text(self, *maps: Mapping[str, str]) -> str:
        """The first value in `maps`, nearest first; the catalogue's default when none has it."""
        return self.found(*maps) or self.default

    def found(self, *maps: Mapping[str, str]) -> str | None:
        """The first value in `maps`, nearest first, or None."""
        for props in maps:
            if self.key in props:
                return props[self.key]
        return None

    def truth(self, *maps: Mapping[str, str], default: bool = False) -> bool:
        """The value as yes or no, in any of its spellings; `default` when it is set nowhere."""
        value = self.found(*maps) or self.default
        return default if not value else value.lower() in {"true", "yes"}

    def number(self, *maps: Mapping[str, str], default: float = 0) -> float:
        """The value as a number; `default` when it is set nowhere or is none."""
        value = self.found(*maps) or self.default
        if not value:
            return default
        try:
            return float(value)
        except ValueError:
            return default


CATALOGUE: dict[str, Property] = {row.key: row for row in (*general.ROWS, *drbd.ROWS)}
"""All properties that a user may set, by key."""

STOR_POOL_NAME = Setting("StorPoolName")
STOR_POOL_NAME_META = Setting("StorPoolNameDrbdMeta")
INTERNAL_METADATA = ".internal"
"""What that says where metadata is to lie beside the data."""
PREF_NIC = Setting("PrefNic")
NVME_PREF_NIC = Setting("NVMe/PrefNic")
NVME_TRANSPORT = Setting("NVMe/TRType")
NVME_PORT = Setting("NVMe/Port")
TCP_PORT_AUTO_RANGE = Setting("TcpPortAutoRange")
TCP_PORTS_BLOCKED = Setting("TcpPortsBlocked")
MINOR_NR_AUTO_RANGE = Setting("MinorNrAutoRange")
PEER_SLOTS_NEW_RESOURCE = Setting("PeerSlotsNewResource")
BITMAP_BLOCK_SIZE_NEW_RESOURCE = Setting("BitmapBlockSizeNewResource")
AUTOPLACE_TARGET = Setting("AutoplaceTarget")
ALLOW_MIXING = Setting("AllowMixingStoragePoolDriver")
MIN_THIN_FREE_SPACE = Setting("Autoplacer/MinThinFreeSpace")
WEIGHT_FREE_SPACE = Setting("Autoplacer/Weights/MaxFreeSpace")
WEIGHT_RESERVED_SPACE = Setting("Autoplacer/Weights/MinReservedSpace")
WEIGHT_RESOURCE_COUNT = Setting("Autoplacer/Weights/MinRscCount")
WEIGHT_THROUGHPUT = Setting("Autoplacer/Weights/MaxThroughput")
MAX_THROUGHPUT = Setting("Autoplacer/MaxThroughput")
OVERSUBSCRIPTION = Setting("MaxOversubscriptionRatio")
FREE_OVERSUBSCRIPTION = Setting("MaxFreeCapacityOversubscriptionRatio")
TOTAL_OVERSUBSCRIPTION = Setting("MaxTotalCapacityOversubscriptionRatio")
AUTO_TIEBREAKER = Setting("DrbdOptions/auto-add-quorum-tiebreaker")
AUTO_QUORUM_OLD = Setting("DrbdOptions/auto-quorum")
AUTO_EVICT = Setting("DrbdOptions/AutoEvictAllowEviction")
AUTO_EVICT_AFTER = Setting("DrbdOptions/AutoEvictAfterTime")
AUTO_EVICT_MAX_AWAY = Setting("DrbdOptions/AutoEvictMaxDisconnectedNodes")
AUTO_EVICT_MIN_REPLICAS = Setting("DrbdOptions/AutoEvictMinReplicaCount")
AUTO_DISKFUL = Setting("DrbdOptions/auto-diskful")
AUTO_DISKFUL_CLEANUP = Setting("DrbdOptions/auto-diskful-allow-cleanup")
AUTO_RESYNC_AFTER_DISABLE = Setting("DrbdOptions/auto-resync-after-disable")
AUTO_SNAPSHOT_EVERY = Setting("AutoSnapshot/RunEvery")
AUTO_SNAPSHOT_KEEP = Setting("AutoSnapshot/Keep")
AUTO_SNAPSHOT_NEXT = Setting("AutoSnapshot/NextAutoId")
BALANCE_ENABLED = Setting("BalanceResourcesEnabled")
BALANCE_GRACE = Setting("BalanceResourcesGracePeriod")
BALANCE_INTERVAL = Setting("BalanceResourcesInterval")
BALANCE_SKIP_LIMIT = Setting("BalanceResourcesSkipDiskLimit")
BALANCE_AFTER_CLONE = Setting("Clone/BalanceAfterClone")
BALANCE_AFTER_RESTORE = Setting("Snapshot/BalanceAfterRestore")
AUTO_VERIFY = Setting("DrbdOptions/auto-verify-alg")
AUTO_VERIFY_DISABLE = Setting("DrbdOptions/auto-verify-algo-disable")
VERIFY_ALG = Setting("DrbdOptions/Net/verify-alg")
RESYNC_AFTER = Setting("DrbdOptions/Disk/resync-after")
RESYNC_AFTER_SET_BY = Setting("Internal/Drbd/ResyncAfterSetBy")
AUTO_BLOCK_SIZE = Setting("Linstor/Drbd/auto-block-size")
FREEZE_BLOCK_SIZE = Setting("Linstor/Drbd/freeze-block-size")
BLOCK_SIZE = Setting("DrbdOptions/Disk/block-size")
BLOCK_SIZE_SET_BY = Setting("Internal/Drbd/BlockSizeSetBy")
FORCE_INITIAL_SYNC = Setting("DrbdOptions/ForceInitialSync")
ATTACH = Setting("Bollard/Attach")
DRBD_IMPLEMENTATION = Setting("Bollard/DrbdImplementation")
SKIP_DISK = Setting("DrbdOptions/SkipDisk")
QUORUM = Setting("DrbdOptions/Resource/quorum")
ON_NO_QUORUM = Setting("DrbdOptions/Resource/on-no-quorum")
DISCARD = Setting("DrbdOptions/Disk/discard-granularity")
RESYNC_DISCARD = Setting("DrbdOptions/Disk/rs-discard-granularity")
AUTO_DISCARD = Setting("Linstor/Drbd/auto-discard-granularity")
AUTO_RESYNC_DISCARD = Setting("DrbdOptions/auto-rs-discard-granularity")
ALLOCATION_UNIT = Setting("StorDriver/internal/AllocationGranularity")
STOR_DRIVER_NAME = Setting("StorDriver/StorPoolName")
FILE_DIR = Setting("StorDriver/FileDir")
LVM_VG = Setting("StorDriver/LvmVg")
THIN_POOL = Setting("StorDriver/ThinPool")
ZPOOL = Setting("StorDriver/ZPool")
ZPOOL_THIN = Setting("StorDriver/ZPoolThin")
VOLUME_PASSPHRASE = Setting("Encryption/Passphrase")
"""Never stored: passphrases are sealed, and set by a call of their own."""
CLUSTER_ID = Setting("Cluster/LocalID")
TOKEN_AUTH = Setting("Auth/TokenAuthenticationEnabled")
NO_HTTP_METRICS = Setting("REST/disable-http-metrics")
AUTO_HTTPS = Setting("REST/AutoHTTPS")
CURRENT_GI = Setting("DrbdCurrentGi")
DISKFUL_BY = Setting("DiskfulBy")
NODE_UNAME = Setting("NodeUname")
CURRENT_LINK = Setting("CurStltConnName")
QUORUM_SET_BY = Setting("Internal/Drbd/QuorumSetBy")
INITIAL_UP_TO_DATE_ON = Setting("Linstor/Drbd/InitialUptoDateOn")
VERIFY_ALLOWED = Setting("DrbdOptions/auto-verify-algo-allowed-list")
VERIFY_ALLOWED_USER = Setting("DrbdOptions/auto-verify-algo-allowed-user-list")
EXT_CMD_WAIT_TIMEOUT_OLD = Setting("ExtCmdWaitTimeout")
EXT_CMD_WAIT_TIMEOUT = Setting("ExtCmd/WaitTimeout")

READ_ONLY_KEYS = frozenset(
    {
        CLUSTER_ID.key,
        NODE_UNAME.key,
        CURRENT_LINK.key,
        QUORUM_SET_BY.key,
        VERIFY_ALLOWED.key,
        AUTO_VERIFY.key,
        RESYNC_AFTER_SET_BY.key,
        BLOCK_SIZE_SET_BY.key,
    }
)

_SIZE = re.compile(r"([0-9]+(?:[.][0-9]+)?)\s*([kKmMgGtTbBsS%]?)(?:i?[bB])?")
_SIZE_KIB = {"": 1.0, "k": 1.0, "m": 1024.0, "g": 1024.0**2, "t": 1024.0**3, "b": 1 / 1024, "s": 0.5}


def checked(key: str, value: str, scope: Scope) -> str:
    """The value as it is stored. Raises Invalid for an unknown key, a wrong scope or a wrong value."""
    row = settable(key, scope)
    if len(value) > VALUE_CHARACTERS_MAX:
        raise _invalid(key, f"The value of '{key}' has more than {VALUE_CHARACTERS_MAX} characters")
    if row is None:
        return value
    stored = normalise(row, value)
    if stored is None:
        raise _invalid(
            key,
            f"'{value[:80]}' is not a value of the property '{key}'",
            cause=f"It takes {describe(row)}.",
        )
    return stored


def settable(key: str, scope: Scope) -> Property | None:
    """The row of a key that may be set in this scope; None for a free key. Raises Invalid."""
    if not key or len(key) > KEY_CHARACTERS_MAX or key.startswith("/"):
        raise _invalid(
            key,
            f"'{key[:64]}' is not a property key",
            cause=f"A key has 1 to {KEY_CHARACTERS_MAX} characters and no '/' at its start.",
        )
    if not key.isprintable():
        raise _invalid(
            key,
            f"{key[:64]!a} is not a property key",
            cause="It has characters that cannot be seen, such as control characters.",
        )
    if _free(key, scope):
        return None
    if key == VOLUME_PASSPHRASE.key:
        raise _invalid(
            key,
            "A passphrase is not kept as a property",
            cause="Everyone who may read could see it.",
            correction="Use 'bollard volume-definition modify-passphrase'.",
        )
    row = CATALOGUE.get(key)
    if row is None or scope not in row.scopes.split():
        raise _invalid(
            key,
            f"The property '{key}' cannot be set here",
            cause="It is not known." if row is None else "It belongs to other kinds of objects.",
            correction="Properties of your own start with 'Aux/'.",
        )
    return row


def properties_of(scope: Scope) -> tuple[Property, ...]:
    """The rows that may be set in this scope, by key."""
    return tuple(CATALOGUE[key] for key in sorted(CATALOGUE) if scope in CATALOGUE[key].scopes.split())


def changed(
    props: Props,
    scope: Scope,
    *,
    override: Mapping[str, str],
    delete: Iterable[str] = (),
    delete_namespaces: Iterable[str] = (),
) -> Props:
    """New properties with these set, these gone, and whole namespaces gone. Raises Invalid: all or none."""
    stored = {key: checked(key, value, scope) for key, value in override.items()}
    for key in delete:
        if key not in props:
            settable(key, scope)
        elif key in READ_ONLY_KEYS:
            raise _invalid(key, f"The property '{key}' is kept by the cluster and cannot be deleted")
    gone = set(delete)
    spaces = tuple(space.rstrip("/") + "/" for space in delete_namespaces if space.strip("/"))
    kept = {
        key: value
        for key, value in (props | stored).items()
        if key not in gone and (key in READ_ONLY_KEYS or not key.startswith(spaces))
    }
    return kept if kept != props else props


def size_kib(text: str, whole_kib: int) -> float:
    """A size with a unit, or a percentage of `whole_kib`, in KiB; a bare number is KiB already."""
    number, unit = _size(text)
    return whole_kib * number / 100 if unit == "%" else number * _SIZE_KIB[unit]


@lru_cache(maxsize=256)
def _size(text: str) -> tuple[float, str]:
    match = _SIZE.fullmatch(text.strip())
    return (float(match.group(1)), match.group(2).lower()) if match is not None else (0.0, "")


def drbd_options(*maps: Mapping[str, str], sections: tuple[str, ...]) -> Props:
    """Effective DRBD options of these sections, nearest map first, keys without the `DrbdOptions/` prefix."""
    prefixes = tuple(DRBD_OPTIONS + section + "/" for section in sections)
    found: Props = {}
    for props in reversed(maps):
        found.update(
            {
                key.removeprefix(DRBD_OPTIONS): value
                for key, value in props.items()
                if key.startswith(prefixes)
            }
        )
    return found


def under(*maps: Mapping[str, str], prefix: str) -> Props:
    """The effective properties of a namespace, nearest map first, keys without the prefix."""
    found: Props = {}
    for props in reversed(maps):
        found.update(
            {key.removeprefix(prefix): value for key, value in props.items() if key.startswith(prefix)}
        )
    return found


def _free(key: str, scope: Scope) -> bool:
    if key.startswith(AUX):
        return True
    if key.startswith(PATHS):
        return scope in {Scope.NODE_CONNECTION, Scope.RESOURCE_CONNECTION}
    if key.startswith(EBS_TAGS):
        return scope in {Scope.CONTROLLER, Scope.NODE}
    return False


def _invalid(key: str, message: str, *, cause: str = "", correction: str = "") -> Invalid:
    return Invalid(Subject.PROPERTY, key, message, cause=cause, correction=correction)


assert all(row.kind is not Kind.RANGE or len(row.values.split()) == 2 for row in CATALOGUE.values())
