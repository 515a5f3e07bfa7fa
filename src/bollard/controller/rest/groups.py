"""Routes of resource groups, volume groups, spawning and adjusting."""

from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import (
    AdjustGroup,
    CreateGroup,
    CreateVolumeGroup,
    DeleteGroup,
    DeleteVolumeGroup,
    ModifyGroup,
    ModifyVolumeGroup,
    SpawnResource,
)
from bollard.wire.rest.answers import About
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.groups import (
    GroupAdjust,
    GroupBody,
    GroupModify,
    GroupSpawn,
    GroupView,
    VolumeGroupBody,
    VolumeGroupModify,
    VolumeGroupView,
    filter_of,
    gross,
    group_view,
    volume_group_view,
)

_GROUPS = "/v1/resource-groups"
_GROUP = "/v1/resource-groups/{resource_group}"
_VOLUME_GROUPS = "/v1/resource-groups/{resource_group}/volume-groups"
_VOLUME_GROUP = "/v1/resource-groups/{resource_group}/volume-groups/{volume_number}"


async def list_groups(call: Call) -> Response:
    """All resource groups, or those that the filters name."""
    table = call.api.service.cluster.groups
    wanted = call.keys("resource_groups")
    found = [
        table[key]
        for key in sorted(table)
        if (wanted is None or key in wanted) and call.has_props(table[key].props)
    ]
    return call.json([group_view(group) for group in call.page(found)])


async def show_group(call: Call) -> Response:
    """One resource group."""
    return call.json(group_view(find.group(call.api.service.cluster, call.names["resource_group"])))


async def create_group(call: Call) -> Response:
    """Create a resource group; properties in the body are not used, as in the original."""
    body: GroupBody = await call.body()
    about, call.about = call.about, About()
    # The original reads the filter before it knows what the request is about.
    select_filter = filter_of(body.select_filter)
    call.about = about
    call.refer(RscGrp=body.name or "")
    return await call.run(
        CreateGroup(
            name=body.name or "",
            description=body.description or "",
            select_filter=select_filter,
            peer_slots=body.peer_slots,
        )
    )


async def modify_group(call: Call) -> Response:
    """Change a resource group; what the filter leaves out stays, an empty list clears."""
    body: GroupModify = await call.body()
    return await call.run(
        ModifyGroup(
            name=call.names["resource_group"],
            description=body.description,
            select_filter=None if body.select_filter is None else body.select_filter.filter(),
            props=body.change(),
            peer_slots=body.peer_slots,
        )
    )


async def delete_group(call: Call) -> Response:
    """Remove a resource group that has no definitions."""
    return await call.run(DeleteGroup(name=call.names["resource_group"]))


async def adjust_group(call: Call) -> Response:
    """Place what is missing in every definition of a group."""
    body: GroupAdjust = await call.body()
    return await call.run(
        AdjustGroup(group=call.names["resource_group"], select_filter=filter_of(body.select_filter))
    )


async def adjust_all(call: Call) -> Response:
    """Place what is missing in every definition."""
    body: GroupAdjust = await call.body()
    return await call.run(AdjustGroup(group=None, select_filter=filter_of(body.select_filter)))


async def spawn(call: Call) -> Response:
    """Make a definition with volumes from a group, and place it."""
    body: GroupSpawn = await call.body()
    name = body.resource_definition_name
    call.refer(RscDfn=name or body.resource_definition_external_name or "")
    return await call.run(
        SpawnResource(
            group=call.names["resource_group"],
            name=name,
            external_name=body.resource_definition_external_name,
            sizes_kib=body.volume_sizes or (),
            select_filter=filter_of(body.select_filter),
            partial=bool(body.partial),
            definitions_only=bool(body.definitions_only),
            peer_slots=body.peer_slots,
            props=props(body.resource_definition_props),
            passphrases=body.volume_passphrases or (),
        )
    )


