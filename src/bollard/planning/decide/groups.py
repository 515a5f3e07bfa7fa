"""Resource groups and their volume groups: templates of definitions. Each function is one command."""

from typing import assert_never

import msgspec

from bollard.domain.answers import Decision, Entry, Operation
from bollard.domain.commands import (
    CreateGroup,
    CreateVolumeGroup,
    DeleteGroup,
    DeleteVolumeGroup,
    ModifyGroup,
    ModifyVolumeGroup,
)
from bollard.domain.errors import Exhausted, Exists, InUse, Invalid, NotFound, Subject
from bollard.domain.ids import DEFAULT_GROUP, group_name, key_of
from bollard.domain.layers import complete_stack, provider_kind
from bollard.domain.props import Scope
from bollard.domain.resources import ResourceGroup, SelectFilter, VolumeGroup
from bollard.planning import entries
from bollard.planning.capacity import DEFAULT_COUNT
from bollard.planning.decide import properties
from bollard.planning.decide.outcome import outcome
from bollard.planning.draft import Draft
from bollard.planning.layers import drbd
from bollard.planning.world import World

__all__ = ["VOLUME_NUMBER_MAX", "checked_filter", "checked_peer_slots", "decide", "free_number"]

VOLUME_NUMBER_MAX = 65534

Commands = CreateGroup | ModifyGroup | DeleteGroup | CreateVolumeGroup | ModifyVolumeGroup | DeleteVolumeGroup


def decide(command: Commands, world: World) -> Decision:
    """Decide a command about resource groups or volume groups. Raises a DomainError."""
    draft = Draft(world)
    match command:
        case CreateGroup():
            return _create(command, draft)
        case ModifyGroup():
            return outcome(draft, modified(command, draft))
        case DeleteGroup():
            return _delete(command, draft)
        case CreateVolumeGroup():
            return _create_volume(command, draft)
        case ModifyVolumeGroup():
            return _modify_volume(command, draft)
        case DeleteVolumeGroup():
            return _delete_volume(command, draft)
        case _:
            assert_never(command)


def checked_peer_slots(slots: int | None) -> int | None:
    """Peer slots as asked for; 0 means: no wish. Raises Invalid."""
    if slots is None or slots == 0:
        return None
    if not 1 <= slots <= drbd.PEER_SLOTS_MAX:
        raise Invalid(
            Subject.PEER_SLOTS,
            str(slots),
            f"{slots} peer slots are not possible",
            cause=f"DRBD's metadata has room for 1 to {drbd.PEER_SLOTS_MAX} peers.",
        )
    return slots


def checked_filter(wanted: SelectFilter) -> SelectFilter:
    """A filter whose layers and providers exist. Raises Invalid."""
    for name in wanted.providers or ():
        provider_kind(name)
    if wanted.layer_stack:
        complete_stack(wanted.layer_stack)
    return wanted


def _unknown_pools(draft: Draft, wanted: SelectFilter | None, refs: dict[str, str]) -> list[Entry]:
    names = wanted.storage_pools if wanted is not None else None
    missing = [name for name in names or () if key_of(name) not in draft.cluster.pool_definitions]
    return [
        entries.warning(
            Operation.NONE,
            Subject.GROUP,
            f"There is no storage pool '{name}' on any node",
            refs,
            code="NOT_FOUND",
            correction="Nothing can be placed before there is one.",
        )
        for name in missing[:1]
    ]


def _create(command: CreateGroup, draft: Draft) -> Decision:
    name = group_name(command.name)
    if draft.cluster.groups.get(key_of(name)) is not None:
        raise Exists(
            Subject.GROUP,
            name,
            f"The resource group '{name}' exists already",
            cause="Names are compared without regard to case.",
            correction="Choose another name, or change the existing group.",
        )
    wanted = checked_filter(command.select_filter)
    if wanted.place_count is not None and wanted.place_count < 1:
        raise Invalid(
            Subject.PLACE_COUNT,
            str(wanted.place_count),
            f"{wanted.place_count} is not a place count",
            cause="A group places at least one replica.",
        )
    if wanted.place_count is None:
        wanted = msgspec.structs.replace(wanted, place_count=DEFAULT_COUNT)
    made = ResourceGroup(
        name=name,
        uuid=draft.world.draw.uuid(),
        description=command.description,
        select_filter=wanted,
        peer_slots=checked_peer_slots(command.peer_slots),
    )
    draft.put(made)
    refs = entries.refs_of(group=name)
    said = _unknown_pools(draft, wanted, refs)
    said.append(
        entries.created(Subject.GROUP, f"The resource group '{name}' was created", refs | {"UUID": made.uuid})
    )
    return Decision(changes=draft.changes(), entries=tuple(said))


def modified(command: ModifyGroup, draft: Draft) -> list[Entry]:
    """Put the changed group into the draft. Raises a DomainError."""
    group = draft.find_group(command.name)
    refs = entries.refs_of(group=group.name)
    after, said = properties.apply(
        group.props,
        command.props,
        Scope.RESOURCE_DEFINITION,
        subject=Subject.RESOURCE_DEFINITION,
        refs=refs,
    )
    changed = msgspec.structs.replace(group, props=properties.note_quorum(group.props, after, command.props))
    if command.description is not None:
        changed = msgspec.structs.replace(changed, description=command.description)
    if command.select_filter is not None:
        merged = checked_filter(command.select_filter).over(group.select_filter)
        if merged.place_count is not None and merged.place_count < 1:
            merged = msgspec.structs.replace(merged, place_count=None)
        changed = msgspec.structs.replace(changed, select_filter=merged)
        said = [*_unknown_pools(draft, command.select_filter, refs), *said]
    if command.peer_slots is not None:
        changed = msgspec.structs.replace(changed, peer_slots=checked_peer_slots(command.peer_slots))
    draft.put(changed)
    said.append(
        entries.modified(
            Subject.GROUP, f"The resource group '{group.name}' was changed", refs | {"UUID": group.uuid}
        )
    )
    return said


