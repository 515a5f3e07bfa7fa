"""Routes of resource definitions and volume definitions."""

from http import HTTPStatus

from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.controller.settling import settled
from bollard.domain.cluster import Cluster
from bollard.domain.commands import (
    CreateDefinition,
    CreateVolumeDefinition,
    DeleteDefinition,
    DeleteVolumeDefinition,
    ModifyDefinition,
    ModifyVolumeDefinition,
    VerifyDefinition,
)
from bollard.domain.errors import Invalid, Subject
from bollard.domain.ids import Key, key_of
from bollard.domain.procedures import Procedure, Verb
from bollard.domain.resources import ResourceDefinition
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.definitions import (
    DefinitionBody,
    DefinitionCreate,
    DefinitionModify,
    DefinitionView,
    VolumeDefinitionBody,
    VolumeDefinitionCreate,
    VolumeDefinitionModify,
    VolumeDefinitionView,
    definition_view,
    volume_definition_view,
)

_ALL = "/v1/resource-definitions"
_ONE = "/v1/resource-definitions/{resource}"
_VOLUMES = "/v1/resource-definitions/{resource}/volume-definitions"
_VOLUME = "/v1/resource-definitions/{resource}/volume-definitions/{volume_number}"
_GROWN_S = 30.0
"""Longer growing goes on in the background."""
_CALM = frozenset({"UpToDate", "Diskless", "Created", "Client"})


async def list_definitions(call: Call) -> Response:
    """All resource definitions, or those that the filters name."""
    table = call.api.service.cluster.definitions
    wanted = call.keys("resource_definitions")
    found = [
        table[key]
        for key in sorted(table)
        if (wanted is None or key in wanted) and call.has_props(table[key].props)
    ]
    with_volumes = call.flag("with_volume_definitions")
    running = _running(call)
    shown = [
        definition_view(
            each,
            placed=_placed(call, each),
            with_volumes=with_volumes,
            running=running.get(each.key, ()),
        )
        for each in call.page(found)
    ]
    return call.json(shown)


def _running(call: Call) -> dict[Key, list[Procedure]]:
    """What is under way, by definition."""
    found: dict[Key, list[Procedure]] = {}
    for procedure in call.api.service.cluster.procedures.values():
        if procedure.definition is not None:
            found.setdefault(key_of(procedure.definition), []).append(procedure)
    return found


def _placed(call: Call, definition: ResourceDefinition) -> bool:
    return bool(call.api.service.cluster.resources_of(definition.name))


async def show_definition(call: Call) -> Response:
    """One resource definition."""
    found = find.definition(call.api.service.cluster, call.names["resource"])
    shown = definition_view(
        found,
        placed=_placed(call, found),
        with_volumes=call.flag("with_volume_definitions"),
        running=_running(call).get(found.key, ()),
    )
    return call.json(shown)


async def create_definition(call: Call) -> Response:
    """Create a resource definition, by name or external name."""
    body: DefinitionCreate = await call.body()
    given = body.resource_definition or DefinitionBody()
    call.refer(RscDfn=given.name or given.external_name or "")
    return await call.run(
        CreateDefinition(
            name=given.name or "",
            external_name=given.external_name,
            group=given.resource_group_name,
            props=props(given.props),
            layer_stack=tuple(layer.type or "" for layer in given.layer_data or ()),
            drbd_port=body.drbd_port,
            drbd_secret=body.drbd_secret,
            peer_slots=body.drbd_peer_slots,
            transport_type=body.drbd_transport_type,
        )
    )


async def modify_definition(call: Call) -> Response:
    """Change a resource definition."""
    body: DefinitionModify = await call.body()
    return await call.run(
        ModifyDefinition(
            name=call.names["resource"],
            props=body.change(),
            group=body.resource_group,
            layer_stack=body.layer_stack or (),
            peer_slots=body.drbd_peer_slots,
            drbd_port=body.drbd_port,
        )
    )


async def delete_definition(call: Call) -> Response:
    """Remove a resource definition with all its resources."""
    return await call.run(DeleteDefinition(name=call.names["resource"]))


async def verify_definition(call: Call) -> Response:
    """Ours: compare all replicas online."""
    return await call.run(VerifyDefinition(name=call.names["resource"]))


async def sync_status(call: Call) -> Response:
    """Whether every volume is up to date on every node."""
    service = call.api.service
    definition = find.definition(service.cluster, call.names["resource"])
    synced = all(
        seen is not None and online and all(volume.disk_state in _CALM for volume in seen.volumes)
        for seen, online in (
            (
                service.observed.resource(each.definition, each.node),
                service.observed.node(each.node).online,
            )
            for each in service.cluster.resources_of(definition.name)
        )
    )
    return call.json({"synced_on_all": synced})


