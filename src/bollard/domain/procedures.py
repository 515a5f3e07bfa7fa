"""Work that spans nodes and time, as a stored phase: resumable, and cancellable where its table says so."""

from enum import StrEnum

import msgspec

from bollard.domain.ids import Key, NodeName, ResourceName, Uuid, key_of


class Verb(StrEnum):
    """The procedures there are; each has a table of phases in planning/procedures."""

    RESIZE = "resize"
    TOGGLE_DISK = "toggle-disk"
    MIGRATE_DISK = "migrate-disk"
    EVACUATE = "evacuate"
    FIRST_COPY = "first-copy"
    SNAPSHOT = "snapshot"
    ROLLBACK = "rollback"
    CLONE = "clone"


class Procedure(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="procedure"):
    """One running procedure. It is dropped when it has ended; what happened is in the events."""

    verb: Verb
    uuid: Uuid
    phase: str
    definition: ResourceName | None = None
    node: NodeName | None = None
    arguments: dict[str, str] = {}
    started_ms: int = 0
    revision: int = 0
    """Of the cluster in which the phase began: a node's report of an older one says nothing about it."""
    message: str = ""
    """What it waits for, for people."""

    @property
    def key(self) -> Key:
        """The store key: at most one procedure of a verb on an object."""
        return key_of(self.verb, self.definition or "", self.node or "")
