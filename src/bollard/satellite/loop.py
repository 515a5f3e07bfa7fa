"""The reconcile loop: observe, diff, apply, report; keyed by resource, one pass a resource, many at once.

Level-triggered: a key says "look here again", never what to do. A pass may be cut at any await.
"""

import asyncio
import logging
from typing import Final

import msgspec

from bollard.domain.ids import Key, key_of
from bollard.domain.ports import Clock
from bollard.domain.seen import Problem
from bollard.domain.steps import ConfigureReplication, ExportPlain, RemoveBacking, ResizeReplication, Step
from bollard.domain.targets import Target, TargetDelta, TargetResource
from bollard.planning.diff import diff, fingerprint, finished
from bollard.satellite.apply import apply
from bollard.satellite.attaching import RETRY_S, Attaching
from bollard.satellite.board import Board
from bollard.satellite.engine_watch import EngineWatch
from bollard.satellite.files import FileKeeper, NoFiles
from bollard.satellite.host.base import Host, HostError
from bollard.satellite.idling import Idling
from bollard.satellite.keyed import KeyedWork
from bollard.satellite.looking import Looking
from bollard.satellite.lost_disks import LostDisks
from bollard.satellite.pools import PoolWatch
from bollard.satellite.rekeying import Rekeying
from bollard.satellite.sight import NOTHING, Sight, leftovers, local_of, problem_of, seen_of
from bollard.satellite.standstill import Standstill
from bollard.satellite.tools.drbd_status import busy
from bollard.satellite.verifying import Verifying
from bollard.satellite.wishes import Wishes

__all__ = ["Loop"]

RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 300.0
BUSY_PASSES_MAX: Final = 4
"""In a row, that are not told of as a problem."""
SWEEP_S: Final = 300.0
EVENTS_S: Final = 0.05
PROGRESS_S: Final = 1.0
REMOTE_S: Final = 10.0
ROUNDS: Final = 8
_log = logging.getLogger(__name__)


