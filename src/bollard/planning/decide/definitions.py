"""Resource definitions: create, change, delete with all that is deployed. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Operation
from bollard.domain.commands import (
    CreateDefinition,
    DeleteDefinition,
    ModifyDefinition,
    PropsChange,
    VerifyDefinition,
)
from bollard.domain.errors import Conflict, Exists, InUse, Invalid, Subject
from bollard.domain.ids import DEFAULT_GROUP, ResourceName, key_of, resource_name
from bollard.domain.layers import LayerKind, ReplicationKind, complete_stack, layer_kind
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.props import Scope
from bollard.domain.resources import ResourceDefinition
from bollard.planning import entries, implementation, replicas
from bollard.planning.decide import external_names, properties
from bollard.planning.decide.groups import checked_peer_slots
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.layers import drbd
from bollard.planning.procedures import clone, rollback
from bollard.planning.world import World

__all__ = ["decide", "new", "parsed_stack", "refuse_in_use"]

Commands = CreateDefinition | ModifyDefinition | DeleteDefinition | VerifyDefinition
_TRANSPORTS = frozenset({"IP", "RDMA", "ROCE"})
PORT_MAX = 65535


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about resource definitions. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreateDefinition():
            return _create(command, draft)
        case ModifyDefinition():
            return _modify(command, draft)
        case DeleteDefinition():
            return _delete(command, draft)
        case VerifyDefinition():
            return _verify(command, draft)
        case _:
            assert_never(command)


def parsed_stack(names: tuple[str, ...], *, complete: bool = True) -> tuple[tuple[LayerKind, ...], bool]:
    """The layers of these names, and whether STORAGE was added below. Raises Invalid."""
    kinds = tuple(layer_kind(name) for name in names)
    if not kinds:
        return (), False
    stack, added = complete_stack(kinds)
    if added and not complete:
        raise Invalid(
            Subject.LAYER_STACK,
            ",".join(names),
            f"The layer stack {', '.join(names)} is not possible",
            cause="STORAGE must be the lowest layer.",
        )
    return stack, added


def new(command: CreateDefinition, draft: Draft) -> tuple[ResourceDefinition, list[Entry]]:
    """A new definition in the draft, and what to say beside that it was made. Raises Invalid or Exists."""
    name, external = _names(command, draft)
    group = draft.find_group(command.group or DEFAULT_GROUP)
    stack, added = parsed_stack(command.layer_stack)
    transport = (command.transport_type or "IP").upper()
    if transport not in _TRANSPORTS:
        raise Invalid(
            Subject.REQUEST,
            transport[:48],
            f"'{transport[:48]}' is not a transport",
            correction="Use IP; RDMA and RoCE are taken for nodes that have it.",
        )
    own = properties.initial(command.props, Scope.RESOURCE_DEFINITION)
    own = properties.note_quorum({}, own, PropsChange(override=dict(command.props)))
    made = ResourceDefinition(
        name=name,
        uuid=draft.world.draw.uuid(),
        group=group.name,
        external_name=external,
        props=own,
        layer_stack=stack or tuple(group.select_filter.layer_stack or ()),
        drbd_secret=command.drbd_secret or draft.world.draw.secret(),
        peer_slots=_slots(command.peer_slots) or group.peer_slots or drbd.PEER_SLOTS_DEFAULT,
        drbd_port=_port(command.drbd_port),
        transport_type=transport,
    )
    draft.put(made)
    said = []
    if added:
        said.append(
            entries.warning(
                Operation.NONE,
                Subject.RESOURCE_DEFINITION,
                "The layer STORAGE was added below the others",
                entries.refs_of(definition=name),
                code="STORAGE_KIND_ADDED",
            )
        )
    if LayerKind.LUKS in made.layer_stack and not draft.world.vault.unlocked:
        said.append(_locked(draft, name))
    if command.props:
        said.append(
            entries.created(Subject.RESOURCE_DEFINITION, "Properties set", entries.refs_of(definition=name))
        )
    return made, said


def _locked(draft: Draft, name: str) -> Entry:
    there = draft.cluster.master_key is not None
    return entries.warning(
        Operation.NONE,
        Subject.RESOURCE_DEFINITION,
        f"Volumes of '{name}' cannot be encrypted yet",
        entries.refs_of(definition=name),
        code="NOT_FOUND_CRYPT_KEY",
        cause="The master passphrase was not entered since the controller was started."
        if there
        else "There is no master passphrase.",
        correction=f"Use 'bollard encryption {'enter' if there else 'create'}-passphrase' first.",
    )


def _slots(slots: int | None) -> int | None:
    # More slots than the metadata can have, or none, are taken as no wish: that is what clients rely on.
    return slots if slots is not None and 1 <= slots <= drbd.PEER_SLOTS_MAX else None


def _port(port: int | None) -> int | None:
    if port is not None and not 1 <= port <= PORT_MAX:
        raise Invalid(
            Subject.TCP_PORT,
            str(port),
            f"{port} is not a TCP port",
            cause=f"A port is a number from 1 to {PORT_MAX}.",
        )
    return port


def _names(command: CreateDefinition, draft: Draft) -> tuple[ResourceName, str | None]:
    external = external_names.checked(command.external_name, draft.cluster) if command.external_name else None
    if command.name:
        name = resource_name(command.name)
        if draft.definition(name) is not None:
            raise Exists(
                Subject.RESOURCE_DEFINITION,
                name,
                f"The resource definition '{name}' exists already",
                cause="Names are compared without regard to case.",
                correction="Choose another name, or use the existing one.",
            )
        return name, external
    if external is None:
        raise Invalid(
            Subject.RESOURCE_DEFINITION,
            "",
            "A resource definition needs a name",
            cause="Neither a name nor an external name was given.",
        )
    return external_names.name_for(external, draft.cluster, draft.world.draw), external


def _create(command: CreateDefinition, draft: Draft) -> Decision:
    made, said = new(command, draft)
    refs = entries.refs_of(definition=made.name, uuid=made.uuid)
    said.append(
        entries.created(
            Subject.RESOURCE_DEFINITION, f"The resource definition '{made.name}' was created", refs
        )
    )
    return Decision(changes=draft.changes(), entries=tuple(said))


def _modify(command: ModifyDefinition, draft: Draft) -> Decision:
    found = draft.find_definition(command.name)
    refs = entries.refs_of(definition=found.name)
    after, said = properties.apply(
        found.props,
        command.props,
        Scope.RESOURCE_DEFINITION,
        subject=Subject.RESOURCE_DEFINITION,
        refs=refs,
    )
    changed = msgspec.structs.replace(found, props=properties.note_quorum(found.props, after, command.props))
    if command.group is not None:
        changed = msgspec.structs.replace(changed, group=draft.find_group(command.group).name)
    if command.layer_stack:
        stack, _ = parsed_stack(command.layer_stack)
        if stack != replicas.stack_of(found) and draft.cluster.resources_of(found.name):
            raise Exists(
                Subject.LAYER_STACK,
                found.name,
                f"The layers of '{found.name}' cannot be changed",
                cause="Resources of it exist.",
                correction="Delete the resources first.",
            )
        changed = msgspec.structs.replace(changed, layer_stack=stack)
    if command.peer_slots is not None:
        slots = checked_peer_slots(command.peer_slots) or found.peer_slots
        changed = msgspec.structs.replace(changed, peer_slots=slots)
    if command.drbd_port is not None:
        changed = msgspec.structs.replace(changed, drbd_port=_port(command.drbd_port))
    draft.put(changed)
    implementation.check(draft, changed)
    said.append(
        entries.modified(
            Subject.RESOURCE_DEFINITION,
            f"The resource definition '{found.name}' was changed",
            refs | {"UUID": found.uuid},
        )
    )
    return outcome(draft, said)


def refuse_in_use(draft: Draft, definition: ResourceDefinition, subject: Subject) -> None:
    """Raises InUse when a node that is online says that someone uses the resource."""
    for resource in draft.cluster.resources_of(definition.name):
        seen = replicas.online_seen(draft.world, resource)
        if seen is not None and seen.in_use:
            raise InUse(
                subject,
                definition.name,
                f"'{definition.name}' is in use on the node '{resource.node}'",
                cause="It is mounted or opened there.",
                correction="Stop its user first.",
            )


def _delete(command: DeleteDefinition, draft: Draft) -> Decision:
    name = resource_name(command.name)
    found = draft.definition(name)
    refs = entries.refs_of(definition=name)
    if found is None:
        said = entries.not_there(
            Subject.RESOURCE_DEFINITION, f"There is no resource definition '{name}'", refs
        )
        return Decision(entries=(said,))
    refuse_in_use(draft, found, Subject.RESOURCE_DEFINITION)
    snapshots = draft.cluster.snapshots_of(name)
    if snapshots:
        raise InUse(
            Subject.SNAPSHOT,
            name,
            f"The resource definition '{name}' cannot be deleted",
            cause="It has snapshots: " + ", ".join(snapshot.name for snapshot in snapshots),
            correction="Delete the snapshots first.",
        )
    for resource in draft.cluster.resources_of(name):
        replicas.bury(draft, resource)
    mine = key_of(name)
    for procedure in draft.cluster.procedures.values():
        if procedure.definition is not None and key_of(procedure.definition) == mine:
            _end(draft, procedure)
    for connection in draft.cluster.connections.values():
        if connection.definition is not None and key_of(connection.definition) == mine:
            draft.drop(connection)
    draft.drop(found)
    done = entries.deleted(
        Subject.RESOURCE_DEFINITION,
        f"The resource definition '{name}' was deleted",
        refs | {"UUID": found.uuid},
    )
    return outcome(draft, [done])


def _end(draft: Draft, procedure: Procedure) -> None:
    match procedure.verb:
        case Verb.ROLLBACK:
            rollback.abandon(draft, procedure)
        case Verb.CLONE:
            clone.abandon(draft, procedure)
        case _:
            draft.drop(procedure)


def _verify(command: VerifyDefinition, draft: Draft) -> Decision:
    found = draft.find_definition(command.name)
    disks = replicas.diskful(draft.cluster.resources_of(found.name))
    complete = [resource for resource in disks if replicas.up_to_date(draft.world, resource)]
    if not replicas.replicated(found) or len(complete) < 2:
        raise Conflict(
            Subject.REPLICA_COUNT,
            found.name,
            f"'{found.name}' cannot be verified",
            cause=f"{len(complete)} complete replicas can be reached, and two are compared.",
            correction="Bring its nodes online and let them finish their resync.",
        )
    if any(resource.implementation is not ReplicationKind.USER for resource in disks):
        raise Conflict(
            Subject.LAYER_STACK,
            found.name,
            f"'{found.name}' cannot be verified from here",
            cause="The kernel runs it on at least one node.",
            correction=f"Use 'drbdadm verify {found.name}' on a node.",
        )
    draft.put(msgspec.structs.replace(found, verify_request=found.verify_request + 1))
    refs = entries.refs_of(definition=found.name)
    message = f"The replicas of '{found.name}' are being compared"
    return outcome(draft, [entries.modified(Subject.RESOURCE_DEFINITION, message, refs)])
