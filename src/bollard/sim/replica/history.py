"""One random history: clients write, nodes crash, cables are cut and mended; then everything must agree.

`run_history(seed, steps)` raises Violation, or tells what happened.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.config import QUORUM_MAJORITY, OnIoError, OnNoQuorum, Options
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role
from bollard.sim.replica.bad_blocks import repair, spoil
from bollard.sim.replica.cluster import Cluster, SimNode
from bollard.sim.replica.kind import Kind
from bollard.sim.replica.oracle import BLOCK, Oracle, Violation, Write

VOLUME_BYTES = 16 << 20
_HOT_BLOCKS = 48


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a history did."""

    seed: int
    steps: int
    acknowledged: int
    failed: int
    reads: int
    promotions: int
    crashes: int
    cuts: int
    resynced_bytes: int


class Session:
    """A client on one node, until it moves on. `number` grows with each move."""

    def __init__(self, node: int, boot: int, number: int) -> None:
        self.node = node
        self.boot = boot
        self.number = number
        self.open = False
        self.acknowledged = False
        self.outlived_by: int | None = None  # a former session's node, that acknowledged after we began


class History:
    """The world of one seed."""

    def __init__(self, seed: int, kind: Kind) -> None:
        self.kind = kind
        self.random = Random(seed ^ 0x5EED)  # noqa: S311  repeatable on purpose
        self.seed = seed
        fixed = {
            "csums_after_crash_only": seed % 2 == 0,
            "on_io_error": OnIoError.PASS_ON if kind.bad_blocks else OnIoError.DETACH,
        }
        self.options = msgspec.structs.replace(default_options(self.random), **(fixed | kind.options))
        self.cluster = Cluster(
            seed,
            self.options,
            diskful=kind.diskful,
            witnesses=kind.witnesses,
            volume_bytes=VOLUME_BYTES,
            short_way=kind.short_way,
            external=kind.external,
        )
        self.diskful = range(kind.diskful)
        self.oracle = Oracle()
        self.session: Session | None = None
        self.sessions = 0
        self.promotions = self.crashes = self.cuts = self.failed = 0
        self._requests: dict[int, Callable[[a.Complete], None]] = {}
        self._next_request = 0
        self._busy_blocks: set[int] = set()
        self.cluster.on_complete = self._completed
        self._disks: dict[tuple[int, int], DiskState] = {}
        if kind.diskful > 2:
            self.cluster.on_step = self._watch_disk
        spread = VOLUME_BYTES // BLOCK // _HOT_BLOCKS
        self.blocks = [index * spread + self.random.randrange(spread) for index in range(_HOT_BLOCKS)]

    # -- the client

    def _completed(self, _node: int, action: a.Complete) -> None:
        handler = self._requests.pop(action.request, None)
        if handler is not None:
            handler(action)

    def _request(
        self, session: Session, handler: Callable[[a.Complete], None], event: Callable[[int], e.Request]
    ) -> None:
        if self.cluster.nodes[session.node].boot != session.boot:
            return
        self._next_request += 1
        number = self._next_request
        self._requests[number] = handler
        self.cluster.deliver(session.node, event(number))

    def write(self, session: Session, block: int, *, fua: bool) -> None:
        """One block; never two writes of a block at once."""
        if block in self._busy_blocks or self.cluster.nodes[session.node].boot != session.boot:
            return
        self._busy_blocks.add(block)
        write, data = self.oracle.submit(block)

        def done(action: a.Complete) -> None:
            self._busy_blocks.discard(block)
            if action.errno:
                self.failed += 1
                return
            self._acknowledged(session, block, write, durable=fua)

        self._request(
            session, done, lambda number: e.Request(0, number, e.Verb.WRITE, block * BLOCK, BLOCK, data, fua)
        )

    def _acknowledged(self, session: Session, block: int, write: Write, *, durable: bool) -> None:
        self._one_at_a_time(session, write)
        node = self.cluster.nodes[session.node]
        assert node.resource is not None
        holders = {}
        if node.resource.core.volumes[0].disk == DiskState.UP_TO_DATE:
            holders[session.node] = node.crashes
        for peer in node.resource.core.peers.values():
            device = peer.devices[0]
            other = self.cluster.nodes[peer.node_id].resource
            holds = other is not None and other.core.volumes[0].disk == DiskState.UP_TO_DATE
            if holds and peer.connected and device.disk == DiskState.UP_TO_DATE:
                holders[peer.node_id] = self.cluster.nodes[peer.node_id].crashes
        self.oracle.acknowledged(write, holders)
        if durable:
            self.oracle.flush_ended({block: self.oracle.flush_begins()[block]})

    def _one_at_a_time(self, session: Session, write: Write) -> None:
        """Of two sessions that overlap, one at most acknowledges: what a Primary that was cut off still holds
        may be acknowledged when it is given quorum again, while its successor never wrote and lost quorum.
        """
        current, number = self.session, write.number
        if session.outlived_by is not None:
            raise Violation(f"nodes {session.outlived_by} and {session.node} acknowledged: last {number}")
        session.acknowledged = True
        if current is not None and current.node != session.node and current.open:
            if current.acknowledged:
                raise Violation(f"node {session.node} acknowledged {number} after node {current.node} did")
            current.outlived_by = session.node

    def read(self, session: Session, block: int) -> None:
        """Read a block nobody is writing, and compare."""
        if block in self._busy_blocks:
            return
        newest = self.oracle.newest(block)

        def done(action: a.Complete) -> None:
            overtaken = self.oracle.newest(block) != newest
            if action.errno or self.session is not session or overtaken:
                return
            self.oracle.check(block, bytes(action.data), self.crash_counts(), f"read on node {session.node}")

        self._request(session, done, lambda number: e.Request(0, number, e.Verb.READ, block * BLOCK, BLOCK))

    def flush(self, session: Session) -> None:
        covered = self.oracle.flush_begins()

        def done(action: a.Complete) -> None:
            if not action.errno:
                self.oracle.flush_ended(covered)

        self._request(session, done, lambda number: e.Request(0, number, e.Verb.FLUSH))

    def crash_counts(self) -> dict[int, int]:
        return {node.node_id: node.crashes for node in self.cluster.nodes}

    def move(self, node: int) -> None:
        """The client leaves its node (which may not notice) and opens the volume on another one."""
        cluster = self.cluster
        old = self.session
        if old is not None and cluster.nodes[old.node].boot == old.boot and self.random.random() < 0.8:
            cluster.command(old.node, lambda tag: e.Demote(tag, force=True))
            cluster.run(self.random.random() * 0.05)
        if old is not None and old.node == node and cluster.alive(node) and old.open:
            resource = cluster.nodes[node].resource
            if (
                cluster.nodes[node].boot == old.boot
                and resource is not None
                and resource.core.role is Role.PRIMARY
            ):
                return
        self._abandon()
        if not cluster.alive(node):
            return
        self.sessions += 1
        session = Session(node, cluster.nodes[node].boot, self.sessions)
        self.session = session
        tag = cluster.command(node, e.Promote)
        cluster.run_until(lambda: tag in cluster.answers or not cluster.alive(node), 4.0)
        answer = cluster.answers.get(tag)
        if answer is not None and answer.code is a.Code.OK:
            session.open = True
            self.promotions += 1
            self._left_out(cluster.nodes[node])
        else:
            self.session = None

    def _watch_disk(self, node: SimNode) -> None:
        """A copy that was in doubt is trusted: it decides without those that it misses."""
        if node.resource is None:
            return
        key, disk = (node.node_id, node.boot), node.resource.core.volumes[0].disk
        if self._disks.get(key) is DiskState.CONSISTENT and disk is DiskState.UP_TO_DATE:
            self._left_out(node)
        self._disks[key] = disk

    def _left_out(self, node: SimNode) -> None:
        """Of three and more copies, those that such a node does not reach may lose what was not flushed.

        That they are cut off is one loss, and that the others restarted is a second one.
        """
        if len(self.diskful) < 3 or node.resource is None:
            return
        for peer in node.resource.core.peers.values():
            if not peer.connected:
                self.cluster.nodes[peer.node_id].crashes += 1

    def _abandon(self) -> None:
        """Writes of the old session may or may not happen; their blocks are free for the next one."""
        self.session = None
        self._busy_blocks.clear()

    # -- the world

    def crash(self, node: int) -> None:
        if self.cluster.alive(node):
            self.crashes += 1
            self.cluster.crash(node)
            if self.session is not None and self.session.node == node:
                self._abandon()

    def lose_disk(self, node: int) -> None:
        """A disk dies, but only while the other nodes hold everything."""
        disks = [other.disk for other in self.cluster.nodes if other.disk is not None]
        if not self.healthy() or any(other.failing for other in disks):
            return
        self.cluster.note(f"disk of {node} fails")
        disk = self.cluster.nodes[node].disk
        assert disk is not None
        disk.failing = True
        self.cluster.nodes[node].crashes += 1
        # Found out at once: a disk that fails unnoticed while the other node is away is a double fault.
        if self.session is not None and self.session.open and self.session.node == node:
            self.write(self.session, self.random.choice(self.blocks), fua=False)
        else:
            self.cluster.command(node, lambda tag: e.Detach(tag, 0, force=True))

    def new_disk(self, node: int) -> None:
        disk = self.cluster.nodes[node].disk
        if disk is not None and disk.failing and self.cluster.alive(node):
            self.cluster.replace_disk(node)

    def disk_step(self) -> None:
        """Something about one disk, or a clean stop."""
        random, cluster = self.random, self.cluster
        node = random.choice(list(self.diskful))
        kind = random.random()
        if kind < 0.3:
            self.lose_disk(node)
        elif kind < 0.6:
            self.new_disk(node)
        elif kind < 0.7 and self.healthy():
            cluster.note(f"detach {node}")
            tag = cluster.command(node, lambda tag: e.Detach(tag, 0))
            cluster.run_until(lambda: tag in cluster.answers or not cluster.alive(node), 5.0)
            # A survivor that was detached counts as little as one that restarted: the last writer wins.
            cluster.nodes[node].crashes += 1
        elif kind < 0.9:
            cluster.command(node, lambda tag: e.Attach(tag, 0))
        elif self.session is None or self.session.node != node:
            cluster.note(f"stop {node}")
            tag = cluster.command(node, e.Stop)
            cluster.run_until(lambda: tag in cluster.answers, 5.0)
            cluster.crash(node)

    def step(self) -> None:
        """One random thing, then some time."""
        random, cluster = self.random, self.cluster
        session = self.session
        choice = random.random()
        if self.kind.bad_blocks and random.random() < 0.2:
            (spoil if random.random() < 0.6 else repair)(self)
        if self.kind.disk_faults and random.random() < 0.15:
            self.disk_step()
        if session is not None and session.open and choice < 0.55:
            for _ in range(random.randrange(1, 9)):
                self.write(session, random.choice(self.blocks), fua=random.random() < 0.1)
            if random.random() < 0.3:
                self.flush(session)
        elif session is not None and session.open and choice < 0.7:
            for _ in range(4):
                self.read(session, random.choice(self.blocks))
        elif session is None or choice < 0.76:
            self.move(random.choice(list(self.diskful)))
        elif choice < 0.84:
            self.crash(random.randrange(len(cluster.nodes)))
        elif choice < 0.92:
            one, other = random.sample(range(len(cluster.nodes)), 2)
            self.cuts += 1
            cluster.note(f"cut {one}-{other}")
            cluster.network.cut(one, other, silent=random.random() < 0.5)
        elif choice < 0.94:
            alone = random.randrange(len(cluster.nodes))
            cluster.note(f"isolate {alone}")
            for other in range(len(cluster.nodes)):
                if other != alone:
                    self.cuts += 1
                    cluster.network.cut(alone, other, silent=random.random() < 0.7)
        else:
            self.mend()
        cluster.run(random.choice((0.001, 0.004, 0.02, 0.1, 0.5, 3.0)))

    def mend(self) -> None:
        """Restart a node or mend a cable."""
        cluster = self.cluster
        down = [node.node_id for node in cluster.nodes if node.resource is None]
        if down and self.random.random() < 0.7:
            self.boot(self.random.choice(down))
        elif cluster.network.cuts:
            cluster.network.heal(*self.random.choice(sorted(cluster.network.cuts)))

    def boot(self, node: int) -> None:
        self.cluster.note(f"boot {node}")
        self.cluster.start(node)

    # -- the end

    def settle(self) -> None:
        """No more faults: all nodes come together and hold the same."""
        cluster = self.cluster
        cluster.note("settle")
        for pair in sorted(cluster.network.cuts):
            cluster.network.heal(*pair)
        for node in cluster.nodes:
            if node.resource is None:
                self.boot(node.node_id)
        cluster.run(5.0)
        for number in self.diskful:
            disk = cluster.nodes[number].disk
            if disk is not None and disk.failing:
                self.new_disk(number)
            else:
                cluster.command(number, lambda tag: e.Attach(tag, 0))
        cluster.run(15.0)
        repair(self)
        for node in cluster.nodes:
            if node.resource is not None and node.resource.core.role is Role.PRIMARY:
                cluster.command(node.node_id, lambda tag: e.Demote(tag, force=True))
        self._abandon()
        if not cluster.run_until(self.healthy, 60.0):
            raise Violation(f"the nodes did not come together: {self.describe()}")
        cluster.run(1.0)
        self._compare_disks()
        self.move(self.random.choice(list(self.diskful)))
        session = self.session
        if session is None:
            raise Violation(f"no node can be promoted in the end: {self.describe()}")
        for block in self.oracle.blocks:
            self.read(session, block)
        cluster.run(2.0)
        if any(handler for handler in self._requests.values()) and self._unanswered(session):
            raise Violation("requests are never answered")

    def _unanswered(self, session: Session) -> bool:
        resource = self.cluster.nodes[session.node].resource
        return resource is not None and (resource.core.running_writes > 0 or bool(resource.core.held))

    def healthy(self) -> bool:
        """Everybody is connected to everybody, every disk is UpToDate, and no bit says otherwise."""
        for node in self.cluster.nodes:
            if node.resource is None:
                return False
            core = node.resource.core
            if node.disk is not None and core.volumes[0].disk != DiskState.UP_TO_DATE:
                return False
            for peer in core.peers.values():
                if not peer.connected or peer.devices[0].repl != ReplState.ESTABLISHED:
                    return False
                bitmap, slot = core.volumes[0].bitmap, peer.devices[0].slot
                if len(self.diskful) > 2 and bitmap is not None and slot >= 0 and bitmap.count(slot):
                    return False
        return True

    def describe(self) -> str:
        parts = []
        for node in self.cluster.nodes:
            if node.resource is None:
                parts.append(f"n{node.node_id} down")
                continue
            core = node.resource.core
            volume = core.volumes[0]
            links = ", ".join(
                f"n{peer.node_id}:{ConnState(peer.cstate).name}/{peer.devices[0].repl.name}/{peer.devices[0].disk.name}"
                for peer in core.peers.values()
            )
            parts.append(
                f"n{node.node_id} {core.role.name} {volume.disk.name} quorum={volume.quorum} [{links}]"
            )
        return "; ".join(parts)

    def _compare_disks(self) -> None:
        disks = [self.cluster.nodes[node].disk for node in self.diskful]
        first = disks[0]
        assert first is not None
        last = VOLUME_BYTES // BLOCK
        for other in disks[1:]:
            assert other is not None
            touched = set(first.durable) | set(first.cache) | set(other.durable) | set(other.cache)
            for block in sorted(touched):
                if block < last and first.read(block * BLOCK, BLOCK) != other.read(block * BLOCK, BLOCK):
                    raise Violation(f"block {block} differs between connected, UpToDate nodes")


