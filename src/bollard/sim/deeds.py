"""What may happen in a history: commands of users, and faults. Each draw depends on the seed alone."""

import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from bollard.domain.cluster import Cluster
from bollard.domain.commands import (
    Autoplace,
    CloneDefinition,
    Command,
    CreateDefinition,
    CreateGroup,
    CreateNode,
    CreatePool,
    CreateResources,
    CreateSnapshots,
    CreateVolumeDefinition,
    CreateVolumeGroup,
    DeleteDefinition,
    DeleteResource,
    DeleteSnapshot,
    EvacuateNode,
    EvictNode,
    MakeAvailable,
    ModifyController,
    ModifyVolumeDefinition,
    NewNetInterface,
    NewResource,
    NewSnapshot,
    PropsChange,
    RestoreNode,
    RestoreResources,
    RestoreVolumeDefinitions,
    RollBack,
    SpawnResource,
    ToggleDisk,
    VerifyDefinition,
)
from bollard.domain.resources import Resource, ResourceDefinition, SelectFilter
from bollard.sim.cluster import SimCluster
from bollard.sim.host import POOL_FOLDER

__all__ = ["Deeds", "setup_commands"]

NAMES: Final = ("data", "Data", "logs", "web", "mail")
GROUP: Final = "grp"
POOL: Final = "pool"


def setup_commands(nodes: tuple[str, ...], *, wide: bool) -> Iterator[Command]:
    """A pool on every node (when `wide`, a thick one on the first) and a group of two replicas."""
    for number, node in enumerate(nodes):
        address = NewNetInterface(
            name="default",
            address=f"10.0.0.{number + 1}",
            satellite_port=3366,
            satellite_encryption="PLAIN",
            is_active=True,
        )
        yield CreateNode(name=node, net_interfaces=(address,))
    for node in nodes:
        provider = "FILE" if wide and node == nodes[0] else "FILE_THIN"
        yield CreatePool(
            node=node, name=POOL, provider=provider, props={"StorDriver/StorPoolName": POOL_FOLDER}
        )
    if wide:
        # Times that a history is long enough for.
        soon = {
            "DrbdOptions/AutoEvictAfterTime": "1",
            "DrbdOptions/auto-diskful": "1",
            "BalanceResourcesInterval": "10",
            "BalanceResourcesGracePeriod": "5",
        }
        yield ModifyController(props=PropsChange(override=soon))
    yield CreateGroup(name=GROUP, select_filter=SelectFilter(place_count=2))
    yield CreateVolumeGroup(group=GROUP)


