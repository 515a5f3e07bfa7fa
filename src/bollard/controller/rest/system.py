"""Routes outside /v1: the front page, health, and metrics."""

from collections.abc import Iterator

from starlette.responses import Response

from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.errors import DomainError
from bollard.domain.ids import key_of
from bollard.domain.nodes import Node
from bollard.wire.rest.nodes import status_of

_STATUSES = (
    "OFFLINE",
    "CONNECTED",
    "ONLINE",
    "VERSION_MISMATCH",
    "FULL_SYNC_FAILED",
    "AUTHENTICATION_ERROR",
    "UNKNOWN",
    "HOSTNAME_MISMATCH",
    "OTHER_CONTROLLER",
    "AUTHENTICATED",
    "NO_STLT_CONN",
    "MISSING_EXT_TOOLS",
    "DUPLICATE_UNAME",
)
_DISK_STATES = {
    "UpToDate": 1,
    "Created": 2,
    "Attached": 3,
    "Diskless": 4,
    "Inconsistent": 5,
    "Failed": 6,
}
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_KIB = 1024
_FRONT = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Bollard</title></head>
<body><h1>Bollard</h1><p>The API is at <a href="/v1/controller/version">/v1</a>,
metrics are at <a href="/metrics">/metrics</a>.</p></body></html>
"""


async def front_page(call: Call) -> Response:
    """A page that says where the API is."""
    return call.text(_FRONT, media_type="text/html")


async def health(call: Call) -> Response:
    """Empty when the controller and its database work, otherwise the reason with status 500."""
    try:
        await call.api.store.reports(limit=1)
    except DomainError as error:
        return call.text(f"{error.message}\n", status=500)
    return Response(b"", status_code=200)


async def metrics(call: Call) -> Response:
    """Figures for Prometheus; each part can be left out by the query."""
    lines = list(_cluster_lines(call))
    if call.flag("resource", default=True):
        lines.extend(_resource_lines(call))
    if call.flag("storage_pools", default=True):
        lines.extend(_pool_lines(call))
    if call.flag("error_reports", default=True):
        lines.extend(await _report_lines(call))
    return call.text("\n".join([*lines, ""]), media_type=_METRICS_TYPE)


async def scrape_targets(call: Call) -> Response:
    """The exporters of all storage nodes, as Prometheus asks for them."""
    nodes = call.api.service.cluster.nodes
    addresses = [nodes[key].data_address() for key in sorted(nodes) if nodes[key].holds_storage]
    return call.json([{"targets": [f"{address}:9942" for address in addresses if address]}])


def _head(name: str, kind: str, about: str) -> tuple[str, str]:
    return f"# HELP {name} {about}", f"# TYPE {name} {kind}"


def _line(metric: str, value: float, /, **labels: str) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{metric}{{{inside}}} {value}" if inside else f"{metric} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _cluster_lines(call: Call) -> Iterator[str]:
    cluster, observed, info = call.api.service.cluster, call.api.service.observed, call.api.info
    yield from _head("linstor_info", "gauge", "The version that runs")
    yield _line(
        "linstor_info", 1, buildtime=info.build_time, gitid=info.git_hash, version=f"bollard {info.version}"
    )
    yield from _head("linstor_node_state", "gauge", "Connection status as a number")
    for node in cluster.nodes.values():
        status = status_of(node, observed.node(node.name))
        yield _line(
            "linstor_node_state", _STATUSES.index(status) if status in _STATUSES else 6, **_link(node)
        )
    yield from _head("linstor_resource_definition_count", "gauge", "Resource definitions")
    yield _line("linstor_resource_definition_count", len(cluster.definitions))
    yield from _head("linstor_scrape_requests_count", "counter", "How often this page was asked for")
    call.api.scrapes += 1
    yield _line("linstor_scrape_requests_count", call.api.scrapes)


def _link(node: Node) -> dict[str, str]:
    link = node.link()
    return {
        "node": node.name,
        "nodetype": node.type,
        "address": link.address if link else "",
        "encryption": (link.satellite_encryption or "") if link else "",
        "port": str(link.satellite_port or "") if link else "",
    }


def _resource_lines(call: Call) -> Iterator[str]:
    cluster, observed = call.api.service.cluster, call.api.service.observed
    yield from _head("linstor_resource_definition_resource_count", "gauge", "Resources of a definition")
    for each in cluster.definitions.values():
        count = len(cluster.resources_of(each.name))
        yield _line(
            "linstor_resource_definition_resource_count", count, name=each.name, resource_group=each.group
        )
    yield from _head("linstor_volume_definition_size_bytes", "gauge", "Net size of a volume")
    for each in cluster.definitions.values():
        for volume in each.volumes:
            yield _line(
                "linstor_volume_definition_size_bytes",
                volume.size_kib * _KIB,
                name=each.name,
                volume_number=str(volume.number),
                resource_group=each.group,
            )
    yield from _head("linstor_resource_state", "gauge", "-1 unknown, 0 not in use, 1 in use")
    states: list[str] = []
    sizes: list[str] = []
    for resource in cluster.resources.values():
        node = observed.node(resource.node)
        seen = node.resources.get(key_of(resource.definition)) if node.online else None
        value = -1 if seen is None else int(seen.in_use)
        yield _line("linstor_resource_state", value, name=resource.definition, node=resource.node)
        pools = {volume.number: volume.pool for volume in resource.volumes}
        for seen_volume in seen.volumes if seen is not None else ():
            labels = {
                "resource": resource.definition,
                "node": resource.node,
                "volume": str(seen_volume.number),
                "device_path": seen_volume.device_path,
                "storage_pool": pools.get(seen_volume.number, ""),
            }
            states.append(
                _line("linstor_volume_state", _DISK_STATES.get(seen_volume.disk_state, -1), **labels)
            )
            sizes.append(
                _line("linstor_volume_allocated_size_bytes", seen_volume.allocated_kib * _KIB, **labels)
            )
    yield from _head("linstor_volume_state", "gauge", "State of a volume as a number")
    yield from states
    yield from _head("linstor_volume_allocated_size_bytes", "gauge", "Space that a volume takes")
    yield from sizes


def _pool_lines(call: Call) -> Iterator[str]:
    cluster, observed = call.api.service.cluster, call.api.service.observed
    parts: dict[str, list[str]] = {"free_bytes": [], "total_bytes": [], "errors": []}
    for pool in cluster.pools.values():
        seen = observed.pool(pool.node, pool.name)
        labels = {
            "storage_pool": pool.name,
            "node": pool.node,
            "driver": pool.provider.value,
            "backing_pool": pool.props.get("StorDriver/StorPoolName", ""),
        }
        broken = seen is not None and seen.problem is not None
        parts["errors"].append(_line("linstor_storage_pool_error_count", int(broken), **labels))
        if seen is not None and not broken:
            parts["free_bytes"].append(
                _line("linstor_storage_pool_capacity_free_bytes", seen.free_kib * _KIB, **labels)
            )
            parts["total_bytes"].append(
                _line("linstor_storage_pool_capacity_total_bytes", seen.total_kib * _KIB, **labels)
            )
    yield from _head("linstor_storage_pool_capacity_free_bytes", "gauge", "Free space of a pool")
    yield from parts["free_bytes"]
    yield from _head("linstor_storage_pool_capacity_total_bytes", "gauge", "Whole space of a pool")
    yield from parts["total_bytes"]
    yield from _head("linstor_storage_pool_error_count", "gauge", "Problems of a pool")
    yield from parts["errors"]


async def _report_lines(call: Call) -> list[str]:
    reports = await call.api.store.reports()
    return [
        *_head("linstor_error_reports_count", "gauge", "Error reports that are kept"),
        _line("linstor_error_reports_count", len(reports), hostname=call.api.info.node, module="CONTROLLER"),
    ]


ROUTES = (
    Route(method="GET", path="/", handler=front_page, answer=None),
    Route(method="GET", path="/health", handler=health, answer=None),
    Route(
        method="GET",
        path="/metrics",
        handler=metrics,
        answer=None,
        query=("resource", "storage_pools", "error_reports"),
    ),
    Route(
        method="GET",
        path="/metrics/scrape-target",
        handler=scrape_targets,
        answer=list[dict[str, list[str]]],
    ),
)
