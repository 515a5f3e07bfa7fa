"""Snapshots on a schedule: one every `AutoSnapshot/RunEvery` minutes, the newest `AutoSnapshot/Keep` kept.

Off where RunEvery is not set or not above 0. The properties are the definition's, its group's or the
controller's. They are called autoSnap00001 and so on; `AutoSnapshot/NextAutoId` of the definition counts.
Invariant: only complete snapshots count as kept, and none that a person took is ever removed.
"""

from typing import Final

import msgspec

from bollard.domain import props
from bollard.domain.commands import NewSnapshot
from bollard.domain.errors import DomainError
from bollard.domain.ids import key_of
from bollard.domain.resources import DefinitionPhase, ResourceDefinition
from bollard.domain.snapshots import SnapshotDefinition, SnapshotPhase
from bollard.planning import effective, restoring, snapshots
from bollard.planning.draft import Draft
from bollard.planning.procedures import rollback
from bollard.planning.procedures import snapshot as taking

__all__ = ["settle"]

_MINUTE_MS: Final = 60_000
_PREFIX: Final = "autoSnap"


def settle(draft: Draft, definition: ResourceDefinition) -> None:
    """Take the snapshot that is due, and remove those that are too many."""
    maps = effective.definition_maps(draft.cluster, definition)
    every_ms = props.AUTO_SNAPSHOT_EVERY.number(*maps) * _MINUTE_MS
    if every_ms <= 0 or definition.phase is not DefinitionPhase.NORMAL:
        return
    own = sorted(
        (one for one in draft.snapshots_of(definition.name) if one.automatic),
        key=lambda one: (one.create_timestamp_ms, one.name),
    )
    if not own or draft.world.now_ms - own[-1].create_timestamp_ms >= every_ms:
        _take(draft, definition)
    _clear(draft, definition, own, int(props.AUTO_SNAPSHOT_KEEP.number(*maps)))


def _take(draft: Draft, definition: ResourceDefinition) -> None:
    number = max(1, int(props.AUTO_SNAPSHOT_NEXT.number(definition.props)))
    taken = {one.key for one in draft.snapshots_of(definition.name)}
    while key_of(definition.name, _name(number)) in taken:
        number += 1
    try:
        made = snapshots.new(
            draft, NewSnapshot(definition=definition.name, name=_name(number), automatic=True)
        )
    except DomainError:
        return  # busy, away or not fit for it: it stays due
    taking.start(draft, [made])
    counted = definition.props | {props.AUTO_SNAPSHOT_NEXT.key: str(number + 1)}
    draft.put(msgspec.structs.replace(definition, props=counted))


def _name(number: int) -> str:
    return f"{_PREFIX}{number:05d}"


def _clear(draft: Draft, definition: ResourceDefinition, own: list[SnapshotDefinition], keep: int) -> None:
    """Remove the oldest complete ones beyond `keep` (0 and below: keep all), and those that failed."""
    complete = [one for one in own if one.phase is SnapshotPhase.SUCCESSFUL]
    surplus = complete[:-keep] if keep > 0 else []
    failed = [one for one in own[:-1] if one.phase not in {SnapshotPhase.SUCCESSFUL, SnapshotPhase.TAKING}]
    rolling = rollback.running(draft, definition.name)
    for one in (*surplus, *failed):
        rolled_back_to = rolling is not None and key_of(rolling.arguments["snapshot"]) == key_of(one.name)
        if not rolled_back_to and not restoring.waiting_for(draft, one.uuid):
            snapshots.remove(draft, one)
