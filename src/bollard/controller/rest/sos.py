"""Routes of the report for support. Nodes that are online are asked, with a short deadline."""

import asyncio
import platform
import sys

import msgspec
from starlette.responses import Response

from bollard.controller import sos
from bollard.controller.rest import reports, views
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.errors import Subject, Unavailable
from bollard.domain.ids import key_of
from bollard.wire.rest import answers
from bollard.wire.rest.answers import About

_SINCE_MS = 7 * 24 * 3600 * 1000
_HERE = "_CONTROLLER"


async def create(call: Call) -> Response:
    """Make a report and keep it on the controller's machine; the answer says where."""
    name, packed = await _make(call)
    try:
        path = await asyncio.to_thread(sos.keep, call.api.info.state_dir, name, packed)
    except OSError as error:
        raise Unavailable(
            Subject.CONTROLLER,
            name,
            "The report cannot be kept",
            cause=f"{error.filename}: {error.strerror}",
            correction="Free space there, or download the report instead.",
        ) from error
    call.about = About(bare=True)
    done = Entry(
        Severity.SUCCESS,
        Operation.NONE,
        Subject.COMMAND,
        f"The report is in {path} on '{call.api.info.node}'",
        code="CREATED",
        refs={"path": str(path)},
    )
    return call.entries([answers.of_entry(done, call.about, call.now_ms)])


async def download(call: Call) -> Response:
    """Make a report and send it."""
    name, packed = await _make(call)
    headers = {"Content-Disposition": f'attachment; filename="{name}.tar.gz"'}
    return Response(packed, media_type="application/gzip", headers=headers)


async def _make(call: Call) -> tuple[str, bytes]:
    now_ms = call.now_ms
    since_ms = call.number("since")
    since_ms = now_ms - _SINCE_MS if since_ms is None else since_ms
    parts: dict[str, bytes] = {"query-params": str(call.request.url.query).encode() + b"\n"}
    if call.flag("include-ctrl", default=True):
        parts |= await _of_controller(call, since_ms)
    parts |= await _of_nodes(call, since_ms)
    name = sos.name_of(now_ms)
    return name, await asyncio.to_thread(sos.pack, name, parts, now_ms)


async def _of_controller(call: Call, since_ms: int) -> dict[str, bytes]:
    service, info = call.api.service, call.api.info
    own = await call.api.store.reports(since_ms=since_ms, with_text=True)
    facts = {
        "product": f"Bollard {info.version}",
        "python": sys.version,
        "platform": platform.platform(),
        "node": info.node,
        "started_ms": info.started_ms,
        "now_ms": call.now_ms,
        "revision": service.cluster.revision,
        "database": info.database,
        "listen_address": info.listen_address,
        "port": info.port,
        "https_port": info.https_port,
        "quarantined": [
            {"kind": it.kind, "key": it.key, "reason": it.reason} for it in await call.api.store.quarantined()
        ],
    }
    records, revision = list(service.cluster.records()), service.cluster.revision
    resources = b"[" + b",".join(it for _, it in views.fragments_of(call.api, call.api.ordered())) + b"]"
    return {
        f"{_HERE}/info.json": sos.as_json(facts),
        f"{_HERE}/dbexport.json": await asyncio.to_thread(sos.dump, records, revision),
        f"{_HERE}/view-resources.json": sos.as_json(msgspec.Raw(resources)),
        **{f"{_HERE}/logs/ErrorReport-{each.id}.log": each.text.encode() for each in own},
    }


async def _of_nodes(call: Call, since_ms: int) -> dict[str, bytes]:
    service = call.api.service
    wanted, left_out = call.keys("nodes"), call.keys("exclude") or frozenset()
    names = [
        node.name
        for key, node in sorted(service.cluster.nodes.items())
        if (wanted is None or key in wanted) and key not in left_out
    ]
    parts: dict[str, bytes] = {}
    for name in names:
        seen = service.observed.node(name)
        facts = {
            "status": seen.status,
            "message": seen.message,
            "heard_ms": seen.heard_ms,
            "capabilities": seen.capabilities,
            "pools": list(seen.pools.values()),
            "resources": list(seen.resources.values()),
        }
        parts[f"{name}/seen.json"] = sos.as_json(facts)
    arguments = {"since_ms": str(since_ms)}
    for each in await reports.of_nodes(call, arguments):
        if key_of(each.node) in {key_of(name) for name in names}:
            parts[f"{each.node}/logs/ErrorReport-{each.id}.log"] = each.text.encode()
    return parts


_QUERY = ("nodes", "rscs", "exclude", "include-ctrl", "since")

ROUTES = (
    Route(method="GET", path="/v1/sos-report", handler=create, status=201, query=_QUERY),
    Route(method="GET", path="/v1/sos-report/download", handler=download, answer=None, query=_QUERY),
)
