"""Quorum as a property that the cluster keeps right by itself, until a user sets it."""

import msgspec

from bollard.domain import props
from bollard.domain.answers import Entry, Operation
from bollard.domain.errors import Subject
from bollard.domain.resources import DiskKind, Resource, ResourceDefinition, ResourcePhase
from bollard.planning import entries, replicas
from bollard.planning.draft import Draft

__all__ = ["MAJORITY", "OFF", "SET_BY_USER", "counts", "set_by_user", "settle", "wants_majority"]

MAJORITY = "majority"
OFF = "off"
SET_BY_USER = "user"


def counts(resources: list[Resource]) -> tuple[int, int]:
    """How many replicas with a disk, and how many others that have a vote."""
    staying = [one for one in resources if one.phase is not ResourcePhase.DISK_REMOVING or not one.diskful]
    disks = sum(1 for one in staying if one.diskful)
    voters = sum(1 for one in staying if one.disk in {DiskKind.DISKLESS, DiskKind.TIE_BREAKER})
    return disks, voters


def wants_majority(resources: list[Resource]) -> bool:
    """Whether a majority can outlive the loss of a node."""
    disks, voters = counts(resources)
    return disks >= 3 or (disks == 2 and voters >= 1)


def set_by_user(draft: Draft, definition: ResourceDefinition) -> bool:
    """Whether quorum of this definition is a person's business."""
    maps = (definition.props, draft.group_of(definition).props, draft.controller_props())
    return props.QUORUM_SET_BY.found(*maps) == SET_BY_USER


def settle(draft: Draft, definition: ResourceDefinition) -> list[Entry]:
    """Set the quorum property; says so when a majority counts from now on, or does not any more.

    What has no resource keeps what it has.
    """
    if not replicas.replicated(definition) or set_by_user(draft, definition):
        return []
    resources = draft.resources_of(definition.name)
    wanted = MAJORITY if wants_majority(resources) else OFF
    has = definition.props.get(props.QUORUM.key)
    if wanted == has or not resources:
        return []
    _put(draft, definition, definition.props | {props.QUORUM.key: wanted})
    refs = entries.refs_of(definition=definition.name)
    if wanted == MAJORITY:
        message = f"{props.QUORUM.key} of '{definition.name}' was set to {MAJORITY}"
        return [
            entries.info(Operation.CREATE, Subject.RESOURCE, message, refs, code="PROP_SET"),
        ]
    if has == MAJORITY:
        message = f"{props.QUORUM.key} of '{definition.name}' was switched off: too few nodes for a majority"
        return [entries.info(Operation.DELETE, Subject.RESOURCE, message, refs, code="PROP_REMOVED")]
    return []


def _put(draft: Draft, definition: ResourceDefinition, changed: dict[str, str]) -> None:
    draft.put(msgspec.structs.replace(definition, props=changed))
