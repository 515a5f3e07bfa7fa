"""`bollard node`: machines of the cluster and their network interfaces."""

import argparse
import socket
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from bollard.cli import oldform
from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, LIST, items_of, show_list
from bollard.cli.nouns.controller import LEVELS, log_level
from bollard.cli.nouns.properties import property_verbs, props_filter
from bollard.cli.show import Cell, last_report
from bollard.client.rest import path_of

_NODE = arg("node_name", names_of="nodes")
_TYPES = ("controller", "auxiliary", "combined", "satellite")
_PORTS = {"plain": 3366, "ssl": 3367}
_LINK = (
    arg("-p", "--port", type=int, help="satellite port (3366 plain, 3367 ssl)"),
    arg(
        "--communication-type",
        type=str.lower,
        choices=tuple(_PORTS),
        default="plain",
        help="of the satellite link",
    ),
)


def _create(context: Context, options: argparse.Namespace) -> int:
    address = options.ip or _address_of(options.name)
    body = {
        "name": options.name,
        "type": options.node_type.upper(),
        "net_interfaces": [
            {
                "name": options.interface_name,
                "address": address,
                "satellite_port": options.port or _PORTS[options.communication_type],
                "satellite_encryption_type": options.communication_type.upper(),
                "is_active": True,
            }
        ],
    }
    return context.do("POST", "/v1/nodes", body)


def _address_of(name: str) -> str:
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        message = f"No address for '{name}': {error}.\nGive it: bollard node create {name} ADDRESS"
        raise Stop(Exit.USAGE, message) from error


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {"nodes": options.nodes, "props": props_filter(options)}
    nodes = items_of(context, options, "/v1/nodes", query)
    if context.raw(nodes, oldform.nodes):
        return Exit.OK
    if options.show_aux_props:
        aux = {key for node in nodes for key in node.get("props", {}) if key.startswith("Aux/")}
        options.show_props = [*(options.show_props or []), *sorted(aux)]
    rows = [(node["name"], node["type"], _addresses(node), _state(node)) for node in nodes]
    return show_list(context, options, ("Node", "NodeType", "Addresses", "State"), rows, nodes)


def _addresses(node: dict[str, Any]) -> str:
    found = []
    for net_if in node.get("net_interfaces", ()):
        text = net_if["address"]
        if net_if.get("satellite_port"):
            text += f":{net_if['satellite_port']} ({net_if.get('satellite_encryption_type', 'PLAIN')})"
        found.append(text)
    return "\n".join(found)


def _state(node: dict[str, Any]) -> Cell:
    flags = node.get("flags", ())
    status = node.get("connection_status", "UNKNOWN")
    for flag, style in (("EVICTED", "red"), ("DELETE", "red"), ("EVACUATE", "yellow")):
        if flag in flags:
            return Text(flag if flag != "DELETE" else "DELETING", style)
    since = "" if status == "ONLINE" else last_report(node.get("heard_at"))
    if status != "ONLINE" and (due_ms := node.get("eviction_timestamp")) is not None:
        since += f", eviction at {datetime.fromtimestamp(due_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M}"
    if status != "ONLINE" and (why := node.get("connection_message")):
        since += f": {why}"
    return Text(status + since, "green" if status == "ONLINE" else "red")


def _info(context: Context, options: argparse.Namespace) -> int:
    nodes = context.fetch("/v1/nodes", {"nodes": options.nodes})
    if context.raw(nodes):
        return Exit.OK
    for title, have, lack in (
        ("storage providers", "storage_providers", "unsupported_providers"),
        ("layers", "resource_layers", "unsupported_layers"),
    ):
        columns = sorted({kind for node in nodes for kind in (*node.get(have, ()), *node.get(lack, {}))})
        rows = [
            (node["name"], *("+" if kind in node.get(have, ()) else "-" for kind in columns))
            for node in nodes
        ]
        context.show.line(f"Supported {title}:")
        context.show.table(("Node", *columns), rows, pastable=options.pastable)
        for node in nodes if options.full else ():
            for kind, reasons in sorted(node.get(lack, {}).items()):
                context.show.line(f"{node['name']}: {kind}: {'; '.join(reasons)}")
    return Exit.OK


def _modify(context: Context, options: argparse.Namespace) -> int:
    return context.do("PUT", path_of("nodes", options.node_name), {"node_type": options.node_type.upper()})


