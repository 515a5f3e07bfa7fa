"""`bollard physical-storage`: devices of nodes that hold nothing yet, and pools on them."""

import argparse
from typing import Any

from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.sizes import parse_kib, show_kib
from bollard.client.rest import path_of

__all__ = ["NOUN"]

_KINDS = {"lvm": "LVM", "lvmthin": "LVM_THIN", "zfs": "ZFS", "zfsthin": "ZFS_THIN", "spdk": "SPDK"}
_MORE = ("pv_create_arguments", "vg_create_arguments", "lv_create_arguments", "zpool_create_arguments")


def _list(context: Context, options: argparse.Namespace) -> int:
    found = context.fetch("/v1/physical-storage")
    if not context.raw(found):
        rows = [
            (
                show_kib(item["size"] // 1024),
                str(bool(item.get("rotational"))),
                "\n".join(
                    f"{node}[{', '.join(_device(one) for one in devices)}]"
                    for node, devices in sorted(item.get("nodes", {}).items())
                ),
            )
            for item in found
        ]
        context.show.table(("Size", "Rotational", "Nodes"), rows, pastable=options.pastable)
    return Exit.OK


def _device(device: dict[str, Any]) -> str:
    words = [device.get("device", ""), device.get("model", ""), device.get("serial", "")]
    return " ".join(word for word in words if word)


def _create(context: Context, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {
        "provider_kind": _KINDS[options.provider_kind],
        "device_paths": options.device_paths,
        "pool_name": options.pool_name,
    }
    if options.vdo_enable:
        body |= {
            "vdo_enable": True,
            "vdo_logical_size_kib": options.vdo_logical_size or 0,
            "vdo_slab_size_kib": options.vdo_slab_size or 0,
        }
    if options.sed:
        body["sed"] = True
    if options.storage_pool is not None:
        body["with_storage_pool"] = {"name": options.storage_pool}
    body |= {name: getattr(options, name) for name in _MORE if getattr(options, name) is not None}
    return context.do("POST", path_of("physical-storage", options.node_name), body)


NOUN = Noun(
    ("physical-storage", "ps"),
    "devices that hold nothing yet",
    (
        Verb(("list", "l"), "show them", _list, (PASTABLE,)),
        Verb(
            ("create-device-pool", "cdp"),
            "make a pool of devices",
            _create,
            (
                arg("provider_kind", type=str.lower, choices=tuple(_KINDS)),
                arg("node_name", names_of="nodes"),
                arg("device_paths", nargs="+"),
                arg("--pool-name", required=True, help="of the volume group or zpool"),
                arg("--storage-pool", help="register it as a storage pool of this name"),
                arg("--vdo-enable", action="store_true"),
                arg("--vdo-logical-size", type=parse_kib),
                arg("--vdo-slab-size", type=parse_kib),
                arg("--sed", action="store_true", help="lock self-encrypting drives"),
                *(arg(f"--{name.replace('_', '-')}", nargs="*") for name in _MORE),
            ),
        ),
    ),
)
