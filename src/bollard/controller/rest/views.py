"""Routes of the views: long lists over the whole cluster, cut and filtered before anything is encoded."""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec
from starlette.responses import Response

from bollard.controller.rest import find, pools
from bollard.controller.rest.api import Api
from bollard.controller.rest.blocks import Block, Piece, gzipped, joined
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.cluster import Cluster
from bollard.domain.ids import key_of
from bollard.domain.layers import ProviderKind
from bollard.domain.nodes import StoragePool
from bollard.domain.observed import NodeSeen
from bollard.domain.resources import Resource
from bollard.planning.targets import held_back
from bollard.wire.rest.pools import PoolView
from bollard.wire.rest.resource_views import Picture, ResourceView, resource_view

_encode = msgspec.json.Encoder().encode
_CHUNK = 500
"""Resources that are encoded before others get their turn."""
LONG = 200
"""From so many on, a list is put together from compressed blocks."""


def picture_of(call: Call, resource: Resource) -> Picture:
    """All that a view of a resource is made of."""
    service = call.api.service
    cluster, node = service.cluster, service.observed.node(resource.node)
    key = key_of(resource.definition)
    return Picture(
        resource=resource,
        definition=cluster.definitions[key],
        seen=node.resources.get(key),
        providers=providers_of(cluster, resource),
        current=node.online,
        heard_ms=node.heard_ms,
        held=held_back(cluster, resource, service.vault),
    )


def providers_of(cluster: Cluster, resource: Resource) -> dict[str, ProviderKind]:
    """The kinds of storage under a resource's volumes, by the names of the pools."""
    found: dict[str, ProviderKind] = {}
    for volume in resource.volumes:
        pool = cluster.pool(resource.node, volume.pool)
        if pool is not None:
            found[volume.pool] = pool.provider
    return found


def view_of(call: Call, resource: Resource, *, with_volumes: bool) -> ResourceView:
    """A resource as clients see it."""
    return resource_view(picture_of(call, resource), with_volumes=with_volumes)


def selected(call: Call) -> list[Resource]:
    """The resources that pass the request's filters, by definition and node. Raises NotFound for a node."""
    cluster = call.api.service.cluster
    nodes, names, pool_names = call.keys("nodes"), call.keys("resources"), call.keys("storage_pools")
    for name in call.request.query_params.getlist("nodes"):
        if name:
            find.node(cluster, name)
    if names is not None:
        found = [each for name in sorted(names) for each in cluster.resources_of(name)]
    else:
        found = call.api.ordered()
    if nodes is not None:
        found = [each for each in found if key_of(each.node) in nodes]
    if pool_names is not None:
        found = [each for each in found if any(key_of(volume.pool) in pool_names for volume in each.volumes)]
    if call.request.query_params.getlist("props"):
        found = [each for each in found if call.has_props(each.props)]
    return found


async def view_resources(call: Call) -> Response:
    """All resources with their volumes and states."""
    version = call.api.version
    tag = f'W/"{version}"'
    unchanged = call.unchanged(tag)
    if unchanged is not None:
        return unchanged
    packed = call.takes_gzip
    asked = f"{packed} {call.request.url.query}"
    content = call.api.wholes.get(asked, version)
    if content is None:
        found = call.page(selected(call))
        if len(found) < LONG:
            return call.encoded(
                b"[" + b",".join([it for _, it in fragments_of(call.api, found)]) + b"]", tag=tag
            )
        blocks = await _blocks_of(call, found)
        content = gzipped(blocks) if packed else joined(blocks)
        call.api.wholes.put(asked, version, content)
    return call.ready(content, tag=tag, gzipped=packed)


async def _blocks_of(call: Call, found: Sequence[Resource]) -> list[Block]:
    pieces = list[Piece]()
    for start in range(0, len(found), _CHUNK):
        misses = call.api.fragments.misses
        pieces.extend(fragments_of(call.api, found[start : start + _CHUNK]))
        if call.api.fragments.misses != misses:
            # A list that is encoded for the first time takes its time: others go on meanwhile.
            await asyncio.sleep(0)
    count = len(call.api.service.cluster.resources)
    call.api.fragments.keep_within(count)
    call.api.blocks.keep_within(count)
    return list(call.api.blocks.of(pieces))


def fragments_of(api: Api, resources: Sequence[Resource]) -> Iterator[Piece]:
    """Resources with volumes as JSON, each encoded again only when something of it is new.

    One whose definition is gone since it was selected is left out.
    """
    definitions, observed = api.service.cluster.definitions, api.service.observed
    fragments, unlocked = api.fragments, api.service.vault.unlocked
    nodes: dict[str, NodeSeen] = {}
    providers: dict[tuple[str, ...], dict[str, ProviderKind]] = {}
    name, definition = None, None
    for resource in resources:
        if resource.definition != name or definition is None:
            name = resource.definition
            key = key_of(name)
            definition = definitions.get(key)
            if definition is None:
                continue
        node = nodes.get(resource.node)
        if node is None:
            node = nodes[resource.node] = observed.node(resource.node)
        online = node.online
        state = 2 * unlocked + online
        sources = (resource, definition, node.resources.get(key), state, online or node.heard_ms)
        known = fragments.get(resource.uuid, sources)
        if known is None:
            storage = (resource.node, *[volume.pool for volume in resource.volumes])
            kinds = providers.get(storage)
            if kinds is None:
                kinds = providers[storage] = providers_of(api.service.cluster, resource)
            picture = Picture(
                resource=resource,
                definition=definition,
                seen=sources[2],
                providers=kinds,
                current=online,
                heard_ms=node.heard_ms,
                held=held_back(api.service.cluster, resource, api.service.vault),
            )
            known = _encode(resource_view(picture, with_volumes=True))
            fragments.put(resource.uuid, sources, known)
        yield resource.uuid, known


def selected_pools(call: Call) -> list[StoragePool]:
    """The pools that pass the request's filters, by name and node. Raises NotFound for a node."""
    cluster = call.api.service.cluster
    nodes, names = call.keys("nodes"), call.keys("storage_pools")
    for name in call.request.query_params.getlist("nodes"):
        if name:
            find.node(cluster, name)
    found = [
        pool
        for pool in cluster.pools.values()
        if (nodes is None or key_of(pool.node) in nodes)
        and (names is None or key_of(pool.name) in names)
        and call.has_props(pool.props)
    ]
    return sorted(found, key=lambda pool: (key_of(pool.name), key_of(pool.node)))


async def view_storage_pools(call: Call) -> Response:
    """All storage pools with their space, as their nodes last said."""
    return call.json([pools.view_of(call, pool) for pool in call.page(selected_pools(call))])


ROUTES = (
    Route(
        method="GET",
        path="/v1/view/resources",
        handler=view_resources,
        answer=list[ResourceView],
        query=("nodes", "resources", "storage_pools", "props", "offset", "limit"),
    ),
    Route(
        method="GET",
        path="/v1/view/storage-pools",
        handler=view_storage_pools,
        answer=list[PoolView],
        query=("nodes", "storage_pools", "props", "offset", "limit", "cached"),
    ),
)
