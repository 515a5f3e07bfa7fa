"""Routes of node connections and resource connections."""

import itertools

from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import ModifyConnection
from bollard.domain.errors import NotFound, Subject
from bollard.domain.ids import key_of
from bollard.domain.resources import Connection
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.connections import ConnectionModify, ConnectionView, connection_view

_OF_NODES = "/v1/node-connections"
_OF_RESOURCE = "/v1/resource-definitions/{resource}/resource-connections"


def between(call: Call, definition: str | None, node_a: str, node_b: str) -> Connection | None:
    """What is set for a pair of nodes."""
    first, second = sorted((node_a, node_b), key=str.upper)
    return call.api.service.cluster.connections.get(key_of(definition or "", first, second))


async def list_node_connections(call: Call) -> Response:
    """The pairs of nodes for which something is set, of all nodes or of those named."""
    cluster = call.api.service.cluster
    query = call.request.query_params
    named = [find.node(cluster, text).name for name in ("node_a", "node_b") if (text := query.get(name))]
    if len(named) == 2:
        return call.json([connection_view(named[0], named[1], between(call, None, named[0], named[1]))])
    found = [
        each
        for key, each in sorted(cluster.connections.items())
        if each.definition is None
        and each.props
        and all(key_of(name) in {key_of(each.node_a), key_of(each.node_b)} for name in named)
    ]
    return call.json([connection_view(each.node_a, each.node_b, each) for each in call.page(found)])


async def modify_node_connection(call: Call) -> Response:
    """Set properties of a pair of nodes."""
    body: ConnectionModify = await call.body()
    return await call.run(
        ModifyConnection(node_a=call.names["node_a"], node_b=call.names["node_b"], props=body.change())
    )


async def list_resource_connections(call: Call) -> Response:
    """All pairs of nodes of a resource."""
    cluster = call.api.service.cluster
    definition = find.definition(cluster, call.names["resource"])
    nodes = [resource.node for resource in cluster.resources_of(definition.name)]
    return call.json(
        call.page(
            [
                connection_view(*pair, between(call, definition.name, *pair))
                for pair in itertools.combinations(nodes, 2)
            ]
        )
    )


def _one(call: Call) -> ConnectionView:
    """The pair of nodes of a resource that the path names. Raises NotFound."""
    cluster = call.api.service.cluster
    definition = find.definition(cluster, call.names["resource"])
    found = [cluster.resource(definition.name, call.names[name]) for name in ("node_a", "node_b")]
    for name, resource in zip((call.names["node_a"], call.names["node_b"]), found, strict=True):
        if resource is None:
            raise NotFound(
                Subject.RESOURCE_CONNECTION,
                name,
                f"Resource '{definition.name}' has no connection to node '{name}'",
                cause="The resource is not on that node.",
            )
    first, second = (resource.node for resource in found if resource is not None)
    return connection_view(first, second, between(call, definition.name, first, second))


async def show_resource_connection(call: Call) -> Response:
    """One pair of nodes of a resource."""
    return call.json(_one(call))


async def list_resource_connection(call: Call) -> Response:
    """One pair of nodes of a resource as a list of one, where an old client looks for it."""
    return call.json([_one(call)])


async def modify_resource_connection(call: Call) -> Response:
    """Set properties of a pair of nodes of a resource."""
    body: ConnectionModify = await call.body()
    return await call.run(
        ModifyConnection(
            node_a=call.names["node_a"],
            node_b=call.names["node_b"],
            definition=call.names["resource"],
            props=body.change(),
        )
    )


ROUTES = (
    Route(
        method="GET",
        path=_OF_NODES,
        handler=list_node_connections,
        answer=list[ConnectionView],
        query=("node_a", "node_b", "offset", "limit"),
    ),
    Route(
        method="PUT",
        path=_OF_NODES + "/{node_a}/{node_b}",
        handler=modify_node_connection,
        act=Act.MODIFY,
        noun=Noun.NODE_CONN,
        body=ConnectionModify,
    ),
    Route(method="GET", path=_OF_RESOURCE, handler=list_resource_connections, answer=list[ConnectionView]),
    Route(
        method="GET",
        path="/v1/resource-definitions/{resource}/resources-connections",
        handler=list_resource_connections,
        answer=list[ConnectionView],
    ),
    Route(
        method="GET",
        path="/v1/resource-definitions/{resource}/resources-connections/{node_a}/{node_b}",
        handler=list_resource_connection,
        answer=list[ConnectionView],
    ),
    Route(
        method="GET",
        path=_OF_RESOURCE + "/{node_a}/{node_b}",
        handler=show_resource_connection,
        answer=ConnectionView,
    ),
    Route(
        method="PUT",
        path=_OF_RESOURCE + "/{node_a}/{node_b}",
        handler=modify_resource_connection,
        act=Act.MODIFY,
        noun=Noun.RSC_CONN,
        body=ConnectionModify,
    ),
)
