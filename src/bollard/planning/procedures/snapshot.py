"""Taking a snapshot on all its nodes, of one resource or of several at one instant.

Phases: `freeze` (every node with the resource stands still), `take` (those with a disk keep what is there),
`prove` (all say whether nothing moved until then, and none goes on before), `thaw`, then done. Invariant: it
is successful only if every node stood still from before the first copy until after the last. Each node's
standstill ends by itself at the deadline; a node that goes away, refuses or is late makes the snapshot fail,
never wait. Resources of one call have a procedure each, and go from phase to phase together.
"""

from collections.abc import Iterable

import msgspec

from bollard.domain.answers import Entry
from bollard.domain.ids import key_of
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import BuriedSnapshot, Resource, ResourcePhase, Tombstone
from bollard.domain.seen import SeenSnapshot
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode, SnapshotPhase
from bollard.domain.targets import SnapshotStage
from bollard.planning import replicas
from bollard.planning.draft import Draft

__all__ = ["DEADLINE_MS", "NEXT", "advance", "bury", "divided", "give_up", "running", "start"]

FREEZE, TAKE, PROVE, THAW = SnapshotStage
NEXT: dict[str, str | None] = {FREEZE: TAKE, TAKE: PROVE, PROVE: THAW, THAW: None}
"""The table of phases; None ends the procedure. Cancelled by deleting the snapshot: every phase may thaw."""
DEADLINE_MS = 30_000
"""How long a resource stands still at the most."""
_PATIENCE_MS = 15_000
"""For nodes to be told and to answer, beyond the standstill itself."""
_ON_THEIR_WAY = frozenset({"CONNECTED", "AUTHENTICATED"})
_MESSAGES = {
    FREEZE: "Every node is told to stand still.",
    TAKE: "Everything stands still; the nodes keep what is there.",
    PROVE: "The nodes say whether nothing moved until now.",
    THAW: "The nodes go on.",
}
_SNAPSHOT, _WITH, _NODES, _DEADLINE = "snapshot", "with", "nodes", "deadline_ms"
_FAILED, _WHY = "failed", "why"


def running(draft: Draft, definition: str) -> Procedure | None:
    """The snapshot that is being taken of a definition, if any."""
    return draft.get(Procedure, "procedure", key_of(Verb.SNAPSHOT, definition, ""))


def start(draft: Draft, snapshots: Iterable[SnapshotDefinition], deadline_ms: int = DEADLINE_MS) -> None:
    """Begin to take these, which are in the draft, at one instant. No other is being taken of the same."""
    together = tuple(snapshots)
    names = " ".join(key_of(one.definition) for one in together)
    for one in together:
        assert running(draft, one.definition) is None, one.key
        draft.put(
            Procedure(
                verb=Verb.SNAPSHOT,
                uuid=draft.world.draw.uuid(),
                phase=FREEZE,
                definition=one.definition,
                arguments={
                    _SNAPSHOT: one.name,
                    _WITH: names,
                    _NODES: " ".join(_reachable(draft, one.definition)),
                    _DEADLINE: str(deadline_ms),
                },
                started_ms=draft.world.now_ms,
                revision=draft.cluster.revision + 1,
                message=_MESSAGES[FREEZE],
            )
        )


def advance(draft: Draft, procedure: Procedure) -> list[Entry]:
    """Let all that are taken together take the next phase, or fail together."""
    if draft.get(Procedure, "procedure", procedure.key) != procedure:
        return []  # one of those it goes with has moved it already
    together = _together(draft, procedure)
    if procedure.phase != THAW:
        failed = _failure(draft, together)
        if failed is not None:
            _move(draft, together, THAW, failed)
        elif all(_answered(draft, one) for one in together):
            divided_now = _divided_now(draft, together) if procedure.phase == PROVE else None
            _move(draft, together, str(NEXT[procedure.phase]), divided_now)
        return []
    if all(_answered(draft, one) for one in together) or _late(draft, procedure):
        _finish(draft, together)
    return []


