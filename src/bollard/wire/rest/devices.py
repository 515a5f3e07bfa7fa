"""Bare devices as the API shows them, and the body that asks for a pool on some."""

from collections.abc import Mapping

import msgspec

from bollard.wire.devices import FreeDevice
from bollard.wire.rest.bodies import Body, GivenProps

__all__ = [
    "DeviceView",
    "DevicesView",
    "NodeDeviceView",
    "PhysicalStorageBody",
    "WithPool",
    "by_size",
    "of_node",
]


class DeviceView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device of a node, its size said elsewhere."""

    device: str
    model: str | None = None
    serial: str | None = None
    wwn: str | None = None


class DevicesView(msgspec.Struct, frozen=True):
    """All devices of one size and kind."""

    size: int
    rotational: bool
    nodes: dict[str, list[DeviceView]]


class NodeDeviceView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device of one node."""

    size: int
    rotational: bool
    device: str
    model: str | None = None
    serial: str | None = None
    wwn: str | None = None


class WithPool(Body, frozen=True):
    """The storage pool to be registered on what is made."""

    name: str | None = None
    props: GivenProps | None = None
    shared_space: str | None = None
    external_locking: bool | None = None


class PhysicalStorageBody(Body, frozen=True):
    """A pool to be made of devices."""

    provider_kind: str | None = None
    device_paths: list[str] | None = None
    raid_level: str | None = None
    pool_name: str | None = None
    vdo_enable: bool | None = None
    vdo_slab_size_kib: int | None = None
    vdo_logical_size_kib: int | None = None
    with_storage_pool: WithPool | None = None
    sed: bool | None = None
    pv_create_arguments: list[str] | None = None
    vg_create_arguments: list[str] | None = None
    lv_create_arguments: list[str] | None = None
    zpool_create_arguments: list[str] | None = None


def by_size(found: Mapping[str, list[FreeDevice]]) -> list[DevicesView]:
    """The devices of all nodes, those of one size and kind together, the smallest first."""
    groups: dict[tuple[int, bool], dict[str, list[DeviceView]]] = {}
    for node, devices in sorted(found.items()):
        for one in devices:
            nodes = groups.setdefault((one.size_bytes, one.rotational), {})
            view = DeviceView(one.path, one.model or None, one.serial or None, one.wwn or None)
            nodes.setdefault(node, []).append(view)
    return [DevicesView(size, rotational, nodes) for (size, rotational), nodes in sorted(groups.items())]


def of_node(devices: list[FreeDevice]) -> list[NodeDeviceView]:
    """The devices of one node."""
    return [
        NodeDeviceView(
            size=one.size_bytes,
            device=one.path,
            rotational=one.rotational,
            model=one.model or None,
            serial=one.serial or None,
            wwn=one.wwn or None,
        )
        for one in devices
    ]