def _delete(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", path_of("nodes", options.name))


def _lost(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", path_of("nodes", options.name, "lost"))


def _reconnect(context: Context, options: argparse.Namespace) -> int:
    return max(context.do("PUT", path_of("nodes", name, "reconnect")) for name in options.nodes)


def _evacuate(context: Context, options: argparse.Namespace) -> int:
    body = {"target": options.target or [], "do_not_target": options.do_not_target or []}
    return context.do("PUT", path_of("nodes", options.node_name, "evacuate"), body)


def _restore(context: Context, options: argparse.Namespace) -> int:
    body = {"delete_resources": options.delete_resources, "delete_snapshots": options.delete_snapshots}
    return context.do("PUT", path_of("nodes", options.node_name, "restore"), body)


def _describe(context: Context, options: argparse.Namespace) -> int:
    query = {"nodes": [options.name] if options.name else None}
    nodes = context.fetch("/v1/nodes", query)
    pools = context.fetch("/v1/view/storage-pools", query)
    resources = context.fetch("/v1/view/resources", query)
    if context.raw({"nodes": nodes, "storage_pools": pools, "resources": resources}):
        return Exit.OK
    for node in nodes:
        context.show.line(f"{node['name']} ({node['type']})")
        for pool in (pool for pool in pools if pool["node_name"] == node["name"]):
            context.show.line(f"  storage pool {pool['storage_pool_name']} ({pool['provider_kind']})")
            for resource in (item for item in resources if item["node_name"] == node["name"]):
                for volume in resource.get("volumes", ()):
                    if volume.get("storage_pool_name") == pool["storage_pool_name"]:
                        context.show.line(f"    {resource['name']} volume {volume['volume_number']}")
        for left in node.get("leftovers", ()):
            context.show.line(f"  leftover that nothing names: {left}")
    return Exit.OK


def _create_ebs(context: Context, options: argparse.Namespace) -> int:
    body = {"name": options.node_name, "ebs_remote_name": options.ebs_remote_name}
    return context.do("POST", "/v1/nodes/ebs", body)


def _create_spdk(context: Context, options: argparse.Namespace) -> int:
    given = {
        "ApiHost": options.api_host,
        "ApiPort": options.api_port,
        "UserName": options.api_user,
        "UserNameEnv": options.api_user_env,
        "UserPassword": options.api_pw,
        "UserPasswordEnv": options.api_pw_env,
    }
    props = {f"StorDriver/RemoteSpdk/{key}": str(value) for key, value in given.items() if value is not None}
    address = {"name": "default", "address": "127.0.0.1"}
    body = {"name": options.node_name, "type": "REMOTE_SPDK", "props": props, "net_interfaces": [address]}
    return context.do("POST", "/v1/nodes", body)


def _set_log_level(context: Context, options: argparse.Namespace) -> int:
    body = log_level(options.level, library=options.library)
    return context.do("PUT", path_of("nodes", options.node_name, "config"), body)


def _if_create(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {
        "name": options.interface_name,
        "address": options.ip,
        "is_active": options.active,
    }
    if options.port is not None:
        body |= {
            "satellite_port": options.port,
            "satellite_encryption_type": options.communication_type.upper(),
        }
    return context.do("POST", path_of("nodes", options.node_name, "net-interfaces"), body)


def _if_modify(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"name": options.interface_name, "is_active": options.active}
    if options.ip is not None:
        body["address"] = options.ip
    if options.port is not None:
        body |= {
            "satellite_port": options.port,
            "satellite_encryption_type": options.communication_type.upper(),
        }
    return context.do(
        "PUT", path_of("nodes", options.node_name, "net-interfaces", options.interface_name), body
    )


def _if_delete(context: Context, options: argparse.Namespace) -> int:
    paths = [path_of("nodes", options.node_name, "net-interfaces", name) for name in options.interface_name]
    return max(context.do("DELETE", path) for path in paths)


def _if_list(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch(path_of("nodes", options.node_name, "net-interfaces"))
    if not context.raw(found):
        rows = [
            (
                ("+ StltCon " if net_if.get("is_active") else "+ ") + net_if["name"],
                net_if["address"],
                str(net_if.get("satellite_port", "")),
                net_if.get("satellite_encryption_type", ""),
            )
            for net_if in found
        ]
        context.show.table(("NetInterface", "IP", "Port", "EncryptionType"), rows, pastable=options.pastable)
    return Exit.OK


_INTERFACE = Noun(
    ("interface", "i"),
    "network interfaces of a node",
    (
        Verb(
            ("create", "c"),
            "add an address",
            _if_create,
            (
                *_LINK,
                arg("--active", action="store_true", help="carry the link"),
                _NODE,
                arg("interface_name"),
                arg("ip"),
            ),
        ),
        Verb(
            ("modify", "m"),
            "change an address",
            _if_modify,
            (*_LINK, arg("--active", action="store_true"), arg("--ip"), _NODE, arg("interface_name")),
        ),
        Verb(("delete", "d"), "remove addresses", _if_delete, (_NODE, arg("interface_name", nargs="+"))),
        Verb(("list", "l"), "show addresses", _if_list, (PASTABLE, _NODE)),
    ),
)

NOUN = Noun(
    ("node", "n"),
    "machines of the cluster",
    (
        Verb(
            ("create", "c"),
            "register a node",
            _create,
            (
                *_LINK,
                arg("--node-type", type=str.lower, choices=_TYPES, default="satellite"),
                arg("--interface-name", default="default"),
                arg("--interface-type", type=str.lower, choices=("ip",), default="ip"),
                arg("name"),
                arg("ip", nargs="?", help="address; looked up when left out"),
            ),
        ),
        Verb(
            ("create-remote-spdk-target", "crspdkt"),
            "register an SPDK target that is reached over its API",
            _create_spdk,
            (
                arg("node_name"),
                arg("api_host"),
                arg("--api-port", type=int),
                arg("--api-user"),
                arg("--api-user-env"),
                arg("--api-pw", nargs="?"),
                arg("--api-pw-env"),
            ),
        ),
        Verb(
            ("create-ebs-target", "cebst"),
            "register an EBS target",
            _create_ebs,
            (arg("node_name"), arg("ebs_remote_name")),
        ),
        Verb(
            ("set-log-level", "setloglevel"),
            "have a satellite say more or less in its log",
            _set_log_level,
            (
                _NODE,
                arg("level", type=str.upper, choices=LEVELS),
                arg("--library", "--lib", action="store_true"),
            ),
        ),
        Verb(
            ("list", "l"),
            "show nodes and whether they are online",
            _list,
            (
                *LIST,
                FROM_FILE,
                arg("-n", "--nodes", nargs="+", names_of="nodes"),
                arg("--props", nargs="+"),
                arg("--show-aux-props", action="store_true", help="a column for each Aux/ property"),
            ),
        ),
        Verb(
            ("info",),
            "show what nodes can do",
            _info,
            (
                PASTABLE,
                arg("-f", "--full", action="store_true"),
                arg("-n", "--nodes", nargs="+", names_of="nodes"),
            ),
        ),
        Verb(
            ("describe", "dsc"),
            "show what is on nodes",
            _describe,
            (arg("name", nargs="?", names_of="nodes"),),
        ),
        Verb(
            ("modify", "m"),
            "change the type of a node",
            _modify,
            (arg("-t", "--node-type", type=str.lower, choices=_TYPES, default="satellite"), _NODE),
        ),
        Verb(
            ("delete", "d"),
            "remove a node",
            _delete,
            (arg("--async", action="store_true"), arg("name", names_of="nodes")),
        ),
        Verb(
            ("lost", "lo"),
            "remove a node that will never come back, with all that was on it",
            _lost,
            (arg("--async", action="store_true"), arg("name", names_of="nodes")),
        ),
        Verb(
            ("reconnect", "rc"),
            "make the link to nodes anew",
            _reconnect,
            (arg("nodes", nargs="+", names_of="nodes"),),
        ),
        Verb(
            ("evacuate", "evac"),
            "move all replicas away",
            _evacuate,
            (
                _NODE,
                arg("--target", nargs="+", names_of="nodes"),
                arg("--do-not-target", nargs="+", names_of="nodes"),
            ),
        ),
        Verb(
            ("restore", "rst"),
            "take an evacuated or evicted node back",
            _restore,
            (
                _NODE,
                arg("--delete-resources", action="store_true"),
                arg("--delete-snapshots", action="store_true"),
            ),
        ),
        _INTERFACE,
        *property_verbs(lambda options: path_of("nodes", options.node_name), (_NODE,)),
    ),
)
