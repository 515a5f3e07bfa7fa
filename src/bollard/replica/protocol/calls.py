"""Handlers: programs of the operator that are told of events, and a few that are asked.

The fence-peer handler has its own contract, in fences.py.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bollard.replica.protocol import actions as a
from bollard.replica.protocol.config import Fencing, Handler
from bollard.replica.protocol.events import CallDone
from bollard.replica.protocol.model import Peer, PeerDevice, Volume
from bollard.replica.protocol.states import DiskState, name_of

if TYPE_CHECKING:
    from bollard.replica.protocol.resource import Resource

_UNKNOWN: Final = 3


class Calls:
    """The handlers of one resource."""

    def __init__(self, resource: "Resource") -> None:
        self.r = resource
        self.core = resource.core
        self._asked: dict[int, Callable[[int], None]] = {}
        self._last = 0

    def tell(self, handler: Handler, volume: Volume | None = None, peer: Peer | None = None) -> None:
        """Run it if there is one; nobody waits for it."""
        if handler in self.core.options.handlers:
            self._call(handler, 0, volume, peer)

    def ask(
        self,
        handler: Handler,
        volume: Volume | None,
        peer: Peer | None,
        then: Callable[[int], None],
    ) -> None:
        """`then(exit code)` when it has ended; at once, with 0, where there is none."""
        if handler not in self.core.options.handlers:
            then(0)
            return
        self._last += 1
        self._asked[self._last] = then
        self._call(handler, self._last, volume, peer)

    def before(self, handler: Handler, device: PeerDevice, go: Callable[[], None]) -> None:
        """`go` if a resync may begin; if the handler objects, the nodes stay apart."""
        peer, link, repl = device.peer, device.peer.link, device.repl

        def ended(code: int) -> None:
            if peer.link != link or device.repl is not repl:
                return
            # As in DRBD, whose old tools ended with 3 where they knew no such handler.
            if code and not (handler is Handler.BEFORE_RESYNC_SOURCE and code == _UNKNOWN):
                self.r.connector.stand_alone(peer, f"the handler {handler} ended with {code}")
            else:
                go()

        self.ask(handler, device.volume, peer, ended)

    def unfence(self, peer: Peer) -> None:
        """All that the peer has is as good as ours again."""
        if self.core.options.fencing is not Fencing.DONT_CARE and all(
            device.disk is DiskState.UP_TO_DATE for device in peer.devices.values()
        ):
            self.tell(Handler.UNFENCE_PEER, None, peer)

    def done(self, event: CallDone) -> None:
        """A handler that was asked has ended."""
        then = self._asked.pop(event.tag, None)
        if then is not None:
            then(event.code)

    def _call(self, handler: Handler, tag: int, volume: Volume | None, peer: Peer | None) -> None:
        core = self.core
        core.log("info", f"the handler {handler} is called")
        core.out.append(
            a.Call(
                handler.value,
                tag,
                None if volume is None else volume.number,
                None if peer is None else peer.node_id,
                "" if peer is None else name_of(peer.cstate),
                0 if volume is None else self._good_nodes(volume),
            )
        )

    def _good_nodes(self, volume: Volume) -> int:
        mask = 1 << self.core.node_id if volume.disk is DiskState.UP_TO_DATE else 0
        for device in self.core.devices(volume):
            if device.disk is DiskState.UP_TO_DATE:
                mask |= 1 << device.peer.node_id
        return mask
