"""Every history of a few events over two disks and a witness, and what must hold after each. No randomness.

States that differ only in names (of nodes, generations, writes) count once.
"""

import gc
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import msgspec

from bollard.replica.metadata.superblock import Superblock, decode
from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import QUORUM_MAJORITY, OnNoQuorum, Options
from bollard.replica.protocol.states import DiskState, Role
from bollard.replica.protocol.uuids import masked
from bollard.sim.replica.cluster import SimNode
from bollard.sim.replica.history import History, Session
from bollard.sim.replica.kind import Kind
from bollard.sim.replica.oracle import BLOCK, Violation

NODES: Final = (0, 1, 2)
DISKS: Final = (0, 1)
PAIRS: Final = ((0, 1), (0, 2), (1, 2))
BLOCKS: Final = (3, 1500)
OPTIONS: Final = Options(
    quorum=QUORUM_MAJORITY,
    on_no_quorum=OnNoQuorum.IO_ERROR,
    ping_interval_s=2.0,
    ping_timeout_s=0.5,
    twopc_timeout_s=5.0,
)
Event = tuple[str, int, int]
"""A verb, and up to two nodes (-1: none)."""
Key = tuple[object, ...]


class Explored(msgspec.Struct, frozen=True, kw_only=True):
    """What an exploration has seen: states by depth, histories tried, events by verb."""

    depth: int
    states: tuple[int, ...]
    histories: int
    events: dict[str, int]


def all_events() -> list[Event]:
    """What may happen next, in a fixed order."""
    events: list[Event] = [("write", -1, -1), ("demote", -1, -1), ("finish", -1, -1), ("heal", -1, -1)]
    events += [(verb, node, -1) for node in DISKS for verb in ("promote", "lose-disk", "detach", "attach")]
    events += [(verb, node, -1) for node in NODES for verb in ("crash", "boot")]
    events += [("cut", one, other) for one, other in PAIRS]
    return events


