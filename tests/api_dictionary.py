"""The API as a dictionary: what a client believes to be there after calls that were answered well.

Everything is plain storage on nodes that do all at once, so that nothing happens by itself.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bollard.domain.ids import key_of

Request = tuple[str, str, Any]
FOLDER = "/srv/recorded/pools/x"


@dataclass
class Believed:
    """What is there, by keys; values are what lists show."""

    nodes: dict[str, dict[str, str]] = field(default_factory=dict)
    """Properties."""
    pools: set[tuple[str, str]] = field(default_factory=set)
    groups: dict[str, dict[str, str]] = field(default_factory=dict)
    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Group, properties, sizes by volume number."""
    resources: set[tuple[str, str]] = field(default_factory=set)
    """Definition and node."""
    snapshots: set[tuple[str, str]] = field(default_factory=set)
    stores: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request and what it means."""

    request: Request
    effect: Callable[[Believed], None]
    """On what is believed, when the answer is no error."""
    sure: Callable[[Believed], bool | None] = lambda _: None
    """Whether it succeeds, where that is known beforehand."""

    def after(self, believed: Believed) -> Believed:
        """What is believed once it has succeeded."""
        found = copy.deepcopy(believed)
        self.effect(found)
        return found


def create_node(name: str) -> Call:
    net_if = {"name": "default", "address": f"10.99.0.{name[1:]}", "satellite_port": 3366}
    net_if["satellite_encryption_type"] = "PLAIN"
    body = {"name": name, "type": "SATELLITE", "net_interfaces": [net_if]}
    return Call(
        ("POST", "/v1/nodes", body),
        lambda it: it.nodes.__setitem__(key_of(name), {}),
        lambda it: key_of(name) not in it.nodes,
    )


def delete_node(name: str) -> Call:
    key = key_of(name)

    def effect(it: Believed) -> None:
        it.nodes.pop(key, None)
        it.pools = {pool for pool in it.pools if pool[0] != key}
        lost = {definition for definition, node in it.resources if node == key}
        it.resources = {place for place in it.resources if place[1] != key}
        kept = {definition for definition, _ in it.resources}
        it.snapshots = {one for one in it.snapshots if one[0] not in lost or one[0] in kept}

    return Call(
        ("DELETE", f"/v1/nodes/{name}", None),
        effect,
        lambda it: True if not any(node == key for _, node in it.resources) else None,
    )


def set_node(name: str, prop: str, value: str) -> Call:
    return Call(
        ("PUT", f"/v1/nodes/{name}", {"override_props": {prop: value}}),
        lambda it: it.nodes[key_of(name)].__setitem__(prop, value),
        lambda it: key_of(name) in it.nodes,
    )


def create_pool(node: str, name: str) -> Call:
    place = (key_of(node), key_of(name))
    props = {"StorDriver/FileDir": FOLDER}
    body = {"storage_pool_name": name, "provider_kind": "FILE_THIN", "props": props}
    return Call(
        ("POST", f"/v1/nodes/{node}/storage-pools", body),
        lambda it: it.pools.add(place),
        lambda it: place[0] in it.nodes and place not in it.pools,
    )


def delete_pool(node: str, name: str) -> Call:
    place = (key_of(node), key_of(name))
    return Call(
        ("DELETE", f"/v1/nodes/{node}/storage-pools/{name}", None), lambda it: it.pools.discard(place)
    )


def create_group(name: str) -> Call:
    return Call(
        ("POST", "/v1/resource-groups", {"name": name}),
        lambda it: it.groups.__setitem__(key_of(name), {}),
        lambda it: key_of(name) not in it.groups,
    )


def set_group(name: str, prop: str, value: str) -> Call:
    return Call(
        ("PUT", f"/v1/resource-groups/{name}", {"override_props": {prop: value}}),
        lambda it: it.groups[key_of(name)].__setitem__(prop, value),
        lambda it: key_of(name) in it.groups,
    )


def delete_group(name: str) -> Call:
    key = key_of(name)
    return Call(
        ("DELETE", f"/v1/resource-groups/{name}", None),
        lambda it: it.groups.pop(key, None),
        lambda it: not any(one["group"] == key for one in it.definitions.values()),
    )


def create_definition(name: str, group: str) -> Call:
    key = key_of(name)
    wanted = {"name": name, "resource_group_name": group, "layer_data": [{"type": "STORAGE"}]}
    new = {"group": key_of(group), "props": {}, "volumes": {}}
    return Call(
        ("POST", "/v1/resource-definitions", {"resource_definition": wanted}),
        lambda it: it.definitions.__setitem__(key, copy.deepcopy(new)),
        lambda it: key not in it.definitions and key_of(group) in it.groups,
    )


def set_definition(name: str, prop: str, value: str) -> Call:
    return Call(
        ("PUT", f"/v1/resource-definitions/{name}", {"override_props": {prop: value}}),
        lambda it: it.definitions[key_of(name)]["props"].__setitem__(prop, value),
        lambda it: key_of(name) in it.definitions,
    )


def delete_definition(name: str) -> Call:
    key = key_of(name)

    def effect(it: Believed) -> None:
        it.definitions.pop(key, None)
        it.resources = {place for place in it.resources if place[0] != key}

    return Call(
        ("DELETE", f"/v1/resource-definitions/{name}", None),
        effect,
        lambda it: not any(definition == key for definition, _ in it.snapshots),
    )


def create_volume(name: str, number: int, size_kib: int) -> Call:
    wanted = {"size_kib": size_kib, "volume_number": number}
    return Call(
        ("POST", f"/v1/resource-definitions/{name}/volume-definitions", {"volume_definition": wanted}),
        lambda it: it.definitions[key_of(name)]["volumes"].__setitem__(number, size_kib),
        lambda it: _free_of_resources(it, name, number not in _volumes(it, name)),
    )


def resize_volume(name: str, number: int, size_kib: int) -> Call:
    return Call(
        ("PUT", f"/v1/resource-definitions/{name}/volume-definitions/{number}", {"size_kib": size_kib}),
        lambda it: it.definitions[key_of(name)]["volumes"].__setitem__(number, size_kib),
        lambda it: _free_of_resources(it, name, number in _volumes(it, name)),
    )


def delete_volume(name: str, number: int) -> Call:
    return Call(
        ("DELETE", f"/v1/resource-definitions/{name}/volume-definitions/{number}", None),
        lambda it: _volumes(it, name).pop(number, None),
    )


def create_resource(name: str, node: str, pool: str) -> Call:
    body = {"resource": {"props": {"StorPoolName": pool}}}
    return Call(
        ("POST", f"/v1/resource-definitions/{name}/resources/{node}", body),
        lambda it: it.resources.add((key_of(name), key_of(node))),
    )


def delete_resource(name: str, node: str) -> Call:
    return Call(
        ("DELETE", f"/v1/resource-definitions/{name}/resources/{node}", None),
        lambda it: it.resources.discard((key_of(name), key_of(node))),
    )


def create_snapshot(name: str, snapshot: str) -> Call:
    return Call(
        ("POST", f"/v1/resource-definitions/{name}/snapshots", {"name": snapshot}),
        lambda it: it.snapshots.add((key_of(name), key_of(snapshot))),
    )


def delete_snapshot(name: str, snapshot: str) -> Call:
    return Call(
        ("DELETE", f"/v1/resource-definitions/{name}/snapshots/{snapshot}", None),
        lambda it: it.snapshots.discard((key_of(name), key_of(snapshot))),
        lambda it: key_of(name) in it.definitions or None,
    )


def change_store(name: str, prop: str, value: str | None) -> Call:
    def effect(it: Believed) -> None:
        found = it.stores.setdefault(key_of(name), {})
        if value is None:
            found.pop(prop, None)
        else:
            found[prop] = value
        if not found:
            del it.stores[key_of(name)]

    change = {"delete_props": [prop]} if value is None else {"override_props": {prop: value}}
    return Call(("PUT", f"/v1/key-value-store/{name}", change), effect, lambda _: True)


def _volumes(it: Believed, name: str) -> dict[int, int]:
    found: dict[int, int] = it.definitions.get(key_of(name), {}).get("volumes", {})
    return found


def _free_of_resources(it: Believed, name: str, succeeds: bool) -> bool | None:
    """Where resources or snapshots are, it depends on more."""
    key = key_of(name)
    if any(one[0] == key for one in it.resources | it.snapshots):
        return None
    return succeeds and key in it.definitions
