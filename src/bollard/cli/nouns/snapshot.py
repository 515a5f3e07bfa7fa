"""`bollard snapshot`: what is kept of resources, and what is made from it."""

import argparse
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, LIST, items_of, show_list
from bollard.cli.nouns.properties import property_verbs
from bollard.cli.show import Cell
from bollard.cli.sizes import show_kib
from bollard.client.rest import path_of

_RESOURCE = arg("resource_definition_name", names_of="resource-definitions")
_FROM = (
    arg("--from-resource", "--fr", required=True, names_of="resource-definitions"),
    arg("--from-snapshot", "--fs", required=True),
    arg("--to-resource", "--tr", required=True, names_of="resource-definitions"),
)


def _create(context: Context, options: argparse.Namespace) -> int:
    path = path_of("resource-definitions", options.resource_definition_name, "snapshots")
    return context.do("POST", path, {"name": options.snapshot_name, "nodes": options.node_name})


def _create_multiple(context: Context, options: argparse.Namespace) -> int:
    names, snapshot = list(options.resource_names), options.snapshot_name
    if snapshot is None:
        # The list of resources takes what stands behind it, the snapshot's name too.
        *names, snapshot = names
    if not names:
        raise Stop(Exit.USAGE, "Give the name of the snapshot.")
    snapshots = [
        {"resource_name": name, "name": snapshot, "nodes": options.node_names or []} for name in names
    ]
    return context.do("POST", "/v1/actions/snapshot/multi", {"snapshots": snapshots})


def _path(resource: str, snapshot: str) -> str:
    return path_of("resource-definitions", resource, "snapshots", snapshot)


def _delete(context: Context, options: argparse.Namespace) -> int:
    path = _path(options.resource_definition_name, options.snapshot_name)
    return context.do("DELETE", path, query={"nodes": options.nodes} if options.nodes else None)


def _roll_back(context: Context, options: argparse.Namespace) -> int:
    path = path_of(
        "resource-definitions",
        options.resource_definition_name,
        "snapshot-rollback",
        options.snapshot_name,
    )
    strategy = options.zfs_rollback_strategy
    return context.do("POST", path, {"zfs_rollback_strategy": strategy} if strategy else {})


def _restore_volumes(context: Context, options: argparse.Namespace) -> int:
    path = path_of(
        "resource-definitions",
        options.from_resource,
        "snapshot-restore-volume-definition",
        options.from_snapshot,
    )
    return context.do("POST", path, {"to_resource": options.to_resource})


def _restore_resources(context: Context, options: argparse.Namespace) -> int:
    path = path_of(
        "resource-definitions", options.from_resource, "snapshot-restore-resource", options.from_snapshot
    )
    body: dict[str, Any] = {"to_resource": options.to_resource, "nodes": options.node_name}
    if options.storpool_rename:
        body["stor_pool_rename"] = dict(_renamed(word) for word in options.storpool_rename)
    return context.do("POST", path, body)


def _renamed(word: str) -> tuple[str, str]:
    old, sign, new = word.partition("=")
    if not sign or not old or not new:
        raise Stop(Exit.USAGE, f"'{word}' is not of the form OLD=NEW.")
    return old, new


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {"resources": options.resources, "nodes": options.nodes}
    found = items_of(context, options, "/v1/view/snapshots", query)
    if context.raw(found):
        return Exit.OK
    rows: list[list[Cell]] = [
        [
            item["resource_name"],
            item["name"],
            ", ".join(item.get("nodes", ())),
            ", ".join(
                f"{volume['volume_number']}: {show_kib(volume['size_kib'])}"
                for volume in item.get("volume_definitions", ())
            ),
            _created(item),
            _state(item),
        ]
        for item in found
    ]
    columns = ["ResourceName", "SnapshotName", "NodeNames", "Volumes", "CreatedOn", "State"]
    return show_list(context, options, columns, rows, found)


def _created(item: dict[str, Any]) -> str:
    times = [part["create_timestamp"] for part in item.get("snapshots", ()) if part.get("create_timestamp")]
    return datetime.fromtimestamp(min(times) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if times else ""


def _state(item: dict[str, Any]) -> Cell:
    flags = item.get("flags", ())
    why = f": {item['message']}" if item.get("message") else ""
    if "FAILED_DEPLOYMENT" in flags or "FAILED_DISCONNECT" in flags:
        return Text("Failed" + why, "red")
    if "SUCCESSFUL" in flags:
        return Text("Successful", "green")
    return Text("Incomplete" + why, "yellow")


NOUN = Noun(
    ("snapshot", "s"),
    "what is kept of resources at an instant",
    (
        Verb(
            ("create", "c"),
            "take a snapshot",
            _create,
            (
                arg("--async", action="store_true"),
                arg("node_name", nargs="*", names_of="nodes"),
                _RESOURCE,
                arg("snapshot_name"),
            ),
        ),
        Verb(
            ("create-multiple", "cm"),
            "take a snapshot of several resources at one instant",
            _create_multiple,
            (
                arg("--node_names", "-n", nargs="*", names_of="nodes"),
                arg("--resource_names", "-r", nargs="+", required=True, names_of="resource-definitions"),
                arg("snapshot_name", nargs="?"),
            ),
        ),
        Verb(
            ("delete", "d"),
            "remove a snapshot, or what some nodes keep of it",
            _delete,
            (_RESOURCE, arg("snapshot_name"), arg("-n", "--nodes", nargs="+", names_of="nodes")),
        ),
        Verb(
            ("rollback", "rb"),
            "give a resource the content that it had",
            _roll_back,
            (
                _RESOURCE,
                arg("snapshot_name"),
                arg(
                    "--zfs-rollback-strategy",
                    type=str.lower,
                    choices=("rollback", "clone", "dynamic"),
                ),
            ),
        ),
        Verb(
            ("list", "l"),
            "show snapshots",
            _list,
            (
                *LIST,
                FROM_FILE,
                arg("-r", "--resources", nargs="+", names_of="resource-definitions"),
                arg("-n", "--nodes", nargs="+", names_of="nodes"),
            ),
        ),
        *property_verbs(
            lambda options: _path(options.resource_name, options.snapshot_name),
            (arg("resource_name", names_of="resource-definitions"), arg("snapshot_name")),
        ),
        Noun(
            ("volume-definition", "vd"),
            "its volume definitions",
            (Verb(("restore", "rst"), "copy them to another resource", _restore_volumes, _FROM),),
        ),
        Noun(
            ("resource", "r"),
            "resources made from it",
            (
                Verb(
                    ("restore", "rst"),
                    "make another resource's replicas from it",
                    _restore_resources,
                    (
                        arg("node_name", nargs="*", names_of="nodes"),
                        *_FROM,
                        arg("--storpool-rename", nargs="*", metavar="OLD=NEW"),
                    ),
                ),
            ),
        ),
    ),
)
