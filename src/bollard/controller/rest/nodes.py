"""Routes of nodes."""

from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.commands import (
    CreateNode,
    DeleteNode,
    EvacuateNode,
    EvictNode,
    LoseNode,
    ModifyNode,
    RestoreNode,
)
from bollard.domain.errors import Invalid, NotFound, Subject, Unsupported
from bollard.domain.nodes import Node
from bollard.planning.upkeep import auto_evict
from bollard.wire.rest import answers
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.nodes import (
    NodeBody,
    NodeCreateEbs,
    NodeEvacuate,
    NodeModify,
    NodeRestore,
    NodeView,
    node_view,
)


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
    return call.json([_view(call, node) for node in call.page(selected(call))])


def _view(call: Call, node: Node) -> NodeView:
    world = call.api.service.world()
    return node_view(node, world.observed.node(node.name), auto_evict.due_at_ms(world, node))


async def show_node(call: Call) -> Response:
    """One node."""
    node = find.node(call.api.service.cluster, call.names["node"])
    return call.json(_view(call, node))


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


async def create_ebs_node(call: Call) -> Response:
    """Register an EBS target: always refused, for there is no remote that it could name."""
    body: NodeCreateEbs = await call.body()
    call.refer(Node=body.name or "")
    if not body.ebs_remote_name:
        raise Invalid(
            Subject.REMOTE,
            "",
            "No EBS remote is named",
            cause="An EBS target is reached through a remote.",
            correction="Use another storage provider: this release does not have EBS volumes.",
        )
    raise NotFound(
        Subject.REMOTE,
        body.ebs_remote_name,
        f"There is no remote '{body.ebs_remote_name[:64]}'",
        cause="This release does not have EBS volumes.",
        correction="Use another storage provider.",
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


async def evacuate_node(call: Call) -> Response:
    """Move all replicas away from a node; it goes on while the nodes work."""
    body: NodeEvacuate = await call.body()
    return await call.run(
        EvacuateNode(node=call.names["node"], targets=body.target or (), not_targets=body.do_not_target or ())
    )


async def restore_node(call: Call) -> Response:
    """Take a node back that is being evacuated or was evicted."""
    body: NodeRestore = await call.body()
    if body.delete_snapshots:
        raise Unsupported(
            Subject.REQUEST,
            call.names["node"],
            "Restoring a node keeps the snapshots on it",
            correction="Restore the node, then delete the snapshots that are not wanted there.",
        )
    return await call.run(RestoreNode(node=call.names["node"], delete_resources=bool(body.delete_resources)))


async def evict_node(call: Call) -> Response:
    """Give up a node that is away."""
    return await call.run(EvictNode(node=call.names["node"]))


async def reconnect_node(call: Call) -> Response:
    """Make the link to a satellite anew, and say whether it stands."""
    node = find.node(call.api.service.cluster, call.names["node"])
    first = Entry(
        severity=Severity.SUCCESS,
        operation=Operation.NONE,
        subject=Subject.NODE,
        message=f"The link to '{node.name}' is made anew",
    )
    told = await call.api.service.reconnect(node.name)
    return call.entries([answers.of_entry(entry, call.about, call.now_ms) for entry in (first, *told)])


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
    Route(
        method="POST",
        path="/v1/nodes/ebs",
        handler=create_ebs_node,
        act=Act.CREATE,
        noun=Noun.NODE,
        body=NodeCreateEbs,
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
    Route(
        method="PUT",
        path="/v1/nodes/{node}/evacuate",
        handler=evacuate_node,
        body=NodeEvacuate,
        optional_body=True,
    ),
    Route(method="PUT", path="/v1/nodes/{node}/evict", handler=evict_node, act=Act.MODIFY, noun=Noun.NODE),
    Route(
        method="PUT",
        path="/v1/nodes/{node}/reconnect",
        handler=reconnect_node,
        act=Act.MODIFY,
        noun=Noun.NODE,
    ),
    Route(
        method="PUT",
        path="/v1/nodes/{node}/restore",
        handler=restore_node,
        body=NodeRestore,
        optional_body=True,
    ),
)
