"""The event streams: frames for what happens, a beginning with what is, and an end that cleans up."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bollard.controller.events import Committed, MayPromote, NodeStatus
from bollard.domain.cluster import Change, Put, drop
from bollard.domain.ids import GroupName, NodeName, ResourceName, Uuid, key_of
from bollard.domain.nodes import Node, NodePhase
from bollard.domain.resources import Resource, ResourceDefinition
from bollard.domain.seen import SeenResource
from rest_driver import Driver, FakeService

NODE = Node(NodeName("n1"), Uuid("n1"))


@pytest.fixture
def service() -> FakeService:
    definition = ResourceDefinition(ResourceName("r1"), Uuid("d"), GroupName("g1"))
    service = FakeService([NODE, definition, Resource(ResourceName("r1"), NodeName("n1"), Uuid("r"))])
    service.observed.node("n1").resources[key_of("r1")] = SeenResource(
        ResourceName("r1"), Uuid("r"), may_promote=True
    )
    return service


async def watch(
    call: Driver, path: str, happen: Callable[[], None], frames: int, headers: dict[str, str] | None = None
) -> list[str]:
    """The first frames of a stream in which something happens; then the client goes away."""
    enough, found = asyncio.Event(), []
    begun = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        begun.set()
        found.extend(part for part in message.get("body", b"").decode().split("\n\n") if part)
        if len(found) >= frames:
            enough.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(key.encode(), value.encode()) for key, value in (headers or {}).items()],
        "client": None,
    }
    task = asyncio.ensure_future(call.app(scope, receive, send))
    await begun.wait()
    happen()
    async with asyncio.timeout(5):
        await task
    return found


def test_promotion(service: FakeService) -> None:
    def happen() -> None:
        service.events.tell(MayPromote(definition="r1", node="n1", may_promote=False))

    found = asyncio.run(watch(Driver(service), "/v1/events/drbd/promotion", happen, 1))
    assert found == [
        'event: may-promote-change\ndata: {"resource_name":"r1","node_name":"n1","may_promote":false}'
    ]


def test_promotion_may_begin_with_what_is(service: FakeService) -> None:
    found = asyncio.run(
        watch(
            Driver(service),
            "/v1/events/drbd/promotion",
            lambda: None,
            1,
            {"last-event-id": "current"},
        )
    )
    assert found[0].endswith('"may_promote":true}')


def test_nodes(service: FakeService) -> None:
    def committed(*changes: Change) -> None:
        service.cluster.apply(changes)
        service.events.tell(Committed(revision=1, changes=changes))

    def happen() -> None:
        new = Node(NodeName("n2"), Uuid("n2"))
        committed(Put(new))
        committed(Put(Node(NodeName("n2"), Uuid("n2"), props={"Aux/a": "1"})))
        service.events.tell(NodeStatus(node="n2", old="OFFLINE", new="ONLINE"))
        committed(Put(Node(NodeName("n2"), Uuid("n2"), phase=NodePhase.EVICTED)))
        committed(Put(Node(NodeName("n2"), Uuid("n2"))))
        committed(drop(new))

    found = asyncio.run(watch(Driver(service), "/v1/events/nodes", happen, 6))
    assert [frame.partition("\n")[0] for frame in found] == [
        "event: node-create",
        "event: node-modified",
        "event: node-modified",
        "event: node-evicted",
        "event: node-restored",
        "event: node-delete",
    ]
    assert '"old_node"' in found[1]
    assert '"new_node"' in found[1]
