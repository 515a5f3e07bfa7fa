"""The older form of `-m` output, v0: flat lists with names of their own, properties as pairs.

Made from what the API answers today; scripts that were written for old clients read it. Without secrets: the
member is there and empty.
"""

from collections.abc import Callable
from typing import Any

__all__ = [
    "Form",
    "definitions",
    "entries",
    "node_connections",
    "nodes",
    "pools",
    "resource_connections",
    "resources",
]

Form = Callable[[Any], Any]
Object = dict[str, Any]

_STATUS = {
    "OFFLINE": 0, "CONNECTED": 1, "ONLINE": 2, "VERSION_MISMATCH": 3, "FULL_SYNC_FAILED": 4,
    "AUTHENTICATION_ERROR": 5, "UNKNOWN": 6, "HOSTNAME_MISMATCH": 7, "OTHER_CONTROLLER": 8,
    "NO_STLT_CONN": 10, "MISSING_EXT_TOOLS": 11, "DUPLICATE_UNAME": 12,
}  # fmt: skip
_UNKNOWN_STATUS = 6
_DRIVERS = {
    "LVM": "LvmDriver",
    "LVM_THIN": "LvmThinDriver",
    "ZFS": "ZfsDriver",
    "ZFS_THIN": "ZfsThinDriver",
    "DISKLESS": "DisklessDriver",
    "SPDK": "SpdkDriver",
}


def _pairs(props: dict[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in (props or {}).items()]


def _with(found: Object, **more: Any) -> Object:
    """With what is there: the older form has no empty members."""
    return found | {name: value for name, value in more.items() if value is not None}


def _whole(name: str, items: list[Object]) -> Object:
    return {name: items} if items else {}


def entries(found: list[Object]) -> list[Object]:
    """The entries of a reply."""
    return [
        _with(
            {key: value for key, value in entry.items() if key not in {"obj_refs", "explanation"}},
            object_refs=_pairs(entry["obj_refs"]) if entry.get("obj_refs") else None,
        )
        for entry in found
    ]


def nodes(found: list[Object]) -> Object:
    """Of `node list`."""
    return _whole("nodes", [_node(node) for node in found])


def _node(node: Object) -> Object:
    return _with(
        {
            "name": node["name"],
            "type": node["type"],
            "props": _pairs(node.get("props")),
            "net_interfaces": [
                {
                    "address": net_if["address"],
                    "name": net_if["name"],
                    "stlt_port": net_if.get("satellite_port"),
                    "stlt_encryption_type": net_if.get("satellite_encryption_type"),
                }
                for net_if in node.get("net_interfaces", ())
            ],
            "connection_status": _STATUS.get(node.get("connection_status", ""), _UNKNOWN_STATUS),
            "uuid": node.get("uuid", ""),
        },
        flags=node.get("flags"),
        storage_providers=node.get("storage_providers"),
        resource_layers=node.get("resource_layers"),
    )


def pools(found: list[Object]) -> Object:
    """Of `storage-pool list`."""
    return _whole("stor_pools", [_pool(pool) for pool in found])


def _pool(pool: Object) -> Object:
    space = None
    if pool.get("free_capacity") is not None:
        space = {
            "stor_pool_name": pool["storage_pool_name"],
            "free_capacity": pool["free_capacity"],
            "total_capacity": pool.get("total_capacity"),
        }
    return _with(
        {
            "stor_pool_uuid": pool.get("uuid", ""),
            "stor_pool_name": pool["storage_pool_name"],
            "node_name": pool["node_name"],
            "free_space_mgr_name": pool.get("free_space_mgr_name"),
            "driver": _DRIVERS.get(pool["provider_kind"], ""),
            "static_traits": _pairs(pool.get("static_traits")),
        },
        free_space=space,
        props=_pairs(pool["props"]) if pool.get("props") else None,
    )


def definitions(found: list[Object]) -> Object:
    """Of `resource-definition list` and `volume-definition list`."""
    return _whole("rsc_dfns", [_definition(item) for item in found])


def _definition(item: Object) -> Object:
    drbd = _drbd_data(item.get("layer_data"))
    return _with(
        {
            "rsc_name": item["name"],
            "rsc_dfn_uuid": item.get("uuid", ""),
            "vlm_dfns": [_volume_definition(volume) for volume in item.get("volume_definitions", ())],
        },
        rsc_dfn_flags=item.get("flags"),
        rsc_dfn_props=_pairs(item["props"]) if item.get("props") else None,
        rsc_dfn_port=drbd.get("port") if drbd else None,
        rsc_dfn_secret="" if drbd else None,
    )


def _volume_definition(volume: Object) -> Object:
    drbd = _drbd_data(volume.get("layer_data"))
    return _with(
        {
            "vlm_nr": volume["volume_number"],
            "vlm_size": volume["size_kib"],
            "vlm_dfn_uuid": volume.get("uuid", ""),
        },
        vlm_flags=volume.get("flags"),
        vlm_props=_pairs(volume["props"]) if volume.get("props") else None,
        vlm_minor=drbd.get("minor_number") if drbd else None,
    )


def _drbd_data(layers: list[Object] | None) -> Object | None:
    return next((layer.get("data") or {} for layer in layers or () if layer.get("type") == "DRBD"), None)


def resources(found: list[Object]) -> Object:
    """Of `resource list` and `volume list`."""
    if not found:
        return {}
    return {
        "resource_states": [_state(item) for item in found],
        "resources": [_resource(item) for item in found],
    }


def _state(item: Object) -> Object:
    volumes = [
        {"vlm_nr": volume["volume_number"], "disk_state": volume.get("state", {}).get("disk_state")}
        for volume in item.get("volumes", ())
    ]
    return _with(
        {"rsc_name": item["name"], "node_name": item["node_name"]},
        in_use=item.get("state", {}).get("in_use"),
        vlm_states=volumes or None,
    )


def _resource(item: Object) -> Object:
    return {
        "name": item["name"],
        "uuid": item.get("uuid", ""),
        "node_name": item["node_name"],
        "rsc_flags": item.get("flags", []),
        "props": _pairs(item.get("props")),
        "vlms": [_volume(volume) for volume in item.get("volumes", ())],
    }


def _volume(volume: Object) -> Object:
    drbd = _drbd_data(volume.get("layer_data_list"))
    found = {
        "stor_pool_name": volume.get("storage_pool_name"),
        "vlm_nr": volume["volume_number"],
        "vlm_uuid": volume.get("uuid", ""),
        "device_path": volume.get("device_path"),
    }
    if drbd is None:
        return found
    return found | {
        "vlm_minor_nr": drbd.get("drbd_volume_definition", {}).get("minor_number"),
        "backing_disk": drbd.get("backing_device"),
        "meta_disk": "",
        "allocated": drbd.get("allocated_size_kib"),
    }


def node_connections(found: list[Object]) -> Object:
    """Of `node-connection list`."""
    return _whole("node_connections", [_connection(item) for item in found])


def resource_connections(found: list[Object]) -> Object:
    """Of `resource-connection list`."""
    return _whole("rsc_connections", [_connection(item) for item in found])


def _connection(item: Object) -> Object:
    return _with(
        {"node_name_1": item["node_a"], "node_name_2": item["node_b"]},
        props=_pairs(item["props"]) if item.get("props") else None,
        port=item.get("port"),
    )
