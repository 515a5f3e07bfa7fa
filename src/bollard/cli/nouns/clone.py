"""`bollard resource-definition clone`: begins a clone and follows it."""

import argparse
import time
from typing import Any

from bollard.cli.context import Context
from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Verb, arg
from bollard.cli.nouns.placing import layers
from bollard.client.rest import path_of

__all__ = ["CLONE"]

_POLL_S = 0.5


def _clone(context: Context, options: argparse.Namespace) -> int:
    if options.clone_name is None and options.external_name is None:
        raise Stop(Exit.USAGE, "Give a name or --external-name.")
    path = path_of("resource-definitions", options.source_resource, "clone")
    body = _body(options)
    if context.options.curl:
        context.show.line(context.client.curl("POST", path, body=body))
        return Exit.OK
    reply = context.client.call("POST", path, body=body)
    told = reply.body if isinstance(reply.body, dict) else {}
    if context.options.machine_readable:
        context.show.json([told or reply.body])
    else:
        context.show.entries(told.get("messages", reply.entries()))
    if not reply.ok:
        return Exit.API_ERROR
    return Exit.OK if options.no_wait else _follow(context, options, told["clone_name"])


def _body(options: argparse.Namespace) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if options.clone_name is not None:
        body["name"] = options.clone_name
    if options.external_name is not None:
        body["external_name"] = options.external_name
    if options.use_zfs_clone:
        body["use_zfs_clone"] = True
    if options.volume_passphrase:
        body["volume_passphrases"] = options.volume_passphrase
    if options.layer_list is not None:
        body["layer_list"] = layers(options.layer_list)
    if options.resource_group is not None:
        body["resource_group"] = options.resource_group
    return body


def _follow(context: Context, options: argparse.Namespace, name: str) -> int:
    path = path_of("resource-definitions", options.source_resource, "clone", name)
    deadline_s = time.monotonic() + (options.wait_timeout or float("inf"))
    while (status := context.fetch(path).get("status")) == "CLONING":
        if time.monotonic() >= deadline_s:
            raise Stop(Exit.TIMEOUT, f"'{name}' is still being cloned; it goes on by itself.")
        time.sleep(_POLL_S)
    if status == "FAILED":
        raise Stop(Exit.API_ERROR, f"The clone '{name}' failed. Delete it, and look at the source's nodes.")
    return Exit.OK


CLONE = Verb(
    ("clone", "cln"),
    "copy a definition with its replicas and their data",
    _clone,
    (
        arg("-e", "--external-name"),
        arg("--no-wait", action="store_true", help="do not wait until the copy is there"),
        arg("--wait-timeout", type=float, metavar="S"),
        arg("--use-zfs-clone", action="store_true"),
        arg("--volume-passphrase", nargs="*"),
        arg("-l", "--layer-list", help="comma list, e.g. drbd,luks,storage"),
        arg("--resource-group", "--rsc-grp", dest="resource_group", names_of="resource-groups"),
        arg("source_resource", names_of="resource-definitions"),
        arg("clone_name", nargs="?"),
    ),
)
