"""Carries out a node's part of a snapshot: stand still, keep what is there, go on, and say whether it held.

What was seen while everything stood still is kept in memory only: a satellite that restarts in between can
prove nothing and says so, and the snapshot is then given up.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bollard.domain.ids import Key, Uuid
from bollard.domain.layers import LayerKind, ReplicationKind
from bollard.domain.seen import Problem, SeenSnapshot
from bollard.domain.steps import DropSnapshot, TakeSnapshot
from bollard.domain.targets import SnapshotStage, TargetResource, TargetSnapshot
from bollard.satellite.apply import Pools, apply
from bollard.satellite.drivers import REPLICATION, Freeze, Suspends
from bollard.satellite.host.base import Host, HostError
from bollard.satellite.sight import NOTHING

__all__ = ["Standstill"]

_HOLD_BACK = frozenset({LayerKind.CACHE, LayerKind.WRITECACHE, LayerKind.BCACHE})
_ORDER = {stage: index for index, stage in enumerate(SnapshotStage)}


@dataclass
class _Run:
    """One snapshot on its way."""

    uuid: Uuid
    name: str
    layer: Suspends | None = None
    """What was told to stand still."""
    stage: SnapshotStage | None = None
    held: bool = True
    proof: Freeze | None = None
    """As it was when the first thing was kept: the same process must say the same at the end."""
    problem: Problem | None = None


class Standstill:
    """The snapshots of all resources that are being taken, by key."""

    def __init__(self, host: Host, pools: Callable[[], Pools]) -> None:
        self._host = host
        self._pools = pools
        self._runs: dict[Key, _Run] = {}

    async def advance(self, key: Key, target: TargetResource | None) -> None:
        """Answer the stage that the target names, once. What goes wrong is in the report, never raised."""
        wanted = target.snapshot if target is not None else None
        run = self._runs.get(key)
        if run is not None and (wanted is None or wanted.uuid != run.uuid):
            del self._runs[key]
            await self._release(run)
            run = None
        if target is None or wanted is None:
            return
        if run is None:
            run = self._runs[key] = _Run(wanted.uuid, target.name)
        if run.stage is not None and _ORDER[run.stage] >= _ORDER[wanted.stage]:
            return
        try:
            await self._answer(run, target, wanted)
        except HostError as error:
            run.held, run.problem = False, error.problem()
        run.stage = wanted.stage

    def seen(self, target: TargetResource) -> SeenSnapshot | None:
        """The report; None when no snapshot is asked for, or nothing of it was answered yet."""
        run = self._runs.get(target.key)
        if run is None or run.stage is None or target.snapshot is None or run.uuid != target.snapshot.uuid:
            return None
        return SeenSnapshot(run.uuid, run.stage, run.held, run.problem)

    async def _answer(self, run: _Run, target: TargetResource, wanted: TargetSnapshot) -> None:
        layer = _layer_of(target)
        if not isinstance(layer, Suspends):
            raise HostError(
                f"'{target.name}' cannot stand still here",
                code="snapshots-not-supported",
                cause="What replicates it on this node cannot hold its input and output.",
                name=target.name,
            )
        match wanted.stage:
            case SnapshotStage.FREEZE:
                run.layer = layer
                state = await layer.freeze(target.name, run.uuid, wanted.deadline_ms, self._host)
                run.held = state.held
            case SnapshotStage.TAKE:
                run.held = run.held and run.stage is not None
                if run.held:
                    await self._take(run, layer, target, wanted)
            case SnapshotStage.PROVE:
                state = await layer.freeze(target.name, run.uuid, wanted.deadline_ms, self._host)
                run.held = run.held and run.proof is not None and _same(run.proof, state)
            case SnapshotStage.THAW:
                await layer.thaw(target.name, run.uuid, self._host)

    async def _take(self, run: _Run, layer: Suspends, target: TargetResource, wanted: TargetSnapshot) -> None:
        before = await layer.freeze(target.name, run.uuid, wanted.deadline_ms, self._host)
        if not before.held:
            run.held = False
            return
        for volume in target.volumes:
            if volume.number not in wanted.numbers:
                continue
            place = (target.name, volume.pool, volume.number)
            # What an earlier attempt of another process left under this mark was not taken now.
            await apply(DropSnapshot(*place, run.uuid), self._pools(), NOTHING, self._host)
            take = TakeSnapshot(*place, volume.uuid, wanted.name, run.uuid, options=volume.storage)
            await apply(take, self._pools(), NOTHING, self._host)
        after = await layer.freeze(target.name, run.uuid, wanted.deadline_ms, self._host)
        run.proof, run.held = before, _same(before, after)

    async def _release(self, run: _Run) -> None:
        """Given up: nobody waits for this any more. If nothing can be asked now, the deadline does it."""
        if run.stage is SnapshotStage.THAW or run.layer is None:
            return
        try:
            await run.layer.thaw(run.name, run.uuid, self._host)
        except HostError:
            return


class _Unserved:
    """A volume that is used as the block device it is: its storage alone keeps it at one instant."""

    async def freeze(self, _name: str, _token: str, _deadline_ms: int, _host: Host) -> Freeze:
        return Freeze(held=True)

    async def thaw(self, _name: str, _token: str, _host: Host) -> Freeze:
        return Freeze(held=True)


def _layer_of(target: TargetResource) -> object:
    """What makes the resource stand still. HostError where its storage does not have all of its data."""
    held_back = {layer.kind for volume in target.volumes for layer in volume.layers} & _HOLD_BACK
    if held_back:
        raise HostError(
            f"'{target.name}' cannot be kept in a snapshot",
            code="snapshots-not-supported",
            cause=f"Its {', '.join(sorted(held_back))} layer holds data that its storage does not have yet.",
            name=target.name,
        )
    if target.replication is not None:
        return REPLICATION[target.replication.implementation]
    if target.remote is not None:
        return _Unserved()
    devices = [volume.device for volume in target.volumes]
    if not devices or not all(devices):
        return REPLICATION[ReplicationKind.USER]
    if len(devices) == 1:
        return _Unserved()
    raise HostError(
        f"'{target.name}' cannot be kept in a snapshot",
        code="snapshots-not-supported",
        cause="Its volumes are plain block devices, and nothing can hold them all at one instant.",
        correction="Put the DRBD layer above them, or give each volume a resource of its own.",
        name=target.name,
    )


def _same(before: Freeze, after: Freeze) -> bool:
    return after.held and (before.changes, before.instance) == (after.changes, after.instance)
