"""`bollard volume-group`: templates of the volumes of a group."""

import argparse
from typing import Any

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import Noun, Verb, arg
from bollard.cli.listing import LIST, show_list
from bollard.cli.nouns.drbd_options import OF_VOLUMES, options_verb
from bollard.cli.nouns.properties import property_verbs
from bollard.client.rest import path_of

_GROUP = arg("name", names_of="resource-groups")
_NUMBER = arg("volume_nr", type=int)


def _create(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"flags": ["GROSS_SIZE"] if options.gross else []}
    if options.vlmnr is not None:
        body["volume_number"] = options.vlmnr
    return context.do("POST", path_of("resource-groups", options.name, "volume-groups"), body)


def _delete(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", path_of("resource-groups", options.name, "volume-groups", options.volume_nr))


def _list(context: Context, options: argparse.Namespace) -> int:
    volumes = context.fetch(path_of("resource-groups", options.name, "volume-groups"))
    if context.raw(volumes):
        return Exit.OK
    rows = [(str(volume["volume_number"]), ", ".join(volume.get("flags", ()))) for volume in volumes]
    return show_list(context, options, ("VolumeNr", "Flags"), rows, volumes)


def _path(options: argparse.Namespace) -> str:
    return path_of("resource-groups", options.name, "volume-groups", options.volume_nr)


NOUN = Noun(
    ("volume-group", "vg"),
    "volumes of a group",
    (
        Verb(
            ("create", "c"),
            "add a volume",
            _create,
            (_GROUP, arg("-n", "--vlmnr", type=int), arg("--gross", action="store_true")),
        ),
        Verb(("delete", "d"), "remove a volume", _delete, (_GROUP, _NUMBER)),
        Verb(("list", "l"), "show the volumes of a group", _list, (*LIST, _GROUP)),
        options_verb(("drbd-options", "opt"), _path, (_GROUP, _NUMBER), OF_VOLUMES),
        *property_verbs(_path, (_GROUP, _NUMBER)),
    ),
)
