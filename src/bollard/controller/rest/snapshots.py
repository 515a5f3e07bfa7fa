"""Routes of snapshots, their restores and rollbacks, and of clones."""

from collections.abc import Iterable
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from bollard.controller.rest import errors, find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.controller.settling import settled
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.cluster import Cluster
from bollard.domain.commands import (
    CloneDefinition,
    CreateSnapshots,
    DeleteSnapshot,
    ModifySnapshot,
    NewSnapshot,
    RestoreResources,
    RestoreVolumeDefinitions,
    RollBack,
)
from bollard.domain.errors import DomainError, NotFound, Subject
from bollard.domain.ids import key_of
from bollard.domain.procedures import Verb
from bollard.domain.resources import DefinitionPhase
from bollard.domain.snapshots import SnapshotDefinition, SnapshotPhase
from bollard.planning.decide.restores import CLONED_FROM
from bollard.wire.rest import answers
from bollard.wire.rest.answers import About
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.snapshots import (
    CloneBody,
    CloneStarted,
    CloneStatus,
    MultiSnapshotBody,
    RestoreBody,
    RollbackBody,
    SnapshotBody,
    SnapshotModify,
    SnapshotView,
    snapshot_view,
)

_RD = "/v1/resource-definitions/{resource}"
_ALL = _RD + "/snapshots"
_ONE = _RD + "/snapshots/{snapshot}"
_TAKEN_S = 60.0
_ROLLED_BACK_S = 60.0
_INVALID_NAME = "__invalid_name__"
_CODES = {
    SnapshotPhase.FAILED_DEPLOYMENT: "UNKNOWN_ERROR",
    SnapshotPhase.FAILED_DISCONNECT: "NOT_CONNECTED",
}


def _shown(cluster: Cluster, snapshot: SnapshotDefinition) -> SnapshotView:
    running = cluster.procedures.get(key_of(Verb.SNAPSHOT, snapshot.definition, ""))
    waits = running.message if running is not None and snapshot.phase is SnapshotPhase.TAKING else ""
    return snapshot_view(snapshot, waits)


def _selected(call: Call, snapshots: Iterable[SnapshotDefinition]) -> list[SnapshotDefinition]:
    """Those that the filters name, without what clones made for themselves."""
    nodes, resources = call.keys("nodes"), call.keys("resources")
    return [
        one
        for one in snapshots
        if not one.hidden
        and (resources is None or key_of(one.definition) in resources)
        and (nodes is None or any(key_of(part.node) in nodes for part in one.nodes))
    ]


async def view_snapshots(call: Call) -> Response:
    """All snapshots, cut and filtered."""
    cluster = call.api.service.cluster
    found = _selected(call, (cluster.snapshots[key] for key in sorted(cluster.snapshots)))
    return call.json([_shown(cluster, one) for one in call.page(found)])


async def list_snapshots(call: Call) -> Response:
    """The snapshots of a resource definition."""
    cluster = call.api.service.cluster
    owner = find.definition(cluster, call.names["resource"])
    found = _selected(call, cluster.snapshots_of(owner.name))
    return call.json([_shown(cluster, one) for one in call.page(found)])


async def show_snapshot(call: Call) -> Response:
    """One snapshot."""
    cluster = call.api.service.cluster
    owner = find.definition(cluster, call.names["resource"])
    name = call.names["snapshot"]
    found = cluster.snapshots.get(key_of(owner.name, name))
    if found is None or found.hidden:
        raise NotFound(Subject.SNAPSHOT, name, f"'{owner.name}' has no snapshot '{name}'")
    return call.json(_shown(cluster, found))


async def create_snapshot(call: Call) -> Response:
    """Take a snapshot; answered when it is there, or has failed."""
    body: SnapshotBody = await call.body()
    call.refer(Snapshot=body.name or "")
    return await _create(call, [_wanted(body, call.names["resource"])])


async def create_snapshots(call: Call) -> Response:
    """Take several at one instant."""
    body: MultiSnapshotBody = await call.body()
    wanted = [_wanted(one, one.resource_name or "") for one in body.snapshots or ()]
    if len(wanted) == 1:
        call.refer(RscDfn=wanted[0].definition, Snapshot=wanted[0].name)
    return await _create(call, wanted)


def _wanted(body: SnapshotBody, definition: str) -> NewSnapshot:
    return NewSnapshot(
        definition=definition,
        name=body.name or "",
        nodes=body.nodes or (),
        props=props(body.props) | props(body.snapshot_definition_props),
    )


async def _create(call: Call, wanted: list[NewSnapshot]) -> Response:
    if not wanted:
        return call.entries([])
    service = call.api.service
    answer = await service.submit(CreateSnapshots(snapshots=tuple(wanted)))
    keys = [key_of(one.definition, one.name) for one in wanted]

    def ended(cluster: Cluster) -> bool:
        found = [cluster.snapshots.get(key) for key in keys]
        return all(one is None or one.phase is not SnapshotPhase.TAKING for one in found)

    await settled(service, [one.definition for one in wanted], ended, _TAKEN_S)
    told = [entry for one in wanted for entry in _told(service.cluster, one)]
    return _said(call, [*answer.entries, *told])


