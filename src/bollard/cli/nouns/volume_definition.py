"""`bollard volume-definition`: the volumes of a resource and their sizes."""

import argparse
from typing import Any

from rich.text import Text

from bollard.cli import oldform
from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import Noun, Verb, arg
from bollard.cli.listing import LIST, show_list
from bollard.cli.nouns.drbd_options import OF_VOLUMES, options_verb
from bollard.cli.nouns.encryption import ask
from bollard.cli.nouns.properties import property_verbs
from bollard.cli.sizes import parse_kib, show_kib
from bollard.client.rest import path_of

_NAME = arg("resource_name", names_of="resource-definitions")
_NUMBER = arg("volume_nr", type=int)


def _create(context: Context, options: argparse.Namespace) -> int:
    volume: dict[str, Any] = {"size_kib": options.size, "flags": []}
    if options.vlmnr is not None:
        volume["volume_number"] = options.vlmnr
    if options.encrypt:
        volume["flags"].append("ENCRYPTED")
    if options.gross:
        volume["flags"].append("GROSS_SIZE")
    if options.storage_pool is not None:
        volume["props"] = {"StorPoolName": options.storage_pool}
    body: dict[str, Any] = {"volume_definition": volume}
    if options.minor is not None:
        body["drbd_minor_number"] = options.minor
    if options.passphrase is not None:
        body["passphrase"] = options.passphrase or ask("Passphrase of the volume", twice=True)
    return context.do(
        "POST", path_of("resource-definitions", options.resource_name, "volume-definitions"), body
    )


def _path(options: argparse.Namespace) -> str:
    return path_of("resource-definitions", options.resource_name, "volume-definitions", options.volume_nr)


def _delete(context: Context, options: argparse.Namespace) -> int:
    return context.do("DELETE", _path(options))


def _set_size(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"size_kib": options.size}
    if options.gross:
        body["flags"] = ["GROSS_SIZE"]
    return context.do("PUT", _path(options), body)


def _modify_passphrase(context: Context, options: argparse.Namespace) -> int:
    new = options.new_passphrase or ask("New passphrase of the volume", twice=True)
    return context.do("PUT", _path(options) + "/encryption-passphrase", {"new_passphrase": new})


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {"resource_definitions": options.resource_definitions, "with_volume_definitions": True}
    found = context.fetch("/v1/resource-definitions", query)
    if context.raw(found, oldform.definitions):
        return Exit.OK
    rows, items = [], []
    for item in found:
        for volume in item.get("volume_definitions", ()):
            data: dict[str, Any] = next(
                (layer["data"] for layer in volume.get("layer_data", ()) if layer.get("data")), {}
            )
            flags = volume.get("flags", ())
            state = Text("resizing", "yellow") if "RESIZE" in flags else Text("ok", "green")
            items.append(volume)
            rows.append(
                (
                    (item.get("external_name") or "") if options.external_name else item["name"],
                    str(volume["volume_number"]),
                    str(data.get("minor_number", "")),
                    show_kib(volume["size_kib"]),
                    "+" if "GROSS_SIZE" in flags else "",
                    state,
                )
            )
    columns = ("ResourceName", "VolumeNr", "VolumeMinor", "Size", "Gross", "State")
    return show_list(context, options, columns, rows, items)


NOUN = Noun(
    ("volume-definition", "vd"),
    "volumes of a resource",
    (
        Verb(
            ("create", "c"),
            "add a volume",
            _create,
            (
                arg("-s", "--storage-pool", names_of="storage-pools"),
                arg("-n", "--vlmnr", type=int),
                arg("-m", "--minor", type=int),
                arg("--encrypt", action="store_true"),
                arg("--gross", action="store_true", help="the size includes metadata"),
                arg(
                    "--passphrase", nargs="?", const="", help="of its own, and encrypted; typed when left out"
                ),
                _NAME,
                arg("size", type=parse_kib, help="e.g. 10G; GiB without a unit"),
            ),
        ),
        Verb(
            ("delete", "d"), "remove a volume", _delete, (arg("--async", action="store_true"), _NAME, _NUMBER)
        ),
        Verb(
            ("set-size", "size"),
            "grow a volume",
            _set_size,
            (_NAME, _NUMBER, arg("size", type=parse_kib), arg("--gross", action="store_true")),
        ),
        Verb(
            ("modify-passphrase", "mp"),
            "change the passphrase of an encrypted volume",
            _modify_passphrase,
            (_NAME, _NUMBER, arg("new_passphrase", nargs="?", help="typed when left out")),
        ),
        Verb(
            ("list", "l"),
            "show volumes and sizes",
            _list,
            (
                *LIST,
                arg("-r", "--resource-definitions", nargs="+", names_of="resource-definitions"),
                arg("-e", "--external-name", action="store_true", help="instead of the name"),
            ),
        ),
        options_verb(("drbd-options", "opt"), _path, (_NAME, _NUMBER), OF_VOLUMES),
        *property_verbs(_path, (_NAME, _NUMBER)),
    ),
)
