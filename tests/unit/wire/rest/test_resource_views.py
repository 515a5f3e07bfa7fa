"""Resources as clients see them: shapes, flags and omissions."""

from typing import Any

import msgspec
import pytest

from bollard.domain.ids import GroupName, NodeName, ResourceName, Uuid
from bollard.domain.layers import DEFAULT_STACK, LayerKind, ProviderKind
from bollard.domain.resources import (
    DiskKind,
    Resource,
    ResourceDefinition,
    ResourcePhase,
    VolumeDefinition,
    VolumeOnNode,
)
from bollard.domain.seen import SeenPeer, SeenPeerVolume, SeenResource, SeenVolume
from bollard.wire.rest.resource_views import Picture, flags_of, resource_view

DEFINITION = ResourceDefinition(
    name=ResourceName("r1"),
    uuid=Uuid("d"),
    group=GroupName("DfltRscGrp"),
    layer_stack=DEFAULT_STACK,
    drbd_secret="never shown",
    volumes=(VolumeDefinition(number=0, uuid=Uuid("v"), size_kib=20480, minor=1000),),
)
RESOURCE = Resource(
    definition=ResourceName("r1"),
    node=NodeName("n1"),
    uuid=Uuid("r"),
    drbd_node_id=0,
    tcp_ports=(7000,),
    create_timestamp_ms=5,
    volumes=(VolumeOnNode(number=0, uuid=Uuid("w"), pool="pthin"),),
)
SEEN = SeenResource(
    name=ResourceName("r1"),
    uuid=Uuid("r"),
    may_promote=True,
    volumes=(
        SeenVolume(
            number=0,
            device_path="/dev/drbd1000",
            backing_path="/dev/loop1",
            size_kib=20480,
            allocated_kib=8,
            disk_state="UpToDate",
        ),
    ),
    peers=(
        SeenPeer(
            node=NodeName("n2"),
            connection="Connected",
            volumes=(SeenPeerVolume(0, "SyncSource", "Inconsistent", 12.5),),
        ),
    ),
)
PROVIDERS = {"pthin": ProviderKind.FILE_THIN}


REPLICA = {
    "name": "r1",
    "node_name": "n1",
    "props": {"StorPoolName": "pthin"},
    "layer_object": {
        "type": "DRBD",
        "children": [
            {
                "type": "STORAGE",
                "storage": {
                    "storage_volumes": [
                        {
                            "volume_number": 0,
                            "device_path": "/dev/loop1",
                            "allocated_size_kib": 8,
                            "usable_size_kib": 20480,
                            "disk_state": "[]",
                        }
                    ]
                },
            }
        ],
        "drbd": {
            "drbd_resource_definition": {
                "peer_slots": 7,
                "al_stripes": 1,
                "al_stripe_size_kib": 32,
                "port": -1,
                "transport_type": "IP",
                "down": False,
            },
            "node_id": 0,
            "tcp_ports": [7000],
            "peer_slots": 7,
            "al_stripes": 1,
            "al_size": 32,
            "flags": ["INITIALIZED"],
            "drbd_volumes": [
                {
                    "drbd_volume_definition": {"volume_number": 0, "minor_number": 1000},
                    "device_path": "/dev/drbd1000",
                    "backing_device": "/dev/loop1",
                    "allocated_size_kib": 8,
                    "usable_size_kib": 20480,
                }
            ],
            "connections": {"n2": {"connected": True, "message": "Connected"}},
            "promotion_score": 10101,
            "may_promote": True,
        },
    },
    "state": {"in_use": False},
    "uuid": "r",
    "create_timestamp": 5,
    "observed": {"current": True, "settled": False},
    "volumes": [
        {
            "volume_number": 0,
            "storage_pool_name": "pthin",
            "provider_kind": "FILE_THIN",
            "device_path": "/dev/drbd1000",
            "allocated_size_kib": 8,
            "usable_size_kib": 20480,
            "state": {
                "disk_state": "UpToDate",
                "replication_states": {"n2": {"replication_state": "SyncSource", "done_percentage": 12.5}},
            },
            "layer_data_list": [
                {
                    "type": "DRBD",
                    "data": {
                        "drbd_volume_definition": {"volume_number": 0, "minor_number": 1000},
                        "device_path": "/dev/drbd1000",
                        "backing_device": "/dev/loop1",
                        "allocated_size_kib": 8,
                        "usable_size_kib": 20480,
                    },
                },
                {
                    "type": "STORAGE",
                    "data": {
                        "volume_number": 0,
                        "device_path": "/dev/loop1",
                        "allocated_size_kib": 8,
                        "usable_size_kib": 20480,
                        "disk_state": "[]",
                    },
                },
            ],
            "uuid": "w",
        }
    ],
}


