"""A small cluster for tests of planning: nodes follow decisions by real plans on pretended disks."""

from collections.abc import Iterable

import msgspec

from bollard.domain import commands as c
from bollard.domain.answers import Decision
from bollard.domain.cluster import Cluster, Put
from bollard.domain.ids import Key, SnapshotName, Uuid, key_of
from bollard.domain.layers import LayerKind, ProviderKind, ReplicationKind
from bollard.domain.local import Local, LocalBacking, LocalEngine, LocalExport, LocalLayer, LocalSnapshot
from bollard.domain.observed import Observed
from bollard.domain.resources import Resource, Tombstone
from bollard.domain.seen import (
    Capabilities,
    Observation,
    SeenPeer,
    SeenPeerVolume,
    SeenPool,
    SeenResource,
    SeenSnapshot,
    SeenVolume,
)
from bollard.domain.snapshots import SnapshotDefinition, SnapshotOnNode
from bollard.domain.steps import (
    ConfigureReplication,
    Connect,
    CreateBacking,
    CreateMetadata,
    DropSnapshot,
    ExportPlain,
    GrowBacking,
    GrowLayers,
    LowerLayers,
    MakeFileSystem,
    RaiseLayers,
    RemoveBacking,
    RemoveExport,
    RemoveReplication,
    ResizeReplication,
    RestoreBacking,
    ShrinkBacking,
    Step,
    TakeSnapshot,
)
from bollard.domain.targets import SnapshotStage, TargetResource, TargetVolume
from bollard.planning.bootstrap import initial_records
from bollard.planning.decide import decide
from bollard.planning.diff import diff, fingerprint, finished
from bollard.planning.targets import target_for
from bollard.planning.world import World

GIB = 1024 * 1024
CAPABLE = Capabilities(
    version="test",
    providers=(ProviderKind.DISKLESS, ProviderKind.FILE, ProviderKind.FILE_THIN),
    layers=(LayerKind.DRBD, LayerKind.STORAGE),
)


class CountingDraw:
    """Ids in order: the first is 1."""

    def __init__(self) -> None:
        self.count = 0

    def uuid(self) -> Uuid:
        self.count += 1
        return Uuid(f"00000000-0000-4000-8000-{self.count:012x}")

    def hex16(self) -> str:
        self.count += 1
        return f"{self.count:016X}"

    def secret(self) -> str:
        self.count += 1
        return f"secret-{self.count:013d}"


class Machine:
    """The disks and engines of one node, changed only by steps."""

    def __init__(self) -> None:
        self.locals: dict[Key, Local] = {}
        self.complete: set[Uuid] = set()
        """Backings that hold all data."""
        self.contents: dict[Uuid, str] = {}
        """What is on backings and, by uuid and number, in snapshots; absent: zeroes."""
        self.cannot_hold = False
        """Whether it fails to stand still."""

    def local(self, name: str) -> Local:
        return self.locals.get(key_of(name), Local(name=name))  # type: ignore[arg-type]

    def carry_out(self, name: str, steps: Iterable[Step]) -> None:
        for step in steps:
            self.locals[key_of(name)] = carried_out(self.local(name), step)
            if isinstance(step, RestoreBacking):
                kept = Uuid(f"{step.snapshot_uuid}/{step.number}")
                assert kept in self.contents, "restored from nothing"
                self.contents[step.volume_uuid] = self.contents[kept]
            if isinstance(step, TakeSnapshot):
                content = self.contents.get(step.volume_uuid, "")
                self.contents[Uuid(f"{step.snapshot_uuid}/{step.number}")] = content
            if isinstance(step, CreateMetadata) and step.current_gi is not None:
                self.complete.add(step.volume_uuid)


def _volume_of(step: RaiseLayers | GrowLayers | MakeFileSystem) -> TargetVolume:
    return next(one for one in step.target.volumes if one.number == step.number)


COMPANION_POOL = "fast"
"""Companions carry the mark of their volume with `-c` behind it."""


