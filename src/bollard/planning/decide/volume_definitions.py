"""Volume definitions: create, change, resize, delete. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain import props
from bollard.domain.answers import Decision, Entry, Operation
from bollard.domain.commands import (
    CreateVolumeDefinition,
    DeleteVolumeDefinition,
    ModifyVolumeDefinition,
    SetVolumePassphrase,
)
from bollard.domain.errors import Conflict, Exhausted, Exists, Invalid, Subject
from bollard.domain.ids import resource_name
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.nodes import StoragePool
from bollard.domain.procedures import Verb
from bollard.domain.props import Scope
from bollard.domain.resources import Resource, ResourceDefinition, VolumeDefinition, VolumePhase
from bollard.domain.units import VOLUME_SIZE_KIB_MAX, VOLUME_SIZE_KIB_MIN
from bollard.planning import allocate, entries, passphrases, replicas, sizes, snapshots
from bollard.planning.decide import properties
from bollard.planning.decide.definitions import refuse_in_use
from bollard.planning.decide.groups import free_number
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.layers import drbd
from bollard.planning.procedures import resize
from bollard.planning.world import World

__all__ = ["checked_size", "decide", "new_volume", "with_luks"]

Commands = CreateVolumeDefinition | ModifyVolumeDefinition | DeleteVolumeDefinition | SetVolumePassphrase
_CHANGES_MAX = 8
"""Changes of a passphrase that may wait for nodes that are away."""


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about volume definitions. Raises a DomainError."""
    draft = Draft(world)
    changing = draft.definition(command.definition)
    if changing is not None:
        snapshots.refuse_running(draft, changing, (Verb.CLONE, Verb.ROLLBACK))
    match command:
        case CreateVolumeDefinition():
            return _create(command, draft)
        case ModifyVolumeDefinition():
            return _modify(command, draft)
        case DeleteVolumeDefinition():
            return _delete(command, draft)
        case SetVolumePassphrase():
            return _set_passphrase(command, draft)
        case _:
            assert_never(command)


def checked_size(size_kib: int) -> int:
    """A volume size in KiB. Raises Invalid outside 4 KiB to 1 PiB."""
    if not VOLUME_SIZE_KIB_MIN <= size_kib <= VOLUME_SIZE_KIB_MAX:
        raise Invalid(
            Subject.VOLUME_SIZE,
            str(size_kib),
            f"{size_kib} KiB is not a possible volume size",
            cause=f"A volume has {VOLUME_SIZE_KIB_MIN} to {VOLUME_SIZE_KIB_MAX} KiB.",
        )
    return size_kib


def new_volume(
    draft: Draft,
    definition: ResourceDefinition,
    *,
    number: int,
    size_kib: int,
    minor: int | None = None,
    own: dict[str, str] | None = None,
    gross_size: bool = False,
    encrypted: bool = False,
    passphrase: str | None = None,
) -> VolumeDefinition:
    """A volume definition with its minor and first data generation.

    Raises Invalid or Exhausted, and with a passphrase NotFound or Unavailable while nothing can be sealed.
    """
    given = own or {}
    replicated = replicas.replicated(definition)
    if minor is not None:
        allocate.checked_minor(draft, minor)
    elif replicated:
        minor = allocate.free_minor(draft)
    generation = given.get(props.CURRENT_GI.key) or draft.world.draw.hex16()
    made = VolumeDefinition(
        number=number,
        uuid=draft.world.draw.uuid(),
        size_kib=checked_size(size_kib),
        props=given | {props.CURRENT_GI.key: generation},
        minor=minor,
        current_gi=generation,
        encrypted=encrypted or bool(passphrase),
        gross_size=gross_size,
    )
    if not passphrase:
        return made
    passphrases.require_open(draft.cluster, draft.world.vault)
    return passphrases.sealed(draft.world.vault, definition, made, passphrase)


def with_luks(draft: Draft, definition: ResourceDefinition) -> ResourceDefinition:
    """The definition with the LUKS layer in its stack. Raises Invalid when it has other layers."""
    if LayerKind.LUKS in replicas.stack_of(definition):
        return definition
    if definition.layer_stack or definition.volumes or draft.resources_of(definition.name):
        raise Invalid(
            Subject.LAYER_STACK,
            definition.name,
            f"'{definition.name}' has no LUKS layer",
            cause="Its layers are " + ", ".join(replicas.stack_of(definition)) + ".",
            correction="Create a resource definition with the layers DRBD, LUKS, STORAGE.",
        )
    return msgspec.structs.replace(
        definition, layer_stack=(LayerKind.DRBD, LayerKind.LUKS, LayerKind.STORAGE)
    )


def _flags(flags: tuple[str, ...], gross: bool, *, new: bool = False) -> bool:
    for flag in flags:
        match flag.upper():
            case "GROSS_SIZE":
                gross = True
            case "-GROSS_SIZE":
                gross = False
            case "ENCRYPTED" if new:
                pass
            case _:
                raise Invalid(
                    Subject.REQUEST,
                    flag[:48],
                    f"'{flag[:48]}' is not a flag of a volume definition",
                    correction="Known: GROSS_SIZE, -GROSS_SIZE to take it back; for new volumes ENCRYPTED.",
                )
    return gross


