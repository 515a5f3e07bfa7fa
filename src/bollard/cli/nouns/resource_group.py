"""`bollard resource-group`: templates that resources are made from."""

import argparse
from typing import Any

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, LIST, items_of, show_list
from bollard.cli.nouns.controller import show_volume_sizes
from bollard.cli.nouns.drbd_options import ALL, options_verb
from bollard.cli.nouns.placing import (
    PLACE,
    PLACE_COUNT,
    PROVIDERS,
    PROVIDERS_LONG,
    describe,
    select_filter,
)
from bollard.cli.nouns.properties import property_verbs, props_filter
from bollard.cli.sizes import parse_kib, show_kib
from bollard.client.rest import path_of

_GROUP = arg("name", names_of="resource-groups")


def _body(options: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {"select_filter": select_filter(options, options.place_count)}
    if options.description is not None:
        body["description"] = options.description
    if options.peer_slots is not None:
        body["peer_slots"] = options.peer_slots
    return body


def _create(context: Context, options: argparse.Namespace) -> int:
    return context.do("POST", "/v1/resource-groups", {"name": options.name, **_body(options)})


def _modify(context: Context, options: argparse.Namespace) -> int:
    return context.do("PUT", path_of("resource-groups", options.name), _body(options))


def _delete(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", path_of("resource-groups", options.name))


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {"resource_groups": options.resource_groups, "props": props_filter(options)}
    groups = items_of(context, options, "/v1/resource-groups", query)
    if context.raw(groups):
        return Exit.OK
    rows = []
    for group in groups:
        path = path_of("resource-groups", group["name"], "volume-groups")
        volumes = context.fetch(path) if options.from_file is None else ()
        numbers = ", ".join(str(volume["volume_number"]) for volume in volumes)
        rows.append(
            (group["name"], describe(group.get("select_filter")), numbers, group.get("description", ""))
        )
    columns = ("ResourceGroup", "SelectFilter", "VlmNrs", "Description")
    return show_list(context, options, columns, rows, groups)


def _spawn(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {
        "resource_definition_name": options.resource_definition_name,
        "volume_sizes": options.volume_sizes,
        "partial": options.partial,
        "definitions_only": options.definition_only,
        "select_filter": select_filter(options, options.place_count),
    }
    if options.external_name is not None:
        body["resource_definition_external_name"] = options.external_name
    if options.peer_slots is not None:
        body["peer_slots"] = options.peer_slots
    if options.volume_passphrase:
        body["volume_passphrases"] = options.volume_passphrase
    path = path_of("resource-groups", options.resource_group_name, "spawn")
    return context.do("POST", path, body, {"explain": True} if options.explain else None)


def _adjust(context: Context, options: argparse.Namespace) -> int:
    name = options.resource_group_name
    path = "/v1/resource-groups/adjustall" if name is None else path_of("resource-groups", name, "adjust")
    return context.do("POST", path, {})


def _size_info(context: Context, options: argparse.Namespace) -> int:
    path = path_of("resource-groups", options.resource_group_name, "query-size-info")
    body = {"select_filter": select_filter(options, options.place_count)}
    reply = context.client.post(path, body)
    info = (reply.body or {}).get("space_info") if isinstance(reply.body, dict) else None
    if info is None:
        return context.answer(reply) if reply.entries() else _reports(context, reply.body)
    if not context.raw(reply.body):
        spawn = "\n".join(
            f"{row['stor_pool_name']} on {row['node_name']}" for row in info.get("next_spawn_result", ())
        )
        row = (
            show_kib(info["max_vlm_size_in_kib"]),
            show_kib(info.get("available_size_in_kib")),
            show_kib(info.get("capacity_in_kib")),
            spawn,
        )
        columns = ("MaxVolumeSize", "AvailableSize", "Capacity", "Next Spawn Result")
        context.show.table(columns, [row], pastable=options.pastable)
    return Exit.OK


def _reports(context: Context, body: Any) -> int:
    context.show.entries((body or {}).get("reports", ()))
    return Exit.API_ERROR


def _max_volume_size(context: Context, options: argparse.Namespace) -> int:
    path = path_of("resource-groups", options.resource_group_name, "query-max-volume-size")
    return show_volume_sizes(context, options, context.fetch(path))


_NAMED = arg("resource_group_name", names_of="resource-groups")
_FILTER = (
    arg("-d", "--description"),
    arg("--peer-slots", type=int, help="replicas the metadata has room for"),
    PLACE_COUNT,
    PROVIDERS,
    _GROUP,
    *PLACE,
)

NOUN = Noun(
    ("resource-group", "rg"),
    "templates that resources are made from",
    (
        Verb(("create", "c"), "add a group", _create, _FILTER),
        Verb(("modify", "m"), "change a group", _modify, _FILTER),
        Verb(("delete", "d"), "remove a group", _delete, (_GROUP,)),
        Verb(
            ("list", "l"),
            "show groups",
            _list,
            (
                *LIST,
                FROM_FILE,
                arg("-r", "--resource-groups", nargs="+", names_of="resource-groups"),
                arg("--props", nargs="+"),
            ),
        ),
        Verb(
            ("spawn-resources", "spawn"),
            "make a resource from the group and place it",
            _spawn,
            (
                arg("-p", "--partial", action="store_true", help="sizes for some of the volumes only"),
                arg("-d", "--definition-only", action="store_true", help="place nothing"),
                arg("--external-name"),
                arg("--peer-slots", type=int),
                PLACE_COUNT,
                PROVIDERS_LONG,
                arg("resource_group_name", names_of="resource-groups"),
                arg("resource_definition_name"),
                arg("--volume-passphrase", nargs="*", help="one a volume; empty: made up"),
                arg("volume_sizes", nargs="*", type=parse_kib, metavar="SIZE"),
                *PLACE,
            ),
        ),
        Verb(
            ("adjust", "adj"),
            "place what is missing",
            _adjust,
            (PASTABLE, arg("resource_group_name", nargs="?", names_of="resource-groups")),
        ),
        Verb(
            ("query-size-info", "qsi"),
            "how large a volume may be",
            _size_info,
            (PASTABLE, PLACE_COUNT, PROVIDERS_LONG, _NAMED, *PLACE),
        ),
        Verb(
            ("query-max-volume-size", "qmvs"),
            "how large a volume may be, by pool",
            _max_volume_size,
            (PASTABLE, _NAMED),
        ),
        options_verb(
            ("drbd-options", "opt"),
            lambda options: path_of("resource-groups", options.name),
            (_GROUP,),
            ALL,
        ),
        *property_verbs(lambda options: path_of("resource-groups", options.name), (_GROUP,)),
    ),
)
