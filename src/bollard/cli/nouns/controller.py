"""`bollard controller`: the cluster as a whole."""

import argparse
from typing import Any

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.nouns.auth import AUTH
from bollard.cli.nouns.drbd_options import ALL, options_verb
from bollard.cli.nouns.placing import neighbours
from bollard.cli.nouns.properties import property_verbs
from bollard.cli.sizes import show_kib

LEVELS = ("ERROR", "WARN", "INFO", "DEBUG", "TRACE")


def _version(context: Context, _options: argparse.Namespace) -> int:
    found = context.fetch("/v1/controller/version")
    if not context.raw(found):
        context.show.line(
            f"controller {found['version']}; REST API {found['rest_api_version']}; {context.client.url}"
        )
    return Exit.OK


def _which(context: Context, _options: argparse.Namespace) -> int:
    context.fetch("/v1/controller/version")
    if not context.raw({"controller": context.client.url}):
        context.show.line(context.client.url)
    return Exit.OK


def log_level(level: str, *, library: bool, everywhere: bool = False) -> dict[str, Any]:
    """The body that sets a log level: of the program, or of what it is made with."""
    name = ("level" if library else "level_linstor") + ("_global" if everywhere else "")
    return {"log": {name: level}}


def _set_log_level(context: Context, options: argparse.Namespace) -> int:
    body = log_level(options.level, library=options.library, everywhere=options.everywhere)
    return context.do("PUT", "/v1/controller/config", body)


def _backup_db(context: Context, options: argparse.Namespace) -> int:
    return context.do("POST", "/v1/controller/backup/db", {"backup_name": options.BACKUP_NAME})


def show_volume_sizes(context: Context, options: argparse.Namespace, found: dict[str, Any]) -> int:
    """How large a volume may be, by pool."""
    if not context.raw(found):
        rows = [
            (
                one.get("storage_pool", ""),
                show_kib(one.get("max_volume_size_kib")),
                "Thin" if one.get("all_thin") else "Thick",
                "\n".join(one.get("node_names", ())),
            )
            for one in found.get("candidates", ())
        ]
        columns = ("StoragePool", "MaxVolumeSize", "Provisioning", "Nodes")
        context.show.table(columns, rows, pastable=options.pastable)
    return Exit.OK


def _max_volume_size(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"place_count": options.REPLICA_COUNT}
    if options.storage_pool is not None:
        body["storage_pool"] = options.storage_pool
    body |= neighbours(options)
    if context.options.curl:
        return context.do("OPTIONS", "/v1/query-max-volume-size", body)
    reply = context.client.call("OPTIONS", "/v1/query-max-volume-size", body=body)
    if not reply.ok or not isinstance(reply.body, dict):
        context.answer(reply)
        raise Stop(Exit.API_ERROR)
    return show_volume_sizes(context, options, reply.body)


_SIZE_ARGS = (
    PASTABLE,
    arg("-s", "--storage-pool", names_of="storage-pools"),
    arg("--do-not-place-with", nargs="+", metavar="RESOURCE"),
    arg("--do-not-place-with-regex", metavar="REGEX"),
    arg("--replicas-on-same", nargs="+", metavar="PROPERTY"),
    arg("--replicas-on-different", nargs="+", metavar="PROPERTY"),
    arg("--x-replicas-on-different", nargs="*", metavar="PROPERTY N"),
    arg("REPLICA_COUNT", type=int),
)

NOUN = Noun(
    ("controller", "c"),
    "the cluster as a whole",
    (
        Verb(("version", "v"), "version of the controller", _version),
        Verb(("which",), "address of the controller in use", _which),
        AUTH,
        *property_verbs(lambda _options: "/v1/controller/properties", (), method="POST"),
        options_verb(
            ("drbd-options", "opt"), lambda _options: "/v1/controller/properties", (), ALL, method="POST"
        ),
        Verb(
            ("set-log-level", "setloglevel"),
            "say more or less in the log, until the next start",
            _set_log_level,
            (
                arg("level", type=str.upper, choices=LEVELS),
                arg("--library", "--lib", action="store_true", help="of the libraries too"),
                arg("--global", dest="everywhere", action="store_true", help="on all satellites too"),
            ),
        ),
        Verb(
            ("query-max-volume-size", "qmvs"),
            "how large a volume may be",
            _max_volume_size,
            _SIZE_ARGS,
        ),
        Verb(("backupdb", "bakdb"), "back the database up", _backup_db, (arg("BACKUP_NAME"),)),
    ),
)