def default_options(random: Random) -> Options:
    """The settings of a cluster with two disks and a tiebreaker, with short times."""
    return Options(
        quorum=QUORUM_MAJORITY,
        on_no_quorum=random.choice((OnNoQuorum.SUSPEND_IO, OnNoQuorum.IO_ERROR)),
        ping_interval_s=2.0,
        ping_timeout_s=0.5,
        twopc_timeout_s=5.0,
        al_extents=random.choice((2, 3, 64)),
        resync_request_bytes=random.choice((4096, 1 << 16, 1 << 18, 1 << 18)),
        max_epoch_size=random.choice((4, 2048)),
    )


def run_history(seed: int, steps: int = 60, *, trace: bool = False, **kind: Any) -> Report:
    """One history of so many random steps, in a world of that `Kind`.

    Raises Violation with the last lines of the trace.
    """
    history = History(seed, Kind(**kind))
    history.cluster.tracing = trace
    try:
        for node in history.cluster.nodes:
            history.boot(node.node_id)
        history.cluster.run(3.0)
        for _ in range(steps):
            history.step()
        history.settle()
    except Violation as violation:
        if trace:
            raise
        tail = "\n".join(history.cluster.trace[-30:])
        raise Violation(f"seed {seed}, {steps} steps: {violation}\n{tail}") from violation
    resynced = sum(
        device.last_resync_bytes
        for node in history.cluster.nodes
        if node.resource is not None
        for peer in node.resource.core.peers.values()
        for device in peer.devices.values()
    )
    return Report(
        seed=seed,
        steps=steps,
        acknowledged=history.oracle.acks,
        failed=history.failed,
        reads=history.oracle.reads,
        promotions=history.promotions,
        crashes=history.crashes,
        cuts=history.cuts,
        resynced_bytes=resynced,
    )