def _create(command: CreateVolumeDefinition, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    if command.passphrase or any(flag.upper() == "ENCRYPTED" for flag in command.flags):
        definition = with_luks(draft, definition)
    taken = {volume.number for volume in definition.volumes}
    number = free_number(taken, command.number, definition.name)
    if number in taken:
        raise Exists(
            Subject.VOLUME_DEFINITION,
            f"{definition.name}/{number}",
            f"The resource definition '{definition.name}' has a volume {number} already",
            cause="Volume numbers are given once.",
            correction="Name another number, or none: the lowest free one is taken then.",
        )
    volume = new_volume(
        draft,
        definition,
        number=number,
        size_kib=command.size_kib,
        minor=command.minor,
        own=properties.initial(command.props, Scope.VOLUME_DEFINITION),
        gross_size=_flags(command.flags, gross=False, new=True),
        encrypted=any(flag.upper() == "ENCRYPTED" for flag in command.flags),
        passphrase=command.passphrase,
    )
    whole = tuple(sorted((*definition.volumes, volume), key=lambda one: one.number))
    changed = msgspec.structs.replace(definition, volumes=whole)
    draft.put(changed)
    _deploy(draft, changed, volume)
    refs = entries.refs_of(definition=definition.name, volume=number, uuid=volume.uuid, minor=volume.minor)
    said = entries.created(
        Subject.VOLUME_DEFINITION, f"Volume {number} of '{definition.name}' was created", refs
    )
    return outcome(draft, [said], ready=True)


def _deploy(draft: Draft, definition: ResourceDefinition, volume: VolumeDefinition) -> None:
    """Give the new volume to every resource that is there; all start equal, in its first generation."""
    only_this = msgspec.structs.replace(definition, volumes=(volume,))
    first = True
    for resource in draft.cluster.resources_of(definition.name):
        pools: dict[int, StoragePool] = {}
        day0 = False
        if resource.diskful:
            node = draft.node(resource.node)
            pools = replicas.pools_for(draft, only_this, node, resource.props)
            day0 = first or sizes.zero_filled(pools[volume.number].provider)
            first = False
        replicas.add_volumes(draft, resource, (volume,), pools, day0=day0)


def _modify(command: ModifyVolumeDefinition, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    volume = draft.find_volume_definition(definition, command.number)
    refs = entries.refs_of(definition=definition.name, volume=volume.number)
    after, said = properties.apply(
        volume.props,
        command.props,
        Scope.VOLUME_DEFINITION,
        subject=Subject.VOLUME_DEFINITION,
        refs=refs,
    )
    changed = msgspec.structs.replace(volume, props=after)
    resources = draft.cluster.resources_of(definition.name)
    gross = _flags(command.flags, volume.gross_size)
    if gross is not volume.gross_size and not resources:
        changed = msgspec.structs.replace(changed, gross_size=gross)
    generation = after.get(props.CURRENT_GI.key)
    if generation is not None and generation != volume.current_gi and not resources:
        changed = msgspec.structs.replace(changed, current_gi=generation.upper())
    if command.size_kib is not None:
        changed, more = _resized(draft, definition, changed, command.size_kib)
        said += more
    whole = tuple(changed if one is volume else one for one in definition.volumes)
    draft.put(msgspec.structs.replace(definition, volumes=whole))
    said.append(
        entries.modified(
            Subject.VOLUME_DEFINITION,
            f"Volume {volume.number} of '{definition.name}' was changed",
            refs | {"UUID": volume.uuid},
        )
    )
    return outcome(draft, said)


def _resized(
    draft: Draft, definition: ResourceDefinition, volume: VolumeDefinition, size_kib: int
) -> tuple[VolumeDefinition, list[Entry]]:
    checked_size(size_kib)
    refs = entries.refs_of(definition=definition.name, volume=volume.number)
    resources = draft.cluster.resources_of(definition.name)
    if size_kib == volume.size_kib:
        same = entries.warning(
            Operation.MODIFY,
            Subject.VOLUME_DEFINITION,
            f"Volume {volume.number} of '{definition.name}' has {size_kib} KiB already",
            refs,
            code="VLMDFN_RESIZE_SAME_SIZE",
        )
        return volume, [same]
    changed = msgspec.structs.replace(volume, size_kib=size_kib)
    if not resources:
        return changed, []
    if size_kib < volume.size_kib:
        raise Invalid(
            Subject.VOLUME_SIZE,
            str(size_kib),
            f"Volume {volume.number} of '{definition.name}' cannot shrink from {volume.size_kib} KiB",
            cause="A volume with disks can only grow.",
            correction="Create a smaller volume and copy the data.",
        )
    if size_kib > volume.size_kib:
        _check_growth(draft, definition, resources, before=volume, after=changed)
    if replicas.replicated(definition):
        resize.start(draft, definition, volume)
        changed = msgspec.structs.replace(changed, phase=VolumePhase.RESIZING)
    return changed, []


def _check_growth(
    draft: Draft,
    definition: ResourceDefinition,
    resources: list[Resource],
    *,
    before: VolumeDefinition,
    after: VolumeDefinition,
) -> None:
    """Every pool whose space is known must have room. An offline node is not asked: it catches up."""
    stack = replicas.stack_of(definition)
    for resource in replicas.diskful(resources):
        on_node = next((vol for vol in resource.volumes if vol.number == before.number), None)
        pool = draft.pool(resource.node, on_node.pool) if on_node is not None else None
        if pool is None or not draft.world.observed.node(resource.node).online:
            continue
        slots = resource.peer_slots or drbd.PEER_SLOTS_DEFAULT
        more = sizes.gross_of(after, stack, peer_slots=slots) - sizes.gross_of(
            before, stack, peer_slots=slots
        )
        space = sizes.space_in(draft.world, pool)
        if pool.provider is not ProviderKind.DISKLESS and space.total_kib and space.usable_kib < more:
            raise Exhausted(
                Subject.FREE_SPACE,
                pool.name,
                f"Volume {before.number} of '{definition.name}' cannot grow by {more} KiB",
                cause=f"The storage pool '{pool.name}' of '{resource.node}' has room for "
                f"{space.usable_kib} KiB more.",
                correction="Free space there, or move the replica.",
            )


def _delete(command: DeleteVolumeDefinition, draft: Draft) -> Decision:
    name = resource_name(command.definition)
    refs = entries.refs_of(definition=name, volume=command.number)
    definition = draft.definition(name)
    volume = definition.volume(command.number) if definition is not None else None
    if definition is None or volume is None:
        said = entries.not_there(Subject.VOLUME_DEFINITION, f"'{name}' has no volume {command.number}", refs)
        return Decision(entries=(said,))
    refuse_in_use(draft, definition, Subject.RESOURCE_DEFINITION)
    rest = tuple(one for one in definition.volumes if one is not volume)
    draft.put(msgspec.structs.replace(definition, volumes=rest))
    for resource in draft.cluster.resources_of(name):
        gone = tuple(one for one in resource.volumes if one.number == volume.number)
        replicas.bury_volumes(draft, resource, gone, with_minors=True)
        left = tuple(one for one in resource.volumes if one.number != volume.number)
        draft.put(msgspec.structs.replace(resource, volumes=left))
    resize.forget_volume(draft, definition, volume.number)
    done = [
        entries.deleted(Subject.VOLUME_DEFINITION, f"Volume {volume.number} of '{name}' is deleted", refs),
        entries.deleted(
            Subject.VOLUME_DEFINITION, f"Volume {volume.number} of '{name}' is gone from the definition", refs
        ),
    ]
    return outcome(draft, done)


def _set_passphrase(command: SetVolumePassphrase, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    passphrases.require_open(draft.cluster, draft.world.vault)
    volume = draft.find_volume_definition(definition, command.number)
    if LayerKind.LUKS not in replicas.stack_of(definition):
        raise Invalid(
            Subject.LAYER_STACK,
            definition.name,
            f"Volume {volume.number} of '{definition.name}' is not encrypted",
            cause="Its layers are " + ", ".join(replicas.stack_of(definition)) + ".",
        )
    before: tuple[str, ...] = ()
    if volume.sealed_passphrase:
        before = (*_still_in_use(draft, definition, volume), volume.sealed_passphrase)
    changed = passphrases.sealed(draft.world.vault, definition, volume, command.passphrase)
    changed = msgspec.structs.replace(changed, sealed_before=before)
    whole = tuple(changed if one is volume else one for one in definition.volumes)
    draft.put(msgspec.structs.replace(definition, volumes=whole))
    refs = entries.refs_of(definition=definition.name, volume=volume.number, uuid=volume.uuid)
    message = f"The passphrase of volume {volume.number} of '{definition.name}' was changed"
    return outcome(draft, [entries.modified(Subject.VOLUME_DEFINITION, message, refs)])


def _still_in_use(draft: Draft, definition: ResourceDefinition, volume: VolumeDefinition) -> tuple[str, ...]:
    """Earlier passphrases that a node may still have. Raises Conflict when there are too many."""
    disks = replicas.diskful(draft.resources_of(definition.name))
    away = [
        each.node
        for each in disks
        if (seen := replicas.online_seen(draft.world, each)) is None
        or not seen.settled
        or seen.revision < draft.cluster.revision
    ]
    if not away:
        return ()
    if len(volume.sealed_before) >= _CHANGES_MAX:
        raise Conflict(
            Subject.PASSPHRASE,
            f"{definition.name}/{volume.number}",
            "The passphrase was changed too often while a node is away",
            cause=f"'{away[0]}' has not followed the last {_CHANGES_MAX} changes.",
            correction="Bring the node back first.",
        )
    return volume.sealed_before
