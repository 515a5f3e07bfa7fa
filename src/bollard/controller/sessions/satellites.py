"""All links to satellites: one session for each registered node, told what of its target is new."""

import asyncio
from collections.abc import Iterable, Sequence

from bollard.controller.sessions.base import Desk, Dialer
from bollard.controller.sessions.session import Session
from bollard.domain.cluster import Change, Drop, Put
from bollard.domain.errors import NotFound, Subject
from bollard.domain.ids import Key, key_of
from bollard.domain.nodes import Node, NodePhase
from bollard.domain.ports import Clock


class Satellites:
    """The sessions by node key. Give it its desk with `start`; until then it does nothing."""

    def __init__(self, dialer: Dialer, clock: Clock, *, version: str) -> None:
        self._dialer = dialer
        self._clock = clock
        self._version = version
        self._desk: Desk | None = None
        self._sessions: dict[Key, tuple[Session, asyncio.Task[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, desk: Desk) -> None:
        """Dial every node there is, and from now on every new one."""
        self._desk = desk
        for node in desk.cluster.nodes.values():
            self._open(node)

    async def stop(self) -> None:
        """Close all links; the satellites work on."""
        self._desk = None
        for key in list(self._sessions):
            self._close(key, "stopping", "the controller stops")
        if self._ending:
            await asyncio.wait(self._ending)

    def committed(self, changes: Sequence[Change], touched: Iterable[tuple[Key, Key | None]]) -> None:
        """The durable cluster has changed; these targets are new."""
        if self._desk is None:
            return
        for change in changes:
            match change:
                case Put(record=Node() as node):
                    self._open(node)
                case Drop(kind="node", key=key):
                    self._close(key, "removed", "the node was removed from the cluster")
                case _:
                    pass
        by_node: dict[Key, list[Key | None]] = {}
        for node_key, definition in touched:
            by_node.setdefault(node_key, []).append(definition)
        for node_key, definitions in by_node.items():
            if node_key in self._sessions:
                self._sessions[node_key][0].touch(definitions)

    def resend(self) -> None:
        """The durable cluster was read again: every node may be another, every target may be new."""
        if self._desk is None:
            return
        nodes = self._desk.cluster.nodes
        for key in [key for key in self._sessions if key not in nodes]:
            self._close(key, "removed", "the node is not part of the cluster")
        for node in nodes.values():
            self._open(node)
        for session, _ in self._sessions.values():
            session.resend()

    def reconnect(self, node: str) -> None:
        """Cut the link to a node and make it anew, at once."""
        held = self._sessions.get(key_of(node))
        if held is not None:
            held[0].reconnect()

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:
        """A node's answer to a query, JSON. Raises NotFound, Unavailable or Unsupported."""
        held = self._sessions.get(key_of(node))
        if held is None:
            raise NotFound(Subject.NODE, node, f"There is no node '{node}'")
        return await held[0].ask(topic, arguments)

    def _open(self, node: Node) -> None:
        assert self._desk is not None
        if node.phase is NodePhase.EVICTED:
            # It is not expected back; a person restores it or declares it lost.
            self._close(node.key, "evicted", "the node was evicted from the cluster")
            return
        held = self._sessions.get(node.key)
        if held is not None:
            held[0].renew(node)
            return
        session = Session(node, self._desk, self._dialer, clock=self._clock, version=self._version)
        task = asyncio.get_running_loop().create_task(session.run(), name=f"link {node.name}")
        self._sessions[node.key] = (session, task)

    def _close(self, key: Key, code: str, message: str) -> None:
        held = self._sessions.pop(key, None)
        if held is not None:
            ending = asyncio.get_running_loop().create_task(_end(*held, code, message))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)


async def _end(session: Session, task: asyncio.Task[None], code: str, message: str) -> None:
    await session.goodbye(code, message)
    task.cancel()
    await asyncio.wait([task])
