"""`bollard resource-definition`: what a resource is, wherever it is."""

import argparse
import time
from typing import Any

from rich.text import Text

from bollard.cli import oldform
from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, LIST, items_of, show_list
from bollard.cli.nouns.clone import CLONE
from bollard.cli.nouns.drbd_options import ALL, options_verb
from bollard.cli.nouns.placing import PLACE, PLACE_COUNT, PROVIDERS, layers, select_filter
from bollard.cli.nouns.properties import property_verbs, props_filter
from bollard.cli.show import Cell
from bollard.client.rest import path_of

_POLL_S = 0.5
_NAME = arg("name", names_of="resource-definitions")


def _create(context: Context, options: argparse.Namespace) -> int:
    if options.name is None and options.external_name is None:
        raise Stop(Exit.USAGE, "Give a name or --external-name.")
    definition: dict[str, Any] = {}
    if options.name is not None:
        definition["name"] = options.name
    if options.external_name is not None:
        definition["external_name"] = options.external_name
    if options.resource_group is not None:
        definition["resource_group_name"] = options.resource_group
    if options.layer_list is not None:
        definition["layer_data"] = [{"type": kind} for kind in layers(options.layer_list) or ()]
    body: dict[str, Any] = {"resource_definition": definition}
    if options.port is not None:
        body["drbd_port"] = options.port
    if options.peer_slots is not None:
        body["drbd_peer_slots"] = options.peer_slots
    return context.do("POST", "/v1/resource-definitions", body)


def _modify(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {}
    if options.peer_slots is not None:
        body["drbd_peer_slots"] = options.peer_slots
    if options.port is not None:
        body["drbd_port"] = options.port
    if options.resource_group is not None:
        body["resource_group"] = options.resource_group
    return context.do("PUT", path_of("resource-definitions", options.name), body)


def _delete(context: Context, options: argparse.Namespace) -> int:
    return max(context.do("DELETE", path_of("resource-definitions", name)) for name in options.name)


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {"resource_definitions": options.resource_definitions, "props": props_filter(options)}
    found = items_of(context, options, "/v1/resource-definitions", query)
    if context.raw(found, oldform.definitions):
        return Exit.OK
    rows = []
    for item in found:
        stack = ",".join(layer["type"] for layer in item.get("layer_data", ()))
        name = item.get("external_name", "") if options.external_name else item["name"]
        row: list[Cell] = [name, item.get("resource_group_name", ""), stack, _state(item)]
        rows.append([*row, *([_port(item)] if options.ports else ())])
    columns = ["ResourceName", "ResourceGroup", "Layers", "State", *(["Port"] if options.ports else ())]
    return show_list(context, options, columns, rows, found)


def _port(item: dict[str, Any]) -> str:
    data = [layer.get("data", {}) for layer in item.get("layer_data", ()) if layer.get("type") == "DRBD"]
    return str(data[0].get("port", "")) if data else ""


def _state(item: dict[str, Any]) -> Cell:
    flags = item.get("flags", ())
    for one in item.get("procedures", ()):
        if "CLONING" not in flags:
            return Text(f"{one['verb']}: {one.get('message') or one['phase']}", "yellow")
    for flag, word in (("DELETE", "DELETING"), ("FAILED", "FAILED"), ("CLONING", "CLONING")):
        if flag in flags:
            return Text(word, "red" if flag != "CLONING" else "yellow")
    return Text("ok", "green")


def _autoplace(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"select_filter": select_filter(options, options.place_count)}
    if options.nvme_initiator or options.drbd_diskless:
        kind = "NVME_INITIATOR" if options.nvme_initiator else "DRBD_DISKLESS"
        body["select_filter"]["diskless_type"] = kind
    if (remaining := body["select_filter"].get("diskless_on_remaining")) is not None:
        body["diskless_on_remaining"] = remaining
    if options.layer_list is not None:
        body["layer_list"] = layers(options.layer_list)
    path = path_of("resource-definitions", options.resource_definition_name, "autoplace")
    return context.do("POST", path, body, {"explain": True} if options.explain else None)


def _wait_sync(context: Context, options: argparse.Namespace) -> int:
    path = path_of("resource-definitions", options.resource_name, "sync-status")
    deadline_s = time.monotonic() + (options.wait_timeout or float("inf"))
    while not context.fetch(path).get("synced_on_all"):
        if time.monotonic() >= deadline_s:
            raise Stop(Exit.TIMEOUT, f"'{options.resource_name}' is not in sync on all nodes yet.")
        time.sleep(_POLL_S)
    return Exit.OK


def _verify(context: Context, options: argparse.Namespace) -> int:
    return context.do("POST", path_of("resource-definitions", options.resource_name, "verify"))


NOUN = Noun(
    ("resource-definition", "rd"),
    "what a resource is, on all its nodes",
    (
        Verb(
            ("create", "c"),
            "add a definition",
            _create,
            (
                arg("-p", "--port", type=int, help="preferred DRBD port"),
                arg("-e", "--external-name"),
                arg("-l", "--layer-list", help="comma list, e.g. drbd,luks,storage"),
                arg("--peer-slots", type=int),
                arg("--resource-group", names_of="resource-groups"),
                arg("name", nargs="?"),
            ),
        ),
        Verb(
            ("modify", "m"),
            "change a definition",
            _modify,
            (
                arg("--peer-slots", type=int),
                arg("-p", "--port", type=int),
                arg("--resource-group", names_of="resource-groups"),
                _NAME,
            ),
        ),
        Verb(
            ("delete", "d"),
            "remove definitions with all their resources",
            _delete,
            (arg("--async", action="store_true"), arg("name", nargs="+", names_of="resource-definitions")),
        ),
        Verb(
            ("list", "l"),
            "show definitions",
            _list,
            (
                *LIST,
                FROM_FILE,
                arg("--ports", "--show-preferred-drbd-ports", dest="ports", action="store_true"),
                arg("-r", "--resource-definitions", nargs="+", names_of="resource-definitions"),
                arg("-e", "--external-name", action="store_true"),
                arg("--props", nargs="+"),
            ),
        ),
        Verb(
            ("auto-place", "ap"),
            "place replicas",
            _autoplace,
            (
                PLACE_COUNT,
                PROVIDERS,
                arg("--nvme-initiator", action="store_true", help="diskless by NVMe"),
                arg("--drbd-diskless", action="store_true", help="diskless by DRBD"),
                arg("resource_definition_name", names_of="resource-definitions"),
                *PLACE,
            ),
        ),
        CLONE,
        Verb(
            ("wait-sync", "ws"),
            "wait until all replicas are up to date",
            _wait_sync,
            (
                arg("--wait-timeout", type=float, metavar="S"),
                arg("resource_name", names_of="resource-definitions"),
            ),
        ),
        Verb(
            ("verify",),
            "compare all replicas online",
            _verify,
            (arg("resource_name", names_of="resource-definitions"),),
        ),
        options_verb(
            ("drbd-options", "opt"),
            lambda options: path_of("resource-definitions", options.resource_name),
            (arg("resource_name", names_of="resource-definitions"),),
            ALL,
        ),
        *property_verbs(lambda options: path_of("resource-definitions", options.name), (_NAME,)),
    ),
)
