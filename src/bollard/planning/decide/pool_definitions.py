"""Storage pool definitions: cluster-wide defaults of pools of one name. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision
from bollard.domain.commands import CreatePoolDefinition, DeletePoolDefinition, ModifyPoolDefinition
from bollard.domain.errors import Exists, InUse, NotFound, Subject
from bollard.domain.ids import DISKLESS_POOL, key_of, pool_name
from bollard.domain.nodes import StoragePoolDefinition
from bollard.domain.props import Scope
from bollard.planning import entries
from bollard.planning.decide import properties
from bollard.planning.draft import Draft
from bollard.planning.world import World

__all__ = ["decide", "ensure"]

Commands = CreatePoolDefinition | ModifyPoolDefinition | DeletePoolDefinition


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about storage pool definitions. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreatePoolDefinition():
            return _create(command, draft)
        case ModifyPoolDefinition():
            return _modify(command, draft)
        case DeletePoolDefinition():
            return _delete(command, draft)
        case _:
            assert_never(command)


def ensure(draft: Draft, name: str) -> None:
    """Make the definition that the first pool of a name brings with it."""
    if draft.get(StoragePoolDefinition, "pool-definition", key_of(name)) is None:
        draft.put(StoragePoolDefinition(name=name, uuid=draft.world.draw.uuid()))


def _find(draft: Draft, name: str) -> StoragePoolDefinition:
    found = draft.cluster.pool_definitions.get(key_of(pool_name(name)))
    if found is None:
        raise NotFound(
            Subject.POOL_DEFINITION,
            name,
            f"There is no storage pool definition '{name}'",
            cause="It was never created.",
        )
    return found


def _create(command: CreatePoolDefinition, draft: Draft) -> Decision:
    name = pool_name(command.name)
    if draft.cluster.pool_definitions.get(key_of(name)) is not None:
        raise Exists(
            Subject.POOL_DEFINITION,
            name,
            f"The storage pool definition '{name}' exists already",
            cause="Names are compared without regard to case.",
        )
    made = StoragePoolDefinition(
        name=name,
        uuid=draft.world.draw.uuid(),
        props=properties.initial(command.props, Scope.POOL_DEFINITION),
    )
    draft.put(made)
    refs = entries.refs_of(pool=name, uuid=made.uuid)
    said = [entries.created(Subject.POOL_DEFINITION, f"The storage pool definition '{name}' was made", refs)]
    if command.props:
        said.insert(0, entries.created(Subject.POOL_DEFINITION, "Properties set", {}))
    return Decision(changes=draft.changes(), entries=tuple(said))


def _modify(command: ModifyPoolDefinition, draft: Draft) -> Decision:
    found = _find(draft, command.name)
    refs = entries.refs_of(pool=found.name)
    after, said = properties.apply(
        found.props, command.props, Scope.POOL_DEFINITION, subject=Subject.POOL_DEFINITION, refs=refs
    )
    draft.put(msgspec.structs.replace(found, props=after))
    said.append(
        entries.modified(
            Subject.POOL_DEFINITION, f"The storage pool definition '{found.name}' was changed", refs
        )
    )
    return Decision(changes=draft.changes(), entries=tuple(said))


def _delete(command: DeletePoolDefinition, draft: Draft) -> Decision:
    found = _find(draft, command.name)
    users = [pool.node for pool in draft.cluster.pools.values() if key_of(pool.name) == found.key]
    if users or found.key == key_of(DISKLESS_POOL):
        raise InUse(
            Subject.POOL_DEFINITION,
            found.name,
            f"The storage pool definition '{found.name}' cannot be deleted",
            cause="There are pools of this name on: " + ", ".join(sorted(users))
            if users
            else "It is the cluster's own.",
            correction="Delete the pools first.",
        )
    draft.drop(found)
    refs = entries.refs_of(pool=found.name, uuid=found.uuid)
    said = entries.deleted(
        Subject.POOL_DEFINITION, f"The storage pool definition '{found.name}' was deleted", refs
    )
    return Decision(changes=draft.changes(), entries=(said,))
