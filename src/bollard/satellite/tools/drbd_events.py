"""The lines of `drbdsetup events2` as a model of the kernel's resources. Pure.

DRBD 9 and the in-tree 8.4 print the same words; 8.4 calls its one peer `peer` and gives it the id 0.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from bollard.satellite.tools.drbd_status import (
    ConnectionStatus,
    DeviceStatus,
    PeerDeviceStatus,
    ResourceStatus,
)

__all__ = ["KernelEvent", "KernelModel", "model_of", "parse_event"]

_ACTIONS: Final = frozenset({"exists", "create", "change", "destroy", "call", "response", "rename"})
_SPLIT_BRAIN: Final = "split-brain"


class KernelEvent(msgspec.Struct, frozen=True):
    """One line: what happened to which object."""

    action: str
    object: str
    fields: dict[str, str]
    time: str = ""

    @property
    def name(self) -> str:
        """Of the resource; empty for the end of the present state."""
        return self.fields.get("name", "")


def parse_event(line: str) -> KernelEvent | None:
    """An event; None for a line that is none (a notice such as `- skipped 3`, an empty line)."""
    words = line.split()
    time = words.pop(0) if words and words[0][:1].isdigit() else ""
    if len(words) < 2 or words[0] not in _ACTIONS:
        return None
    pairs = (word.partition(":") for word in words[2:])
    return KernelEvent(words[0], words[1], {key: value for key, _, value in pairs}, time)


class _Connection:
    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.volumes: dict[int, dict[str, str]] = {}


class _Resource:
    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.devices: dict[int, dict[str, str]] = {}
        self.connections: dict[int, _Connection] = {}
        self.split: set[int] = set()
        """Peers whose data diverged: 8.4 forgets a connection that is given up, this does not."""


class KernelModel:
    """All resources of a kernel, by name. Events may be partial: what they do not say stays."""

    def __init__(self) -> None:
        self._resources: dict[str, _Resource] = {}
        self.complete = False
        """Whether the present state has been told to its end."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every resource of the kernel, whoever made it."""
        return tuple(self._resources)

    def take(self, event: KernelEvent) -> None:
        """Let an event change the model."""
        if event.object == "-":
            self.complete = self.complete or event.action == "exists"
            return
        if not event.name:
            return
        if event.action == "destroy":
            self._destroy(event)
        elif event.action == "rename":
            self._rename(event)
        elif event.object == "helper":
            self._helper(event)
        elif event.action in {"exists", "create", "change"}:
            self._merge(event)

    def adopt(self, name: str, told: "KernelModel") -> None:
        """Take over what another model says of one resource, its absence too; a split brain stays known."""
        fresh = told._resources.get(name)  # noqa: SLF001  # the same class
        old = self._resources.pop(name, None)
        if fresh is None:
            return
        self._resources[name] = fresh
        connected = {
            peer for peer, one in fresh.connections.items() if one.fields.get("connection") == "Connected"
        }
        fresh.split = (old.split if old is not None else set()) - connected

    def status(self, name: str) -> ResourceStatus | None:
        """A resource as `drbdsetup status` tells it; None when the kernel has none of that name."""
        resource = self._resources.get(name)
        if resource is None:
            return None
        why = set(resource.fields.get("suspended", "no").split(","))
        may_promote = resource.fields.get("may_promote")
        return ResourceStatus(
            name=name,
            role=resource.fields.get("role", "Unknown"),
            suspended=why != {"no"},
            suspended_user="user" in why,
            suspended_no_data="no-data" in why,
            suspended_fencing="fencing" in why,
            suspended_quorum="quorum" in why,
            may_promote=None if may_promote is None else may_promote == "yes",
            devices=[_device(number, fields) for number, fields in sorted(resource.devices.items())],
            connections=[_connection(peer, one) for peer, one in sorted(resource.connections.items())],
        )

    def split_brain(self, name: str) -> frozenset[int]:
        """Node ids of the peers with which the kernel gave up because both sides had data of their own."""
        resource = self._resources.get(name)
        if resource is None:
            return frozenset()
        return frozenset(resource.split)

    def _destroy(self, event: KernelEvent) -> None:
        resource = self._resources.get(event.name)
        if resource is None:
            return
        match event.object:
            case "resource":
                del self._resources[event.name]
            case "connection":
                resource.connections.pop(_peer(event), None)
            case "device":
                resource.devices.pop(_volume(event), None)
            case "peer-device" if _peer(event) in resource.connections:
                resource.connections[_peer(event)].volumes.pop(_volume(event), None)
            case _:
                pass

    def _rename(self, event: KernelEvent) -> None:
        new_name = event.fields.get("new_name", "")
        resource = self._resources.pop(event.name, None)
        if resource is not None and new_name:
            self._resources[new_name] = resource

    def _helper(self, event: KernelEvent) -> None:
        resource = self._resources.get(event.name)
        if resource is None or event.action != "call" or event.fields.get("helper") != _SPLIT_BRAIN:
            return
        resource.split |= {_peer(event)} if "peer-node-id" in event.fields else set(resource.connections)

    def _merge(self, event: KernelEvent) -> None:
        resource = self._resources.setdefault(event.name, _Resource())
        match event.object:
            case "resource":
                resource.fields |= event.fields
            case "device":
                resource.devices.setdefault(_volume(event), {}).update(event.fields)
            case "connection":
                connection = resource.connections.setdefault(_peer(event), _Connection())
                connection.fields |= event.fields
                if connection.fields.get("connection") == "Connected":
                    resource.split.discard(_peer(event))
            case "peer-device":
                connection = resource.connections.setdefault(_peer(event), _Connection())
                fields = connection.volumes.setdefault(_volume(event), {})
                if "replication" in event.fields and "done" not in event.fields:
                    fields.pop("done", None)
                fields.update(event.fields)
            case _:
                pass


