"""Routes of the network interfaces of nodes."""

from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import CreateNetInterface, DeleteNetInterface, ModifyNetInterface
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.nodes import NetInterfaceBody, NetInterfaceView, net_interface_view

_ALL = "/v1/nodes/{node}/net-interfaces"
_ONE = "/v1/nodes/{node}/net-interfaces/{netinterface}"


async def list_net_interfaces(call: Call) -> Response:
    """The interfaces of a node."""
    node = find.node(call.api.service.cluster, call.names["node"])
    return call.json(call.page([net_interface_view(node, net_if) for net_if in node.net_interfaces]))


async def show_net_interface(call: Call) -> Response:
    """One interface of a node."""
    found = find.net_interface(call.api.service.cluster, call.names["node"], call.names["netinterface"])
    return call.json(net_interface_view(*found))


async def create_net_interface(call: Call) -> Response:
    """Add an interface; with a port and an encryption type it can carry the satellite link."""
    body: NetInterfaceBody = await call.body()
    return await call.run(CreateNetInterface(node=call.names["node"], net_interface=body.new()))


async def modify_net_interface(call: Call) -> Response:
    """Change an interface, or make it the one that carries the satellite link."""
    body: NetInterfaceBody = await call.body()
    return await call.run(
        ModifyNetInterface(
            node=call.names["node"],
            name=call.names["netinterface"],
            address=body.address,
            satellite_port=body.satellite_port,
            satellite_encryption=body.satellite_encryption_type,
            is_active=body.is_active,
        )
    )


async def delete_net_interface(call: Call) -> Response:
    """Remove an interface."""
    return await call.run(DeleteNetInterface(node=call.names["node"], name=call.names["netinterface"]))


ROUTES = (
    Route(method="GET", path=_ALL, handler=list_net_interfaces, answer=list[NetInterfaceView]),
    Route(
        method="POST",
        path=_ALL,
        handler=create_net_interface,
        act=Act.CREATE,
        noun=Noun.NET_IF,
        body=NetInterfaceBody,
        status=201,
    ),
    Route(method="GET", path=_ONE, handler=show_net_interface, answer=NetInterfaceView),
    Route(
        method="PUT",
        path=_ONE,
        handler=modify_net_interface,
        act=Act.MODIFY,
        noun=Noun.NET_IF,
        body=NetInterfaceBody,
    ),
    Route(method="DELETE", path=_ONE, handler=delete_net_interface, act=Act.DELETE, noun=Noun.NET_IF),
)
