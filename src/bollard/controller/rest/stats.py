"""Routes of the counts."""

from starlette.responses import Response

from bollard.controller.rest import nodes, views
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route


async def count_nodes(call: Call) -> Response:
    """How many nodes there are."""
    return call.json({"count": len(nodes.selected(call))})


async def count_definitions(call: Call) -> Response:
    """How many resource definitions there are."""
    return call.json({"count": len(call.api.service.cluster.definitions)})


async def count_groups(call: Call) -> Response:
    """How many resource groups there are."""
    return call.json({"count": len(call.api.service.cluster.groups)})


async def count_resources(call: Call) -> Response:
    """How many resources there are on nodes."""
    return call.json({"count": len(views.selected(call))})


async def count_pools(call: Call) -> Response:
    """How many storage pools there are."""
    return call.json({"count": len(views.selected_pools(call))})


async def count_reports(call: Call) -> Response:
    """How many error reports there are."""
    return call.json({"count": len(await call.api.store.reports())})


ROUTES = tuple(
    Route(method="GET", path=f"/v1/stats/{noun}", handler=handler, answer=dict[str, int])
    for noun, handler in (
        ("nodes", count_nodes),
        ("resource-definitions", count_definitions),
        ("resource-groups", count_groups),
        ("resources", count_resources),
        ("storage-pools", count_pools),
        ("error-reports", count_reports),
    )
)