def give_up(draft: Draft, procedure: Procedure) -> None:
    """Nobody wants it any more: all that are taken together end as failed, and go on."""
    for one in _together(draft, procedure):
        snapshot = _snapshot_of(draft, one)
        draft.drop(one)
        if snapshot is not None and one != procedure:
            _fail(draft, snapshot, SnapshotPhase.FAILED_DEPLOYMENT, "It was given up.")


def bury(draft: Draft, snapshot: SnapshotDefinition, nodes: Iterable[SnapshotOnNode]) -> None:
    """Have nodes remove what they keep of a snapshot; the record is the caller's business."""
    for part in nodes:
        if draft.get_node(part.node) is None or not part.volumes:
            continue
        stone = Tombstone(
            node=part.node,
            definition=snapshot.definition,
            resource_uuid=draft.world.draw.uuid(),
            create_timestamp_ms=draft.world.now_ms,
            snapshots=tuple(BuriedSnapshot(one.number, one.pool, snapshot.uuid) for one in part.volumes),
        )
        draft.put(stone)


def _together(draft: Draft, procedure: Procedure) -> list[Procedure]:
    found = (running(draft, name) for name in procedure.arguments[_WITH].split(" "))
    names = procedure.arguments[_WITH]
    return [one for one in found if one is not None and one.arguments[_WITH] == names]


def _snapshot_of(draft: Draft, procedure: Procedure) -> SnapshotDefinition | None:
    assert procedure.definition is not None
    key = key_of(procedure.definition, procedure.arguments[_SNAPSHOT])
    return draft.get(SnapshotDefinition, "snapshot", key)


def _late(draft: Draft, procedure: Procedure) -> bool:
    waited_ms = draft.world.now_ms - procedure.started_ms
    return waited_ms > int(procedure.arguments[_DEADLINE]) + _PATIENCE_MS


def _failure(draft: Draft, together: list[Procedure]) -> tuple[SnapshotPhase, str] | None:
    """Why these can no longer succeed."""
    for procedure in together:
        snapshot = _snapshot_of(draft, procedure)
        if snapshot is None:
            return SnapshotPhase.FAILED_DEPLOYMENT, "It was deleted while it was taken."
        for part in snapshot.nodes:
            if not _still_has(draft, snapshot, part):
                return SnapshotPhase.FAILED_DEPLOYMENT, f"The resource on '{part.node}' went away or changed."
        for resource in _standing(draft, procedure):
            if _away(draft, resource):
                return SnapshotPhase.FAILED_DISCONNECT, f"The node '{resource.node}' went away."
            seen = replicas.online_seen(draft.world, resource)
            said = seen.snapshot if seen is not None else None
            if said is not None and said.uuid == snapshot.uuid and not said.held:
                return SnapshotPhase.FAILED_DEPLOYMENT, _why(resource, said)
        if _late(draft, procedure):
            return SnapshotPhase.FAILED_DEPLOYMENT, "Not every node was ready in time."
    return None


def _why(resource: Resource, said: SeenSnapshot) -> str:
    if said.problem is not None:
        return f"Node '{resource.node}': {said.problem.message}. {said.problem.cause}".strip()
    return f"On node '{resource.node}' data changed, or the deadline passed, before all was kept."


def divided(draft: Draft, definition: str, nodes: Iterable[str]) -> str:
    """Which of these nodes may hold other data than the others: not up to date, or out of touch; else empty.

    One that is out of touch calls itself up to date, though it misses what the others have got.
    """
    resources = [one for node in nodes if (one := draft.resource(definition, node)) is not None]
    for resource in resources:
        if not replicas.up_to_date(draft.world, resource):
            return resource.node
        seen = replicas.online_seen(draft.world, resource)
        if seen is None or not resource.tcp_ports:
            continue
        linked = {key_of(peer.node) for peer in seen.peers if peer.connection == "Connected"}
        if {key_of(one.node) for one in resources} - linked - {key_of(resource.node)}:
            return resource.node
    return ""


