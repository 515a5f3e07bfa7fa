"""`bollard resource`: replicas and diskless resources on nodes."""

import argparse
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from bollard.cli import oldform
from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, LIST, SHOW_PROPS, items_of, show_list
from bollard.cli.nouns import connection, transaction, volume
from bollard.cli.nouns.placing import AUTO_PLACE, PLACE, PROVIDERS, layers, select_filter
from bollard.cli.nouns.properties import property_verbs, props_filter
from bollard.cli.show import Cell, last_report
from bollard.client.rest import path_of

_NODE = arg("node_name", names_of="nodes")
_RESOURCE = arg("name", names_of="resource-definitions")
_GOOD = frozenset({"UpToDate", "Created", "Diskless", "TieBreaker", "Client"})


def _path(options: argparse.Namespace, *more: str) -> str:
    return path_of("resource-definitions", options.name, "resources", options.node_name, *more)


def _create(context: Context, options: argparse.Namespace) -> int:
    *nodes, name = options.names
    if options.auto_place is not None:
        if nodes:
            raise Stop(Exit.USAGE, "Give nodes or --auto-place, not both.")
        body: dict[str, Any] = {"select_filter": select_filter(options, options.auto_place)}
        if options.layer_list is not None:
            body["layer_list"] = layers(options.layer_list)
        query = {"explain": True} if options.explain else None
        return context.do("POST", path_of("resource-definitions", name, "autoplace"), body, query)
    if not nodes:
        raise Stop(Exit.USAGE, "Give at least one node before the resource, or --auto-place.")
    body_list = [_new(options, name, node) for node in nodes]
    if context.session is not None and context.session.collecting:
        context.session.add(name, body_list)
        return Exit.OK
    return context.do("POST", path_of("resource-definitions", name, "resources"), body_list)


def _new(options: argparse.Namespace, name: str, node: str) -> dict[str, Any]:
    flags = []
    if options.diskless or options.drbd_diskless:
        flags.append("DRBD_DISKLESS")
    if options.inactive:
        flags.append("INACTIVE")
    if options.nvme_initiator:
        flags.append("NVME_INITIATOR")
    if options.ebs_initiator:
        flags.append("EBS_INITIATOR")
    resource: dict[str, Any] = {"name": name, "node_name": node, "flags": flags}
    if options.storage_pool:
        resource["props"] = {"StorPoolName": options.storage_pool[0]}
    body: dict[str, Any] = {"resource": resource}
    if options.layer_list is not None:
        body["layer_list"] = layers(options.layer_list)
    if options.node_id is not None:
        body["drbd_node_id"] = options.node_id
    if options.drbd_tcp_port is not None:
        body["drbd_tcp_ports"] = [options.drbd_tcp_port]
    if options.drbd_client:
        body["drbd_client"] = True
    return body


def _make_available(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"diskful": options.diskful}
    if options.layer_list is not None:
        body["layer_list"] = layers(options.layer_list)
    if options.drbd_tcp_port is not None:
        body["drbd_tcp_ports"] = [options.drbd_tcp_port]
    return context.do("POST", _path(options, "make-available"), body)


def _delete(context: Context, options: argparse.Namespace) -> int:
    query = {"keep_tiebreaker": True} if options.keep_tiebreaker else None
    return max(
        context.do("DELETE", path_of("resource-definitions", options.name, "resources", node), query=query)
        for node in options.node_name
    )


def _toggle(context: Context, options: argparse.Namespace) -> int:
    if options.migrate_from:
        parts = ["migrate-disk", options.migrate_from]
    elif options.drbd_client:
        return context.do("PUT", _path(options, "toggle-disk"), {"operation": "INTO_DRBD_CLIENT"})
    elif options.diskless or options.drbd_diskless:
        parts = ["toggle-disk", "diskless"]
    else:
        parts = ["toggle-disk", "diskful"]
    if options.storage_pool:
        parts.append(options.storage_pool)
    return context.do("PUT", _path(options, *parts))


def _modify(context: Context, options: argparse.Namespace) -> int:
    if options.drbd_client is options.drbd_diskless:
        raise Stop(Exit.USAGE, "Give --drbd-client or --drbd-diskless.")
    return context.do("PUT", _path(options), {"drbd_client": options.drbd_client})


def _activate(context: Context, options: argparse.Namespace) -> int:
    return context.do("POST", _path(options, "activate"))


def _deactivate(context: Context, options: argparse.Namespace) -> int:
    return context.do("POST", _path(options, "deactivate"))


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {"nodes": options.nodes, "resources": options.resources, "props": props_filter(options)}
    found = items_of(context, options, "/v1/view/resources", query)
    if context.raw(found, oldform.resources):
        return Exit.OK
    return _table(context, options, found)