async def list_volume_groups(call: Call) -> Response:
    """The volume groups of a resource group."""
    group = find.group(call.api.service.cluster, call.names["resource_group"])
    return call.json(call.page([volume_group_view(each) for each in group.volume_groups]))


async def show_volume_group(call: Call) -> Response:
    """One volume group."""
    return call.json(
        volume_group_view(
            find.volume_group(call.api.service.cluster, call.names["resource_group"], call.volume_number())
        )
    )


async def create_volume_group(call: Call) -> Response:
    """Add a volume group; without a number it takes the lowest that is free."""
    body: VolumeGroupBody = await call.body()
    return await call.run(
        CreateVolumeGroup(
            group=call.names["resource_group"],
            number=body.volume_number,
            props=props(body.props),
            gross_size=gross(body.flags),
        )
    )


async def modify_volume_group(call: Call) -> Response:
    """Change a volume group; a flag with a minus before it is taken away."""
    body: VolumeGroupModify = await call.body()
    return await call.run(
        ModifyVolumeGroup(
            group=call.names["resource_group"],
            number=call.volume_number(),
            props=body.change(),
            flags=body.flags or (),
        )
    )


async def delete_volume_group(call: Call) -> Response:
    """Remove a volume group."""
    return await call.run(DeleteVolumeGroup(group=call.names["resource_group"], number=call.volume_number()))


ROUTES = (
    Route(
        method="GET",
        path=_GROUPS,
        handler=list_groups,
        answer=list[GroupView],
        query=("resource_groups", "props", "offset", "limit"),
    ),
    Route(
        method="POST",
        path=_GROUPS,
        handler=create_group,
        act=Act.CREATE,
        noun=Noun.RSC_GRP,
        body=GroupBody,
        status=201,
    ),
    Route(
        method="POST",
        path="/v1/resource-groups/adjustall",
        handler=adjust_all,
        act=Act.CREATE,
        noun=Noun.RSC_GRP,
        keep_act=True,
        body=GroupAdjust,
        optional_body=True,
    ),
    Route(method="GET", path=_GROUP, handler=show_group, answer=GroupView),
    Route(
        method="PUT",
        path=_GROUP,
        handler=modify_group,
        act=Act.CREATE,
        noun=Noun.RSC_GRP,
        keep_act=True,
        body=GroupModify,
    ),
    Route(
        method="DELETE",
        path=_GROUP,
        handler=delete_group,
        act=Act.CREATE,
        noun=Noun.RSC_GRP,
        keep_act=True,
    ),
    Route(
        method="POST",
        path=_GROUP + "/adjust",
        handler=adjust_group,
        act=Act.CREATE,
        noun=Noun.RSC_GRP,
        keep_act=True,
        body=GroupAdjust,
        optional_body=True,
    ),
    Route(
        method="POST",
        path=_GROUP + "/spawn",
        handler=spawn,
        act=Act.CREATE,
        noun=Noun.RSC_GRP,
        body=GroupSpawn,
        status=201,
    ),
    Route(method="GET", path=_VOLUME_GROUPS, handler=list_volume_groups, answer=list[VolumeGroupView]),
    Route(
        method="POST",
        path=_VOLUME_GROUPS,
        handler=create_volume_group,
        act=Act.CREATE,
        noun=Noun.VLM_GRP,
        body=VolumeGroupBody,
        status=201,
    ),
    Route(method="GET", path=_VOLUME_GROUP, handler=show_volume_group, answer=VolumeGroupView),
    Route(
        method="PUT",
        path=_VOLUME_GROUP,
        handler=modify_volume_group,
        act=Act.CREATE,
        noun=Noun.VLM_GRP,
        keep_act=True,
        body=VolumeGroupModify,
    ),
    Route(
        method="DELETE",
        path=_VOLUME_GROUP,
        handler=delete_volume_group,
        act=Act.CREATE,
        noun=Noun.VLM_GRP,
        keep_act=True,
    ),
)
