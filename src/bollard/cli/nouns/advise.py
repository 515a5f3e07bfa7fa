"""`bollard advise`: what is not as safe as it could be, and what to do about it."""

import argparse
from collections.abc import Iterator
from typing import Any

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg

__all__ = ["NOUN"]

_ISSUES = (
    "single-replica",
    "pot-split-brain",
    "diskless-in-use",
    "too-few-replicas",
    "too-many-replicas",
    "no-tiebreaker",
)
Advice = tuple[str, str, str, str]
"""The issue's name, the resource, the issue in words, what to type."""


class _Known:
    """Resources by definition, with what was asked of them."""

    def __init__(self, context: Context, names: list[str] | None) -> None:
        query = {"resource_definitions": names} if names else None
        self.definitions: list[dict[str, Any]] = context.fetch("/v1/resource-definitions", query)
        self.groups = {item["name"]: item for item in context.fetch("/v1/resource-groups")}
        self.resources: dict[str, list[dict[str, Any]]] = {}
        for item in context.fetch("/v1/view/resources", {"resources": names} if names else None):
            self.resources.setdefault(item["name"], []).append(item)

    def wanted(self, definition: dict[str, Any]) -> int | None:
        """The place count of the definition's group."""
        group = self.groups.get(definition.get("resource_group_name", ""), {})
        found: int | None = group.get("select_filter", {}).get("place_count")
        return found


def _flags(item: dict[str, Any]) -> frozenset[str]:
    return frozenset(item.get("flags", ()))


def _disks(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if "DISKLESS" not in _flags(item)]


def _replicated(items: list[dict[str, Any]]) -> bool:
    return any(item.get("layer_object", {}).get("type") == "DRBD" for item in items)


def _advice(known: _Known, definition: dict[str, Any]) -> Iterator[Advice]:
    name, items = definition["name"], known.resources.get(definition["name"], [])
    disks, wanted = _disks(items), known.wanted(definition)
    if not disks:
        return
    if len(disks) == 1:
        more = f"bollard resource-definition auto-place --place-count 2 {name}"
        yield ("single-replica", name, "Resource has only one replica", more)
    if not _replicated(items):
        return
    if wanted is not None and 1 < len(disks) < wanted:
        more = f"bollard resource-definition auto-place --place-count {wanted} {name}"
        yield ("too-few-replicas", name, f"Resource has {len(disks)} of {wanted} replicas", more)
    if wanted is not None and len(disks) > wanted:
        spare = next((it["node_name"] for it in disks if not it.get("state", {}).get("in_use")), "NODE")
        text = f"Resource has {len(disks)} replicas, {wanted} are wanted"
        yield ("too-many-replicas", name, text, f"bollard resource delete {spare} {name}")
    third = len(items) - len(disks)
    if len(disks) == 2 and not third:
        fix = f"bollard resource create --drbd-diskless NODE {name}"
        yield ("no-tiebreaker", name, "Two replicas without a third vote: the loss of one costs quorum", fix)
    quorum = {**known.groups.get(definition.get("resource_group_name", ""), {}).get("props", {})}
    quorum |= definition.get("props", {})
    if len(disks) > 1 and quorum.get("DrbdOptions/Resource/quorum", "off") == "off":
        fix = f"bollard resource-definition drbd-options --quorum majority {name}"
        yield ("pot-split-brain", name, "Without quorum two sides can go on apart", fix)
    for item in items:
        if "DISKLESS" in _flags(item) and item.get("state", {}).get("in_use"):
            node = item["node_name"]
            text = f"Resource is in use on '{node}' without a disk there"
            yield ("diskless-in-use", name, text, f"bollard resource toggle-disk {node} {name}")


def _show(context: Context, options: argparse.Namespace, found: list[Advice]) -> int:
    kept = [row for row in found if not options.filter or row[0] in options.filter]
    listed = [{"resource": row[1], "issue": row[2], "possible_fix": row[3], "kind": row[0]} for row in kept]
    if not context.raw(listed):
        rows = [row[1:] for row in kept]
        context.show.table(("Resource", "Issue", "Possible fix"), rows, pastable=options.pastable)
    return Exit.OK


def _resource(context: Context, options: argparse.Namespace) -> int:
    known = _Known(context, options.resources)
    found = [row for definition in known.definitions for row in _advice(known, definition)]
    return _show(context, options, found)


def _maintenance(context: Context, options: argparse.Namespace) -> int:
    """What stops, or is at risk, while the node is away."""
    known, node = _Known(context, options.resources), options.node.upper()
    found: list[Advice] = []
    for definition in known.definitions:
        items = known.resources.get(definition["name"], [])
        mine = [item for item in items if item["node_name"].upper() == node]
        rest = [item for item in items if item["node_name"].upper() != node]
        if not mine:
            continue
        known.resources[definition["name"]] = rest
        name = definition["name"]
        if _disks(mine) and not _disks(rest):
            fix = f"bollard resource-definition auto-place --place-count +1 {name}"
            text = f"Its only replica is on '{options.node}': it is not there during maintenance"
            found.append(("single-replica", name, text, fix))
        found += [row for row in _advice(known, definition) if row[0] != "too-many-replicas"]
    return _show(context, options, found)


_ARGS = (
    PASTABLE,
    arg("-f", "--filter", nargs="+", choices=_ISSUES),
    arg("-r", "--resources", nargs="+", names_of="resource-definitions"),
)
NOUN = Noun(
    ("advise", "adv"),
    "what could be safer",
    (
        Verb(("resource", "r"), "look at resources", _resource, _ARGS),
        Verb(
            ("maintenance", "m"),
            "look at what would be without a node",
            _maintenance,
            (*_ARGS, arg("node", names_of="nodes")),
        ),
    ),
)
