"""`bollard node-connection` and `resource-connection`: settings of a pair of nodes."""

import argparse

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.nouns.properties import property_verbs
from bollard.client.rest import path_of

_PAIR = (arg("node_name_a", names_of="nodes"), arg("node_name_b", names_of="nodes"))
_RESOURCE = arg("resource_name", names_of="resource-definitions")


def _list_nodes(context: Context, options: argparse.Namespace) -> int:
    query = {"node_a": options.node_name_a, "node_b": options.node_name_b}
    found = context.fetch("/v1/node-connections", query)
    return _table(context, options, found)


def _list_resource(context: Context, options: argparse.Namespace) -> int:
    path = path_of("resource-definitions", options.resource_name, "resource-connections")
    return _table(context, options, context.fetch(path))


def _table(context: Context, options: argparse.Namespace, found: list[dict[str, object]]) -> int:
    if not context.raw(found):
        rows = []
        for item in found:
            props = item.get("props")
            lines = (
                [f"{key}={value}" for key, value in sorted(props.items())] if isinstance(props, dict) else []
            )
            rows.append((str(item["node_a"]), str(item["node_b"]), "\n".join(lines)))
        context.show.table(("Node A", "Node B", "Properties"), rows, pastable=options.pastable)
    return Exit.OK


def _node_path(options: argparse.Namespace) -> str:
    return path_of("node-connections", options.node_name_a, options.node_name_b)


def _resource_path(options: argparse.Namespace) -> str:
    nodes = (options.node_name_a, options.node_name_b)
    return path_of("resource-definitions", options.resource_name, "resource-connections", *nodes)


NODE_CONNECTION = Noun(
    ("node-connection", "nc"),
    "settings of a pair of nodes",
    (
        Verb(
            ("list", "l"),
            "show pairs with settings",
            _list_nodes,
            (PASTABLE, arg("node_name_a", nargs="?"), arg("node_name_b", nargs="?")),
        ),
        *property_verbs(_node_path, _PAIR),
    ),
)

RESOURCE_CONNECTION = Noun(
    ("resource-connection", "rc"),
    "settings of a pair of nodes for one resource",
    (
        Verb(("list", "l"), "show the pairs of a resource", _list_resource, (PASTABLE, _RESOURCE)),
        *property_verbs(_resource_path, (*_PAIR, _RESOURCE)),
    ),
)
