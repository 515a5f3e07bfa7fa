"""The options that say where replicas may be placed, as the API's select filter."""

import argparse
import re
from typing import Any

from bollard.cli.exits import Exit, Stop
from bollard.cli.grammar import Arg, arg

PLACE: tuple[Arg, ...] = (
    arg(
        "-s",
        "--storage-pool",
        nargs="*",
        metavar="POOL",
        names_of="storage-pools",
        help="pools to choose from",
    ),
    arg("--diskless-storage-pool", nargs="*", metavar="POOL", help="pools for diskless resources"),
    arg("--do-not-place-with", nargs="*", metavar="RESOURCE", help="not on nodes that hold these"),
    arg("--do-not-place-with-regex", nargs="?", metavar="REGEX", help="not on nodes that hold matching ones"),
    arg("--replicas-on-same", nargs="*", metavar="PROPERTY", help="all replicas share this property's value"),
    arg("--replicas-on-different", nargs="*", metavar="PROPERTY", help="no two replicas share its value"),
    arg("--x-replicas-on-different", nargs="*", metavar="PROPERTY N", help="N replicas for each value"),
    arg(
        "--diskless-on-remaining",
        nargs="?",
        const="yes",
        choices=("yes", "no", "true", "false"),
        help="diskless on all other nodes",
    ),
    arg("-l", "--layer-list", metavar="LAYERS", help="comma list, e.g. drbd,storage"),
    arg("--explain", action="store_true", help="say why each pool was chosen or not"),
)
PROVIDERS = arg("-p", "--providers", metavar="PROVIDERS", help="comma list, e.g. lvm_thin,file_thin")
PROVIDERS_LONG = arg("--prov", "--providers", dest="providers", metavar="PROVIDERS", help="likewise")
"""Where -p is taken."""
PLACE_COUNT = arg("--place-count", metavar="N", help="replicas; +N: so many more")
AUTO_PLACE = arg("--auto-place", metavar="N", help="let the controller choose N nodes; +N: so many more")


def layers(text: str | None) -> list[str] | None:
    """The layer list of an option; the storage layer may be left out."""
    if text is None:
        return None
    names = [part.strip().upper() for part in text.split(",") if part.strip()]
    return names if "STORAGE" in names else [*names, "STORAGE"]


def pairs_of(words: list[str]) -> dict[str, int]:
    """PROPERTY N PROPERTY N ... as a map. Raises Stop."""
    if len(words) % 2 or not all(word.isdigit() for word in words[1::2]):
        raise Stop(Exit.USAGE, "--x-replicas-on-different takes pairs: PROPERTY N")
    return {f"Aux/{prop}": int(number) for prop, number in zip(words[::2], words[1::2], strict=True)}


def neighbours(options: argparse.Namespace) -> dict[str, Any]:
    """What of a select filter says beside what a replica may stand, and beside what not."""
    found: dict[str, Any] = {}
    if options.do_not_place_with is not None:
        found["not_place_with_rsc"] = options.do_not_place_with
    if options.do_not_place_with_regex is not None:
        found["not_place_with_rsc_regex"] = options.do_not_place_with_regex
    for name in ("replicas_on_same", "replicas_on_different"):
        if getattr(options, name) is not None:
            found[name] = [f"Aux/{prop}" for prop in getattr(options, name)]
    if options.x_replicas_on_different:
        found["x_replicas_on_different_map"] = pairs_of(options.x_replicas_on_different)
    return found


def select_filter(options: argparse.Namespace, count: str | None = None) -> dict[str, Any]:
    """The AutoSelectFilter these options say; what was not given is left out."""
    found: dict[str, Any] = {}
    if count is not None:
        match = re.fullmatch(r"(\+?)([0-9]+)", count)
        if match is None:
            raise Stop(Exit.USAGE, f"'{count}' is not a number of replicas (N or +N)")
        found["additional_place_count" if match.group(1) else "place_count"] = int(match.group(2))
    if options.storage_pool is not None:
        found["storage_pool_list"] = options.storage_pool
    if options.diskless_storage_pool is not None:
        found["storage_pool_diskless_list"] = options.diskless_storage_pool
    found |= neighbours(options)
    if options.diskless_on_remaining is not None:
        found["diskless_on_remaining"] = options.diskless_on_remaining in {"yes", "true"}
    if options.layer_list is not None:
        found["layer_stack"] = layers(options.layer_list)
    if options.providers is not None:
        found["provider_list"] = [part.strip().upper() for part in options.providers.split(",")]
    return found


def describe(found: dict[str, Any] | None) -> str:
    """A select filter for the eye, one line a fact."""
    names = {
        "place_count": "PlaceCount",
        "additional_place_count": "AdditionalPlaceCount",
        "storage_pool_list": "StoragePool(s)",
        "storage_pool_diskless_list": "DisklessStoragePool(s)",
        "not_place_with_rsc": "DoNotPlaceWith",
        "not_place_with_rsc_regex": "DoNotPlaceWithRegex",
        "replicas_on_same": "ReplicasOnSame",
        "replicas_on_different": "ReplicasOnDifferent",
        "x_replicas_on_different_map": "XReplicasOnDifferent",
        "diskless_on_remaining": "DisklessOnRemaining",
        "layer_stack": "LayerStack",
        "provider_list": "ProviderList",
    }
    lines = []
    for key, title in names.items():
        value = (found or {}).get(key)
        if value in (None, [], {}, ""):
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        lines.append(f"{title}: {text}")
    return "\n".join(lines)