def _kept(local: Local, step: TakeSnapshot | DropSnapshot | Connect) -> Local:
    if isinstance(step, Connect):
        return msgspec.structs.replace(local, engine=_connected(step.target))
    if isinstance(step, TakeSnapshot):
        assert any(one.volume_uuid == step.volume_uuid for one in local.backings), "a snapshot of nothing"
        taken = LocalSnapshot(step.pool, step.number, step.snapshot_uuid)
        return msgspec.structs.replace(local, snapshots=(*local.snapshots, taken))
    mark = (step.snapshot_uuid, step.number)
    rest = tuple(one for one in local.snapshots if (one.snapshot_uuid, one.number) != mark)
    assert rest != local.snapshots, "dropped what is not there"
    return msgspec.structs.replace(local, snapshots=rest)


def carried_out(local: Local, step: Step) -> Local:
    """What is there after a step; asserts what a real machine would refuse or regret."""
    if isinstance(step, TakeSnapshot | DropSnapshot | Connect):
        return _kept(local, step)
    backings = {backing.volume_uuid: backing for backing in local.backings}
    engine = local.engine
    served = {export.volume_uuid for export in engine.volumes} if engine is not None else set()
    match step:
        case CreateBacking() | RestoreBacking():
            assert step.volume_uuid not in backings, "created twice"
            backings[step.volume_uuid] = LocalBacking(step.pool, step.number, step.volume_uuid, step.size_kib)
        case GrowBacking() | ShrinkBacking():
            old = backings[step.volume_uuid]
            grows = isinstance(step, GrowBacking)
            assert (step.size_kib > old.size_kib) is grows, "wrong direction"
            assert grows or not old.metadata, "shrunk under its metadata"
            backings[step.volume_uuid] = msgspec.structs.replace(old, size_kib=step.size_kib)
        case RemoveBacking():
            assert step.volume_uuid not in served, "removed while it is served"
            assert not backings[step.volume_uuid].layers, "removed under its layers"
            user = backings.get(Uuid(step.volume_uuid.removesuffix("-c")))
            assert user is None or not user.layers, "removed beside its user"
            del backings[step.volume_uuid]
        case CreateMetadata():
            old = backings[step.volume_uuid]
            assert not old.metadata, "metadata over metadata"
            assert len(old.made) == len(old.layers), "metadata under a layer"
            assert step.volume_uuid not in served, "metadata under a running engine"
            backings[step.volume_uuid] = msgspec.structs.replace(old, metadata=True)
        case RaiseLayers() | GrowLayers():
            volume = _volume_of(step)
            old = backings[volume.uuid]
            assert all(layer.companion_uuid in backings for layer in volume.layers if layer.companion_uuid)
            layers = _opened(volume)
            assert volume.gross_kib is not None
            assert old.size_kib >= volume.gross_kib, "layers larger than their storage"
            assert isinstance(step, RaiseLayers) or len(old.layers) == len(layers), "grown while closed"
            made = tuple(layer.kind for layer in layers)
            backings[volume.uuid] = msgspec.structs.replace(old, layers=layers, made=made, active=True)
        case MakeFileSystem():
            old = backings[_volume_of(step).uuid]
            assert not old.filesystem, "a file system over another"
            backings[old.volume_uuid] = msgspec.structs.replace(old, filesystem=True)
        case LowerLayers():
            old = backings[step.volume_uuid]
            assert step.volume_uuid not in served, "closed while it is served"
            backings[step.volume_uuid] = msgspec.structs.replace(old, layers=(), active=not old.block)
        case ConfigureReplication() | ExportPlain():
            engine = _configured(
                step.target, backings, engine, replicated=isinstance(step, ConfigureReplication)
            )
        case ResizeReplication():
            assert engine is not None, "resized while it is not running"
            assert any(export.number == step.number for export in engine.volumes)
            exports = tuple(
                msgspec.structs.replace(export, size_kib=step.size_kib)
                if export.number == step.number
                else export
                for export in engine.volumes
            )
            for export in exports:
                if export.volume_uuid is not None:
                    assert backings[export.volume_uuid].size_kib >= export.size_kib, "larger than its disk"
            engine = msgspec.structs.replace(engine, volumes=exports)
        case RemoveReplication() | RemoveExport():
            assert engine is not None
            assert engine.uuid == step.uuid
            engine = None
    ordered = tuple(sorted(backings.values(), key=lambda backing: backing.volume_uuid))
    return Local(local.name, ordered, engine=engine, snapshots=local.snapshots)


