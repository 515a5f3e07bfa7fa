"""Routes of storage pools and their definitions."""

from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.commands import (
    CreatePool,
    CreatePoolDefinition,
    DeletePool,
    DeletePoolDefinition,
    ModifyPool,
    ModifyPoolDefinition,
)
from bollard.domain.errors import Invalid
from bollard.domain.ids import DISKLESS_POOL, key_of
from bollard.domain.layers import provider_kind
from bollard.domain.nodes import StoragePool
from bollard.wire.rest.answers import About
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.pools import (
    PoolBody,
    PoolDefinitionBody,
    PoolDefinitionModify,
    PoolDefinitionView,
    PoolView,
    pool_definition_view,
    pool_view,
)

_DEFINITIONS = "/v1/storage-pool-definitions"
_DEFINITION = "/v1/storage-pool-definitions/{storagepool}"
_POOLS = "/v1/nodes/{node}/storage-pools"
_POOL = "/v1/nodes/{node}/storage-pools/{storagepool}"


def view_of(call: Call, pool: StoragePool) -> PoolView:
    """A pool with what is known of it."""
    observed = call.api.service.observed
    return pool_view(pool, observed.node(pool.node), observed.pool(pool.node, pool.name))


async def list_pool_definitions(call: Call) -> Response:
    """All storage pool definitions; the one of diskless pools is not shown."""
    table = call.api.service.cluster.pool_definitions
    hidden = key_of(DISKLESS_POOL)
    found = [pool_definition_view(table[key]) for key in sorted(table) if key != hidden]
    return call.json(call.page(found))


async def show_pool_definition(call: Call) -> Response:
    """One storage pool definition."""
    return call.json(
        pool_definition_view(find.pool_definition(call.api.service.cluster, call.names["storagepool"]))
    )


async def create_pool_definition(call: Call) -> Response:
    """Create a storage pool definition; the first pool of a name does it too."""
    body: PoolDefinitionBody = await call.body()
    name = body.storage_pool_name or ""
    call.refer(StorPoolDfn=name)
    return await call.run(CreatePoolDefinition(name=name, props=props(body.props)))


async def modify_pool_definition(call: Call) -> Response:
    """Change the defaults of all pools of a name."""
    body: PoolDefinitionModify = await call.body()
    return await call.run(ModifyPoolDefinition(name=call.names["storagepool"], props=body.change()))


async def delete_pool_definition(call: Call) -> Response:
    """Remove a storage pool definition that has no pools."""
    return await call.run(DeletePoolDefinition(name=call.names["storagepool"]))


async def list_pools(call: Call) -> Response:
    """The pools of a node."""
    cluster = call.api.service.cluster
    node = find.node(cluster, call.names["node"])
    wanted = call.keys("storage_pools")
    found = [pool for pool in cluster.pools_on(node.name) if wanted is None or key_of(pool.name) in wanted]
    return call.json([view_of(call, pool) for pool in call.page(found)])


async def show_pool(call: Call) -> Response:
    """One pool of a node."""
    pool = find.pool(call.api.service.cluster, call.names["node"], call.names["storagepool"])
    return call.json(view_of(call, pool))


async def create_pool(call: Call) -> Response:
    """Create a pool; it is taken back if its node cannot use it."""
    body: PoolBody = await call.body()
    name = body.storage_pool_name or ""
    call.refer(StorPoolDfn=name)
    about, call.about = call.about, About()
    try:
        provider = provider_kind(body.provider_kind or "")
    except Invalid as error:
        # The original answers this before it knows what the request is about.
        return call.refused(error, status=400)
    call.about = about
    return await call.run(
        CreatePool(
            node=call.names["node"],
            name=name,
            provider=provider,
            props=props(body.props),
            shared_space=body.shared_space,
            external_locking=bool(body.external_locking),
        )
    )


async def modify_pool(call: Call) -> Response:
    """Change a pool's properties."""
    body: PoolDefinitionModify = await call.body()
    return await call.run(
        ModifyPool(node=call.names["node"], name=call.names["storagepool"], props=body.change())
    )


async def delete_pool(call: Call) -> Response:
    """Remove a pool that holds nothing."""
    return await call.run(DeletePool(node=call.names["node"], name=call.names["storagepool"]))


ROUTES = (
    Route(method="GET", path=_DEFINITIONS, handler=list_pool_definitions, answer=list[PoolDefinitionView]),
    Route(
        method="POST",
        path=_DEFINITIONS,
        handler=create_pool_definition,
        act=Act.CREATE,
        noun=Noun.STOR_POOL_DFN,
        body=PoolDefinitionBody,
        status=201,
    ),
    Route(method="GET", path=_DEFINITION, handler=show_pool_definition, answer=PoolDefinitionView),
    Route(
        method="PUT",
        path=_DEFINITION,
        handler=modify_pool_definition,
        act=Act.MODIFY,
        noun=Noun.STOR_POOL_DFN,
        body=PoolDefinitionModify,
    ),
    Route(
        method="DELETE",
        path=_DEFINITION,
        handler=delete_pool_definition,
        act=Act.DELETE,
        noun=Noun.STOR_POOL_DFN,
    ),
    Route(
        method="GET",
        path=_POOLS,
        handler=list_pools,
        answer=list[PoolView],
        query=("storage_pools", "offset", "limit", "cached"),
    ),
    Route(
        method="POST",
        path=_POOLS,
        handler=create_pool,
        act=Act.CREATE,
        noun=Noun.STOR_POOL,
        body=PoolBody,
        status=201,
    ),
    Route(method="GET", path=_POOL, handler=show_pool, answer=PoolView, query=("cached",)),
    Route(
        method="PUT",
        path=_POOL,
        handler=modify_pool,
        act=Act.MODIFY,
        noun=Noun.STOR_POOL,
        body=PoolDefinitionModify,
    ),
    Route(method="DELETE", path=_POOL, handler=delete_pool, act=Act.DELETE, noun=Noun.STOR_POOL),
)