async def list_volume_definitions(call: Call) -> Response:
    """The volume definitions of a resource definition."""
    owner = find.definition(call.api.service.cluster, call.names["resource"])
    placed = _placed(call, owner)
    found = [volume_definition_view(owner, volume, placed=placed) for volume in owner.volumes]
    return call.json(call.page(found))


async def show_volume_definition(call: Call) -> Response:
    """One volume definition."""
    owner, volume = find.volume_definition(
        call.api.service.cluster, call.names["resource"], call.volume_number()
    )
    return call.json(volume_definition_view(owner, volume, placed=_placed(call, owner)))


async def create_volume_definition(call: Call) -> Response:
    """Add a volume; without a number it takes the lowest that is free."""
    body: VolumeDefinitionCreate = await call.body()
    given = body.volume_definition or VolumeDefinitionBody()
    if given.volume_number is not None:
        call.refer(VlmNr=str(given.volume_number))
    if given.size_kib is None:
        raise Invalid(
            Subject.VOLUME_SIZE,
            call.names["resource"],
            "The volume has no size",
            cause="'size_kib' is missing.",
            correction="Give the size in KiB.",
        )
    return await call.run(
        CreateVolumeDefinition(
            definition=call.names["resource"],
            size_kib=given.size_kib,
            number=given.volume_number,
            minor=body.drbd_minor_number,
            props=props(given.props),
            flags=given.flags or (),
            passphrase=body.passphrase,
        )
    )


async def modify_volume_definition(call: Call) -> Response:
    """Change the size, properties or flags of a volume on all its nodes.

    A new size is answered when nodes that are online have it: clients grow their file system next.
    """
    body: VolumeDefinitionModify = await call.body()
    definition = call.names["resource"]
    answer = await call.run(
        ModifyVolumeDefinition(
            definition=definition,
            number=call.volume_number(),
            size_kib=body.size_kib,
            props=body.change(),
            flags=body.flags or (),
        )
    )
    growing = key_of(Verb.RESIZE, definition, "")
    if body.size_kib is not None and answer.status_code == HTTPStatus.OK:

        def grown(cluster: Cluster) -> bool:
            return growing not in cluster.procedures

        await settled(call.api.service, [definition], grown, _GROWN_S)
    return answer


async def delete_volume_definition(call: Call) -> Response:
    """Remove a volume from all its nodes."""
    return await call.run(
        DeleteVolumeDefinition(definition=call.names["resource"], number=call.volume_number())
    )


ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        handler=list_definitions,
        answer=list[DefinitionView],
        query=("resource_definitions", "with_volume_definitions", "props", "offset", "limit"),
    ),
    Route(
        method="POST",
        path=_ALL,
        handler=create_definition,
        act=Act.CREATE,
        noun=Noun.RSC_DFN,
        body=DefinitionCreate,
        status=201,
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=show_definition,
        answer=DefinitionView,
        query=("with_volume_definitions",),
    ),
    Route(
        method="PUT",
        path=_ONE,
        handler=modify_definition,
        act=Act.MODIFY,
        noun=Noun.RSC_DFN,
        body=DefinitionModify,
    ),
    Route(method="DELETE", path=_ONE, handler=delete_definition, act=Act.DELETE, noun=Noun.RSC_DFN),
    Route(
        method="POST",
        path=_ONE + "/verify",
        handler=verify_definition,
        act=Act.MODIFY,
        noun=Noun.RSC_DFN,
    ),
    Route(method="GET", path=_ONE + "/sync-status", handler=sync_status, answer=dict[str, bool]),
    Route(method="GET", path=_VOLUMES, handler=list_volume_definitions, answer=list[VolumeDefinitionView]),
    Route(
        method="POST",
        path=_VOLUMES,
        handler=create_volume_definition,
        act=Act.CREATE,
        noun=Noun.VLM_DFN,
        body=VolumeDefinitionCreate,
    ),
    Route(method="GET", path=_VOLUME, handler=show_volume_definition, answer=VolumeDefinitionView),
    Route(
        method="PUT",
        path=_VOLUME,
        handler=modify_volume_definition,
        act=Act.MODIFY,
        noun=Noun.VLM_DFN,
        body=VolumeDefinitionModify,
    ),
    Route(
        method="DELETE",
        path=_VOLUME,
        handler=delete_volume_definition,
        act=Act.DELETE,
        noun=Noun.VLM_DFN,
    ),
)