def _opened(volume: TargetVolume) -> tuple[LocalLayer, ...]:
    return tuple(
        LocalLayer(one.kind, one.size_kib, one.fabric.shown if one.fabric is not None else "")
        for one in volume.layers
    )


def _connected(target: TargetResource) -> LocalEngine:
    assert target.remote is not None
    assert target.remote.address, "connected to nobody"
    exports = tuple(LocalExport(one.number, None, one.size_kib) for one in target.volumes)
    shown = target.remote.shown
    return LocalEngine(target.uuid, False, shown, exports, implementation=ReplicationKind.NVME)


def _configured(
    target: TargetResource,
    backings: dict[Uuid, LocalBacking],
    engine: LocalEngine | None,
    *,
    replicated: bool,
) -> LocalEngine:
    assert engine is None or engine.uuid == target.uuid, "another life is still running"
    now = {export.number: export for export in engine.volumes} if engine is not None else {}
    exports = []
    for volume in target.volumes:
        backing = backings.get(volume.uuid) if volume.gross_kib is not None else None
        if volume.gross_kib is not None:
            assert backing is not None, "configured without its disk"
            assert backing.metadata or not replicated, "configured without metadata"
            assert backing.size_kib >= volume.size_kib, "larger than its disk"
        before = now.get(volume.number)
        same = before is not None and before.volume_uuid == (volume.uuid if backing is not None else None)
        size = before.size_kib if before is not None and same and replicated else volume.size_kib
        exports.append(LocalExport(volume.number, volume.uuid if backing is not None else None, size))
    replication = target.replication
    return LocalEngine(
        target.uuid,
        replicated,
        fingerprint(target),
        tuple(exports),
        replication.implementation if replication is not None else ReplicationKind.USER,
    )


