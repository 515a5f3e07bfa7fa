"""Routes of the views: long lists over the whole cluster, cut and filtered before anything is encoded."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from bollard.controller.rest import find, pools
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.ids import Key, key_of
from bollard.domain.layers import ProviderKind
from bollard.domain.nodes import StoragePool
from bollard.domain.observed import NodeSeen
from bollard.domain.resources import Resource
from bollard.wire.rest.pools import PoolView
from bollard.wire.rest.resource_views import Picture, ResourceView, resource_view

_encode = msgspec.json.Encoder().encode
_CHUNK = 500
"""Resources that are encoded before others get their turn."""


def picture_of(call: Call, resource: Resource) -> Picture:
    """All that a view of a resource is made of."""
    service = call.api.service
    cluster, node = service.cluster, service.observed.node(resource.node)
    providers: dict[Key, ProviderKind] = {}
    for volume in resource.volumes:
        pool = cluster.pool(resource.node, volume.pool)
        if pool is not None:
            providers[key_of(volume.pool)] = pool.provider
    return Picture(
        resource=resource,
        definition=cluster.definitions[key_of(resource.definition)],
        seen=node.resources.get(key_of(resource.definition)),
        providers=providers,
        current=node.online,
        heard_ms=node.heard_ms,
    )


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
        found = [cluster.resources[key] for key in sorted(cluster.resources)]
    if nodes is not None:
        found = [each for each in found if key_of(each.node) in nodes]
    if pool_names is not None:
        found = [each for each in found if any(key_of(volume.pool) in pool_names for volume in each.volumes)]
    if call.request.query_params.getlist("props"):
        found = [each for each in found if call.has_props(each.props)]
    return found


async def view_resources(call: Call) -> Response:
    """All resources with their volumes and states."""
    found, parts = call.page(selected(call)), list[bytes]()
    for start in range(0, len(found), _CHUNK):
        parts.extend(fragments_of(call, found[start : start + _CHUNK]))
        if len(found) > _CHUNK:
            # A list that is encoded for the first time takes its time: others go on meanwhile.
            await asyncio.sleep(0)
    call.api.fragments.keep_within(len(call.api.service.cluster.resources))
    return call.encoded(b"[" + b",".join(parts) + b"]")


def fragments_of(call: Call, resources: Sequence[Resource]) -> Iterator[bytes]:
    """Resources with volumes as JSON, each encoded again only when something of it is new.

    One whose definition is gone since it was selected is left out.
    """
    definitions, observed = call.api.service.cluster.definitions, call.api.service.observed
    fragments = call.api.fragments
    nodes: dict[str, NodeSeen] = {}
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
        sources = (resource, definition, node.resources.get(key), online, online or node.heard_ms)
        known = fragments.get(resource.uuid, sources)
        if known is None:
            known = _encode(view_of(call, resource, with_volumes=True))
            fragments.put(resource.uuid, sources, known)
        yield known


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


async def view_snapshots(call: Call) -> Response:
    """All snapshots: there are none yet."""
    return call.json([])


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
    Route(
        method="GET",
        path="/v1/view/snapshots",
        handler=view_snapshots,
        answer=list[dict[str, Any]],
        query=("nodes", "resources", "offset", "limit"),
    ),
)
