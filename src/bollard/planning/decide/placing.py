"""Placing replicas: autoplace, spawn from a group, adjust. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Explained, Operation, Severity
from bollard.domain.commands import (
    AdjustGroup,
    Autoplace,
    CreateDefinition,
    ModifyGroup,
    SpawnResource,
)
from bollard.domain.errors import Conflict, Exhausted, Invalid, Subject
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.nodes import NodePhase
from bollard.domain.resources import (
    DiskKind,
    Resource,
    ResourceDefinition,
    ResourceGroup,
    ResourcePhase,
    SelectFilter,
)
from bollard.planning import effective, entries, fabrics, placement, replicas
from bollard.planning.decide import definitions, resources, volume_definitions
from bollard.planning.decide.groups import checked_filter, modified
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.procedures import toggle_disk
from bollard.planning.world import World

__all__ = ["PLACE_COUNT_DEFAULT", "decide", "with_stack"]

PLACE_COUNT_DEFAULT = 2

Commands = Autoplace | SpawnResource | AdjustGroup | ModifyGroup


def decide(command: Commands, world: World) -> Decision:
    """Decide a command that places replicas. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case Autoplace():
            return _autoplace(command, draft)
        case SpawnResource():
            return _spawn(command, draft)
        case AdjustGroup():
            return _adjust(command, draft)
        case ModifyGroup():
            return _modify_group(command, draft)
        case _:
            assert_never(command)


class Placed(msgspec.Struct, frozen=True):
    """What placing one definition did."""

    entries: list[Entry]
    explanation: tuple[Explained, ...] = ()


def _place(draft: Draft, definition: ResourceDefinition, wanted: SelectFilter, *, subject: Subject) -> Placed:
    """Place what is missing of a definition. Raises Exhausted when it does not fit."""
    present = draft.resources_of(definition.name)
    counting = [one for one in replicas.diskful(present) if _counts(draft, one)]
    refs = entries.refs_of(definition=definition.name)
    goal = wanted.place_count if wanted.place_count is not None else PLACE_COUNT_DEFAULT
    missing = wanted.additional_place_count
    stack = replicas.stack_of(definition)
    fabrics.check_stack(definition, stack)
    if fabrics.is_fabric(stack):
        goal, missing = 1, 1 - len(counting)
    elif missing is None:
        missing = goal - len(counting)
    if missing <= 0 and not wanted.diskless_on_remaining:
        return Placed([_deployed_already(definition, counting, goal, refs)])
    said: list[Entry] = []
    explanation: tuple[Explained, ...] = ()
    if missing > 0:
        definition, fresh = resources.first_replicas(draft, definition)
        request = placement.Request(
            name=definition.name,
            count=missing,
            size_kib=replicas.gross_total(draft, definition),
            filter=wanted,
            layers=replicas.stack_of(definition),
            on=tuple(one.node for one in replicas.diskful(present)),
            excluded=tuple(one.node for one in present if one.phase is ResourcePhase.DISK_REMOVING),
            providers=_providers(draft, counting),
            maps=effective.definition_maps(draft.cluster, definition),
        )
        found = placement.place(request, draft.world)
        explanation = found.explanation
        for index, chosen in enumerate(found.chosen):
            _put_replica(draft, definition, chosen, fresh=fresh, first=index == 0)
            message = f"'{definition.name}' was placed on '{chosen.node}' in '{chosen.pool}'"
            said.append(entries.created(Subject.RESOURCE, message, refs))
        said.append(_summary(definition, found.chosen, subject))
    if wanted.diskless_on_remaining:
        said += _fill_remaining(draft, definition)
    return Placed(said, explanation)


def _counts(draft: Draft, resource: Resource) -> bool:
    return draft.node(resource.node).phase is NodePhase.NORMAL


def _deployed_already(
    definition: ResourceDefinition, counting: list[Resource], goal: int, refs: dict[str, str]
) -> Entry:
    return entries.warning(
        Operation.CREATE,
        Subject.RESOURCE,
        f"'{definition.name}' has {len(counting)} replicas already, {goal} are wanted",
        refs,
        code="RSC_ALREADY_DEPLOYED",
        cause="Nothing had to be placed.",
    )


def _providers(draft: Draft, there: list[Resource]) -> tuple[ProviderKind, ...]:
    found = {
        pool.provider
        for resource in there
        for volume in resource.volumes
        if (pool := draft.pool(resource.node, volume.pool)) is not None
    }
    return tuple(sorted(found))