def _told(cluster: Cluster, wanted: NewSnapshot) -> list[Entry]:
    found = cluster.snapshots.get(key_of(wanted.definition, wanted.name))
    refs = {"RscDfn": wanted.definition, "Snapshot": wanted.name}
    what = f"The snapshot '{wanted.name}' of '{wanted.definition}'"
    if found is None:
        return [_entry(Severity.ERROR, f"{what} was deleted while it was taken", refs, code="UNKNOWN_ERROR")]
    if found.phase is SnapshotPhase.TAKING:
        return [_entry(Severity.WARNING, f"{what} is still being taken", refs, code="STLT_NOT_UPDATED")]
    if found.phase is not SnapshotPhase.SUCCESSFUL:
        code = _CODES[found.phase]
        return [_entry(Severity.ERROR, f"{what} failed", refs, code=code, cause=found.message)]
    return [
        _entry(
            Severity.SUCCESS, f"{what} is kept on the node '{part.node}'", refs | {"VlmNr": str(one.number)}
        )
        for part in found.nodes
        for one in part.volumes
    ]


def _entry(
    severity: Severity, message: str, refs: dict[str, str], *, code: str = "", cause: str = ""
) -> Entry:
    return Entry(severity, Operation.CREATE, Subject.SNAPSHOT, message, code=code, cause=cause, refs=refs)


def _said(call: Call, entries: list[Entry]) -> Response:
    return call.entries([answers.of_entry(entry, call.about, call.now_ms) for entry in entries])


async def modify_snapshot(call: Call) -> Response:
    """Change the properties of a snapshot."""
    body: SnapshotModify = await call.body()
    call.refer(Snapshot=call.names["snapshot"])
    return await call.run(
        ModifySnapshot(
            definition=call.names["resource"], snapshot=call.names["snapshot"], props=body.change()
        )
    )


async def delete_snapshot(call: Call) -> Response:
    """Delete a snapshot, or only what some nodes keep of it."""
    call.refer(Snapshot=call.names["snapshot"])
    nodes = tuple(name for name in call.request.query_params.getlist("nodes") if name)
    return await call.run(
        DeleteSnapshot(
            definition=call.names["resource"],
            snapshot=call.names["snapshot"],
            nodes=nodes,
            with_empty_definition=call.flag("delete_empty_resource_definition"),
        )
    )


async def restore_volume_definitions(call: Call) -> Response:
    """Copy a snapshot's volume definitions to another resource definition."""
    body: RestoreBody = await call.body()
    return await call.run(
        RestoreVolumeDefinitions(
            definition=call.names["resource"], snapshot=call.names["snapshot"], to=body.to_resource or ""
        )
    )


async def restore_resources(call: Call) -> Response:
    """Make the resources of a definition from a snapshot."""
    body: RestoreBody = await call.body()
    if body.to_resource:
        call.about = About(Act.CREATE, Noun.RSC, {"RscDfn": body.to_resource})
    else:
        call.about = About()
    answer = await call.api.service.submit(
        RestoreResources(
            definition=call.names["resource"],
            snapshot=call.names["snapshot"],
            to=body.to_resource or "",
            nodes=body.nodes or (),
            pool_rename=body.stor_pool_rename or {},
        )
    )
    # What was added by itself is said of the snapshot, the rest of the resource.
    told = [
        answers.of_entry(
            entry,
            msgspec.structs.replace(
                call.about, noun=Noun.SNAPSHOT if entry.severity is Severity.INFO else Noun.RSC
            ),
            call.now_ms,
        )
        for entry in answer.entries
    ]
    return call.entries(told)


async def roll_back(call: Call) -> Response:
    """Give a resource the content that it had; answered when that is so, or goes on in the background."""
    body: RollbackBody = await call.body()
    definition, name = call.names["resource"], call.names["snapshot"]
    call.refer(Snapshot=name)
    service = call.api.service
    answer = await service.submit(
        RollBack(definition=definition, snapshot=name, zfs_strategy=body.zfs_rollback_strategy or "")
    )
    key = key_of(Verb.ROLLBACK, definition, "")

    def ended(cluster: Cluster) -> bool:
        return key not in cluster.procedures

    before = {volume.current_gi for volume in find.definition(service.cluster, definition).volumes}
    done = await settled(service, [definition], ended, _ROLLED_BACK_S)
    after = {volume.current_gi for volume in find.definition(service.cluster, definition).volumes}
    refs = {"RscDfn": definition, "Snapshot": name}
    said = list(answer.entries)
    if not done:
        running = service.cluster.procedures.get(key)
        cause = running.message if running is not None else ""
        said.append(
            Entry(
                Severity.WARNING,
                Operation.MODIFY,
                Subject.SNAPSHOT,
                f"'{definition}' is still being rolled back",
                code="STLT_NOT_UPDATED",
                cause=cause,
                refs=refs,
            )
        )
    elif before != after:
        said.append(
            Entry(
                Severity.ERROR,
                Operation.MODIFY,
                Subject.SNAPSHOT,
                f"No node could roll '{definition}' back to '{name}'; it is as it was before",
                code="UNKNOWN_ERROR",
                correction="Look at the nodes' storage, and whether they still keep the snapshot.",
                refs=refs,
            )
        )
    return _said(call, said)


