"""Routes of questions about sizes: how large may a volume become, and how much fits in all."""

from starlette.responses import Response

from bollard.controller.rest import errors, find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.errors import DomainError
from bollard.domain.resources import ResourceGroup, SelectFilter
from bollard.planning import capacity
from bollard.wire.rest import answers
from bollard.wire.rest.capacities import (
    MaxVolumeSizesView,
    QueryAllSizeInfoView,
    QuerySizeInfo,
    QuerySizeInfoView,
    max_volume_sizes_view,
    size_info_view,
)
from bollard.wire.rest.groups import AutoSelectFilter, filter_of


async def max_volume_size(call: Call) -> Response:
    """The largest volume that a filter allows, by storage pool."""
    body: AutoSelectFilter = await call.body()
    return _largest(call, filter_of(body))


async def max_volume_size_of_group(call: Call) -> Response:
    """The largest volume that a group's filter allows, by storage pool."""
    group = find.group(call.api.service.cluster, call.names["resource_group"])
    return _largest(call, group.select_filter)


async def size_info(call: Call) -> Response:
    """What a group can still take."""
    body: QuerySizeInfo = await call.body()
    group = find.group(call.api.service.cluster, call.names["resource_group"])
    return call.json(_info(call, group, body))


async def all_size_info(call: Call) -> Response:
    """What every group can still take."""
    body: QuerySizeInfo = await call.body()
    table = call.api.service.cluster.groups
    return call.json(
        QueryAllSizeInfoView({table[key].name: _info(call, table[key], body) for key in sorted(table)})
    )


def _largest(call: Call, wanted: SelectFilter) -> Response:
    world = call.api.service.world()
    return call.json(max_volume_sizes_view(capacity.max_volume_sizes(wanted, world), wanted))


def _info(call: Call, group: ResourceGroup, body: QuerySizeInfo) -> QuerySizeInfoView:
    try:
        wanted = filter_of(body.select_filter).over(group.select_filter)
        return size_info_view(capacity.size_info(wanted, call.api.service.world()), wanted)
    except DomainError as error:
        entry = answers.of_error(error, errors.code_for(error), call.about, call.now_ms)
        return QuerySizeInfoView(reports=(entry,))


ROUTES = (
    Route(
        method="OPTIONS",
        path="/v1/query-max-volume-size",
        handler=max_volume_size,
        body=AutoSelectFilter,
        optional_body=True,
        answer=MaxVolumeSizesView,
    ),
    Route(
        method="GET",
        path="/v1/resource-groups/{resource_group}/query-max-volume-size",
        handler=max_volume_size_of_group,
        answer=MaxVolumeSizesView,
    ),
    Route(
        method="POST",
        path="/v1/resource-groups/{resource_group}/query-size-info",
        handler=size_info,
        body=QuerySizeInfo,
        optional_body=True,
        answer=QuerySizeInfoView,
    ),
    Route(
        method="POST",
        path="/v1/queries/resource-groups/query-all-size-info",
        handler=all_size_info,
        body=QuerySizeInfo,
        optional_body=True,
        answer=QueryAllSizeInfoView,
    ),
)