def _table(context: Context, options: argparse.Namespace, found: list[dict[str, Any]]) -> int:
    columns = ["ResourceName", "Node", "Layers", "Usage", "Conns", "State", "CreatedOn"]
    if options.show_drbd_ports:
        columns.insert(2, "DRBD Ports")
    rows, items = [], []
    for item in found:
        if options.faulty and _healthy(item):
            continue
        if not options.all and not options.faulty and "TIE_BREAKER" in item.get("flags", ()):
            continue
        row: list[Cell] = [
            item["name"],
            item["node_name"],
            ",".join(_layer_types(item)),
            _usage(item),
            _connections(item),
            state_of(item),
            _created(item),
        ]
        if options.show_drbd_ports:
            row.insert(2, ",".join(map(str, _drbd(item).get("tcp_ports", ()))))
        rows.append(row)
        items.append(item)
    return show_list(context, options, columns, rows, items)


def _drbd(item: dict[str, Any]) -> dict[str, Any]:
    layer = item.get("layer_object", {})
    drbd: dict[str, Any] = layer.get("drbd", {}) if layer.get("type") == "DRBD" else {}
    return drbd


def _layer_types(item: dict[str, Any]) -> Iterable[str]:
    layer = item.get("layer_object")
    while layer:
        yield layer.get("type", "")
        layer = next(iter(layer.get("children", ())), None)


def _usage(item: dict[str, Any]) -> Cell:
    in_use = item.get("state", {}).get("in_use")
    if in_use is None:
        return ""
    return Text("InUse", "green") if in_use else "Unused"


def _connections(item: dict[str, Any]) -> Cell:
    broken: dict[str, list[str]] = {}
    for peer, line in _drbd(item).get("connections", {}).items():
        if not line.get("connected"):
            broken.setdefault(line.get("message", "Unknown"), []).append(peer)
    if not _drbd(item):
        return ""
    if not broken:
        return Text("Ok", "green")
    return Text(
        ", ".join(f"{state}({','.join(sorted(peers))})" for state, peers in sorted(broken.items())), "red"
    )


def state_of(item: dict[str, Any]) -> Cell:
    """The State column: flags first, then the volumes' disk states, then why and since when."""
    flags = item.get("flags", ())
    for flag, word in (("DELETE", "DELETING"), ("DRBD_DELETE", "DELETING"), ("INACTIVE", "INACTIVE")):
        if flag in flags:
            return Text(word, "red" if word == "DELETING" else "yellow")
    words = [_disk_state(flags, entry) for entry in item.get("volumes", ())]
    text = ", ".join(dict.fromkeys(words)) or "Unknown"
    if "EVACUATE" in flags:
        text += ", Evacuating"
    observed = item.get("observed", {})
    current = observed.get("current", True)
    if not current:
        text += last_report(observed.get("heard_at"))
    if problem := observed.get("problem"):
        text += f": {problem}"
    good = all(word in _GOOD for word in words) and current
    return Text(text, "green" if good else "yellow" if "Inconsistent" not in text else "red")


def _disk_state(flags: Iterable[str], entry: dict[str, Any]) -> str:
    state: str = entry.get("state", {}).get("disk_state", "Unknown")
    if state == "Diskless" and "TIE_BREAKER" in flags:
        return "TieBreaker"
    for other in entry.get("state", {}).get("replication_states", {}).values():
        if other.get("replication_state") in {"SyncTarget", "PausedSyncT"}:
            done = other.get("done_percentage")
            return f"SyncTarget({done:.2f}%)" if done is not None else "SyncTarget"
    return state


def _healthy(item: dict[str, Any]) -> bool:
    connected = all(peer.get("connected") for peer in _drbd(item).get("connections", {}).values())
    words = [_disk_state(item.get("flags", ()), entry) for entry in item.get("volumes", ())]
    return connected and all(word in _GOOD for word in words)