def _put_replica(
    draft: Draft,
    definition: ResourceDefinition,
    chosen: placement.Chosen,
    *,
    fresh: bool,
    first: bool,
) -> None:
    pool = draft.pool(chosen.node, chosen.pool)
    assert pool is not None, chosen
    numbers = [volume.number for volume in definition.volumes] or [0]
    pools = dict.fromkeys(numbers, pool)
    present = draft.resource(definition.name, chosen.node)
    if present is not None:
        toggle_disk.start_adding(draft, present, pools, made_by="autoplacer")
        return
    replicas.add(
        draft,
        definition,
        draft.node(chosen.node),
        disk=DiskKind.DISKFUL,
        pools=pools,
        day0=resources.may_start_equal(draft, definition, pools, fresh=fresh, first=first),
        made_by="autoplacer",
    )


def _summary(definition: ResourceDefinition, chosen: tuple[placement.Chosen, ...], subject: Subject) -> Entry:
    refs = entries.refs_of(definition=definition.name)
    for index, one in enumerate(chosen):
        refs[f"Node/{index}"] = one.node
        refs[f"StoragePool/{index}/0"] = f"{one.pool},{one.provider}"
    places = ", ".join(f"'{one.pool}' on '{one.node}'" for one in chosen)
    return entries.created(
        subject,
        f"'{definition.name}' was placed on {len(chosen)} nodes",
        refs,
        details=f"Chosen: {places}.",
    )


def _fill_remaining(draft: Draft, definition: ResourceDefinition) -> list[Entry]:
    """A client on every other node that can have one."""
    disk = DiskKind.CLIENT
    if fabrics.is_fabric(replicas.stack_of(definition)):
        disk = DiskKind.NVME_INITIATOR
    elif not replicas.replicated(definition):
        return []
    said: list[Entry] = []
    for _, node in sorted(draft.cluster.nodes.items()):
        seen = draft.world.observed.node(node.name)
        usable = node.holds_storage and node.phase is NodePhase.NORMAL and seen.online
        if not usable or draft.resource(definition.name, node.name) is not None:
            continue
        replicas.add(draft, definition, node, disk=disk, pools={}, made_by="autoplacer")
        message = f"'{definition.name}' can be used on '{node.name}' without a disk there"
        said.append(entries.created(Subject.RESOURCE, message, entries.refs_of(definition=definition.name)))
    return said


def _refuse_initiators(wanted: SelectFilter, stack: tuple[LayerKind, ...]) -> None:
    known = {"DRBD", "DISKLESS", "DRBD_DISKLESS", "DRBD_CLIENT"}
    if fabrics.is_fabric(stack):
        known = {"DISKLESS", fabrics.INITIATOR_FLAG}
    if wanted.diskless_type is not None and wanted.diskless_type.upper() not in known:
        raise Invalid(
            Subject.LAYER_STACK,
            wanted.diskless_type,
            f"Diskless resources of the type {wanted.diskless_type} are not possible",
            cause=f"The layers are {', '.join(stack)}.",
        )


def _autoplace(command: Autoplace, draft: Draft) -> Decision:
    definition = draft.find_definition(command.definition)
    resources.check_phase(definition)
    group = draft.group_of(definition)
    own = checked_filter(command.select_filter)
    if command.diskless_on_remaining is not None:
        own = msgspec.structs.replace(own, diskless_on_remaining=command.diskless_on_remaining)
    wanted = own.over(group.select_filter)
    if command.layer_stack:
        stack, _ = definitions.parsed_stack(command.layer_stack)
        definition = with_stack(draft, definition, stack)
    _refuse_initiators(wanted, replicas.stack_of(definition))
    placed = _place(draft, definition, wanted, subject=Subject.RESOURCE)
    said = [*placed.entries, *([] if definition.volumes else [resources.no_volumes(definition)])]
    return outcome(draft, said, ready=True, explanation=placed.explanation)


def with_stack(
    draft: Draft, definition: ResourceDefinition, stack: tuple[LayerKind, ...]
) -> ResourceDefinition:
    if stack == replicas.stack_of(definition):
        return definition
    if draft.cluster.resources_of(definition.name):
        raise Invalid(
            Subject.LAYER_STACK,
            definition.name,
            f"All resources of '{definition.name}' have the same layers",
            cause="They are " + ", ".join(replicas.stack_of(definition)) + ".",
        )
    changed = msgspec.structs.replace(definition, layer_stack=stack)
    draft.put(changed)
    return changed


def _spawn(command: SpawnResource, draft: Draft) -> Decision:
    group = draft.find_group(command.group)
    wanted = checked_filter(command.select_filter).over(group.select_filter)
    _check_sizes(command, group)
    made = CreateDefinition(
        name=command.name or "",
        external_name=command.external_name,
        group=group.name,
        props=command.props,
        layer_stack=tuple(wanted.layer_stack or ()),
        peer_slots=command.peer_slots,
    )
    definition, said = definitions.new(made, draft)
    definition, more = _with_volumes(command, draft, group, definition)
    said += more
    refs = entries.refs_of(definition=definition.name, group=group.name)
    said.append(
        entries.created(
            Subject.RESOURCE_DEFINITION,
            f"The resource definition '{definition.name}' was created from '{group.name}'",
            refs | {"UUID": definition.uuid},
        )
    )
    if command.definitions_only:
        said.append(_no_resources(definition, group))
        return outcome(draft, said)
    _refuse_initiators(wanted, replicas.stack_of(definition))
    placed = _place(draft, definition, wanted, subject=Subject.GROUP)
    return outcome(draft, [*said, *placed.entries], ready=True, explanation=placed.explanation)


