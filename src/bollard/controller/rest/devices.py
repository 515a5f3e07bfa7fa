"""Routes of bare devices: which there are, and pools made of them by the node that has them.

The nodes are asked each time; nothing of their devices is kept here.
"""

import asyncio
import uuid
from typing import Any, Final

import msgspec
from starlette.responses import Response

from bollard.controller.rest import find
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.answers import Entry, Operation, Severity
from bollard.domain.commands import CreatePool
from bollard.domain.errors import DomainError, Invalid, Subject, Unavailable, Unsupported
from bollard.domain.ids import pool_name
from bollard.domain.layers import ProviderKind, provider_kind
from bollard.wire.devices import DevicePoolDone, DevicePoolSpec, FreeDevice
from bollard.wire.rest import answers
from bollard.wire.rest.bodies import props
from bollard.wire.rest.codes import Act, Noun
from bollard.wire.rest.devices import DevicesView, NodeDeviceView, PhysicalStorageBody, by_size, of_node

__all__ = ["ROUTES"]

_LIMIT_S: Final = 600.0


async def list_devices(call: Call) -> Response:
    """Free devices of all nodes that are online, by size and kind."""
    service = call.api.service
    names = [node.name for node in service.cluster.nodes.values() if service.observed.node(node.name).online]
    found = await asyncio.gather(*(_free(call, name) for name in names), return_exceptions=True)
    known: dict[str, list[FreeDevice]] = {
        name: one for name, one in zip(names, found, strict=True) if isinstance(one, list)
    }
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, DomainError):
            raise one
    return call.json(call.page(by_size(known)))


async def list_devices_of_node(call: Call) -> Response:
    """Free devices of one node; none while it is away."""
    node = find.node(call.api.service.cluster, call.names["node"])
    if not call.api.service.observed.node(node.name).online:
        return call.json([])
    return call.json(of_node(await _free(call, node.name)))


async def _free(call: Call, node: str) -> list[FreeDevice]:
    body = await call.api.service.ask(node, "free-devices", {})
    return msgspec.json.decode(body, type=list[FreeDevice])


async def create_device_pool(call: Call) -> Response:
    """Make a pool of devices on a node and, if asked for, a storage pool on it."""
    body: PhysicalStorageBody = await call.body()
    node = find.node(call.api.service.cluster, call.names["node"])
    provider = provider_kind(body.provider_kind or "")
    if body.sed:
        raise Unsupported(
            Subject.POOL_CONFIGURATION,
            node.name,
            "Self-encrypting drives are not managed by Bollard",
            correction="Unlock them by other means, or encrypt volumes with the LUKS layer.",
        )
    spec = _spec(body, provider)
    backing, entry = await _made(call, node.name, spec)
    if backing:
        # The original says what a call is about only when it went well.
        call.about = msgspec.structs.replace(call.about, act=Act.CREATE, noun=Noun.PHYSICAL_DEVICE)
    said = [answers.of_entry(entry, call.about, call.now_ms)]
    if not backing or body.with_storage_pool is None:
        return call.entries(said)
    wanted = body.with_storage_pool
    given = {**props(wanted.props), "StorDriver/StorPoolName": backing}
    command = CreatePool(
        node=node.name,
        name=wanted.name or spec.name,
        provider=provider,
        props=given,
        shared_space=wanted.shared_space,
        external_locking=bool(wanted.external_locking),
    )
    answer = await call.api.service.submit(command)
    return call.entries([*said, *(answers.of_entry(one, call.about, call.now_ms) for one in answer.entries)])


def _spec(body: PhysicalStorageBody, provider: ProviderKind) -> DevicePoolSpec:
    name = body.pool_name or (body.with_storage_pool.name if body.with_storage_pool else None) or ""
    devices = tuple(body.device_paths or ())
    wrong = [path for path in devices if not path.startswith("/dev/") or ".." in path or " " in path]
    if not devices or wrong or len(set(devices)) != len(devices):
        raise Invalid(
            Subject.POOL_CONFIGURATION,
            name,
            "A pool is made of devices, each named once by its path under /dev",
            cause=f"Not such a path: {', '.join(wrong[:4])}." if wrong else "",
            correction="'physical-storage list' shows those that can be used.",
        )
    return DevicePoolSpec(
        request=uuid.uuid4().hex,  # noqa: TID251  # it names an attempt, nothing that is kept
        provider=provider,
        devices=devices,
        name=pool_name(name),
        raid_level=body.raid_level or "JBOD",
        vdo=bool(body.vdo_enable),
        vdo_slab_kib=body.vdo_slab_size_kib or 0,
        vdo_logical_kib=body.vdo_logical_size_kib or 0,
        pv_arguments=tuple(body.pv_create_arguments or ()),
        vg_arguments=tuple(body.vg_create_arguments or ()),
        lv_arguments=tuple(body.lv_create_arguments or ()),
        zpool_arguments=tuple(body.zpool_create_arguments or ()),
    )


async def _made(call: Call, node: str, spec: DevicePoolSpec) -> tuple[str, Entry]:
    """What was made, empty when it failed, and what to say of it."""
    arguments = {"spec": msgspec.json.encode(spec).decode()}
    try:
        async with asyncio.timeout(_LIMIT_S):
            while True:
                reply = await call.api.service.ask(node, "device-pool", arguments)
                done = msgspec.json.decode(reply, type=DevicePoolDone)
                if not done.running:
                    break
    except TimeoutError as error:
        message = f"The pool '{spec.name}' on '{node}' is still being made"
        raise Unavailable(Subject.POOL, spec.name, message) from error
    if done.backing:
        return done.backing, _entry(Severity.SUCCESS, f"The pool '{done.backing}' was made on '{node}'")
    return "", _entry(
        Severity.ERROR, f"Node '{node}': {done.error}", cause=done.cause, correction=done.correction
    )


def _entry(severity: Severity, message: str, **more: Any) -> Entry:
    return Entry(
        severity=severity,
        operation=Operation.CREATE,
        subject=Subject.POOL_CONFIGURATION,
        message=message,
        code="UNKNOWN_ERROR" if severity is Severity.ERROR else "",
        **more,
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/physical-storage",
        handler=list_devices,
        answer=list[DevicesView],
        query=("offset", "limit"),
    ),
    Route(
        method="GET",
        path="/v1/physical-storage/{node}",
        handler=list_devices_of_node,
        answer=list[NodeDeviceView],
    ),
    Route(
        method="POST",
        path="/v1/physical-storage/{node}",
        handler=create_device_pool,
        body=PhysicalStorageBody,
        status=201,
    ),
)
