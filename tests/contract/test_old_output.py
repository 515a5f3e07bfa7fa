"""The older form of `-m` output is what python-linstor makes of the same answers."""

from typing import Any

import pytest

from bollard.cli import oldform

responses = pytest.importorskip("linstor.responses", reason="python-linstor is not installed")

NODE = {
    "name": "n1",
    "type": "SATELLITE",
    "props": {"CurStltConnName": "default"},
    "flags": ["EVICTED"],
    "net_interfaces": [
        {
            "name": "default",
            "address": "10.0.0.1",
            "satellite_port": 3366,
            "satellite_encryption_type": "PLAIN",
            "is_active": True,
        },
        {"name": "data", "address": "10.1.0.1"},
    ],
    "connection_status": "ONLINE",
    "uuid": "u",
    "storage_providers": ["DISKLESS"],
    "resource_layers": ["STORAGE"],
}
DRBD_VOLUME = {
    "drbd_volume_definition": {"volume_number": 0, "minor_number": 1000},
    "device_path": "/dev/drbd1000",
    "backing_device": "/x",
    "allocated_size_kib": 1,
    "usable_size_kib": 2,
}
VOLUME = {
    "volume_number": 0,
    "storage_pool_name": "p",
    "provider_kind": "FILE_THIN",
    "device_path": "/dev/drbd1000",
    "allocated_size_kib": 1,
    "props": {"a": "b"},
    "state": {"disk_state": "UpToDate"},
    "layer_data_list": [
        {"type": "DRBD", "data": DRBD_VOLUME},
        {"type": "STORAGE", "data": {"volume_number": 0, "allocated_size_kib": 1, "usable_size_kib": 2}},
    ],
    "uuid": "v",
}
RESOURCE = {
    "name": "r",
    "node_name": "n1",
    "props": {"StorPoolName": "p"},
    "flags": ["TIE_BREAKER"],
    "state": {"in_use": False},
    "uuid": "u",
    "volumes": [VOLUME],
}
DEFINITION = {
    "name": "r",
    "props": {"k": "v"},
    "flags": ["DELETE"],
    "layer_data": [{"type": "DRBD", "data": {"peer_slots": 7, "port": 7000, "secret": ""}}],
    "uuid": "u",
    "volume_definitions": [
        {
            "volume_number": 0,
            "size_kib": 1024,
            "props": {"a": "b"},
            "layer_data": [{"type": "DRBD", "data": {"volume_number": 0, "minor_number": 1000}}],
            "uuid": "u",
            "flags": ["GROSS_SIZE"],
        }
    ],
}
POOL = {
    "storage_pool_name": "p",
    "node_name": "n1",
    "provider_kind": "LVM_THIN",
    "props": {"StorDriver/StorPoolName": "vg/thin"},
    "static_traits": {"Provisioning": "Thin"},
    "free_capacity": 100,
    "total_capacity": 200,
    "free_space_mgr_name": "n1;p",
    "uuid": "u",
}
AWAY = {"name": "n", "type": "COMBINED", "uuid": "u", "connection_status": "OFFLINE"}
PAIR = {"node_a": "a", "node_b": "b", "props": {"k": "v"}}


@pytest.mark.parametrize(
    ("name", "form", "answer"),
    [
        ("NodeListResponse", oldform.nodes, [NODE]),
        ("NodeListResponse", oldform.nodes, [AWAY]),
        ("ResourceResponse", oldform.resources, [RESOURCE]),
        ("ResourceResponse", oldform.resources, [{"name": "r", "node_name": "n1", "uuid": "u"}]),
        ("ResourceDefinitionResponse", oldform.definitions, [DEFINITION]),
        ("ResourceDefinitionResponse", oldform.definitions, [{"name": "r", "uuid": "u"}]),
        ("StoragePoolListResponse", oldform.pools, [POOL]),
        *(
            ("StoragePoolListResponse", oldform.pools, [POOL | {"provider_kind": kind}])
            for kind in ("LVM", "ZFS", "ZFS_THIN", "DISKLESS", "FILE", "FILE_THIN", "SPDK")
        ),
        ("NodeConnectionsResponse", oldform.node_connections, [PAIR]),
        ("ResourceConnectionsResponse", oldform.resource_connections, [PAIR | {"port": 7000}]),
    ],
)  # fmt: skip
def test_the_older_form_is_the_same(name: str, form: oldform.Form, answer: list[dict[str, Any]]) -> None:
    assert form(answer) == getattr(responses, name)(answer).data_v0


def test_the_entries_of_a_reply_too() -> None:
    entry = {"ret_code": 5, "message": "m", "cause": "c", "obj_refs": {"Node": "n"}}
    assert oldform.entries([entry]) == [responses.ApiCallResponse(entry).data_v0]
