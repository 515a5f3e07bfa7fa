"""One replicated resource: feeds the protocol core with events from disks, links and clients, and acts.

The core decides; this carries out. A failed assertion in the core stops this resource and no other.
"""

import errno
import itertools
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from bollard.replica.changes import Picture
from bollard.replica.export import Done, Volume, Writing, told
from bollard.replica.handlers import call_handler, fence_peer
from bollard.replica.loop import Loop, Timer
from bollard.replica.metadisk import Disk
from bollard.replica.net import Links
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import Channel
from bollard.replica.protocol.config import ResourceConfig
from bollard.replica.protocol.frames import FrameReader
from bollard.replica.protocol.resource import Resource
from bollard.replica.quick import Quick
from bollard.replica.served import ReplicatedVolume
from bollard.replica.specs import (
    checked_options,
    option_items,
    peer_config,
    refuse_new_place,
    same_place,
    trouble_of,
    volume_config,
)
from bollard.replica.storage import Storage
from bollard.replica.trouble import Trouble, from_os_error
from bollard.wire.engine import PeerSpec, ResourceSpec, VolumeSpec

__all__ = ["Finish", "ReplicatedResource"]

Finish = Callable[[bool, Trouble | None], None]
Remember = Callable[[str, int, int], None]

_NEVER: Final = float("inf")
_ATTACH_S: Final = 5.0
_STOP_S: Final = 8.0
_BUSY_S: Final = 5.0
_BUSY_AGAIN_S: Final = (0.05, 0.2)
_GROW_AGAIN_S: Final = (0.2, 1.0)
_log = logging.getLogger(__name__)
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class ReplicatedResource:
    """A DRBD resource of this node."""

    def __init__(
        self,
        loop: Loop,
        spec: ResourceSpec,
        *,
        on_change: Callable[[], None],
        last_sizes: dict[int, int],
        remember_size: Callable[[int, int], None],
    ) -> None:
        """Listens for peers; raises Trouble when the port is taken or an option is wrong.

        Nothing is attached before `start`.

        `last_sizes` says where each backing ended when last in use; `remember_size(volume, bytes)` keeps it.
        """
        self.spec = spec
        self._loop = loop
        self._on_change = on_change
        self._dice = dice = random.SystemRandom()
        self._stopped = False
        options = checked_options(spec)
        config = ResourceConfig(name=spec.name, node_id=spec.node_id, options=options)
        self.core = Resource(config, lambda: dice.getrandbits(64))
        try:
            self._links = Links(
                loop, self, node_id=spec.node_id, address=spec.address, port=spec.port, dice=dice
            )
        except OSError as error:
            raise from_os_error(f"resource {spec.name} cannot listen for peers", error) from error
        self._volumes: dict[int, ReplicatedVolume] = {}
        self._queue: deque[e.Event] = deque()
        self._storage = Storage(
            loop, self.pump, self._queue, last_sizes=last_sizes, remember_size=remember_size
        )
        self._quick = Quick(self, loop, self._links, self._storage)
        self._requests: dict[int, tuple[int, Done]] = {}
        self._pumping = False
        self._arm_due = False
        self.broken = ""
        self._timer: Timer | None = None
        self._tags = 0
        self._answers: dict[int, Callable[[a.Answer], None]] = {}
        self.tickets = itertools.count(1)
        self._picture: Picture = {}
        self._attaching: set[int] = set()
        self._unattached: dict[int, Trouble] = {}
        self._on_attached: list[tuple[Timer, Callable[[Trouble | None], None]]] = []
        self._acts: dict[type[Any], Callable[[Any], None]] = {
            a.Send: self._send,
            a.Dial: lambda act: self._links.dial(act.peer, act.delay_s),
            a.HangUp: lambda act: self._links.hang_up(act.peer),
            **self._storage.actions,
            a.Complete: self._complete,
            a.VolumeSize: self._volume_size,
            a.Answer: self._answer,
            a.Notify: self._notify,
            a.Fence: self._fence,
            a.Call: lambda act: call_handler(loop, self.spec, act, self.pump),
            a.Log: self._log_line,
        }

    # -- life

    def start(self) -> None:
        """Declares volumes and peers, attaches what has a backing, connects."""
        for volume in self.spec.volumes:
            self.add_volume(volume)
        for peer in self.spec.peers:
            self.add_peer(peer)

    def add_volume(self, volume: VolumeSpec) -> None:
        name = f"{self.spec.name}/{volume.number}"
        self._volumes[volume.number] = ReplicatedVolume(self, name, volume.number)
        self._storage.place(volume)
        self.pump(e.AddVolume(volume_config(volume)))
        if volume.backing is not None:
            self._attach(volume.number)

    def _attach(self, number: int) -> None:
        self._attaching.add(number)

        def answered(answer: a.Answer) -> None:
            self._attaching.discard(number)
            self._unattached.pop(number, None)
            trouble = trouble_of(self.spec.name, answer)
            if trouble is not None:
                _log.warning(
                    "resource %s: volume %d not attached: %s", self.spec.name, number, answer.message
                )
                self._unattached[number] = trouble
            self._tell_attached()

        self.command(lambda tag: e.Attach(tag, number), answered)

    def attach_again(self) -> None:
        """Tries disks that were not attached, or were given up since: their storage may be well by now."""
        for number in self.core.lost_disks() - self._attaching:
            self._attach(number)

    def when_attached(self, finish: Callable[[Trouble | None], None]) -> None:
        """`finish` with the first refusal, or None, once every disk has answered or a few seconds passed."""
        timer = self._loop.after(_ATTACH_S, lambda: self._tell_attached(late=True))
        self._on_attached.append((timer, finish))
        self._tell_attached()

    def _tell_attached(self, *, late: bool = False) -> None:
        if self._attaching and not late:
            return
        waiting, self._on_attached = self._on_attached, []
        for timer, finish in waiting:
            timer.cancel()
            finish(next(iter(self._unattached.values()), None))

    def apply(self, spec: ResourceSpec) -> bool:
        """Changes volumes, peers and options to match; True when something changed. Raises Trouble."""
        checked_options(spec)
        openers = {number: volume.openers for number, volume in self._volumes.items()}
        refuse_new_place(self.spec, spec, openers)
        old, self.spec = self.spec, spec
        changed = self._apply_options(old, spec)
        wanted = {volume.number: volume for volume in spec.volumes}
        for volume in old.volumes:
            now = wanted.pop(volume.number, None)
            if now is None or not same_place(now, volume):
                self.remove_volume(volume.number)
                if now is not None:
                    self.add_volume(now)
                changed = True
            elif now != volume:
                changed = True
                self.pump(e.ChangeVolume(volume_config(now)))
                if now.size_bytes != volume.size_bytes:
                    self.grow(now.number, now.size_bytes)
        for volume in wanted.values():
            self.add_volume(volume)
            changed = True
        peers = {peer.node_id: peer for peer in spec.peers}
        for peer in old.peers:
            if peers.get(peer.node_id) == peer:
                del peers[peer.node_id]
                continue
            self.remove_peer(peer.node_id)
            changed = True
        for peer in peers.values():
            self.add_peer(peer)
            changed = True
        return changed

    def _apply_options(self, old: ResourceSpec, new: ResourceSpec) -> bool:
        if (old.options, old.shared_secret) == (new.options, new.shared_secret):
            return False
        named = option_items(new)
        self.command(lambda tag: e.SetOptions(tag, named), self._logged("options"))
        return True

    def grow(self, number: int, size_bytes: int) -> None:
        """Asks for a new size, again and again while other nodes are busy or their backing is not grown."""
        self.measure(number)

        def answered(answer: a.Answer) -> None:
            wanted = next((one for one in self.spec.volumes if one.number == number), None)
            if answer.code is a.Code.OK or wanted is None or wanted.size_bytes != size_bytes or self.broken:
                return
            _log.info("resource %s: resize of volume %d waits: %s", self.spec.name, number, answer.message)
            self._loop.after(self._dice.uniform(*_GROW_AGAIN_S), again)

        def again() -> None:
            if not self._stopped and self.core.size_bytes(number) < size_bytes:
                self.command(lambda tag: e.Resize(tag, number, size_bytes), answered)

        again()

    def measure(self, number: int) -> None:
        """Tells the core how large a volume's backing is now."""
        event = self._storage.measure(number)
        if event is not None:
            self.pump(event)

    def remove_volume(self, number: int) -> None:
        self._unattached.pop(number, None)
        self.pump(e.RemoveVolume(number))
        self._volumes.pop(number, None)

    def add_peer(self, peer: PeerSpec) -> None:
        paths = tuple((path.address, path.peer_address) for path in peer.paths)
        self._links.add_peer(peer.node_id, peer.address, peer.port, paths)
        self.pump(e.AddPeer(peer_config(self.spec, peer)))
        self.command(lambda tag: e.Connect(tag, peer.node_id), self._logged(f"connect {peer.name}"))

    def remove_peer(self, node_id: int) -> None:
        self.pump(e.RemovePeer(node_id))
        self._links.remove_peer(node_id)

    def shut_down(self, *, force: bool, finish: Callable[[], None]) -> None:
        """Stops cleanly (final metadata, links closed), then `finish()`; `stop` must follow."""
        if self.broken:
            finish()
            return
        timer = self._loop.after(_STOP_S, finish)

        def answered(_answer: a.Answer) -> None:
            if timer.call is not None:
                timer.cancel()
                # What the core wants done besides comes first.
                self._loop.defer(finish)

        self.command(lambda tag: e.Stop(tag, force=force), answered)

    def stop(self) -> None:
        """Releases sockets, files and timers at once; running requests fail."""
        if not self._stopped:
            self._quick.stop()
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._links.close()
        self._storage.close()
        requests, self._requests = self._requests, {}
        for cookie, done in requests.values():
            done(cookie, errno.ESHUTDOWN, b"")

    @property
    def volumes(self) -> dict[int, Volume]:
        return dict(self._volumes)

    def in_use(self) -> int:
        return sum(volume.openers for volume in self._volumes.values())

    @property
    def changes(self) -> int:
        """How often the data here was changed so far: by clients, peers and resyncs."""
        return self._storage.changes

    def stand_still(self, quiet: Callable[[Trouble | None], None]) -> None:
        """See freezing.Still."""
        self.command(e.SuspendIo, lambda answer: quiet(trouble_of(self.spec.name, answer)))

    def go_on(self) -> None:
        """See freezing.Still."""
        self.command(e.ResumeIo, self._logged("thaw"))

    def picture(self) -> Picture:
        """The present state in events2's words; the caller's to keep."""
        return dict(self._picture)

    def status(self) -> dict[str, Any]:
        """The present state in the shape of `drbdsetup status --json`."""
        state = self.core.status_record()
        state["kind"] = "replicated"
        if self.broken:
            state["fault"] = self.broken
        return state

    def demand(self, make: Callable[[int], e.Event], finish: Finish) -> None:
        """A command on behalf of a control request; `finish(changed, trouble)` is called once.

        While another change of the cluster is under way it is tried again, for a few seconds.
        """
        until_s = self._loop.now() + _BUSY_S

        def answered(answer: a.Answer) -> None:
            if answer.code is a.Code.BUSY and self._loop.now() < until_s and not self._stopped:
                self._loop.after(self._dice.uniform(*_BUSY_AGAIN_S), again)
                return
            trouble = trouble_of(self.spec.name, answer)
            finish(answer.changed and trouble is None, trouble)

        def again() -> None:
            self.command(make, answered)

        again()

    # -- driving the core

    def pump(self, event: e.Event) -> None:
        """Feeds one event and everything that follows from it at once; nothing after `stop`."""
        if self._stopped:
            return
        self._queue.append(event)
        if not self._pumping:
            self._drain()

    def carry_out(self, actions: list[a.Action]) -> None:
        """Acts on what came of a short way, and on all that follows."""
        if actions and not self._stopped:
            self._drain(actions)

    def _drain(self, actions: Iterable[a.Action] = ()) -> None:
        self._pumping = True
        queue, acts, step, now_s = self._queue, self._acts, self.core.step, self._loop.now()
        try:
            for action in actions:
                acts[type(action)](action)
            while queue:
                for action in step(queue.popleft(), now_s):
                    acts[type(action)](action)
        except Exception as error:  # noqa: BLE001  the resource's outermost frame: others must go on
            self.break_off(error)
        finally:
            self._pumping = False
        if not self._arm_due:
            self._arm_due = True
            self._loop.defer(self._arm)

    def break_off(self, error: Exception) -> None:
        """A bug: this resource stops where it stands, its clients get errors, its peers a closed link."""
        self.broken = f"{type(error).__name__}: {error}"
        _log.critical("resource %s stopped by an internal fault", self.spec.name, exc_info=error)
        self._loop.failures += 1
        self._queue.clear()
        self.stop()
        answers, self._answers = self._answers, {}
        for tag, answered in answers.items():
            answered(a.Answer(tag, a.Code.INTERNAL, f"resource {self.spec.name} has an internal fault"))
        for key in self._picture:
            if key[0] == "device":
                self._picture[key] = {**self._picture[key], "disk": "Failed"}
        self._on_change()

    def _arm(self) -> None:
        """Has the core's deadline answered by a tick; once a round is enough."""
        self._arm_due = False
        if self.broken or self._stopped:
            return
        deadline = self.core.deadline_s
        timer = self._timer
        if deadline == _NEVER or (timer is not None and timer.call is not None and timer.when_s <= deadline):
            return
        if timer is not None:
            timer.cancel()
        self._timer = self._loop.at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self.core.deadline_s <= self._loop.now():
            self.pump(e.Tick())
        else:
            self._arm()

    def command(self, make: Callable[[int], e.Event], answered: Callable[[a.Answer], None]) -> None:
        """Sends a command with a tag of its own; `answered` is called once."""
        self._tags += 1
        tag = self._tags
        self._answers[tag] = answered
        if self._stopped:
            self._answer(a.Answer(tag, a.Code.INTERNAL, self.broken or "the resource was stopped"))
            return
        self.pump(make(tag))

    def submit(self, cookie: int, done: Done, request: e.Request) -> None:
        """Hands one request to the core; `done` is called once."""
        if self._stopped:
            done(cookie, errno.EIO if self.broken else errno.ESHUTDOWN, b"")
            return
        self._requests[request.request] = (cookie, done)
        self._queue.append(request)
        if not self._pumping:
            self._drain()

    def write_quickly(self, number: int, writes: list[Writing]) -> list[Writing]:
        """Takes writes the short way and returns the others, which must be submitted."""
        return writes if self._stopped else self._quick.write(number, writes)

    def count_reads(self, number: int, length: int) -> None:
        """So many bytes were read without asking the core."""
        self.core.count_reads(number, length)

    def _logged(self, what: str) -> Callable[[a.Answer], None]:
        def answered(answer: a.Answer) -> None:
            if answer.code is not a.Code.OK:
                _log.warning("resource %s: %s: %s", self.spec.name, what, answer.message)

        return answered

    # -- links (net.LinkUser)

    def link_up(self, peer: int, resolve_conflicts: bool) -> None:
        self.pump(e.LinkUp(peer, resolve_conflicts))
        for channel in Channel:
            self.core.reader(peer, channel).spare = self._loop.spare

    def link_down(self, peer: int, reason: str) -> None:
        self.pump(e.LinkDown(peer, reason))

    def reader(self, peer: int, channel: Channel) -> FrameReader:
        return self.core.reader(peer, channel)

    def received(self, peer: int, channel: Channel) -> None:
        if not self._stopped and not self._quick.received(peer, channel):
            self.pump(e.Received(peer, channel))

    # -- actions: network and answers

    def _send(self, act: a.Send) -> None:
        self._links.send(act.peer, act.channel, act.buffers)

    def _complete(self, act: a.Complete) -> None:
        if type(act.request) is tuple:
            told(act.request, act.errno)
            return
        cookie, done = self._requests.pop(act.request)
        done(cookie, act.errno, act.data)

    def _answer(self, act: a.Answer) -> None:
        self._answers.pop(act.tag)(act)

    def _volume_size(self, act: a.VolumeSize) -> None:
        volume = self._volumes.get(act.volume)
        if volume is not None:
            volume.size_bytes = act.size_bytes
        self._on_change()

    def _notify(self, act: a.Notify) -> None:
        count = _IDENTITY[act.kind]
        key = (act.kind, act.fields[:count])
        if act.action == "destroy":
            self._picture.pop(key, None)
        else:
            self._picture[key] = dict(act.fields[count:])
        self._on_change()

    def _fence(self, act: a.Fence) -> None:
        fence_peer(self._loop, self.spec, act.peer, lambda code: self.pump(e.FenceDone(act.peer, code)))

    def _log_line(self, act: a.Log) -> None:
        _log.log(_LEVELS.get(act.level, logging.INFO), "resource %s: %s", self.spec.name, act.text)

    def readable_disk(self, number: int) -> Disk | None:
        """The disk that holds the volume's current data and may be read without asking the core."""
        if self.broken or not self.core.reads_locally(number):
            return None
        return self._storage.disks.get(number)


_IDENTITY: Final = {"resource": 1, "connection": 3, "device": 3, "peer-device": 4, "path": 5}


def _place(volume: VolumeSpec) -> tuple[str | None, str, int]:
    return volume.backing, volume.meta, volume.minor