class World(History):
    """One history under way. `pause_s` passes after each event."""

    def __init__(self, pause_s: float = 3.0) -> None:
        super().__init__(1, Kind(options=msgspec.structs.asdict(OPTIONS)))
        self.pause_s = pause_s
        self.cluster.held_resyncs = []
        for node in self.cluster.nodes:
            self.boot(node.node_id)
        self.cluster.run(3.0)
        self._turn = 0

    # -- events

    def possible(self, event: Event) -> bool:
        """The event would change something now. Disks are lost and let go only while all copies are good."""
        verb, one, other = event
        resource = self.cluster.nodes[one].resource if one >= 0 else None
        volume = resource.core.volumes[0] if resource is not None else None
        session = self.session
        match verb:
            case "write" | "demote":
                return session is not None and session.open and self._is_primary(session)
            case "finish":
                return bool(self.cluster.held_resyncs)
            case "heal":
                return bool(self.cluster.network.cuts)
            case "cut":
                return (one, other) not in self.cluster.network.cuts
            case "boot":
                return resource is None
            case "promote":
                return resource is not None and resource.core.role is not Role.PRIMARY
            case "attach":
                return volume is not None and volume.disk is DiskState.DISKLESS
            case "detach" | "lose-disk":
                return volume is not None and volume.disk_open and self.healthy()
            case _:
                return resource is not None

    def happen(self, event: Event) -> None:
        """A possible event, some time, and what must hold then."""
        verb, one, other = event
        match verb:
            case "write":
                assert self.session is not None
                self._turn += 1
                self.write(self.session, BLOCKS[self._turn % len(BLOCKS)], fua=self._turn % 2 == 0)
            case "demote":
                assert self.session is not None
                self.cluster.command(self.session.node, lambda tag: e.Demote(tag, force=True))
                self._abandon()
            case "finish":
                self._finish()
            case "heal":
                for pair in sorted(self.cluster.network.cuts):
                    self.cluster.network.heal(*pair)
            case "cut":
                self.cluster.network.cut(one, other, silent=False)
            case "boot":
                self.boot(one)
            case "promote":
                self._promote(one)
            case "attach":
                self.cluster.command(one, lambda tag: e.Attach(tag, 0))
            case "detach":
                self.cluster.command(one, lambda tag: e.Detach(tag, 0))
                self.cluster.nodes[one].crashes += 1
            case "lose-disk":
                self.lose_disk(one)
                self.cluster.run(0.5)
                self.new_disk(one)
            case _:
                self.crash(one)
        self.cluster.run(self.pause_s)
        self.check()

    def _is_primary(self, session: Session) -> bool:
        resource = self.cluster.nodes[session.node].resource
        return resource is not None and resource.core.role is Role.PRIMARY

    def _promote(self, node: int) -> None:
        """The client goes to this node; whoever was Primary before stays as it is."""
        tag = self.cluster.command(node, e.Promote)
        self.cluster.run_until(lambda: tag in self.cluster.answers, 4.0)
        answer = self.cluster.answers.get(tag)
        if answer is not None and answer.code is a.Code.OK:
            self._abandon()
            self.sessions += 1
            self.session = Session(node, self.cluster.nodes[node].boot, self.sessions)
            self.session.open = True
            self.promotions += 1

    def _finish(self) -> None:
        """Resyncs that stood still go on to their end."""
        held, self.cluster.held_resyncs = self.cluster.held_resyncs, None
        for send in held or ():
            send()
        self.cluster.run(2.0)
        self.cluster.held_resyncs = []

    # -- what must hold

    def check(self) -> None:
        """One node at most may write, and what the client's node serves is what was written."""
        able = [node.node_id for node in self.cluster.nodes if node.resource is not None and _may_write(node)]
        if len(able) > 1:
            raise Violation(f"nodes {able} may write at the same time")
        session = self.session
        if session is None or not session.open or not self._is_primary(session):
            return
        for block in self.oracle.blocks:
            self.read(session, block)
        self.cluster.run(0.1)

    def conclude(self) -> None:
        """No more faults: everything comes together, and nothing that was promised is gone."""
        self._finish()
        self.cluster.held_resyncs = None
        self.settle()

    # -- equal states

    def key(self) -> Key:
        """The state without names; the two nodes with a disk may change places."""
        return min((self._key(order) for order in ((0, 1, 2), (1, 0, 2))), key=repr)

    def _key(self, order: tuple[int, int, int]) -> Key:
        names: dict[int, int] = {}
        place = {node: at for at, node in enumerate(order)}
        nodes = tuple(self._node_key(self.cluster.nodes[node], order, names) for node in order)
        cuts = tuple(sorted(tuple(sorted((place[x], place[y]))) for x, y in self.cluster.network.cuts))
        session = self.session
        client = place[session.node] if session is not None and session.open else -1
        crashes = self.crash_counts()
        permitted = tuple(
            tuple(_name(names, number) for number in sorted(self.oracle.permitted(block, crashes)))
            for block in BLOCKS
        )
        return nodes, cuts, client, permitted, self._turn % len(BLOCKS), bool(self.cluster.held_resyncs)

    def _node_key(self, node: SimNode, order: tuple[int, ...], names: dict[int, int]) -> Key:
        resource = node.resource
        stored: Key = ()
        if node.disk is not None:
            offset = node.disk.metadata_at
            at_rest = _generation_key(decode(node.disk.read(offset, 4096)), order, names)
            data = tuple(_name(names, _number(node.disk.read(block * BLOCK, 16))) for block in BLOCKS)
            stored = (at_rest, data, bool(node.disk.cache), node.disk.failing)
        if resource is None:
            return stored
        core = resource.core
        volume = core.volumes[0]
        others = [n for n in order if n != node.node_id]
        links = tuple(
            (
                peer.cstate, peer.role, device.repl, device.disk, device.was_connected, device.equal,
                volume.bitmap.count(device.slot) if volume.bitmap is not None and device.slot >= 0 else -1,
            )
            for peer, device in ((core.peers[n], core.peers[n].devices[0]) for n in others)
        )  # fmt: skip
        flags = (
            volume.quorum, volume.had_quorum, volume.doubt, volume.crashed_primary, volume.unsettled,
            volume.lost_quorum_as_primary, volume.need_new_uuid, bool(volume.rotating), volume.torn,
            len(core.held), len(volume.held_completions), core.running_writes,
        )  # fmt: skip
        known = _name(names, masked(volume.exposed_uuid)) if volume.config.diskless else -1
        return stored, core.role, volume.disk, links, flags, known


def _may_write(node: SimNode) -> bool:
    assert node.resource is not None
    core = node.resource.core
    volume = core.volumes[0]
    return core.role is Role.PRIMARY and volume.quorum and not volume.no_data and not volume.need_new_uuid