def _check_sizes(command: SpawnResource, group: ResourceGroup) -> None:
    """As many sizes as the group has volumes, unless it has none or `partial` is asked for."""
    sizes, templates = command.sizes_kib, group.volume_groups
    if templates and not command.partial and len(sizes) != len(templates):
        raise Invalid(
            Subject.VOLUME_SIZES,
            group.name,
            f"{len(sizes)} volume sizes were given, '{group.name}' has {len(templates)} volume groups",
            cause="Each volume group needs one size.",
            correction="Give that many sizes, or ask for a partial spawn.",
        )


def _with_volumes(
    command: SpawnResource, draft: Draft, group: ResourceGroup, definition: ResourceDefinition
) -> tuple[ResourceDefinition, list[Entry]]:
    templates = {template.number: template for template in group.volume_groups}
    numbers = sorted(templates)
    free = (number for number in range(len(command.sizes_kib) + len(numbers)) if number not in templates)
    said: list[Entry] = []
    if any(command.passphrases):
        definition = volume_definitions.with_luks(draft, definition)
    for index, size_kib in enumerate(command.sizes_kib):
        number = numbers[index] if index < len(numbers) else next(free)
        template = templates.get(number)
        volume = volume_definitions.new_volume(
            draft,
            definition,
            number=number,
            size_kib=size_kib,
            gross_size=template.gross_size if template is not None else False,
            passphrase=command.passphrases[index] if index < len(command.passphrases) else None,
        )
        definition = msgspec.structs.replace(definition, volumes=(*definition.volumes, volume))
        draft.put(definition)
        refs = entries.refs_of(definition=definition.name, volume=number, group=group.name)
        message = f"Volume {number} of '{definition.name}' was created"
        said.append(entries.created(Subject.VOLUME_DEFINITION, message, refs))
    return definition, said


def _no_resources(definition: ResourceDefinition, group: ResourceGroup) -> Entry:
    return Entry(
        severity=Severity.INFO,
        operation=Operation.CREATE,
        subject=Subject.GROUP,
        message=f"No resource of '{definition.name}' was placed",
        code="NO_RSC_SPAWNED",
        cause="Only the definitions were asked for.",
        refs=entries.refs_of(definition=definition.name, group=group.name),
    )


def _adjust(command: AdjustGroup, draft: Draft) -> Decision:
    if command.group is None:
        groups = [group for _, group in sorted(draft.cluster.groups.items())]
    else:
        groups = [draft.find_group(command.group)]
    own = checked_filter(command.select_filter)
    said: list[Entry] = []
    explanation: tuple[Explained, ...] = ()
    for group in groups:
        wanted = own.over(group.select_filter)
        for definition in draft.cluster.definitions_in(group.name):
            if not draft.cluster.resources_of(definition.name):
                continue
            placed = _place(draft, definition, wanted, subject=Subject.GROUP)
            said += placed.entries
            explanation += placed.explanation
    return outcome(draft, said, ready=True, explanation=explanation)


def _modify_group(command: ModifyGroup, draft: Draft) -> Decision:
    """A group that asks for more replicas than before gets them; what finds no place is only warned of."""
    before = draft.find_group(command.name).select_filter.place_count or 0
    said = modified(command, draft)
    group = draft.find_group(command.name)
    goal = group.select_filter.place_count or 0
    if goal <= before:
        return outcome(draft, said)
    explanation: tuple[Explained, ...] = ()
    for definition in draft.cluster.definitions_in(group.name):
        counting = [
            one for one in replicas.diskful(draft.resources_of(definition.name)) if _counts(draft, one)
        ]
        if not counting or len(counting) >= goal:
            continue
        try:
            placed = _place(draft, definition, group.select_filter, subject=Subject.RESOURCE)
        except (Exhausted, Conflict) as error:
            refs = entries.refs_of(definition=definition.name, group=group.name)
            said.append(
                entries.warning(
                    Operation.CREATE,
                    Subject.RESOURCE,
                    f"'{definition.name}' stays at {len(counting)} of {goal} replicas: {error.message}",
                    refs,
                    code="NO_EFFECT",
                    cause=error.cause,
                    correction=error.correction,
                )
            )
            continue
        said += placed.entries
        explanation += placed.explanation
    return outcome(draft, said, ready=True, explanation=explanation)