def _divided_now(draft: Draft, together: list[Procedure]) -> tuple[SnapshotPhase, str] | None:
    for procedure in together:
        snapshot = _snapshot_of(draft, procedure)
        nodes = [part.node for part in snapshot.nodes] if snapshot is not None else []
        if snapshot is not None and (node := divided(draft, snapshot.definition, nodes)):
            why = f"The data on '{node}' may not be that of the other nodes."
            return SnapshotPhase.FAILED_DEPLOYMENT, why
    return None


def _still_has(draft: Draft, snapshot: SnapshotDefinition, part: SnapshotOnNode) -> bool:
    resource = draft.resource(snapshot.definition, part.node)
    if resource is None or not resource.diskful:
        return False
    there = {volume.uuid for volume in resource.volumes}
    return all(volume.volume_uuid in there for volume in part.volumes)


def _reachable(draft: Draft, definition: str) -> list[str]:
    """Nodes that must stand still: all that may use the resource, as far as they can be told."""
    return [
        key_of(resource.node)
        for resource in draft.resources_of(definition)
        if resource.phase is not ResourcePhase.INACTIVE and draft.world.observed.node(resource.node).online
    ]


def _standing(draft: Draft, procedure: Procedure) -> list[Resource]:
    assert procedure.definition is not None
    nodes = procedure.arguments[_NODES].split(" ")
    return [one for one in draft.resources_of(procedure.definition) if key_of(one.node) in nodes]


def _away(draft: Draft, resource: Resource) -> bool:
    """Whether its node is known to be away; right after a restart nothing is known, and that passes."""
    node = draft.world.observed.node(resource.node)
    return not node.online and node.since_ms > 0 and node.status not in _ON_THEIR_WAY


def _answered(draft: Draft, procedure: Procedure) -> bool:
    """Whether every node that is online is through with the phase."""
    snapshot = _snapshot_of(draft, procedure)
    if snapshot is None:
        return True
    for resource in _standing(draft, procedure):
        if _away(draft, resource):
            continue
        seen = replicas.online_seen(draft.world, resource)
        said = seen.snapshot if seen is not None else None
        if said is None or said.uuid != snapshot.uuid or said.stage != procedure.phase:
            return False
    return True


def _move(
    draft: Draft, together: list[Procedure], phase: str, failed: tuple[SnapshotPhase, str] | None
) -> None:
    more = {_FAILED: failed[0].value, _WHY: failed[1]} if failed is not None else {}
    for procedure in together:
        draft.put(
            msgspec.structs.replace(
                procedure,
                phase=phase,
                arguments=procedure.arguments | more,
                revision=draft.cluster.revision + 1,
                message=_MESSAGES[SnapshotStage(phase)],
            )
        )


def _finish(draft: Draft, together: list[Procedure]) -> None:
    """All have gone on, or are given up for late: it was proven before, or has failed before."""
    first = together[0]
    for procedure in together:
        snapshot = _snapshot_of(draft, procedure)
        draft.drop(procedure)
        if snapshot is None:
            continue
        if _FAILED in first.arguments:
            _fail(draft, snapshot, SnapshotPhase(first.arguments[_FAILED]), first.arguments[_WHY])
        else:
            draft.put(msgspec.structs.replace(snapshot, phase=SnapshotPhase.SUCCESSFUL))


def _fail(draft: Draft, snapshot: SnapshotDefinition, phase: SnapshotPhase, why: str) -> None:
    """It is shown as failed until someone deletes it; what some nodes have of it is worth nothing."""
    bury(draft, snapshot, snapshot.nodes)
    draft.put(msgspec.structs.replace(snapshot, phase=phase, message=why))
