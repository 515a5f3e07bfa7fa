"""`bollard storage-pool`: where volumes get their space."""

import argparse
from typing import Any

from rich.text import Text

from bollard.cli import oldform
from bollard.cli.context import Context
from bollard.cli.exits import Exit
from bollard.cli.grammar import PASTABLE, Noun, Verb, arg
from bollard.cli.listing import FROM_FILE, GROUP_BY, SHOW_PROPS_LONG, items_of, show_list
from bollard.cli.nouns.properties import property_verbs, props_filter
from bollard.cli.show import Cell
from bollard.cli.sizes import show_kib
from bollard.client.rest import path_of

_NODE = arg("node_name", names_of="nodes")
_UNLIMITED_KIB = 2**63 - 1
_DRIVERS = {
    "lvm": ("LVM", "a volume group"),
    "lvmthin": ("LVM_THIN", "a thin pool: VG/THINPOOL"),
    "zfs": ("ZFS", "a zpool or dataset"),
    "zfsthin": ("ZFS_THIN", "a zpool or dataset, thin"),
    "file": ("FILE", "a directory, fully allocated files"),
    "filethin": ("FILE_THIN", "a directory, sparse files"),
    "spdk": ("SPDK", "a logical volume store"),
    "remotespdk": ("REMOTE_SPDK", "a logical volume store of a remote SPDK"),
    "storagespaces": ("STORAGE_SPACES", "a pool of Storage Spaces"),
    "storagespacesthin": ("STORAGE_SPACES_THIN", "a pool of Storage Spaces, thin"),
}


def _creator(kind: str) -> Verb:
    provider, what = _DRIVERS[kind]

    def create(context: Context, options: argparse.Namespace) -> int:
        body: dict[str, Any] = {
            "storage_pool_name": options.name,
            "provider_kind": provider,
            "props": {"StorDriver/StorPoolName": options.driver_pool_name},
            "external_locking": options.external_locking,
        }
        if options.shared_space is not None:
            body["shared_space"] = options.shared_space
        return context.do("POST", path_of("nodes", options.node_name, "storage-pools"), body)

    return Verb(
        (kind,),
        what,
        create,
        (
            _NODE,
            arg("name"),
            arg("--shared-space"),
            arg("--external-locking", action="store_true"),
            arg("driver_pool_name", help=what),
        ),
    )


def _create_diskless(context: Context, options: argparse.Namespace) -> int:
    body = {"storage_pool_name": options.name, "provider_kind": "DISKLESS"}
    return context.do("POST", path_of("nodes", options.node_name, "storage-pools"), body)


def _create_ebs(context: Context, options: argparse.Namespace) -> int:
    body = {
        "storage_pool_name": options.name,
        "provider_kind": "EBS_INIT",
        "props": {"StorDriver/EBS/Remote": options.ebs_remote_name},
    }
    return context.do("POST", path_of("nodes", options.node_name, "storage-pools"), body)


def _list(context: Context, options: argparse.Namespace) -> int:
    query = {"nodes": options.nodes, "storage_pools": options.storage_pools, "props": props_filter(options)}
    pools = items_of(context, options, "/v1/view/storage-pools", query)
    if context.raw(pools, oldform.pools):
        return Exit.OK
    columns = (
        "StoragePool",
        "Node",
        "Driver",
        "PoolName",
        "FreeCapacity",
        "TotalCapacity",
        "CanSnapshots",
        "State",
        "SharedName",
    )
    rows = [
        (
            pool["storage_pool_name"],
            pool["node_name"],
            pool["provider_kind"],
            pool.get("props", {}).get("StorDriver/StorPoolName", ""),
            _capacity(pool, "free_capacity"),
            _capacity(pool, "total_capacity"),
            str(bool(pool.get("supports_snapshots"))),
            _state(pool),
            pool.get("shared_space", ""),
        )
        for pool in pools
    ]
    code = show_list(context, options, columns, rows, pools)
    for pool in pools:
        context.show.entries(pool.get("reports", ()))
    return code


def _capacity(pool: dict[str, Any], name: str) -> str:
    value = pool.get(name)
    return "" if value is None or value == _UNLIMITED_KIB else show_kib(value)


def _state(pool: dict[str, Any]) -> Cell:
    if any(entry["ret_code"] < 0 for entry in pool.get("reports", ())):
        return Text("Error", "red")
    return Text("Ok", "green")


def _delete(context: Context, options: argparse.Namespace) -> int:
    return max(
        context.do("DELETE", path_of("nodes", node, "storage-pools", options.name))
        for node in options.node_name
    )


NOUN = Noun(
    ("storage-pool", "sp"),
    "pools of space on nodes",
    (
        Noun(
            ("create", "c"),
            "add a pool",
            (
                *map(_creator, _DRIVERS),
                Verb(("diskless",), "a pool without space", _create_diskless, (_NODE, arg("name"))),
                Verb(
                    ("ebs_initiator", "ebs_init"),
                    "volumes of EBS",
                    _create_ebs,
                    (_NODE, arg("name"), arg("ebs_remote_name")),
                ),
            ),
        ),
        Verb(
            ("list", "l"),
            "show pools and their space",
            _list,
            (
                PASTABLE,
                GROUP_BY,
                SHOW_PROPS_LONG,
                FROM_FILE,
                arg("-s", "--storage-pools", nargs="+", names_of="storage-pools"),
                arg("-n", "--nodes", nargs="+", names_of="nodes"),
                arg("--props", nargs="+"),
            ),
        ),
        Verb(
            ("delete", "d"),
            "remove a pool from nodes",
            _delete,
            (
                arg("-q", "--quiet", action="store_true"),
                arg("node_name", nargs="+", names_of="nodes"),
                arg("name", names_of="storage-pools"),
            ),
        ),
        *property_verbs(
            lambda options: path_of("nodes", options.node_name, "storage-pools", options.name),
            (_NODE, arg("name", names_of="storage-pools")),
        ),
    ),
)