class Lab:
    """A controller's decisions and its nodes, all in one place."""

    def __init__(self, nodes: int = 3, *, free_kib: int = 100 * GIB, pool: str = "thin") -> None:
        self.draw = CountingDraw()
        self.cluster = Cluster(initial_records(self.draw))
        self.observed = Observed()
        self.now_ms = 1_000_000
        self.machines: dict[Key, Machine] = {}
        self.roles: dict[tuple[Key, Key], str] = {}
        self._unreached: set[Key] = set()
        for number in range(1, nodes + 1):
            self.add_node(f"n{number}", f"10.0.{number // 250}.{number % 250 + 1}")
            self.add_pool(f"n{number}", pool, free_kib=free_kib - number)

    @property
    def world(self) -> World:
        return World(self.cluster, self.observed, self.now_ms, self.draw)

    def run(self, command: c.Command) -> Decision:
        """Decide and apply, as the controller does."""
        decision = decide(command, self.world)
        if decision.changes:
            self.cluster.apply(decision.changes)
        return decision

    def add_node(self, name: str, address: str, **props: str) -> None:
        net_if = c.NewNetInterface(
            name="default", address=address, satellite_port=3366, satellite_encryption="PLAIN"
        )
        self.run(c.CreateNode(name=name, net_interfaces=(net_if,), props=props))
        self.machines[key_of(name)] = Machine()
        self.online(name)

    def online(self, name: str, *, capabilities: Capabilities = CAPABLE) -> None:
        seen = self.observed.node(name)
        seen.status = "ONLINE"
        seen.since_ms = self.now_ms
        seen.capabilities = capabilities

    def offline(self, name: str) -> None:
        self.observed.node(name).status = "OFFLINE"
        self.observed.node(name).since_ms = self.now_ms

    def add_pool(
        self, node: str, name: str, *, provider: str = "FILE_THIN", free_kib: int = 100 * GIB
    ) -> None:
        place = {"StorDriver/StorPoolName": f"/srv/{name}"}
        self.run(c.CreatePool(node=node, name=name, provider=provider, props=place))
        self.see_pool(node, name, free_kib=free_kib)

    def see_pool(self, node: str, name: str, *, free_kib: int, total_kib: int | None = None) -> None:
        pool = self.cluster.pool(node, name)
        assert pool is not None
        seen = SeenPool(pool.name, pool.uuid, free_kib, total_kib or free_kib, supports_snapshots=True)
        self.observed.node(node).pools[key_of(name)] = seen

    def follow(self, *, only: str | None = None) -> None:
        """Every node that is online plans, carries out and reports."""
        for key, machine in self.machines.items():
            node = self.cluster.nodes.get(key)
            if node is None or not self.observed.node(key).online or (only and key != key_of(only)):
                continue
            self._follow(node.name, machine)

    def _follow(self, node: str, machine: Machine) -> None:
        target = target_for(node, self.cluster)
        wanted = {resource.key: resource for resource in target.resources}
        stones: dict[Key, list[Tombstone]] = {}
        for stone in target.tombstones:
            stones.setdefault(key_of(stone.definition), []).append(stone)
        removed: list[Uuid] = []
        for key in sorted({*wanted, *stones, *machine.locals}):
            name = wanted[key].name if key in wanted else key
            mine = stones.get(key, [])
            machine.carry_out(name, diff(wanted.get(key), mine, machine.local(name)))
            assert diff(wanted.get(key), mine, machine.local(name)) == ()
            removed += finished(mine, machine.local(name))
        seen = tuple(self._seen(resource, machine, target.revision) for resource in target.resources)
        self.observed.take(
            Observation(
                node=target.node,
                complete=False,
                revision=target.revision,
                resources=seen,
                removed=tuple(removed),
            ),
            self.now_ms,
        )
        known = {resource.key for resource in target.resources}
        for key in set(self.observed.node(node).resources) - known:
            del self.observed.node(node).resources[key]

    def _seen(self, target: TargetResource, machine: Machine, revision: int) -> SeenResource:
        role = self.roles.get((target.key, key_of(self._node_of(target))), "Secondary")
        volumes = tuple(
            SeenVolume(
                number=volume.number,
                size_kib=volume.size_kib,
                disk_state=self._disk_state(
                    target, volume.uuid, machine, diskful=volume.gross_kib is not None
                ),
            )
            for volume in target.volumes
        )
        peers = tuple(
            SeenPeer(
                peer.node,
                self._connection(peer.node),
                volumes=tuple(SeenPeerVolume(v.number) for v in target.volumes),
            )
            for peer in (target.replication.peers if target.replication is not None else ())
        )
        engine = machine.local(target.name).engine
        return SeenResource(
            name=target.name,
            uuid=target.uuid,
            implementation=engine.implementation if engine is not None else ReplicationKind.USER,
            revision=revision,
            settled=True,
            role=role,
            in_use=role == "Primary",
            volumes=volumes if target.active else (),
            peers=peers,
            snapshot=self._seen_snapshot(target, machine),
        )

    def _seen_snapshot(self, target: TargetResource, machine: Machine) -> SeenSnapshot | None:
        wanted = target.snapshot
        if wanted is None:
            return None
        kept = {one.snapshot_uuid for one in machine.local(target.name).snapshots}
        if wanted.stage is SnapshotStage.TAKE and not machine.cannot_hold and wanted.uuid not in kept:
            machine.carry_out(
                target.name,
                [
                    TakeSnapshot(
                        target.name, volume.pool, volume.number, volume.uuid, wanted.name, wanted.uuid
                    )
                    for volume in target.volumes
                    if volume.number in wanted.numbers
                ],
            )
        return SeenSnapshot(wanted.uuid, wanted.stage, held=not machine.cannot_hold)

    def _connection(self, peer: str) -> str:
        return "Connecting" if key_of(peer) in self._unreached else "Connected"

    def lose_links(self, *nodes: str) -> None:
        """From now on exactly these nodes are out of the others' reach, who report it."""
        self._unreached = {key_of(node) for node in nodes}
        self.follow()

    def keep_snapshot(self, definition: str, *nodes: str) -> None:
        """A snapshot is on these nodes."""
        known = self.cluster.definitions[key_of(definition)]
        record = SnapshotDefinition(
            definition=known.name,
            name=SnapshotName("snap"),
            uuid=self.draw.uuid(),
            nodes=tuple(
                SnapshotOnNode(self.cluster.nodes[key_of(node)].name, self.draw.uuid()) for node in nodes
            ),
        )
        self.cluster.apply([Put(record)])

    def _node_of(self, target: TargetResource) -> str:
        return next(
            resource.node for resource in self.cluster.resources.values() if resource.uuid == target.uuid
        )

    def _disk_state(self, target: TargetResource, volume: Uuid, machine: Machine, *, diskful: bool) -> str:
        if not diskful:
            return "Diskless"
        if target.replication is None:
            return "Created"
        return "UpToDate" if volume in machine.complete else "Inconsistent"

    def sync(self) -> None:
        """Every disk on nodes that are online is filled from a complete one, if there is one."""
        for resource in self.cluster.resources.values():
            machine = self.machines[key_of(resource.node)]
            if not self.observed.node(resource.node).online or not resource.diskful:
                continue
            for volume in resource.volumes:
                sources = [
                    other
                    for other in self.cluster.resources_of(resource.definition)
                    if any(
                        vol.number == volume.number and vol.uuid in self.machines[key_of(other.node)].complete
                        for vol in other.volumes
                    )
                    and self.observed.node(other.node).online
                ]
                if sources:
                    machine.complete.add(volume.uuid)

    def tick(self) -> Decision:
        decision = self.run(c.Tick())
        gone = {stone.resource_uuid for stone in self.cluster.tombstones.values()}
        for seen in self.observed.nodes.values():
            seen.removed &= gone
        return decision

    def quiet(self, rounds: int = 12) -> None:
        """Let nodes follow and ticks pass until nothing changes any more."""
        for _ in range(rounds):
            self.follow()
            self.sync()
            self.follow()
            if not self.tick().changes:
                return
        raise AssertionError("it never comes to rest")

    def use(self, definition: str, node: str) -> None:
        """Someone opens the resource there."""
        self.roles[key_of(definition), key_of(node)] = "Primary"
        self.follow()

    def spawn(self, name: str, *, size_kib: int = 10240, group: str = "DfltRscGrp") -> Decision:
        return self.run(c.SpawnResource(group=group, name=name, sizes_kib=(size_kib,)))

    def spawn_on(self, name: str, *nodes: str, pool: str = "thin", size_kib: int = 10240) -> Decision:
        """A definition with one volume, and a replica on each of these nodes."""
        self.run(c.CreateDefinition(name=name))
        self.run(c.CreateVolumeDefinition(definition=name, size_kib=size_kib))
        places = tuple(c.NewResource(node=node, props={"StorPoolName": pool}) for node in nodes)
        return self.run(c.CreateResources(definition=name, resources=places))

    def resources(self, definition: str) -> dict[str, Resource]:
        return {str(one.node): one for one in self.cluster.resources_of(definition)}

    def kinds(self, definition: str) -> dict[str, str]:
        """What is where, in one word each."""
        return {node: str(one.disk) for node, one in self.resources(definition).items()}


def codes(decision: Decision) -> list[str]:
    """Severity, operation, subject and code of each entry, in one word each."""
    return [
        "|".join((entry.severity, entry.operation, entry.subject.name, entry.code or "-"))
        for entry in decision.entries
    ]