async def clone_definition(call: Call) -> Response:
    """Begin to clone a resource definition; clients follow its status."""
    body: CloneBody = await call.body()
    source = find.definition(call.api.service.cluster, call.names["resource"])
    name = body.name or body.external_name or _INVALID_NAME
    call.about = About(Act.CREATE, Noun.RSC_DFN, {"RscDfn": body.name or body.external_name or ""})
    status = 201
    try:
        answer = await call.api.service.submit(
            CloneDefinition(
                source=source.name,
                name=body.name,
                external_name=body.external_name,
                group=body.resource_group,
                layer_stack=body.layer_list or (),
                props=body.change(),
                passphrases=body.volume_passphrases or (),
                sizes_kib=body.volume_sizes or (),
            )
        )
    except DomainError as error:
        told = [answers.of_error(error, errors.code_for(error), call.about, call.now_ms)]
        status = 500
    else:
        told = [answers.of_entry(entry, call.about, call.now_ms) for entry in answer.entries]
        name = next((it.refs["RscDfn"] for it in answer.entries if "RscDfn" in it.refs), name)
    location = f"/v1/resource-definitions/{quote(source.name)}/clone/{quote(name)}"
    return call.json(CloneStarted(location, source.name, name, tuple(told)), status=status)


async def clone_status(call: Call) -> Response:
    """How a clone does."""
    cluster = call.api.service.cluster
    source = find.definition(cluster, call.names["resource"])
    clone = find.definition(cluster, call.names["resourceClone"])
    if key_of(clone.props.get(CLONED_FROM, "")) != source.key:
        raise NotFound(
            Subject.RESOURCE_DEFINITION,
            clone.name,
            f"'{clone.name}' is no clone of '{source.name}'",
            cause=f"Its property {CLONED_FROM} does not say so.",
        )
    words = {DefinitionPhase.CLONING: "CLONING", DefinitionPhase.FAILED: "FAILED"}
    return call.json(CloneStatus(words.get(clone.phase, "COMPLETE")))


_FILTERS = ("nodes", "offset", "limit")
ROUTES = (
    Route(
        method="GET",
        path="/v1/view/snapshots",
        handler=view_snapshots,
        answer=list[SnapshotView],
        query=("resources", *_FILTERS),
    ),
    Route(method="GET", path=_ALL, handler=list_snapshots, answer=list[SnapshotView], query=_FILTERS),
    Route(
        method="POST",
        path=_ALL,
        handler=create_snapshot,
        body=SnapshotBody,
        act=Act.CREATE,
        noun=Noun.SNAPSHOT,
        status=201,
    ),
    Route(
        method="POST",
        path="/v1/actions/snapshot/multi",
        handler=create_snapshots,
        body=MultiSnapshotBody,
        act=Act.CREATE,
        noun=Noun.SNAPSHOT,
        status=201,
    ),
    Route(method="GET", path=_ONE, handler=show_snapshot, answer=SnapshotView),
    Route(
        method="PUT",
        path=_ONE,
        handler=modify_snapshot,
        body=SnapshotModify,
        act=Act.MODIFY,
        noun=Noun.SNAPSHOT,
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete_snapshot,
        act=Act.DELETE,
        noun=Noun.SNAPSHOT,
        query=("nodes", "delete_empty_resource_definition"),
    ),
    Route(
        method="POST",
        path=_RD + "/snapshot-restore-volume-definition/{snapshot}",
        handler=restore_volume_definitions,
        body=RestoreBody,
        act=Act.CREATE,
        noun=Noun.SNAPSHOT,
    ),
    Route(
        method="POST",
        path=_RD + "/snapshot-restore-resource/{snapshot}",
        handler=restore_resources,
        body=RestoreBody,
        act=Act.CREATE,
        noun=Noun.SNAPSHOT,
    ),
    Route(
        method="POST",
        path=_RD + "/snapshot-rollback/{snapshot}",
        handler=roll_back,
        body=RollbackBody,
        optional_body=True,
        act=Act.MODIFY,
        noun=Noun.SNAPSHOT,
    ),
    Route(
        method="POST",
        path=_RD + "/clone",
        handler=clone_definition,
        body=CloneBody,
        answer=CloneStarted,
        refusal=CloneStarted,
        status=201,
    ),
    Route(method="GET", path=_RD + "/clone/{resourceClone}", handler=clone_status, answer=CloneStatus),
)