def view(
    resource: Resource = RESOURCE,
    definition: ResourceDefinition = DEFINITION,
    seen: SeenResource | None = SEEN,
    *,
    current: bool = True,
) -> Any:
    picture = Picture(resource, definition, seen, PROVIDERS, current=current, heard_ms=7)
    return msgspec.json.decode(msgspec.json.encode(resource_view(picture, with_volumes=True)))


def test_a_replica_shows_its_layers_and_states() -> None:
    assert view() == REPLICA


def test_what_is_not_known_now_is_not_claimed() -> None:
    shown = view(current=False)
    assert "state" not in shown
    assert "state" not in shown["volumes"][0]
    assert "connections" not in shown["layer_object"]["drbd"]
    assert shown["observed"] == {"current": False, "heard_at": 7, "settled": False}


def test_a_plain_volume_has_one_layer_and_an_empty_state() -> None:
    plain = msgspec.structs.replace(DEFINITION, layer_stack=(LayerKind.STORAGE,))
    shown = view(definition=plain)
    assert shown["layer_object"]["type"] == "STORAGE"
    assert "drbd" not in shown["layer_object"]
    assert shown["state"] == {}


def test_nothing_seen_is_nothing_invented() -> None:
    shown = view(seen=None)
    assert shown["observed"] == {"current": True}
    assert "device_path" not in shown["volumes"][0]
    assert shown["volumes"][0]["layer_data_list"][1]["data"]["allocated_size_kib"] == -1


@pytest.mark.parametrize(
    ("disk", "phase", "flags"),
    [
        (DiskKind.DISKFUL, ResourcePhase.NORMAL, ()),
        (DiskKind.DISKLESS, ResourcePhase.NORMAL, ("DISKLESS", "DRBD_DISKLESS")),
        (DiskKind.TIE_BREAKER, ResourcePhase.NORMAL, ("DISKLESS", "DRBD_DISKLESS", "TIE_BREAKER")),
        (DiskKind.CLIENT, ResourcePhase.NORMAL, ("DISKLESS", "DRBD_DISKLESS")),
        (
            DiskKind.DISKFUL,
            ResourcePhase.DISK_ADDING,
            ("DISKLESS", "DRBD_DISKLESS", "DISK_ADD_REQUESTED", "DISK_ADDING"),
        ),
        (DiskKind.DISKFUL, ResourcePhase.DISK_REMOVING, ("DISK_REMOVE_REQUESTED", "DISK_REMOVING")),
        (DiskKind.DISKFUL, ResourcePhase.INACTIVE, ("INACTIVE",)),
        (DiskKind.DISKFUL, ResourcePhase.EVACUATING, ("EVACUATE",)),
    ],
)
def test_flags(disk: DiskKind, phase: ResourcePhase, flags: tuple[str, ...]) -> None:
    assert flags_of(msgspec.structs.replace(RESOURCE, disk=disk, phase=phase)) == flags


def test_the_secret_is_never_shown() -> None:
    assert b"never shown" not in msgspec.json.encode(view())