class Deeds:
    """Draws what happens next, and does the faults."""

    def __init__(self, cluster: SimCluster, rng: random.Random, *, wide: bool) -> None:
        """`wide` draws from more kinds of commands; the kept seeds are of the narrow kind."""
        self._cluster = cluster
        self._wide = wide
        self._rng = rng
        self._nodes = tuple(cluster.machines)
        self._down: set[str] = set()
        self._full: set[str] = set()
        self.disturbed = 0
        """Grows with every fault."""

    # -- commands

    def command(self) -> Command | None:
        """A command that makes some sense now; None when there is no controller."""
        service = self._cluster.service
        if service is None:
            return None
        cluster = service.cluster
        kinds: list[Callable[[Cluster], Command]] = [self._spawn, self._spawn, self._define]
        if cluster.definitions:
            kinds += [self._delete_definition, self._autoplace, self._create, self._available]
            if any(definition.volumes for definition in cluster.definitions.values()):
                kinds += [self._grow]
            kinds += [self._add_volume]
        if cluster.resources:
            kinds += [self._delete_resource, self._toggle]
        if self._wide:
            kinds += [self._evacuate, self._evict, self._restore, self._restore]
            kinds += [self._verify] if cluster.definitions else []
            kinds += self._snapshot_kinds(cluster)
        return self._rng.choice(kinds)(cluster)

    def _spawn(self, _cluster: Cluster) -> Command:
        size = self._rng.choice((4096, 8192, 16384))
        return SpawnResource(group=GROUP, name=self._rng.choice(NAMES), sizes_kib=(size,))

    def _define(self, _cluster: Cluster) -> Command:
        return CreateDefinition(
            name=self._rng.choice(NAMES),
            layer_stack=self._rng.choice(((), ("STORAGE",), ("DRBD", "STORAGE"))),
        )

    def _add_volume(self, cluster: Cluster) -> Command:
        return CreateVolumeDefinition(definition=self._definition(cluster).name, size_kib=4096)

    def _delete_definition(self, cluster: Cluster) -> Command:
        return DeleteDefinition(name=self._definition(cluster).name)

    def _autoplace(self, cluster: Cluster) -> Command:
        count = self._rng.choice((1, 2, 3))
        return Autoplace(
            definition=self._definition(cluster).name, select_filter=SelectFilter(place_count=count)
        )

    def _create(self, cluster: Cluster) -> Command:
        flags = self._rng.choice(((), (), ("DISKLESS",)))
        return CreateResources(
            definition=self._definition(cluster).name,
            resources=(NewResource(node=self._rng.choice(self._nodes), flags=flags),),
        )

    def _available(self, cluster: Cluster) -> Command:
        return MakeAvailable(definition=self._definition(cluster).name, node=self._rng.choice(self._nodes))

    def _grow(self, cluster: Cluster) -> Command:
        definition = self._definition(cluster, with_volumes=True)
        volume = self._rng.choice(definition.volumes)
        grown = volume.size_kib + self._rng.choice((4096, 65536))
        return ModifyVolumeDefinition(definition=definition.name, number=volume.number, size_kib=grown)

    def _delete_resource(self, cluster: Cluster) -> Command:
        resource = self._resource(cluster)
        return DeleteResource(definition=resource.definition, node=resource.node)

    def _toggle(self, cluster: Cluster) -> Command:
        resource = self._resource(cluster)
        return ToggleDisk(
            definition=resource.definition,
            node=resource.node,
            to_diskful=not resource.diskful,
            pool=None if resource.diskful else POOL,
        )

    def _evacuate(self, _cluster: Cluster) -> Command:
        return EvacuateNode(node=self._rng.choice(self._nodes))

    def _evict(self, _cluster: Cluster) -> Command:
        return EvictNode(node=self._rng.choice(self._nodes))

    def _restore(self, _cluster: Cluster) -> Command:
        return RestoreNode(node=self._rng.choice(self._nodes))

    def _verify(self, cluster: Cluster) -> Command:
        return VerifyDefinition(name=self._definition(cluster).name)

    def _snapshot_kinds(self, cluster: Cluster) -> list[Callable[[Cluster], Command]]:
        kinds: list[Callable[[Cluster], Command]] = []
        if any(one.volumes for one in cluster.resources.values()):
            kinds += [self._snapshot, self._snapshot, self._snapshot, self._clone]
        if any(not one.hidden for one in cluster.snapshots.values()):
            kinds += [self._drop_snapshot, self._roll_back, self._restore_volumes, self._restore_resources]
        return kinds

    def _snapshot(self, cluster: Cluster) -> Command:
        names = sorted({one.definition for one in cluster.resources.values()})
        chosen = self._rng.sample(names, min(len(names), self._rng.choice((1, 1, 2))))
        name = self._rng.choice(("s1", "s2"))
        return CreateSnapshots(snapshots=tuple(NewSnapshot(definition=one, name=name) for one in chosen))

    def _clone(self, cluster: Cluster) -> Command:
        return CloneDefinition(source=self._definition(cluster).name, name=self._rng.choice(NAMES))

    def _kept(self, cluster: Cluster) -> tuple[str, str]:
        shown = [
            cluster.snapshots[key] for key in sorted(cluster.snapshots) if not cluster.snapshots[key].hidden
        ]
        one = self._rng.choice(shown)
        return one.definition, one.name

    def _drop_snapshot(self, cluster: Cluster) -> Command:
        definition, name = self._kept(cluster)
        return DeleteSnapshot(definition=definition, snapshot=name)

    def _roll_back(self, cluster: Cluster) -> Command:
        definition, name = self._kept(cluster)
        return RollBack(definition=definition, snapshot=name)

    def _restore_volumes(self, cluster: Cluster) -> Command:
        definition, name = self._kept(cluster)
        return RestoreVolumeDefinitions(
            definition=definition, snapshot=name, to=self._definition(cluster).name
        )

    def _restore_resources(self, cluster: Cluster) -> Command:
        definition, name = self._kept(cluster)
        return RestoreResources(definition=definition, snapshot=name, to=self._definition(cluster).name)

    def last_commands(self) -> Iterator[Command]:
        """What takes back commands that would keep the cluster from ever being at rest."""
        if self._wide:
            no_more = {"DrbdOptions/AutoEvictAllowEviction": "false"}
            yield ModifyController(props=PropsChange(override=no_more))
            for node in self._nodes:
                yield RestoreNode(node=node)

    def _definition(self, cluster: Cluster, *, with_volumes: bool = False) -> ResourceDefinition:
        every = [it for it in cluster.definitions.values() if it.volumes or not with_volumes]
        return self._rng.choice(sorted(every, key=lambda it: it.key))

    def _resource(self, cluster: Cluster) -> Resource:
        return self._rng.choice([cluster.resources[key] for key in sorted(cluster.resources)])

    # -- faults

    async def fault(self) -> str:
        """Do one; the sentence says what."""
        self.disturbed += 1
        kinds: tuple[Callable[[str], Awaitable[str]], ...] = (
            self._kill_satellite,
            self._kill_node,
            self._revive,
            self._revive,
            self._cut_link,
            self._cut_mesh,
            self._mend,
            self._mend,
            self._restart_controller,
            self._weather,
            self._fill_disk,
            self._use,
            self._use,
        )
        return await self._rng.choice(kinds)(self._rng.choice(self._nodes))

    async def _kill_satellite(self, node: str) -> str:
        await self._cluster.kill_satellite(node)
        self._cluster.start_satellite(node)
        if node in self._down:
            self._down.discard(node)
        return f"the satellite of {node} was killed and started"

    async def _kill_node(self, node: str) -> str:
        self._down.add(node)
        await self._cluster.kill_satellite(node, with_engine=True)
        return f"{node} died"

    async def _revive(self, node: str) -> str:
        self._down.discard(node)
        self._cluster.start_satellite(node)
        return f"{node} runs"

    async def _cut_link(self, node: str) -> str:
        self._cluster.network.cut.add(node)
        return f"the controller cannot reach {node}"

    async def _cut_mesh(self, node: str) -> str:
        other = self._rng.choice([one for one in self._nodes if one != node])
        self._cluster.mesh.cut.add(frozenset((node, other)))
        self._cluster.mesh.changed_all()
        return f"{node} and {other} cannot reach each other"

    async def _mend(self, node: str) -> str:
        self._cluster.network.heal(node)
        self._cluster.mesh.cut.clear()
        self._cluster.mesh.changed_all()
        return f"the networks of {node} are whole"

    async def _restart_controller(self, _node: str) -> str:
        await self._cluster.stop_controller()
        await self._cluster.start_controller()
        return "the controller was restarted"

    async def _weather(self, _node: str) -> str:
        network = self._cluster.network
        network.delay_max_s = self._rng.choice((0.005, 0.005, 0.5, 2.0))
        network.break_chance = self._rng.choice((0.0, 0.0, 0.02))
        network.duplicate_chance = self._rng.choice((0.0, 0.1))
        return f"messages take up to {network.delay_max_s} s"

    async def _fill_disk(self, node: str) -> str:
        disk = self._cluster.machines[node].disk
        disk.read_only = not disk.read_only
        (self._full.add if disk.read_only else self._full.discard)(node)
        return f"the pool of {node} is {'read-only' if disk.read_only else 'writable'}"

    async def _use(self, node: str) -> str:
        engine = self._cluster.machines[node].engine
        names = sorted(engine.specs) if engine is not None else []
        if engine is None or not names:
            return "nobody uses anything"
        name = self._rng.choice(names)
        wanted = self._rng.random() < 0.5
        done = engine.promote(name, primary=wanted)
        return f"{name} on {node} is {'opened' if wanted else 'closed'}: {done}"

    # -- the state of faults

    def healthy(self) -> tuple[str, ...]:
        """Nodes that run, are reached by the controller and have a disk that works, with nothing in use."""
        bad = self._down | self._full | self._cluster.network.cut
        if self._cluster.network.delay_max_s > 1 or self._cluster.network.break_chance:
            return ()
        return tuple(
            node for node in self._nodes if node not in bad and not self._cluster.machines[node].in_use()
        )

    def away(self) -> str:
        """The nodes that do not take part, for people."""
        return ", ".join(node for node in self._nodes if node not in self.healthy()) or "nobody"

    async def heal_all(self) -> None:
        """The end of all faults."""
        cluster = self._cluster
        cluster.network.delay_max_s, cluster.network.break_chance = 0.005, 0.0
        cluster.network.duplicate_chance = 0.0
        cluster.mesh.cut.clear()
        for node, machine in cluster.machines.items():
            machine.disk.read_only = False
            cluster.network.heal(node)
            cluster.start_satellite(node)
            machine.release()
        self._down.clear()
        self._full.clear()
        cluster.mesh.changed_all()
        if cluster.service is None:
            await cluster.start_controller()
