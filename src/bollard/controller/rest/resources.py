"""Routes of resources on nodes: create, place, make available, toggle, activate, delete."""

import msgspec
from starlette.responses import Response

from bollard.controller.rest import find, views
from bollard.controller.rest.call import Call, MalformedBody
from bollard.controller.rest.routing import Route
from bollard.domain.commands import (
    ActivateResource,
    Autoplace,
    Command,
    CreateResources,
    DeactivateResource,
    DeleteDefinition,
    DeleteResource,
    MakeAvailable,
    ModifyResource,
    ToggleDisk,
    UnmakeAvailable,
)
from bollard.domain.errors import Invalid, Subject
from bollard.domain.resources import DiskKind
from bollard.wire.rest import answers
from bollard.wire.rest.answers import ApiCallRc
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.groups import filter_of
from bollard.wire.rest.resource_views import ResourceView
from bollard.wire.rest.resources import (
    AutoPlace,
    MakeAvailableBody,
    ResourceCreate,
    ResourceModify,
    ToggleDiskBody,
    ToggleDiskDiskful,
)

_ALL = "/v1/resource-definitions/{resource}/resources"
_ONE = "/v1/resource-definitions/{resource}/resources/{node}"
_TO_DISKFUL = "INTO_DRBD_DISKFUL"
_TO_DISKLESS = "INTO_DRBD_DISKLESS"
_TO_CLIENT = "INTO_DRBD_CLIENT"


async def list_resources(call: Call) -> Response:
    """The resources of a definition, without volumes."""
    cluster = call.api.service.cluster
    definition = find.definition(cluster, call.names["resource"])
    found = call.page(cluster.resources_of(definition.name))
    return call.json([views.view_of(call, each, with_volumes=False) for each in found])


async def show_resource(call: Call) -> Response:
    """One resource on one node, without volumes."""
    found = find.resource(call.api.service.cluster, call.names["resource"], call.names["node"])
    return call.json(views.view_of(call, found, with_volumes=False))


async def create_resources(call: Call) -> Response:
    """Create resources on several nodes: all or none."""
    bodies: list[ResourceCreate] = await call.body()
    if not bodies:
        raise Invalid(
            Subject.REQUEST,
            call.names["resource"],
            "No resource is named",
            cause="The list in the request is empty.",
            correction="Name at least one node.",
        )
    return await call.run(
        CreateResources(definition=call.names["resource"], resources=tuple(body.new() for body in bodies))
    )


async def create_resource(call: Call) -> Response:
    """Create a resource on one node."""
    body: ResourceCreate = await call.body()
    return await call.run(
        CreateResources(definition=call.names["resource"], resources=(body.new(call.names["node"]),))
    )


async def modify_resource(call: Call) -> Response:
    """Change a resource's properties or its kind of disklessness."""
    body: ResourceModify = await call.body()
    return await call.run(
        ModifyResource(
            definition=call.names["resource"],
            node=call.names["node"],
            props=body.change(),
            tie_breaker=body.drbd_tiebreaker,
            client=body.drbd_client,
        )
    )


async def delete_resource(call: Call) -> Response:
    """Remove a resource from a node."""
    return await call.run(
        DeleteResource(
            definition=call.names["resource"],
            node=call.names["node"],
            keep_tiebreaker=call.flag("keep_tiebreaker"),
        )
    )


async def delete_resources(call: Call) -> Response:
    """Remove a resource from all its nodes, those without a disk first; the definition stays unless asked."""
    service = call.api.service
    definition = find.definition(service.cluster, call.names["resource"])
    entries: list[ApiCallRc] = []

    async def run(command: Command) -> None:
        answer = await service.submit(command)
        entries.extend(answers.of_entry(entry, call.about, call.now_ms) for entry in answer.entries)

    if call.flag("delete_empty_resource_definition"):
        await run(DeleteDefinition(name=definition.name))
        return call.entries(entries)
    # Each removal may make or take a tie-breaker, so that what is left is looked at anew.
    for _ in range(2 * len(service.cluster.resources_of(definition.name))):
        left = service.cluster.resources_of(definition.name)
        if not left:
            break
        last = {DiskKind.DISKFUL: 1, DiskKind.TIE_BREAKER: 2}
        each = min(left, key=lambda one: last.get(one.disk, 0))
        await run(DeleteResource(definition=each.definition, node=each.node, keep_tiebreaker=True))
    return call.entries(entries)


async def autoplace(call: Call) -> Response:
    """Place replicas; `layer_list` and `diskless_on_remaining` count as given outside the filter only."""
    body: AutoPlace = await call.body()
    return await call.run(
        Autoplace(
            definition=call.names["resource"],
            select_filter=msgspec.structs.replace(
                filter_of(body.select_filter, with_layers=False), diskless_on_remaining=None
            ),
            layer_stack=body.layer_list or (),
            diskless_on_remaining=bool(body.diskless_on_remaining),
        )
    )


async def unmake_available(call: Call) -> Response:
    """Take back what make-available did."""
    await call.body()
    find.definition(call.api.service.cluster, call.names["resource"])
    return await call.run(UnmakeAvailable(definition=call.names["resource"], node=call.names["node"]))