def _created(item: dict[str, Any]) -> str:
    stamp = item.get("create_timestamp")
    return (
        datetime.fromtimestamp(stamp / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S") if stamp else ""
    )


def _involved(context: Context, options: argparse.Namespace) -> int:
    here = [
        item
        for item in context.fetch("/v1/view/resources", {"nodes": [options.node]})
        if _asked_for(options, item)
    ]
    names = sorted({item["name"] for item in here})
    found = context.fetch("/v1/view/resources", {"resources": names}) if names else []
    if options.min_diskful is not None:
        disks = Counter(item["name"] for item in found if "DISKLESS" not in item.get("flags", ()))
        found = [item for item in found if disks[item["name"]] >= options.min_diskful]
    options.all, options.faulty, options.show_drbd_ports = True, False, False
    return Exit.OK if context.raw(found) else _table(context, options, found)


def _asked_for(options: argparse.Namespace, item: dict[str, Any]) -> bool:
    in_use = bool(item.get("state", {}).get("in_use"))
    diskless = "DISKLESS" in item.get("flags", ())
    return (in_use or not options.inuse) and (not options.diskless_inuse or (in_use and diskless))


NOUN = Noun(
    ("resource", "r"),
    "resources on nodes",
    (
        Verb(
            ("create", "c"),
            "put a resource on nodes",
            _create,
            (
                arg("-d", "--diskless", action="store_true", help="without a disk here"),
                arg("--drbd-diskless", action="store_true", help="likewise"),
                arg("--inactive", action="store_true"),
                arg("--nvme-initiator", action="store_true", help="without a disk here, by NVMe"),
                arg("--ebs-initiator", action="store_true", help="without a disk here, by EBS"),
                arg(
                    "-c",
                    "--drbd-client",
                    "--drbd-diskless-client",
                    dest="drbd_client",
                    action="store_true",
                    help="without a disk and without a vote",
                ),
                arg("--node-id", type=int),
                arg("--drbd-tcp-port", type=int),
                arg("--async", action="store_true"),
                AUTO_PLACE,
                PROVIDERS,
                arg("names", nargs="+", metavar="NODE... RESOURCE", names_of="nodes"),
                *PLACE,
            ),
            in_transaction=True,
        ),
        transaction.NOUN,
        connection.OF_RESOURCE,
        Verb(
            ("modify", "m"),
            "switch between diskless with and without a vote",
            _modify,
            (
                arg("-c", "--drbd-client", dest="drbd_client", action="store_true"),
                arg("--drbd-diskless", action="store_true"),
                _NODE,
                _RESOURCE,
            ),
        ),
        Verb(
            ("list", "l"),
            "show resources",
            _list,
            (
                *LIST,
                FROM_FILE,
                arg("-r", "--resources", nargs="+", names_of="resource-definitions"),
                arg("-n", "--nodes", nargs="+", names_of="nodes"),
                arg("-a", "--all", action="store_true", help="tie-breakers too"),
                arg("--faulty", action="store_true", help="only what is not healthy"),
                arg("--props", nargs="+"),
                arg("--show-drbd-ports", action="store_true"),
            ),
        ),
        Verb(("list-volumes", "lv"), "show volumes", volume.list_volumes, volume.LIST_ARGS),
        Verb(
            ("involved", "inv"),
            "show all replicas of what a node holds",
            _involved,
            (
                PASTABLE,
                arg("-i", "--inuse", action="store_true", help="only of what is in use there"),
                arg("-d", "--diskless-inuse", action="store_true", help="only of what is so without a disk"),
                arg("-m", "--min-diskful", type=int, help="only with so many replicas"),
                SHOW_PROPS,
                arg("node", names_of="nodes"),
            ),
        ),
        Verb(
            ("make-available", "mkavail"),
            "make a resource usable on a node",
            _make_available,
            (
                arg("--diskful", action="store_true"),
                arg("-l", "--layer-list"),
                arg("--drbd-tcp-port", type=int),
                _NODE,
                _RESOURCE,
            ),
        ),
        Verb(
            ("delete", "d"),
            "remove a resource from nodes",
            _delete,
            (
                arg("--async", action="store_true"),
                arg("--keep-tiebreaker", action="store_true"),
                arg("node_name", nargs="+", names_of="nodes"),
                _RESOURCE,
            ),
        ),
        Verb(
            ("toggle-disk", "td"),
            "give a resource a disk, or take it",
            _toggle,
            (
                arg("-s", "--storage-pool", names_of="storage-pools"),
                arg("-d", "--diskless", action="store_true"),
                arg("-c", "--drbd-client", dest="drbd_client", action="store_true", help="no disk, no vote"),
                arg("--drbd-diskless", action="store_true", help="like --diskless"),
                arg("--dflt", "--default-storage-pool", dest="default_storage_pool", action="store_true"),
                arg("--async", action="store_true"),
                arg("--migrate-from", metavar="NODE", names_of="nodes"),
                _NODE,
                _RESOURCE,
            ),
        ),
        Verb(("activate", "act"), "use an inactive resource again", _activate, (_NODE, _RESOURCE)),
        Verb(("deactivate", "deact"), "stop using it, keep the data", _deactivate, (_NODE, _RESOURCE)),
        *property_verbs(_path, (_NODE, _RESOURCE)),
    ),
)
