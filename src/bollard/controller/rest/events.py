"""Routes of the event streams (server-sent events): who may become Primary where, and what nodes do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import msgspec
from starlette.responses import Response, StreamingResponse

from bollard.controller.events import Committed, Event, MayPromote, NodeStatus, Reader
from bollard.controller.rest.call import Call
from bollard.controller.rest.routing import Route
from bollard.domain.cluster import Drop, Put
from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import Node, NodePhase
from bollard.wire.rest.nodes import NodeView, node_view

_KEEP_ALIVE_S = 15.0
_PHASES = {
    NodePhase.EVACUATING: "node-evacuate",
    NodePhase.EVICTED: "node-evicted",
    NodePhase.NORMAL: "node-restored",
}


Teller = Callable[[Event], Iterator[bytes]]
Allowed = Callable[[], Awaitable[bool]]
"""Whether the reader may still see what it asked for: its token may have been revoked or run out."""


class _Ended(Exception):
    """There will be no more events."""


class PromotionEvent(msgspec.Struct, frozen=True):
    """Whether a resource could become Primary on a node."""

    resource_name: str
    node_name: str
    may_promote: bool


class NodeEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened to a node: the one there is, or the one before and the one after."""

    node: NodeView | None = None
    old_node: NodeView | None = None
    new_node: NodeView | None = None


def framed(name: str, data: object) -> bytes:
    """One event on the wire."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


async def watch_promotion(call: Call) -> Response:
    """The stream of `may-promote-change`; with `Last-Event-ID: current` it begins with what is."""
    service = call.api.service
    stream = service.subscribe()
    first: list[bytes] = []
    if call.request.headers.get("last-event-id", "").lower() == "current":
        for resource in service.cluster.resources.values():
            seen = service.observed.resource(resource.definition, resource.node)
            may = seen is not None and seen.may_promote
            first.append(
                framed("may-promote-change", PromotionEvent(resource.definition, resource.node, may))
            )
    return _stream(_frames(stream, first, promotion_frames, _allowed(call)))


def promotion_frames(event: Event) -> Iterator[bytes]:
    """What a watcher of promotion is told of an event."""
    if isinstance(event, MayPromote):
        yield framed("may-promote-change", PromotionEvent(event.definition, event.node, event.may_promote))


async def watch_nodes(call: Call) -> Response:
    """The stream of what happens to nodes."""
    service = call.api.service
    known = NodeWatch(call)
    return _stream(_frames(service.subscribe(), [], known.frames, _allowed(call)))


class NodeWatch:
    """Remembers the nodes as they were, so that a change can be told with both."""

    def __init__(self, call: Call) -> None:
        self._service = call.api.service
        self._known: dict[Key, tuple[Node, NodeView]] = {
            key: (node, self._view(node)) for key, node in self._service.cluster.nodes.items()
        }

    def frames(self, event: Event) -> Iterator[bytes]:
        """What a watcher of nodes is told of an event."""
        if isinstance(event, NodeStatus):
            if (entry := self._known.get(key_of(event.node))) is not None:
                yield from self._changed(entry[0])
        elif isinstance(event, Committed):
            for change in event.changes:
                if isinstance(change, Put) and isinstance(change.record, Node):
                    yield from self._changed(change.record)
                elif isinstance(change, Drop) and change.kind == "node":
                    gone = self._known.pop(change.key, None)
                    if gone is not None:
                        yield framed("node-delete", NodeEvent(node=gone[1]))

    def _changed(self, node: Node) -> Iterator[bytes]:
        before = self._known.get(node.key)
        view = self._view(node)
        self._known[node.key] = (node, view)
        if before is None:
            yield framed("node-create", NodeEvent(node=view))
            return
        if before[0].phase is not node.phase and node.phase in _PHASES:
            yield framed(_PHASES[node.phase], NodeEvent(node=view))
            return
        yield framed("node-modified", NodeEvent(old_node=before[1], new_node=view))

    def _view(self, node: Node) -> NodeView:
        return node_view(node, self._service.observed.node(node.name))


def _stream(frames: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(
        frames,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _allowed(call: Call) -> Allowed:
    return partial(call.api.guard.stays, call.visitor, call.route.needs)


async def _frames(stream: Reader, first: list[bytes], tell: Teller, allowed: Allowed) -> AsyncIterator[bytes]:
    """Events as they come, and a comment when there is none for a while, so that a dead reader is noticed."""
    waiting: asyncio.Task[Event] | None = None
    try:
        for frame in first:
            yield frame
        while True:
            if waiting is None:
                waiting = asyncio.ensure_future(_next(stream))
            done, _ = await asyncio.wait({waiting}, timeout=_KEEP_ALIVE_S)
            if not done:
                if not await allowed():
                    return
                yield b": still here\n\n"
                continue
            try:
                event = waiting.result()
            except _Ended:
                waiting = None
                return
            waiting = None
            if isinstance(event, Committed) and not await allowed():
                return
            for frame in tell(event):
                yield frame
    finally:
        if waiting is not None:
            waiting.cancel()
        stream.close()


async def _next(stream: Reader) -> Event:
    async for event in stream:
        return event
    raise _Ended


ROUTES = (
    Route(method="GET", path="/v1/events/drbd/promotion", handler=watch_promotion, answer=None),
    Route(method="GET", path="/v1/events/nodes", handler=watch_nodes, answer=None),
)