def _delete(command: DeleteGroup, draft: Draft) -> Decision:
    name = group_name(command.name)
    group = draft.cluster.groups.get(key_of(name))
    refs = entries.refs_of(group=name)
    if group is None:
        return Decision(
            entries=(entries.not_there(Subject.GROUP, f"There is no resource group '{name}'", refs),)
        )
    users = draft.cluster.definitions_in(name)
    if users or group.key == key_of(DEFAULT_GROUP):
        raise InUse(
            Subject.GROUP,
            name,
            f"The resource group '{name}' cannot be deleted",
            cause="These definitions belong to it: " + ", ".join(definition.name for definition in users[:20])
            if users
            else "It is the default group.",
            correction="Delete them, or move them to another group.",
        )
    draft.drop(group)
    said = entries.deleted(
        Subject.GROUP, f"The resource group '{name}' was deleted", refs | {"UUID": group.uuid}
    )
    return Decision(changes=draft.changes(), entries=(said,))


def free_number(taken: set[int], wanted: int | None, owner: str) -> int:
    """A volume number: the one that is wanted, else the lowest free. Raises Invalid or Exhausted."""
    if wanted is not None:
        if not 0 <= wanted <= VOLUME_NUMBER_MAX:
            raise Invalid(
                Subject.VOLUME_NUMBER,
                str(wanted),
                f"{wanted} is not a volume number",
                cause=f"A volume number is a number from 0 to {VOLUME_NUMBER_MAX}.",
            )
        return wanted
    number = next((free for free in range(VOLUME_NUMBER_MAX + 1) if free not in taken), None)
    if number is None:
        raise Exhausted(Subject.VOLUME_NUMBER, owner, f"'{owner}' has no free volume number left")
    return number


def _gross_flag(flags: tuple[str, ...], gross: bool) -> bool:
    """The flag after these words: `GROSS_SIZE` sets it, `-GROSS_SIZE` clears it. Raises Invalid."""
    for flag in flags:
        match flag.upper():
            case "GROSS_SIZE":
                gross = True
            case "-GROSS_SIZE":
                gross = False
            case _:
                raise Invalid(
                    Subject.REQUEST,
                    flag[:48],
                    f"'{flag[:48]}' is not a flag of a volume group",
                    correction="Known: GROSS_SIZE, and -GROSS_SIZE to take it back.",
                )
    return gross


def _create_volume(command: CreateVolumeGroup, draft: Draft) -> Decision:
    group = draft.find_group(command.group)
    taken = {volume.number for volume in group.volume_groups}
    number = free_number(taken, command.number, group.name)
    if number in taken:
        raise Exists(
            Subject.VOLUME_GROUP,
            f"{group.name}/{number}",
            f"The resource group '{group.name}' has a volume group {number} already",
        )
    made = VolumeGroup(
        number=number,
        uuid=draft.world.draw.uuid(),
        props=properties.initial(command.props, Scope.VOLUME_DEFINITION),
        gross_size=command.gross_size,
    )
    whole = tuple(sorted((*group.volume_groups, made), key=lambda volume: volume.number))
    draft.put(msgspec.structs.replace(group, volume_groups=whole))
    refs = entries.refs_of(group=group.name, volume=number)
    said = [
        entries.created(
            Subject.VOLUME_GROUP, f"The volume group {number} of '{group.name}' was created", refs
        )
    ]
    if command.props:
        said.insert(0, entries.created(Subject.VOLUME_DEFINITION, "Properties set", refs))
    return Decision(changes=draft.changes(), entries=tuple(said))


def _find_volume(group: ResourceGroup, number: int) -> VolumeGroup:
    found = next((volume for volume in group.volume_groups if volume.number == number), None)
    if found is None:
        raise NotFound(
            Subject.VOLUME_GROUP,
            f"{group.name}/{number}",
            f"The resource group '{group.name}' has no volume group {number}",
            cause="It was never created.",
        )
    return found


def _modify_volume(command: ModifyVolumeGroup, draft: Draft) -> Decision:
    group = draft.find_group(command.group)
    found = _find_volume(group, command.number)
    refs = entries.refs_of(group=group.name, volume=command.number)
    after, said = properties.apply(
        found.props, command.props, Scope.VOLUME_DEFINITION, subject=Subject.VOLUME_DEFINITION, refs=refs
    )
    changed = msgspec.structs.replace(
        found, props=after, gross_size=_gross_flag(command.flags, found.gross_size)
    )
    whole = tuple(changed if volume is found else volume for volume in group.volume_groups)
    draft.put(msgspec.structs.replace(group, volume_groups=whole))
    said.append(
        entries.modified(
            Subject.VOLUME_GROUP, f"The volume group {found.number} of '{group.name}' was changed", refs
        )
    )
    return outcome(draft, said)


def _delete_volume(command: DeleteVolumeGroup, draft: Draft) -> Decision:
    group = draft.find_group(command.group)
    found = _find_volume(group, command.number)
    rest = tuple(volume for volume in group.volume_groups if volume is not found)
    draft.put(msgspec.structs.replace(group, volume_groups=rest))
    said = entries.deleted(
        Subject.VOLUME_GROUP,
        f"The volume group {found.number} of '{group.name}' was deleted",
        entries.refs_of(group=group.name, volume=found.number),
    )
    return Decision(changes=draft.changes(), entries=(said,))
