"""Bare devices over the API: grouped as LINSTOR groups them, and pools made by the node that has them."""

from typing import Any

import msgspec
import pytest

from bollard.domain.commands import CreatePool
from bollard.domain.ids import key_of
from bollard.domain.nodes import Node
from bollard.domain.observed import NodeSeen
from bollard.wire.devices import DevicePoolDone, FreeDevice
from rest_driver import Driver, FakeService

GIB = 1 << 30
FREE = [FreeDevice("/dev/sdb", 8 * GIB, rotational=True, model="M"), FreeDevice("/dev/sdc", 8 * GIB)]


class Nodes(FakeService):
    """Nodes that answer queries about their devices."""

    def __init__(self, *ends: DevicePoolDone) -> None:
        super().__init__([Node(name="n1", uuid="u1"), Node(name="n2", uuid="u2")])  # type: ignore[arg-type]
        self.observed.nodes.setdefault(key_of("n1"), NodeSeen()).status = "ONLINE"
        self.ends = list(ends)
        self.asked: list[tuple[str, str, Any]] = []

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:
        self.asked.append((node, topic, arguments))
        found: Any = FREE if topic == "free-devices" else self.ends.pop(0)
        return msgspec.json.encode(found).decode()


def test_devices_are_grouped_by_size_and_kind() -> None:
    driver = Driver(Nodes())
    assert driver("GET", "/v1/physical-storage").json == [
        {"size": 8 * GIB, "rotational": False, "nodes": {"n1": [{"device": "/dev/sdc"}]}},
        {"size": 8 * GIB, "rotational": True, "nodes": {"n1": [{"device": "/dev/sdb", "model": "M"}]}},
    ]
    assert driver("GET", "/v1/physical-storage/n1").json[0]["device"] == "/dev/sdb"
    assert driver("GET", "/v1/physical-storage/n2").json == []
    assert driver("GET", "/v1/physical-storage/nope").status == 404


def body(**more: Any) -> dict[str, Any]:
    return {"provider_kind": "LVM_THIN", "device_paths": ["/dev/sdb"], "pool_name": "fast", **more}


def test_a_pool_is_made_and_registered() -> None:
    service = Nodes(DevicePoolDone(running=True), DevicePoolDone(backing="linstor_fast/fast"))
    reply = Driver(service)("POST", "/v1/physical-storage/n1", body(with_storage_pool={"name": "p"}))
    assert reply.status == 201
    assert [topic for _, topic, _ in service.asked] == ["device-pool", "device-pool"]
    assert service.asked[0] == service.asked[1], "asking again is the same attempt"
    (command,) = service.commands
    assert isinstance(command, CreatePool)
    assert (command.node, command.name, command.provider) == ("n1", "p", "LVM_THIN")
    assert command.props == {"StorDriver/StorPoolName": "linstor_fast/fast"}


def test_what_the_node_refuses_is_said_and_nothing_is_registered() -> None:
    service = Nodes(DevicePoolDone(error="'/dev/sdb' cannot become part of a pool", cause="it is mounted"))
    reply = Driver(service)("POST", "/v1/physical-storage/n1", body(with_storage_pool={"name": "p"}))
    assert reply.status == 500
    assert "cannot become part" in reply.json[0]["message"]
    assert service.commands == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"device_paths": []},
        {"device_paths": ["sdb"]},
        {"device_paths": ["/dev/sdb", "/dev/sdb"]},
        {"device_paths": ["/dev/../etc"]},
        {"pool_name": "a b"},
        {"provider_kind": "NOPE"},
        {"sed": True},
    ],
)
def test_requests_that_make_no_sense_reach_no_node(wrong: dict[str, Any]) -> None:
    service = Nodes()
    assert Driver(service)("POST", "/v1/physical-storage/n1", body(**wrong)).status >= 400
    assert service.asked == []