def model_of(lines: Iterable[str]) -> KernelModel:
    """The model after these lines."""
    model = KernelModel()
    for line in lines:
        event = parse_event(line)
        if event is not None:
            model.take(event)
    return model


def _peer(event: KernelEvent) -> int:
    return _number(event.fields, "peer-node-id")


def _volume(event: KernelEvent) -> int:
    return _number(event.fields, "volume")


def _number(fields: dict[str, str], key: str, default: int = 0) -> int:
    text = fields.get(key, "")
    return int(text) if text.lstrip("-").isdigit() else default


def _device(number: int, fields: dict[str, str]) -> DeviceStatus:
    return DeviceStatus(
        volume=number,
        minor=_number(fields, "minor", -1),
        disk_state=fields.get("disk", "DUnknown"),
        client=fields.get("client") == "yes",
        quorum=fields.get("quorum", "yes") == "yes",
        size=_number(fields, "size"),
        open=fields.get("open") == "yes",
    )


def _connection(peer: int, connection: _Connection) -> ConnectionStatus:
    return ConnectionStatus(
        peer_node_id=peer,
        name=connection.fields.get("conn-name", ""),
        connection_state=connection.fields.get("connection", "Connecting"),
        peer_role=connection.fields.get("role", "Unknown"),
        peer_devices=[_peer_device(number, one) for number, one in sorted(connection.volumes.items())],
    )


def _peer_device(number: int, fields: dict[str, str]) -> PeerDeviceStatus:
    done = fields.get("done")
    return PeerDeviceStatus(
        volume=number,
        replication_state=fields.get("replication", "Off"),
        peer_disk_state=fields.get("peer-disk", "DUnknown"),
        out_of_sync=_number(fields, "out-of-sync"),
        resynced=_number(fields, "received") if fields.get("replication") == "SyncTarget" else 0,
        percent_resync_done=_percent(done),
    )


def _percent(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
