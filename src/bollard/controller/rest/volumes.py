"""Routes of volumes on nodes."""

from starlette.responses import Response

from bollard.controller.rest import find, views
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import ModifyVolume as ModifyVolumeCommand
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.resource_views import VolumeView, volume_views
from bollard.wire.rest.resources import VolumeModify

_ALL = "/v1/resource-definitions/{resource}/resources/{node}/volumes"
_ONE = "/v1/resource-definitions/{resource}/resources/{node}/volumes/{volume_number}"


async def list_volumes(call: Call) -> Response:
    """The volumes of a resource on a node."""
    found = find.resource(call.api.service.cluster, call.names["resource"], call.names["node"])
    return call.json(call.page(volume_views(views.picture_of(call, found))))


async def show_volume(call: Call) -> Response:
    """One volume of a resource on a node."""
    cluster, number = call.api.service.cluster, call.volume_number()
    found = find.resource(cluster, call.names["resource"], call.names["node"])
    find.volume(cluster, call.names["resource"], call.names["node"], number)
    return call.json(
        next(each for each in volume_views(views.picture_of(call, found)) if each.volume_number == number)
    )


async def modify_volume(call: Call) -> Response:
    """Change a volume's properties."""
    body: VolumeModify = await call.body()
    return await call.run(
        ModifyVolumeCommand(
            definition=call.names["resource"],
            node=call.names["node"],
            number=call.volume_number(),
            props=body.change(),
        )
    )


ROUTES = (
    Route(method="GET", path=_ALL, handler=list_volumes, answer=list[VolumeView], query=("offset", "limit")),
    Route(method="GET", path=_ONE, handler=show_volume, answer=VolumeView),
    Route(method="PUT", path=_ONE, handler=modify_volume, act=Act.MODIFY, noun=Noun.VLM, body=VolumeModify),
)
