"""What can go wrong, by what the reader should do about it; each edge maps these once, in one table.

The subject says which object or value is meant, so that an edge can pick its own code for it.
"""

from enum import StrEnum


class Subject(StrEnum):
    """What an error is about."""

    NODE = "node"
    NODE_NAME = "node name"
    NODE_TYPE = "node type"
    NET_IF = "network interface"
    NET_IF_NAME = "network interface name"
    NET_ADDRESS = "network address"
    NET_PORT = "network port"
    POOL = "storage pool"
    POOL_NAME = "storage pool name"
    POOL_DEFINITION = "storage pool definition"
    POOL_CONFIGURATION = "storage pool configuration"
    PROVIDER = "storage provider"
    GROUP = "resource group"
    GROUP_NAME = "resource group name"
    VOLUME_GROUP = "volume group"
    RESOURCE_DEFINITION = "resource definition"
    RESOURCE_NAME = "resource name"
    EXTERNAL_NAME = "external name"
    VOLUME_DEFINITION = "volume definition"
    VOLUME_NUMBER = "volume number"
    VOLUME_SIZE = "volume size"
    VOLUME_SIZES = "volume sizes"
    VOLUME_COUNT = "volume count"
    VOLUME = "volume"
    RESOURCE = "resource"
    RESOURCE_STATE = "resource state"
    SNAPSHOT = "snapshot"
    SNAPSHOT_NAME = "snapshot name"
    SNAPSHOT_DEFINITION = "snapshot definition"
    NODE_CONNECTION = "node connection"
    RESOURCE_CONNECTION = "resource connection"
    SATELLITE_CONNECTION = "satellite connection"
    KEY_VALUE_STORE = "key-value store"
    EXTERNAL_FILE = "external file"
    REMOTE = "remote"
    SCHEDULE = "schedule"
    PASSPHRASE = "passphrase"  # noqa: S105  # a noun, not a secret
    PROPERTY = "property"
    LAYER_KIND = "layer kind"
    LAYER_STACK = "layer stack"
    NVME_TARGET = "NVMe target"
    PLACE_COUNT = "place count"
    PLACEMENT = "placement"
    PEER_SLOTS = "peer slots"
    REPLICA_COUNT = "replica count"
    FREE_SPACE = "free space"
    TCP_PORT = "TCP port"
    MINOR = "minor number"
    NODE_ID = "DRBD node id"
    REQUEST = "request"
    DATABASE = "database"
    COMMAND = "command"
    ERROR_REPORT = "error report"
    CONTROLLER = "controller"


class DomainError(Exception):
    """The root: a subject, the name of the object, one sentence, and cause, effect and next step."""

    family = "error"

    def __init__(  # the fields of an ApiCallRc, all optional but the sentence
        self,
        subject: Subject,
        name: str,
        message: str,
        *,
        cause: str = "",
        details: str = "",
        correction: str = "",
    ) -> None:
        super().__init__(message)
        self.subject = subject
        self.name = name
        self.message = message
        self.cause = cause
        self.details = details
        self.correction = correction


class Invalid(DomainError):
    """The request can never work."""

    family = "invalid"


class NotFound(DomainError):
    """No such object."""

    family = "not found"


class Exists(DomainError):
    """An object of that name is there already."""

    family = "exists"


class Conflict(DomainError):
    """The object is in the wrong state for this."""

    family = "conflict"


class InUse(DomainError):
    """Something uses the object; the details say what."""

    family = "in use"


class Busy(DomainError):
    """Another operation holds the object; try again."""

    family = "busy"


class Exhausted(DomainError):
    """No space, port, minor or candidate node; the details say what was tried."""

    family = "exhausted"


class Unavailable(DomainError):
    """A satellite, the store or a tool cannot be reached now."""

    family = "unavailable"


class Denied(DomainError):
    """Not allowed."""

    family = "denied"


class Unsupported(DomainError):
    """Belongs to a capability that is not there; the message names it."""

    family = "unsupported"
