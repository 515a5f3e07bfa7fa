"""Random histories of commands, outages and reports: nothing sticks, is lost, or is used twice."""

import contextlib

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bollard.domain import commands as c
from bollard.domain.cluster import Change, Record
from bollard.domain.errors import DomainError
from bollard.domain.ids import key_of
from bollard.domain.resources import DiskKind, Resource, SelectFilter
from bollard.planning.targets import target_for, touched
from planning_lab import Lab

NAMES = st.sampled_from(["vol1", "vol2", "vol3"])
NODES = st.sampled_from(["n1", "n2", "n3", "n4"])


class Histories(RuleBasedStateMachine):
    """Four nodes, three names, and everything that can be asked of them."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = Lab(4)

    def ask(self, command: c.Command) -> None:
        """A refusal changes nothing; what is accepted touches just the targets it says it touches."""
        before = list(self.lab.cluster.records())
        targets, copies = self._targets(), self._copies()
        changes: tuple[Change, ...] = ()
        with contextlib.suppress(DomainError):
            changes = self.lab.run(command).changes
        if not changes:
            assert list(self.lab.cluster.records()) == before
        self._check_touched(changes, before, targets)
        self._check_copies(copies)

    def _copies(self) -> dict[str, set[str]]:
        """By volume of a definition: nodes whose disk holds all of it, and that have said so."""
        found: dict[str, set[str]] = {}
        for definition in self.lab.cluster.definitions.values():
            for volume in definition.volumes:
                found[volume.uuid] = {
                    one.node
                    for one in self.lab.cluster.resources_of(definition.name)
                    for vol in one.volumes
                    if vol.number == volume.number
                    and vol.uuid in self.lab.machines[key_of(one.node)].complete
                    and self._said_so(one, volume.number)
                }
        return found

    def _said_so(self, resource: Resource, number: int) -> bool:
        seen = self.lab.observed.resource(resource.definition, resource.node)
        return (
            seen is not None
            and seen.uuid == resource.uuid
            and any(vol.number == number and vol.disk_state == "UpToDate" for vol in seen.volumes)
        )

    def _check_copies(self, before: dict[str, set[str]]) -> None:
        """Data goes only with its definition, or with the last of its disks."""
        after = self._copies()
        for definition in self.lab.cluster.definitions.values():
            disks = [one for one in self.lab.cluster.resources_of(definition.name) if one.diskful]
            for volume in definition.volumes:
                if disks and before.get(volume.uuid):
                    assert after[volume.uuid], "the last complete copy is gone"

    def _targets(self) -> dict[tuple[str, str], list[bytes]]:
        found: dict[tuple[str, str], list[bytes]] = {}
        for node in self.lab.cluster.nodes:
            target = target_for(node, self.lab.cluster)
            for resource in target.resources:
                found.setdefault((node, resource.key), []).append(msgspec.json.encode(resource))
            for stone in target.tombstones:
                found.setdefault((node, key_of(stone.definition)), []).append(msgspec.json.encode(stone))
        return found

    def _check_touched(
        self, changes: tuple[Change, ...], before: list[Record], targets: dict[tuple[str, str], list[bytes]]
    ) -> None:
        old = type(self.lab.cluster)(before)
        named = touched(changes, old) | touched(changes, self.lab.cluster)
        now = self._targets()
        differing = {key for key in targets.keys() | now.keys() if targets.get(key) != now.get(key)}
        assert differing <= named, differing - named

    @rule(name=NAMES, size_mib=st.integers(1, 64))
    def spawn(self, name: str, size_mib: int) -> None:
        self.ask(c.SpawnResource(group="DfltRscGrp", name=name, sizes_kib=(size_mib * 1024,)))

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.ask(c.DeleteDefinition(name=name))

    @rule(name=NAMES, node=NODES, flags=st.sampled_from([(), (), ("DISKLESS",)]))
    def create(self, name: str, node: str, flags: tuple[str, ...]) -> None:
        given = c.NewResource(node=node, flags=flags, props={"StorPoolName": "thin"} if not flags else {})
        self.ask(c.CreateResources(definition=name, resources=(given,)))

    @rule(name=NAMES, node=NODES, keep=st.booleans())
    def remove(self, name: str, node: str, keep: bool) -> None:
        self.ask(c.DeleteResource(definition=name, node=node, keep_tiebreaker=keep))

    @rule(name=NAMES, node=NODES, to_diskful=st.booleans(), source=st.none() | NODES)
    def toggle(self, name: str, node: str, to_diskful: bool, source: str | None) -> None:
        self.ask(
            c.ToggleDisk(
                definition=name,
                node=node,
                to_diskful=to_diskful,
                pool="thin" if to_diskful else None,
                migrate_from=source if to_diskful else None,
            )
        )

    @rule(name=NAMES, node=NODES, diskful=st.booleans())
    def make_available(self, name: str, node: str, diskful: bool) -> None:
        self.ask(c.MakeAvailable(definition=name, node=node, diskful=diskful))

    @rule(name=NAMES, more=st.integers(0, 1))
    def autoplace(self, name: str, more: int) -> None:
        self.ask(c.Autoplace(definition=name, select_filter=SelectFilter(additional_place_count=more)))

    @rule(name=NAMES, size_mib=st.integers(1, 128))
    def resize(self, name: str, size_mib: int) -> None:
        self.ask(c.ModifyVolumeDefinition(definition=name, number=0, size_kib=size_mib * 1024))

    @rule(name=NAMES)
    def add_volume(self, name: str) -> None:
        self.ask(c.CreateVolumeDefinition(definition=name, size_kib=4096))

    @rule(name=NAMES, number=st.integers(0, 2))
    def drop_volume(self, name: str, number: int) -> None:
        self.ask(c.DeleteVolumeDefinition(definition=name, number=number))

    @rule(name=NAMES, node=NODES, active=st.booleans())
    def activate(self, name: str, node: str, active: bool) -> None:
        kind = c.ActivateResource if active else c.DeactivateResource
        self.ask(kind(definition=name, node=node))

    @rule(node=NODES)
    def rename_zone(self, node: str) -> None:
        self.ask(
            c.ModifyNode(node=node, props=c.PropsChange(override={"DrbdOptions/Resource/cpu-mask": "1"}))
        )

    @rule(node=NODES)
    def outage(self, node: str) -> None:
        self.lab.offline(node)

    @rule(node=NODES)
    def back(self, node: str) -> None:
        self.lab.online(node)

    @rule(node=NODES)
    def follow(self, node: str) -> None:
        self.lab.follow(only=node)

    @rule()
    def sync(self) -> None:
        self.lab.sync()

    @rule()
    def tick(self) -> None:
        self.ask(c.Tick())

    @precondition(lambda self: self.lab.cluster.definitions)
    @rule()
    def recover(self) -> None:
        """After the faults everything comes to rest, and nothing is left half done."""
        for node in ("n1", "n2", "n3", "n4"):
            self.lab.online(node)
        self.lab.quiet(rounds=20)
        assert not self.lab.cluster.tombstones
        assert not self.lab.cluster.procedures
        for machine in self.lab.machines.values():
            held = {backing.volume_uuid for local in machine.locals.values() for backing in local.backings}
            wanted = {
                vol.uuid for one in self.lab.cluster.resources.values() if one.diskful for vol in one.volumes
            }
            assert held <= wanted

    @invariant()
    def numbers_are_used_once(self) -> None:
        cluster = self.lab.cluster
        minors = [vol.minor for one in cluster.definitions.values() for vol in one.volumes]
        assert len(set(minors)) == len(minors)
        for stone in cluster.tombstones.values():
            others = [one for one in cluster.definitions.values() if one.name != stone.definition]
            assert not {vol.minor for one in others for vol in one.volumes} & set(stone.minors)
        ports = [
            (record.node, port)
            for record in (*cluster.resources.values(), *cluster.tombstones.values())
            for port in record.tcp_ports
        ]
        assert len(set(ports)) == len(ports)
        for definition in cluster.definitions.values():
            ids = [one.drbd_node_id for one in cluster.resources_of(definition.name)]
            assert len(set(ids)) == len(ids)

    @invariant()
    def indexes_agree_with_a_fresh_count(self) -> None:
        cluster = self.lab.cluster
        again = type(cluster)(cluster.records())
        for key, pool in cluster.pools.items():
            assert cluster.claimed_kib(key) == again.claimed_kib(key)
            assert cluster.volume_count(key) == again.volume_count(key)
            assert cluster.ports_at(pool.node) == again.ports_at(pool.node)

    @invariant()
    def two_replicas_have_a_tiebreaker_or_a_reason(self) -> None:
        for definition in self.lab.cluster.definitions.values():
            resources = self.lab.cluster.resources_of(definition.name)
            ties = [one for one in resources if one.disk is DiskKind.TIE_BREAKER]
            assert len(ties) <= 1
            disks = sum(one.diskful for one in resources)
            assert not (ties and (disks < 2 or disks % 2))


Histories.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestHistories = Histories.TestCase
