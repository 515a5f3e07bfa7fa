"""`bollard node-connection` and `resource-connection`: settings and paths of a pair of nodes."""

import argparse
from collections.abc import Callable
from typing import Any

from bollard.cli import oldform
from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Arg, Noun, Verb, arg
from bollard.cli.listing import LIST, show_list
from bollard.cli.nouns.drbd_options import OF_CONNECTIONS, options_verb
from bollard.cli.nouns.properties import property_verbs
from bollard.client.rest import Query, path_of

_PATHS = "Paths/"
_PAIR = (arg("node_name_a", names_of="nodes"), arg("node_name_b", names_of="nodes"))
_RESOURCE = arg("resource_name", names_of="resource-definitions")


def _list_nodes(context: Context, options: argparse.Namespace) -> int:
    query = {"node_a": options.node_name_a, "node_b": options.node_name_b}
    found = context.fetch("/v1/node-connections", query)
    if context.raw(found, oldform.node_connections):
        return Exit.OK
    rows = [(item["node_a"], item["node_b"], _props(item)) for item in found]
    return show_list(context, options, ("Node A", "Node B", "Properties"), rows, found)


def _list_resource(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch(path_of("resource-definitions", options.resource_name, "resource-connections"))
    if context.raw(found, oldform.resource_connections):
        return Exit.OK
    rows = [(item["node_a"], item["node_b"], _props(item), str(item.get("port", ""))) for item in found]
    return show_list(context, options, ("Source", "Target", "Properties", "Port"), rows, found)


def _props(item: dict[str, Any]) -> str:
    return "\n".join(f"{key}={value}" for key, value in sorted(item.get("props", {}).items()))


def _node_path(options: argparse.Namespace) -> str:
    return path_of("node-connections", options.node_name_a, options.node_name_b)


def _node_pair(options: argparse.Namespace) -> tuple[str, Query]:
    return "/v1/node-connections", {"node_a": options.node_name_a, "node_b": options.node_name_b}


def _resource_pair(options: argparse.Namespace) -> tuple[str, Query]:
    return _resource_path(options), {}


def _resource_path(options: argparse.Namespace) -> str:
    nodes = (options.node_name_a, options.node_name_b)
    return path_of("resource-definitions", options.resource_name, "resource-connections", *nodes)


def _paths_noun(
    url_of: Callable[[argparse.Namespace], str],
    names: tuple[Arg, ...],
    read_from: Callable[[argparse.Namespace], tuple[str, Query]],
) -> Noun:
    """Which interfaces of the two nodes talk to each other: none of them means the default ones."""

    def create(context: Context, options: argparse.Namespace) -> int:
        space = f"{_PATHS}{options.path_name}/"
        override = {
            space + options.node_name_a: options.netinterface_a,
            space + options.node_name_b: options.netinterface_b,
        }
        return context.do("PUT", url_of(options), {"override_props": override})

    def delete(context: Context, options: argparse.Namespace) -> int:
        return context.do("PUT", url_of(options), {"delete_namespaces": [f"{_PATHS}{options.path_name}"]})

    def show(context: Context, options: argparse.Namespace) -> int:
        found = context.fetch(*read_from(options))
        # Of one pair, which is in a list where all pairs can be asked for.
        pairs = found if isinstance(found, list) else [found]
        props = {key: value for pair in pairs for key, value in pair.get("props", {}).items()}
        paths = {key.removeprefix(_PATHS): value for key, value in props.items() if key.startswith(_PATHS)}
        if not context.raw(paths):
            rows = [(key, value) for key, value in sorted(paths.items())]
            context.show.table(("Path", "NetInterface"), rows, pastable=options.pastable)
        return Exit.OK

    interfaces = (arg("netinterface_a"), arg("netinterface_b"))
    return Noun(
        ("path", "p"),
        "which interfaces replicate",
        (
            Verb(("create", "c"), "add a path", create, (*names, arg("path_name"), *interfaces)),
            Verb(("delete", "d"), "remove a path", delete, (*names, arg("path_name"))),
            Verb(("list", "l"), "show the paths", show, (PASTABLE, *names)),
        ),
    )


NODE_CONNECTION = Noun(
    ("node-connection", "nc"),
    "settings of a pair of nodes",
    (
        Verb(
            ("list", "l"),
            "show pairs with settings",
            _list_nodes,
            (*LIST, arg("node_name_a", nargs="?"), arg("node_name_b", nargs="?")),
        ),
        options_verb(("drbd-peer-options", "popt"), _node_path, _PAIR, OF_CONNECTIONS),
        _paths_noun(_node_path, _PAIR, _node_pair),
        *property_verbs(_node_path, _PAIR, read_from=_node_pair),
    ),
)
OF_RESOURCE = options_verb(("drbd-peer-options", "popt"), _resource_path, (*_PAIR, _RESOURCE), OF_CONNECTIONS)
"""Also behind `resource`."""
RESOURCE_CONNECTION = Noun(
    ("resource-connection", "rc"),
    "settings of a pair of nodes for one resource",
    (
        Verb(("list", "l"), "show the pairs of a resource", _list_resource, (*LIST, _RESOURCE)),
        OF_RESOURCE,
        _paths_noun(_resource_path, (*_PAIR, _RESOURCE), _resource_pair),
        *property_verbs(_resource_path, (*_PAIR, _RESOURCE)),
    ),
)
