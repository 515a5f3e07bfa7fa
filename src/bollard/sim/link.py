"""The controller's network in memory: channels that are slow, stall, break or say a thing twice.

Order within a channel is kept, as TCP keeps it. What can be lost is a connection with all that is in flight.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from bollard.controller.sessions.base import DialError
from bollard.domain.nodes import NetInterface
from bollard.wire.link import AnyMessage, Channel, decode, encode

__all__ = ["SimChannel", "SimNetwork"]

DIAL_S: Final = 5.0
Accept = Callable[[Channel], Coroutine[Any, Any, None]]


class SimChannel:
    """One end of a `wire.link.Channel`."""

    def __init__(self, network: "SimNetwork", node: str) -> None:
        self._network = network
        self._node = node
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._arrives_s = 0.0
        self._broken = False
        self.closed = False
        self.other: SimChannel

    async def send(self, message: AnyMessage) -> None:
        if self.closed or self._broken:
            raise ConnectionResetError("the connection is gone")
        payload = encode(message)[4:]
        self._network.carry(self, payload)

    async def receive(self) -> AnyMessage | None:
        while not self._broken and not self.closed:
            payload = await self._inbox.get()
            if payload is None:
                break
            message = decode(payload)
            if message is not None:
                return message
        if self._broken:
            raise ConnectionResetError("the connection broke")
        return None

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._inbox.put_nowait(None)
            self._network.carry(self, None)

    def break_off(self) -> None:
        """Both ends lose the connection and all that is in flight."""
        for end in (self, self.other):
            end._broken = True  # noqa: SLF001  # the same class
            end._inbox.put_nowait(None)  # noqa: SLF001

    def deliver(self, payload: bytes | None, delay_s: float) -> None:
        """Hand over later, after all that came before."""
        loop = asyncio.get_running_loop()
        # Strictly later than the one before: the event loop does not keep the order of equal times.
        self._arrives_s = max(self._arrives_s + 1e-5, loop.time() + delay_s)
        loop.call_at(self._arrives_s, self._inbox.put_nowait, payload)

    @property
    def node(self) -> str:
        """The satellite's name, on both ends."""
        return self._node


class SimNetwork:
    """Between one controller and its satellites. Faults are switched on and off from outside."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.accepts: dict[str, Accept] = {}
        """The satellites that listen."""
        self.cut: set[str] = set()
        """Nodes that the controller cannot reach: nothing arrives, nothing is refused."""
        self.delay_max_s = 0.005
        self.break_chance = 0.0
        self.duplicate_chance = 0.0
        self._held: dict[str, list[tuple[SimChannel, bytes | None]]] = {}
        self._channels: dict[str, list[SimChannel]] = {}
        self._served: set[asyncio.Task[None]] = set()

    async def dial(self, node: str, net_if: NetInterface) -> SimChannel:
        assert net_if.address, node
        await asyncio.sleep(self._rng.random() * self.delay_max_s)
        if node in self.cut:
            await asyncio.sleep(DIAL_S)
            raise DialError("OFFLINE", "nothing was heard")
        accept = self.accepts.get(node)
        if accept is None:
            raise DialError("OFFLINE", "nobody listens")
        here, there = SimChannel(self, node), SimChannel(self, node)
        here.other, there.other = there, here
        open_ones = [one for one in self._channels.get(node, ()) if not one.closed]
        self._channels[node] = [*open_ones, here, there]
        task = asyncio.create_task(accept(there))
        self._served.add(task)
        task.add_done_callback(self._served.discard)
        return here

    def carry(self, sender: SimChannel, payload: bytes | None) -> None:
        """From one end to the other, with what may happen on the way."""
        if sender.node in self.cut:
            self._held.setdefault(sender.node, []).append((sender.other, payload))
            return
        if payload is not None and self._rng.random() < self.break_chance:
            sender.break_off()
            return
        sender.other.deliver(payload, self._rng.random() * self.delay_max_s)
        if payload is not None and self._rng.random() < self.duplicate_chance:
            sender.other.deliver(payload, self._rng.random() * self.delay_max_s)

    def heal(self, node: str) -> None:
        """The node can be reached again; what was sent meanwhile arrives now."""
        self.cut.discard(node)
        for receiver, payload in self._held.pop(node, ()):
            receiver.deliver(payload, self._rng.random() * self.delay_max_s)

    def drop_node(self, node: str) -> None:
        """The node or the controller's link to it is gone: its connections break."""
        self._held.pop(node, None)
        for channel in self._channels.pop(node, ()):
            channel.break_off()

    async def stop(self) -> None:
        """End everything that serves."""
        for task in list(self._served):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