async def make_available(call: Call) -> Response:
    """See to it that the resource can be used on the node; repeatable."""
    body: MakeAvailableBody = await call.body()
    return await call.run(
        MakeAvailable(
            definition=call.names["resource"],
            node=call.names["node"],
            diskful=bool(body.diskful),
            layer_stack=body.layer_list or (),
            tcp_ports=body.drbd_tcp_ports or (),
        )
    )


async def toggle_disk(call: Call) -> Response:
    """Give a resource a disk, or take it away; the same again retries, the opposite gives up."""
    body: ToggleDiskBody = await call.body()
    operation = (body.operation or "").upper()
    if operation not in {_TO_DISKFUL, _TO_DISKLESS, _TO_CLIENT}:
        raise MalformedBody(
            f"'operation' must be {_TO_DISKFUL}, {_TO_DISKLESS} or {_TO_CLIENT}, not '{body.operation}'"
        )
    return await call.run(
        ToggleDisk(
            definition=call.names["resource"],
            node=call.names["node"],
            to_diskful=operation == _TO_DISKFUL,
            pool=body.storage_pool or props(body.props).get("StorPoolName"),
            migrate_from=body.migrate_from,
            client=operation == _TO_CLIENT,
        )
    )


async def toggle_diskful(call: Call) -> Response:
    """Give a resource a disk (the old form), or move one from another node."""
    body: ToggleDiskDiskful = await call.body()
    return await call.run(
        ToggleDisk(
            definition=call.names["resource"],
            node=call.names["node"],
            to_diskful=True,
            pool=call.names.get("storagepool") or props(body.props).get("StorPoolName"),
            migrate_from=call.names.get("fromnode"),
        )
    )


async def toggle_diskless(call: Call) -> Response:
    """Take a resource's disk away (the old form)."""
    return await call.run(
        ToggleDisk(
            definition=call.names["resource"],
            node=call.names["node"],
            to_diskful=False,
            pool=call.names.get("disklesspool"),
        )
    )


async def activate(call: Call) -> Response:
    """Bring an inactive resource up again."""
    return await call.run(ActivateResource(definition=call.names["resource"], node=call.names["node"]))


async def deactivate(call: Call) -> Response:
    """Take a resource down on its node and keep its data."""
    return await call.run(DeactivateResource(definition=call.names["resource"], node=call.names["node"]))


def _diskful(path: str) -> Route:
    return Route(
        method="PUT",
        path=_ONE + path,
        handler=toggle_diskful,
        act=Act.MODIFY,
        noun=Noun.RSC,
        body=ToggleDiskDiskful,
        optional_body=True,
    )


def _diskless(path: str) -> Route:
    return Route(method="PUT", path=_ONE + path, handler=toggle_diskless, act=Act.MODIFY, noun=Noun.RSC)


ROUTES = (
    Route(
        method="GET", path=_ALL, handler=list_resources, answer=list[ResourceView], query=("offset", "limit")
    ),
    Route(
        method="POST",
        path=_ALL,
        handler=create_resources,
        act=Act.CREATE,
        noun=Noun.RSC,
        body=list[ResourceCreate],
        status=201,
    ),
    Route(
        method="DELETE",
        path=_ALL,
        handler=delete_resources,
        act=Act.DELETE,
        noun=Noun.RSC,
        query=("delete_empty_resource_definition",),
    ),
    Route(method="GET", path=_ONE, handler=show_resource, answer=ResourceView),
    Route(
        method="POST",
        path=_ONE,
        handler=create_resource,
        act=Act.CREATE,
        noun=Noun.RSC,
        body=ResourceCreate,
        optional_body=True,
        status=201,
    ),
    Route(
        method="PUT", path=_ONE, handler=modify_resource, act=Act.MODIFY, noun=Noun.RSC, body=ResourceModify
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=delete_resource,
        act=Act.DELETE,
        noun=Noun.RSC,
        query=("keep_tiebreaker",),
    ),
    Route(
        method="POST",
        path="/v1/resource-definitions/{resource}/autoplace",
        handler=autoplace,
        act=Act.CREATE,
        noun=Noun.RSC,
        body=AutoPlace,
        status=201,
    ),
    Route(
        method="POST",
        path=_ONE + "/make-available",
        handler=make_available,
        act=Act.CREATE,
        noun=Noun.RSC,
        body=MakeAvailableBody,
        optional_body=True,
    ),
    Route(
        method="POST",
        path=_ONE + "/unmake-available",
        handler=unmake_available,
        act=Act.DELETE,
        noun=Noun.RSC,
        body=MakeAvailableBody,
        optional_body=True,
    ),
    Route(
        method="PUT",
        path=_ONE + "/toggle-disk",
        handler=toggle_disk,
        act=Act.MODIFY,
        noun=Noun.RSC,
        body=ToggleDiskBody,
    ),
    _diskful("/toggle-disk/diskful"),
    _diskful("/toggle-disk/diskful/{storagepool}"),
    _diskful("/migrate-disk/{fromnode}"),
    _diskful("/migrate-disk/{fromnode}/{storagepool}"),
    _diskless("/toggle-disk/diskless"),
    _diskless("/toggle-disk/diskless/{disklesspool}"),
    Route(method="POST", path=_ONE + "/activate", handler=activate, act=Act.MODIFY, noun=Noun.RSC),
    Route(method="POST", path=_ONE + "/deactivate", handler=deactivate, act=Act.MODIFY, noun=Noun.RSC),
)
