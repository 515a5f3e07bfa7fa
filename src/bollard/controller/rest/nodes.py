"""Routes of nodes."""

from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import CreateNode, DeleteNode, LoseNode, ModifyNode
from bollard.domain.nodes import Node
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.nodes import NodeBody, NodeModify, NodeView, node_view


def selected(call: Call) -> list[Node]:
    """The nodes that pass the request's filters, by name."""
    cluster = call.api.service.cluster
    wanted = call.keys("nodes")
    return [
        cluster.nodes[key]
        for key in sorted(cluster.nodes)
        if (wanted is None or key in wanted) and call.has_props(cluster.nodes[key].props)
    ]


async def list_nodes(call: Call) -> Response:
    """All nodes, or those that the filters name."""
    observed = call.api.service.observed
    return call.json([node_view(node, observed.node(node.name)) for node in call.page(selected(call))])


async def show_node(call: Call) -> Response:
    """One node."""
    node = find.node(call.api.service.cluster, call.names["node"])
    return call.json(node_view(node, call.api.service.observed.node(node.name)))


async def create_node(call: Call) -> Response:
    """Register a node; whether its satellite answers is said, but not required."""
    body: NodeBody = await call.body()
    call.refer(Node=body.name or "")
    return await call.run(
        CreateNode(
            name=body.name or "",
            type=body.type or "SATELLITE",
            net_interfaces=tuple(net_if.new() for net_if in body.net_interfaces or ()),
            props=props(body.props),
        )
    )


async def modify_node(call: Call) -> Response:
    """Change a node's type or properties."""
    body: NodeModify = await call.body()
    return await call.run(ModifyNode(node=call.names["node"], type=body.node_type, props=body.change()))


async def delete_node(call: Call) -> Response:
    """Remove a node with what is on it, if nothing of that is in use."""
    return await call.run(DeleteNode(node=call.names["node"]))


async def lose_node(call: Call) -> Response:
    """Remove a node that will never come back."""
    return await call.run(LoseNode(node=call.names["node"]))


ROUTES = (
    Route(
        method="GET",
        path="/v1/nodes",
        handler=list_nodes,
        answer=list[NodeView],
        query=("nodes", "props", "offset", "limit"),
    ),
    Route(
        method="POST",
        path="/v1/nodes",
        handler=create_node,
        act=Act.CREATE,
        noun=Noun.NODE,
        body=NodeBody,
        status=201,
    ),
    Route(method="GET", path="/v1/nodes/{node}", handler=show_node, answer=NodeView),
    Route(
        method="PUT",
        path="/v1/nodes/{node}",
        handler=modify_node,
        act=Act.MODIFY,
        noun=Noun.NODE,
        body=NodeModify,
    ),
    Route(method="DELETE", path="/v1/nodes/{node}", handler=delete_node, act=Act.DELETE, noun=Noun.NODE),
    Route(method="DELETE", path="/v1/nodes/{node}/lost", handler=lose_node, act=Act.DELETE, noun=Noun.NODE),
)