class Loop:
    """Work towards the newest target, with or without a controller. The disk is the state."""

    def __init__(
        self, host: Host, board: Board, clock: Clock, files: FileKeeper | NoFiles | None = None
    ) -> None:
        self._host = host
        self._files = files or NoFiles()
        self._board = board
        self._clock = clock
        self._wishes = Wishes()
        self._pools = PoolWatch(host, board, self._pool_mended)
        self._engine = EngineWatch(host.engine, clock, self._engine_changed)
        self._lost = LostDisks(clock.monotonic_s)
        self._looking = Looking(host, self._wishes, self._engine, self._lost)
        self._rekeying = Rekeying(host)
        self._verifying = Verifying(host.engine)
        self._idling = Idling(host, clock)
        self._attaching = Attaching(host, self._idling)
        self._standstill = Standstill(host, lambda: self._wishes.pools)
        self._work = KeyedWork(self._guarded)
        self._applied: dict[Key, str] = {}
        self._failures: dict[Key, int] = {}
        self._unseen: set[Key] = set()
        self._begun = asyncio.Event()
        self._surveyed = False
        self.passes = 0
        self.crashes = 0

    async def run(self) -> None:
        """Until cancelled; passes that run are cut."""
        watches = [self._pools.run(), self._engine.run(), self._survey(), self._idling.run()]
        if self._host.kernel is not None:
            watches.append(self._host.kernel.run(self._kernel_changed))
        jobs = [asyncio.create_task(job) for job in watches]
        try:
            await asyncio.gather(*jobs)
        finally:
            for job in jobs:
                job.cancel()
            await self._work.stop()
            await asyncio.gather(*jobs, return_exceptions=True)

    def take_full(self, target: Target) -> None:
        """This is all the node should hold."""
        self._took(*self._wishes.take_full(target))
        self._begun.set()

    def take_delta(self, delta: TargetDelta) -> bool:
        """Apply a change; False when its base is not what is here."""
        changes = self._wishes.take_delta(delta)
        if changes is not None:
            self._took(*changes)
        return changes is not None

    def _took(self, keys: list[Key], gone: list[TargetResource]) -> None:
        for target in gone:
            # With a tombstone it stays on the board until it is really gone.
            if not self._wishes.stones(target.key):
                self._board.drop_resource(target.name)
        self._board.keep_removed(self._wishes.stone_uuids())
        self._board.put_revision(self._wishes.revision or 0)
        if self._pools.pools != self._wishes.pools:
            self._pools.take(self._wishes.pools)
        for key in keys:
            self._failures.pop(key, None)
            self._wake(key)

    def _wake(self, key: Key, delay_s: float = 0.0) -> None:
        # Before the survey nothing runs: it wakes every name, with what it found at one go.
        if self._surveyed:
            self._work.wake(key, delay_s)

    def _engine_changed(self, key: Key | None) -> None:
        if key is None:
            self._applied.clear()
            self._attaching.engine_changed()
        for one in [key] if key is not None else self._wishes.keys():
            self._wake(one, RETRY_MIN_S if one in self._failures else EVENTS_S)

    def _kernel_changed(self, name: str | None) -> None:
        keys = self._wishes.keys() if name is None else [key_of(name)]
        for key in keys:
            if name is None or key in self._wishes.resources or self._wishes.stones(key):
                self._wake(key, RETRY_MIN_S if key in self._failures else EVENTS_S)

    def _pool_mended(self) -> None:
        self._lost.hope()
        for key in list(self._failures):
            self._wake(key)

    async def _survey(self) -> None:
        await self._begun.wait()
        while True:
            await self._pools.look()
            backings, unread = await self._pools.survey()
            if not self._surveyed:
                try:
                    await self._looking.prime(backings, unread)
                except HostError as error:
                    _log.warning("the data process cannot be asked yet: %s", error.cause or error.message)
                self._surveyed = True
                self._unseen = set(self._wishes.resources)
            try:
                await self._attaching.sweep()
            except HostError as error:
                _log.warning("dead block devices are not cleared away: %s", error.cause)
            for key in self._wishes.keys():  # noqa: SIM118  # not a mapping
                self._wake(key)
            left = leftovers(backings, self._wishes.volume_uuids())
            if left and left != self._board.leftovers:
                _log.warning("nothing names these volumes, they are left alone: %s", ", ".join(left))
            if not unread:
                self._board.put_leftovers(left)
            self._seen(None)
            await self._clock.sleep(SWEEP_S)

    async def _guarded(self, key: Key) -> None:
        """One pass, whatever happens in it; then its report, and when to look again."""
        self.passes += 1
        target = self._wishes.resources.get(key)
        revision = self._wishes.revisions.get(key, 0)
        sight, left, problem = NOTHING, True, None
        try:
            sight, left, problem = await self._pass(key)
            mine = target.files if target is not None else ()
            problem = await self._files.settle(self._wishes.files, mine) or problem
        except HostError as error:
            problem = error.problem()
            sight = await self._looking.without_storage(key)
        except Exception:  # noqa: BLE001  # the task's outermost frame
            self.crashes += 1
            _log.exception("the pass over %s failed; the others go on", key)
            problem = Problem(
                message=f"The satellite failed over '{key}'",
                correction="Report this with the satellite's log.",
                code="internal",
            )
        if self._wishes.resources.get(key) is target:
            self._report(key, target, sight, revision, problem, left=left)
        self._next(key, sight, problem, left=left)
        self._seen(key)

    async def _pass(self, key: Key) -> tuple[Sight, bool, Problem | None]:
        """What is seen at the end, whether something is left to do, and what stood in the way."""
        target, stones = self._wishes.resources.get(key), self._wishes.stones(key)
        name = self._wishes.name(key)
        sight = await self._looking.at(key)
        done: tuple[Step, ...] = ()
        problem: Problem | None = None
        for _ in range(ROUNDS):
            local = local_of(name, sight, self._applied.get(key, ""))
            for uuid in finished(stones, local):
                self._board.put_removed(uuid)
            steps = diff(target, stones, local)
            if not steps or steps == done:
                await self._verifying.advance(target, sight.status)
                await self._standstill.advance(key, target)
                await self._attaching.advance(key, target, sight)
                rekeyed = await self._rekeyed(target, sight)
                return sight, bool(steps), rekeyed or sight.problem or (problem if steps else None)
            changed, problem = False, None
            for step in steps:
                if self._wishes.resources.get(key) is not target or self._wishes.stones(key) != stones:
                    self._work.wake(key)
                    return sight, True, None
                _log.info("%s: %s", name, type(step).__name__)
                if isinstance(step, ConfigureReplication):
                    self._lost.tried(key)
                try:
                    # What an earlier step changed is looked at again by the step that needs it.
                    known = msgspec.structs.replace(sight, backings=()) if changed else sight
                    changed |= await apply(step, self._wishes.pools, known, self._host)
                except HostError as error:
                    if self._soon_free(key, step, error):
                        return await self._looking.at(key), True, None
                    problem = error.problem()
                    if isinstance(step, RemoveBacking):
                        # What cannot go yet keeps nothing else from being made.
                        continue
                    return await self._looking.at(key), True, problem
                if isinstance(step, ConfigureReplication | ExportPlain):
                    self._applied[key] = fingerprint(step.target)
            done = steps
            if changed:
                self._pools.wake()
                sight = await self._looking.at(key)
        return sight, True, problem

    def _soon_free(self, key: Key, step: Step, error: HostError) -> bool:
        """Whether nodes that change something at once are in each other's way: soon they are not."""
        busy = isinstance(step, ResizeReplication) and error.code == "engine-busy"
        return busy and self._failures.get(key, 0) < BUSY_PASSES_MAX

    async def _rekeyed(self, target: TargetResource | None, sight: Sight) -> Problem | None:
        """Change passphrases that are to be changed; what stood in the way."""
        try:
            await self._rekeying.advance(target, sight, self._wishes.pools)
        except HostError as error:
            return error.problem()
        return None

    def _report(
        self,
        key: Key,
        target: TargetResource | None,
        sight: Sight,
        revision: int,
        problem: Problem | None,
        *,
        left: bool,
    ) -> None:
        if problem is not None:
            _log.warning("%s: %s %s", self._wishes.name(key), problem.message, problem.cause)
        if target is not None:
            self._board.put_resource(
                seen_of(
                    target,
                    sight,
                    revision=revision,
                    settled=not left and problem is None,
                    nbd_socket=self._host.nbd_socket,
                    attached=self._attaching.seen(key),
                    verify=self._verifying.seen(target, sight.status),
                    snapshot=self._standstill.seen(target),
                    problem=problem,
                )
            )
            return
        stones = self._wishes.stones(key)
        if problem is not None and stones:
            self._board.put_resource(problem_of(stones[0], problem, self._board.revision))
        elif all(stone.resource_uuid in self._board.removed for stone in stones):
            self._board.drop_resource(key)

    def _next(self, key: Key, sight: Sight, problem: Problem | None, *, left: bool) -> None:
        target = self._wishes.resources.get(key)
        # No event tells of a connection to another node's volumes: it is looked at now and then.
        remote = target is not None and target.remote is not None
        if problem is not None or left:
            failures = self._failures[key] = self._failures.get(key, -1) + 1
            longest_s = REMOTE_S if remote else RETRY_MAX_S
            delay_s = min(longest_s, RETRY_MIN_S * 2 ** min(failures, 16))
            self._wake(key, max(RETRY_MIN_S, min(delay_s, self._lost.wait_s(key))))
            return
        self._failures.pop(key, None)
        if remote:
            self._wake(key, REMOTE_S)
        moves = sight.status is not None and busy(sight.status)
        if moves or self._verifying.pending(target, sight.status):
            self._wake(key, PROGRESS_S)
        elif self._attaching.seen(key).problems:
            self._wake(key, RETRY_S)

    def _seen(self, key: Key | None) -> None:
        if key is not None:
            self._unseen.discard(key)
        if self._surveyed and not self._unseen:
            self._board.filled.set()
