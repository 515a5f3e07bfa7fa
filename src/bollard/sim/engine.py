"""A simulated data process: DRBD's states as far as the control plane can tell them apart. No data moves.

It refuses what the real one refuses: backings without metadata, ports and minors taken, busy volumes.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from bollard.satellite.host.base import HostError
from bollard.sim.device_use import DeviceUse
from bollard.sim.files import Disk, Metadata, Pause
from bollard.sim.standstill import SimFreezes
from bollard.wire import engine as wire
from bollard.wire.engine import Event, Kind, Reply, ResourceSpec

__all__ = ["Mesh", "SimEngine"]

SYNC_S = 2.0


class Mesh:
    """The replication network: which engines run, and which pairs of nodes can reach each other."""

    def __init__(self) -> None:
        self.engines: dict[str, SimEngine] = {}
        self.cut: set[frozenset[str]] = set()
        self.lives = 0
        """Processes that were started."""
        self.machines: dict[str, tuple[dict[str, ResourceSpec], Disk]] = {}
        """What survives on every node: configurations and the disk."""

    def reaches(self, one: str, other: str) -> bool:
        """Whether two running engines can talk."""
        return other in self.engines and one in self.engines and frozenset((one, other)) not in self.cut

    def changed(self, resource: str) -> None:
        """Something about a resource is new: every engine that has it looks again."""
        for name in sorted(self.engines):
            self.engines[name].evaluate(resource)

    def changed_all(self) -> None:
        """The network is different."""
        for resource in sorted({name for engine in self.engines.values() for name in engine.specs}):
            self.changed(resource)


class SimEngine:
    """`host.base.Engine` of one node. `stored` and the disk outlive it."""

    def __init__(
        self,
        node: str,
        mesh: Mesh,
        disk: Disk,
        pause: Pause,
        *,
        stored: dict[str, ResourceSpec],
    ) -> None:
        self.node = node
        self.mesh = mesh
        self.specs = stored
        self._disk = disk
        self._metadata = disk.metadata
        self._pause = pause
        self._watchers: dict[int, asyncio.Queue[Event | None]] = {}
        self._numbers = itertools.count()
        self._syncs: dict[tuple[str, int], asyncio.TimerHandle] = {}
        self.primaries: set[str] = set()
        self.device_use = DeviceUse(lambda name, primary: self.promote(name, primary=primary))
        self._verifies: dict[tuple[str, int], int] = {}
        self._told: dict[str, Any] = {}
        mesh.lives += 1
        mesh.machines[node] = (stored, disk)
        self._freezes = SimFreezes(str(mesh.lives))
        mesh.engines[node] = self
        mesh.changed_all()

    def stop(self) -> None:
        """The process ends: peers see it go, watchers' streams end."""
        self.mesh.engines.pop(self.node, None)
        for timer in self._syncs.values():
            timer.cancel()
        self._syncs.clear()
        self._freezes.stop()
        for queue in self._watchers.values():
            queue.put_nowait(None)
        self.mesh.changed_all()

    async def ask(self, request: wire.Request) -> Reply:
        await self._pause()
        if self.mesh.engines.get(self.node) is not self:
            raise HostError("The data process does not answer", code="engine-away")
        changed, result = self._answer(request)
        await self._pause()
        return Reply(id=request.id, ok=True, changed=changed, result=result)

    async def events(self) -> AsyncIterator[Event]:
        if self.mesh.engines.get(self.node) is not self:
            raise HostError("The data process does not answer", code="engine-away")
        number = next(self._numbers)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._watchers[number] = queue
        try:
            for name in sorted(self.specs):
                yield self._event("exists", name)
            yield Event(time="", action="exists", object="-")
            while (event := await queue.get()) is not None:
                yield event
        finally:
            del self._watchers[number]
        raise HostError("The data process does not answer", code="engine-away")

    def write(self, name: str, number: int, word: str) -> bool:
        """A client writes to a volume; whether the Primary took it."""
        spec = self.specs.get(name)
        if spec is None or name not in self.primaries or name in self._freezes:
            return False
        if not (spec.kind is Kind.PLAIN or self._quorum(spec)) or self.read(name, number) is None:
            return False
        self._put(name, number, word)
        for peer in spec.peers if spec.kind is Kind.REPLICATED else ():
            other = self.mesh.engines.get(peer.name)
            if other is not None and self.connected(spec, peer):
                other._put(name, number, word)  # noqa: SLF001  # the same class
        self._note_missed(spec)
        return True

    def read(self, name: str, number: int) -> str | None:
        """What a client reads from a volume; None when there is no such volume, or no data."""
        spec = self.specs.get(name)
        if spec is None or all(volume.number != number for volume in spec.volumes):
            return None
        path = _backing(spec, number)
        if path is not None and self._has_data(spec, number):
            return self._disk.data.get(path, "")
        source = self._source(spec, number)
        return source[1] if source is not None else None

    def _put(self, name: str, number: int, word: str) -> None:
        path = _backing(self.specs[name], number)
        if path is None:
            return
        metadata = self._metadata.get(path)
        if self.specs[name].kind is Kind.PLAIN or (metadata is not None and self._complete(metadata)):
            self._disk.data[path] = word
            self._freezes.changed(name)

    def _note_missed(self, spec: ResourceSpec) -> None:
        """Replicas that are out of reach, running or not, are stale from now on."""
        reached = {self.node} | {peer.name for peer in spec.peers if self.connected(spec, peer)}
        for node, (specs, disk) in self.mesh.machines.items():
            theirs = specs.get(spec.name)
            if node in reached or theirs is None or spec.kind is Kind.PLAIN:
                continue
            if not any(peer.name == node and not peer.diskless for peer in spec.peers):
                continue
            if not any(peer.name == self.node for peer in theirs.peers):
                continue  # it is told that we are none of them any more
            for volume in theirs.volumes:
                if volume.backing is not None and volume.backing in disk.metadata:
                    disk.metadata[volume.backing].missed = True

    def _complete(self, metadata: Metadata) -> bool:
        return metadata.up_to_date and not metadata.missed

    def promote(self, name: str, *, primary: bool) -> bool:
        """A client opens or closes a volume; False when quorum or data do not allow it."""
        if primary and not self._may_promote(self.specs[name]):
            return False
        if primary:
            self.primaries.add(name)
        else:
            self.primaries.discard(name)
        self.mesh.changed(name)
        return True

    def device_bytes(self, name: str, number: int) -> int:
        """How large a block device of a volume is; 0 when there is no such volume."""
        spec = self.specs.get(name)
        if spec is None or all(volume.number != number for volume in spec.volumes):
            return 0
        return self._size(spec, number)

    def connected(self, spec: ResourceSpec, peer: wire.PeerSpec) -> bool:
        """Whether both ends have each other's newest configuration and the network lets them talk."""
        other = self.mesh.engines.get(peer.name)
        theirs = other.specs.get(spec.name) if other is not None else None
        if theirs is None or not self.mesh.reaches(self.node, peer.name):
            return False
        mine = next((one for one in theirs.peers if one.name == self.node), None)
        return (
            mine is not None
            and theirs.shared_secret == spec.shared_secret
            and (mine.node_id, mine.address, mine.port) == (spec.node_id, spec.address, spec.port)
            and (peer.node_id, peer.address, peer.port) == (theirs.node_id, theirs.address, theirs.port)
        )

    def disk_state(self, name: str, number: int) -> str:
        """DRBD's word for a volume here."""
        spec = self.specs[name]
        volume = next(one for one in spec.volumes if one.number == number)
        if volume.backing is None:
            return "Diskless"
        if spec.kind is Kind.PLAIN:
            return "UpToDate"
        metadata = self._metadata[volume.backing]
        if metadata.up_to_date and metadata.missed and self._source(spec, number) is None:
            return "Outdated"
        return "UpToDate" if self._complete(metadata) else "Inconsistent"

    def evaluate(self, name: str) -> None:
        """Start or stop resyncs, and tell the watchers when something is different."""
        spec = self.specs.get(name)
        for key in [key for key in self._syncs if key[0] == name]:
            if spec is None or not self._wants(spec, key[1]) or self._source(spec, key[1]) is None:
                self._syncs.pop(key).cancel()
        if spec is not None and spec.kind is Kind.REPLICATED:
            for volume in spec.volumes:
                key = (name, volume.number)
                fits = key not in self._syncs and self._wants(spec, volume.number)
                if fits and self._source(spec, volume.number) is not None:
                    self._syncs[key] = asyncio.get_running_loop().call_later(SYNC_S, self._synced, key)
        picture = self._status(spec) if spec is not None else None
        if picture != self._told.get(name):
            action = "destroy" if picture is None else "change" if name in self._told else "create"
            if picture is None:
                self._told.pop(name)
            else:
                self._told[name] = picture
            for queue in self._watchers.values():
                queue.put_nowait(self._event(action, name))

    def _wants(self, spec: ResourceSpec, number: int) -> bool:
        """Whether the volume has a disk here that must be synchronised."""
        path = _backing(spec, number)
        return path is not None and not self._complete(self._metadata[path])

    def _synced(self, key: tuple[str, int]) -> None:
        del self._syncs[key]
        spec = self.specs.get(key[0])
        source = self._source(spec, key[1]) if spec is not None else None
        if spec is not None and source is not None:
            path = _backing(spec, key[1])
            assert path is not None, key
            self._metadata[path].up_to_date = True
            self._metadata[path].missed = False
            self._metadata[path].generation = source[0]
            self._disk.data[path] = source[1]
            self._freezes.changed(key[0])
        self.mesh.changed(key[0])

    def _source(self, spec: ResourceSpec, number: int) -> tuple[str, str] | None:
        """The generation and the data of a connected peer that is up to date."""
        for peer in spec.peers:
            if peer.diskless or not self.connected(spec, peer):
                continue
            other = self.mesh.engines[peer.name]
            path = _backing(other.specs[spec.name], number)
            metadata = other._metadata.get(path) if path is not None else None  # noqa: SLF001  # the same class
            if path is not None and metadata is not None and self._complete(metadata):
                return metadata.generation or "synced", other._disk.data.get(path, "")  # noqa: SLF001
        return None

    def _may_promote(self, spec: ResourceSpec) -> bool:
        if any(self._role_of(spec, peer) == "Primary" for peer in spec.peers):
            return False
        return self._quorum(spec) and all(
            self._has_data(spec, volume.number) or self._source(spec, volume.number) is not None
            for volume in spec.volumes
        )

    def _has_data(self, spec: ResourceSpec, number: int) -> bool:
        path = _backing(spec, number)
        if spec.kind is Kind.PLAIN:
            return path is not None
        return path is not None and self._complete(self._metadata[path])

    def _role_of(self, spec: ResourceSpec, peer: wire.PeerSpec) -> str:
        if not self.connected(spec, peer):
            return "Unknown"
        there = spec.name in self.mesh.engines[peer.name].primaries
        return "Primary" if there else "Secondary"

    def _quorum(self, spec: ResourceSpec) -> bool:
        there = 1 + sum(self.connected(spec, peer) for peer in spec.peers)
        return there * 2 > 1 + len(spec.peers)

    def _answer(self, request: wire.Request) -> tuple[bool, Any]:
        match request:
            case wire.Version():
                return False, {"version": "sim", "capabilities": list(wire.CAPABILITIES), "pid": 0}
            case wire.Configure(resource=spec):
                return self._configure(spec), None
            case wire.Remove(name=name, force=force):
                return self._remove(name, force=force), None
            case wire.CreateMd():
                return self._create_md(request), None
            case wire.Resize():
                return self._resize(request), None
            case wire.Show(name=name):
                return False, msgspec.to_builtins([spec.redacted() for spec in self._named(name)])
            case wire.Status(name=name):
                return False, [self._status(spec) for spec in self._named(name)]
            case wire.SuspendIo(token=token) if token:
                self._named(request.name)
                return True, self._freezes.freeze(request.name, token, request.deadline_ms)
            case wire.ResumeIo(name=name, token=token) if token:
                self._named(name)
                result = self._freezes.state(name, token)
                return self._freezes.thaw(name, token), result
            case wire.ReleaseDevice():
                self._named(request.name)
                return self.device_use.release(request.name, request.volume, request.ops)
            case wire.Verify(name=name, volume=number):
                self._named(name)
                self._verifies[name, number] = self._verifies.get((name, number), 0) + 1
                return True, None
            case wire.Primary(name=name, force=force):
                return self._primary(name, force=force), None
            case wire.Secondary(name=name):
                self._named(name)
                return self.promote(name, primary=False), None
            case _:
                raise _refusal("invalid", f"the request {type(request).__name__} is not simulated")

    def _configure(self, spec: ResourceSpec) -> bool:
        present = self.specs.get(spec.name)
        if present == spec:
            return False
        if present is not None and (present.uuid, present.kind) != (spec.uuid, spec.kind):
            raise _refusal("conflict", f"resource {spec.name} exists with another identity")
        minors = {volume.minor for volume in spec.volumes if volume.minor >= 0}
        for other in self.specs.values():
            if other.name == spec.name:
                continue
            if spec.kind is other.kind is Kind.REPLICATED and (spec.address, spec.port) == (
                other.address,
                other.port,
            ):
                raise _refusal("conflict", f"port {spec.port} is taken by resource {other.name}")
            if minors & {volume.minor for volume in other.volumes}:
                raise _refusal("conflict", f"a minor of {spec.name} is taken by resource {other.name}")
        for volume in spec.volumes:
            if volume.backing is not None:
                self._check_backing(spec, volume.number, volume.backing, volume.size_bytes)
        self.specs[spec.name] = spec
        self.mesh.changed(spec.name)
        return True

    def _check_backing(self, spec: ResourceSpec, number: int, path: str, size_bytes: int) -> None:
        size = self._disk.sizes.get(path)
        if size is None:
            raise _refusal("not-found", f"the backing of volume {spec.name}/{number} is not there")
        if spec.kind is Kind.PLAIN and size < size_bytes:
            raise _refusal("conflict", f"the backing of volume {spec.name}/{number} is too small")
        if spec.kind is Kind.REPLICATED and path not in self._metadata:
            raise _refusal("conflict", f"the backing of volume {spec.name}/{number} has no metadata")

    def _remove(self, name: str, *, force: bool) -> bool:
        if name not in self.specs:
            return False
        if name in self.primaries and not force:
            raise _refusal("busy", f"resource {name} is in use")
        self.primaries.discard(name)
        self._freezes.forget(name)
        del self.specs[name]
        self.evaluate(name)
        self.mesh.changed(name)
        return True

    def _create_md(self, request: wire.CreateMd) -> bool:
        if request.backing not in self._disk.sizes:
            raise _refusal("not-found", f"{request.backing} is not there")
        users = [
            spec.name
            for spec in self.specs.values()
            for one in spec.volumes
            if one.backing == request.backing
        ]
        if users:
            raise _refusal("busy", f"{request.backing} is in use by {users[0]}")
        if request.backing in self._metadata and not request.force:
            return False
        self._metadata[request.backing] = Metadata(
            request.max_peers, request.size_bytes, request.initial_uuid, request.initial_uuid is not None
        )
        return True

    def _resize(self, request: wire.Resize) -> bool:
        spec = self._named(request.name)[0]
        path = _backing(spec, request.volume)
        if path is None or path not in self._metadata:
            return False
        if self._disk.sizes.get(path, 0) <= request.size_bytes:
            raise _refusal("conflict", f"the backing of volume {spec.name}/{request.volume} is too small")
        changed = self._metadata[path].size_bytes != request.size_bytes
        self._metadata[path].size_bytes = request.size_bytes
        self.mesh.changed(spec.name)
        return changed

    def _primary(self, name: str, *, force: bool) -> bool:
        spec = self._named(name)[0]
        if force:
            for volume in spec.volumes:
                if volume.backing is not None:
                    self._metadata[volume.backing].up_to_date = True
        if not self.promote(name, primary=True):
            raise _refusal("conflict", f"resource {name} may not be promoted")
        return True

    def _named(self, name: str) -> list[ResourceSpec]:
        if not name:
            return [self.specs[key] for key in sorted(self.specs)]
        if name not in self.specs:
            raise _refusal("not-found", f"resource {name} is not known here")
        return [self.specs[name]]

    def _size(self, spec: ResourceSpec, number: int) -> int:
        """What users see: the smallest of all connected disks."""
        if spec.kind is Kind.PLAIN:
            return next(volume.size_bytes for volume in spec.volumes if volume.number == number)
        sizes = []
        if (path := _backing(spec, number)) is not None:
            sizes.append(self._metadata[path].size_bytes)
        for peer in spec.peers:
            if self.connected(spec, peer):
                other = self.mesh.engines[peer.name]
                path = _backing(other.specs[spec.name], number)
                if path is not None:
                    sizes.append(other._metadata[path].size_bytes)  # noqa: SLF001  # the same class
        return min(sizes, default=0)

    def _status(self, spec: ResourceSpec) -> dict[str, Any]:
        quorum = spec.kind is Kind.PLAIN or self._quorum(spec)
        return {
            "name": spec.name,
            "node-id": spec.node_id,
            "role": "Primary" if spec.name in self.primaries else "Secondary",
            "suspended": False,
            "may-promote": self._may_promote(spec),
            "devices": [
                {
                    "volume": volume.number,
                    "minor": volume.minor,
                    "disk-state": self.disk_state(spec.name, volume.number),
                    "client": volume.backing is None,
                    "quorum": quorum,
                    "size": self._size(spec, volume.number) >> 10,
                    "open": spec.name in self.primaries,
                }
                for volume in spec.volumes
            ],
            "connections": [self._connection(spec, peer) for peer in spec.peers],
        }

    def _connection(self, spec: ResourceSpec, peer: wire.PeerSpec) -> dict[str, Any]:
        there = self.connected(spec, peer)
        other = self.mesh.engines[peer.name] if there else None
        return {
            "peer-node-id": peer.node_id,
            "name": peer.name,
            "connection-state": "Connected" if there else "Connecting",
            "peer-role": self._role_of(spec, peer),
            "peer_devices": [
                {
                    "volume": volume.number,
                    "replication-state": self._moving(spec, volume.number) if there else "Off",
                    "peer-disk-state": _peer_disk(other, spec.name, volume.number),
                    "verifies-done": self._verifies.get((spec.name, volume.number), 0),
                }
                for volume in spec.volumes
            ],
        }

    def _moving(self, spec: ResourceSpec, number: int) -> str:
        return "SyncTarget" if (spec.name, number) in self._syncs else "Established"

    def _event(self, action: str, name: str) -> Event:
        fields = {"name": name}
        if action != "destroy" and name in self.specs:
            fields["may_promote"] = "yes" if self._may_promote(self.specs[name]) else "no"
        return Event(time="", action=action, object="resource", fields=fields)


def _backing(spec: ResourceSpec, number: int) -> str | None:
    return next((volume.backing for volume in spec.volumes if volume.number == number), None)


def _peer_disk(other: SimEngine | None, name: str, number: int) -> str:
    if other is None or all(volume.number != number for volume in other.specs[name].volumes):
        return "DUnknown"
    return other.disk_state(name, number)


def _refusal(code: str, message: str) -> HostError:
    return HostError(message, code=f"engine-{code}")