def _name(names: dict[int, int], value: int) -> int:
    return names.setdefault(value, len(names)) if value else -1


def _number(stamp: bytes) -> int:
    return int.from_bytes(stamp[8:16], "big") or 0


def _generation_key(superblock: Superblock, order: tuple[int, ...], names: dict[int, int]) -> Key:
    slots = tuple(_name(names, masked(superblock.peers[node].bitmap_uuid)) for node in order)
    history = tuple(_name(names, uuid) for uuid in superblock.history if uuid)
    members = tuple(superblock.members >> node & 1 for node in order)
    return _name(names, masked(superblock.current_uuid)), slots, history, superblock.flags, members


def replay(history: tuple[Event, ...], *, pause_s: float = 3.0) -> World:
    """The world after a history; raises Violation."""
    world = World(pause_s)
    for event in history:
        assert world.possible(event), event
        world.happen(event)
    return world


def explore(depth: int, *, pause_s: float = 3.0) -> Explored:
    """All histories of up to `depth` events. Raises Violation that names the history that failed.

    Depth first in forked processes, one at a time: a fork is a copy of the world that costs milliseconds.
    """
    ask_out, ask_in = os.pipe()
    tell_out, tell_in = os.pipe()
    child = os.fork()
    if not child:
        os.close(ask_out)
        os.close(tell_in)
        world = World(pause_s)
        # A collection would touch every page that is shared with the process before.
        gc.disable()
        gc.freeze()
        _Explorer(ask_in, tell_out).run(world, depth)
    os.close(ask_in)
    os.close(tell_out)
    try:
        return _serve(ask_out, tell_in, depth)
    finally:
        os.close(tell_in)
        os.waitpid(child, 0)


def _serve(asked: int, tell: int, depth: int) -> Explored:
    """Keep what was seen, and with how many events left: with more than before, a state is worth going on."""
    seen: dict[str, int] = {}
    first: Counter[int] = Counter()
    events: Counter[str] = Counter()
    with os.fdopen(asked) as questions:
        for line in questions:
            kind, verb, key, left = line.rstrip("\n").split("\t")
            if kind == "bad":
                raise Violation(key)
            new, worth = key not in seen, seen.get(key, -1) < int(left)
            if worth:
                seen[key] = int(left)
            first[depth - int(left)] += new
            events[verb] += 1
            os.write(tell, b"2" if new else b"1" if worth else b"0")
    states = tuple(first[at] for at in range(depth + 1))
    return Explored(depth=depth, states=states, histories=sum(events.values()), events=dict(events))


class _Explorer:
    """The part that runs in forked processes; none of its methods lets an exception out."""

    def __init__(self, ask: int, answers: int) -> None:
        self._ask = ask
        self._answers = answers

    def run(self, world: World, depth: int) -> NoReturn:
        """The first process: everything from the start."""
        self._guarded((), lambda: self._visit(world, (), depth))

    def _visit(self, world: World, history: tuple[Event, ...], left: int) -> None:
        verdict = self._question("state", history[-1][0] if history else "start", _digest(world.key()), left)
        if verdict == b"2":
            self._apart((*history, ("no more faults", -1, -1)), world.conclude)
        if verdict == b"0" or not left:
            return
        for event in filter(world.possible, all_events()):
            self._apart((*history, event), partial(self._follow, world, history, event, left - 1))

    def _follow(self, world: World, history: tuple[Event, ...], event: Event, left: int) -> None:
        world.happen(event)
        self._visit(world, (*history, event), left)

    def _apart(self, history: tuple[Event, ...], call: Callable[[], None]) -> None:
        """In a copy of the world; stop here when something was found there."""
        child = os.fork()
        if not child:
            self._guarded(history, call)
        if os.waitpid(child, 0)[1]:
            os._exit(1)

    def _guarded(self, history: tuple[Event, ...], call: Callable[[], None]) -> NoReturn:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  the outermost frame of a process
            text = f"{history}: {type(error).__name__}: {error}".replace("\n", " ").replace("\t", " ")
            os.write(self._ask, f"bad\t-\t{text[:3000]}\t0\n".encode())
            os._exit(1)
        os._exit(0)

    def _question(self, kind: str, verb: str, key: str, left: int) -> bytes:
        os.write(self._ask, f"{kind}\t{verb}\t{key}\t{left}\n".encode())
        return os.read(self._answers, 1)


def _digest(key: Key) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:32]
