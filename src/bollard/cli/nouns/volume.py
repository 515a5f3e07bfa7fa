"""`bollard volume`: the devices of resources on nodes."""

import argparse
from typing import Any

from rich.text import Text

from bollard.cli import oldform
from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, SHOW_PROPS_LONG, items_of, show_list
from bollard.cli.nouns.properties import property_verbs
from bollard.cli.show import Cell
from bollard.cli.sizes import show_kib
from bollard.client.rest import path_of

_COLUMNS = (
    "Resource", "Node", "StoragePool", "VolNr", "MinorNr",
    "DeviceName", "Allocated", "InUse", "State", "Repl",
)  # fmt: skip
LIST_ARGS = (
    PASTABLE,
    arg("-n", "--nodes", nargs="+", names_of="nodes"),
    arg("-s", "--storage-pools", nargs="+", names_of="storage-pools"),
    arg("-r", "--resources", nargs="+", names_of="resource-definitions"),
    arg("-a", "--all", action="store_true", help="tie-breakers too"),
    arg("--hrep", "--hide-replication-states", dest="hide_replication_states", action="store_true"),
    SHOW_PROPS_LONG,
    FROM_FILE,
)


def list_volumes(context: Context, options: argparse.Namespace) -> int:
    """The volume table, also behind `resource list-volumes`."""
    query = {"nodes": options.nodes, "resources": options.resources, "storage_pools": options.storage_pools}
    found = items_of(context, options, "/v1/view/resources", query)
    if context.raw(found, oldform.resources):
        return Exit.OK
    pairs = [
        (item, volume)
        for item in found
        if options.all or "TIE_BREAKER" not in item.get("flags", ())
        for volume in item.get("volumes", ())
    ]
    kept = -1 if options.hide_replication_states else len(_COLUMNS)
    rows = [_row(item, volume)[:kept] for item, volume in pairs]
    return show_list(context, options, _COLUMNS[:kept], rows, [volume for _, volume in pairs])


def _row(item: dict[str, Any], volume: dict[str, Any]) -> tuple[Cell, ...]:
    state = volume.get("state", {}).get("disk_state", "Unknown")
    in_use = item.get("state", {}).get("in_use")
    return (
        item["name"],
        item["node_name"],
        volume.get("storage_pool_name", ""),
        str(volume["volume_number"]),
        _minor(volume),
        volume.get("device_path", ""),
        show_kib(volume.get("allocated_size_kib")),
        "" if in_use is None else "InUse" if in_use else "Unused",
        Text(state, "green" if state in {"UpToDate", "Created", "Diskless", "Client"} else "yellow"),
        _replication(volume),
    )


def _minor(volume: dict[str, Any]) -> str:
    for layer in volume.get("layer_data_list", ()):
        minor = layer.get("data", {}).get("drbd_volume_definition", {}).get("minor_number")
        if minor is not None:
            return str(minor)
    return ""


def _replication(volume: dict[str, Any]) -> Cell:
    states = volume.get("state", {}).get("replication_states", {})
    words = []
    for peer, entry in sorted(states.items()):
        word = entry.get("replication_state", "Off")
        if word == "Established":
            continue
        done = entry.get("done_percentage")
        words.append(f"{peer}: {word}" + (f" {done:.2f}%" if done is not None else ""))
    if not states:
        return ""
    return Text(", ".join(words), "yellow") if words else Text("Established", "green")


_NAMES = (
    arg("node_name", names_of="nodes"),
    arg("resource_name", names_of="resource-definitions"),
    arg("volume_number", type=int),
)


def _path(options: argparse.Namespace) -> str:
    resource = ("resource-definitions", options.resource_name, "resources", options.node_name)
    return path_of(*resource, "volumes", options.volume_number)


NOUN = Noun(
    ("volume", "v"),
    "devices of resources on nodes",
    (Verb(("list", "l"), "show volumes", list_volumes, LIST_ARGS), *property_verbs(_path, _NAMES)),
)
