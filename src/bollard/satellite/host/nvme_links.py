"""The kernel's NVMe connections to other nodes, by sysfs and /dev/nvme-fabrics. No policy.

A connection of ours is known by the NQN that we gave it as its host's.
"""

import re
from typing import Final

import msgspec

from bollard.satellite.host.base import Host, HostError, Tree
from bollard.satellite.host.nvmet import Port, ready, tree_of

__all__ = ["Link", "Space", "connect", "disconnect", "links", "rescan"]

_CONTROLLERS: Final = "/sys/class/nvme"
_SUBSYSTEMS: Final = "/sys/class/nvme-subsystem"
_FABRICS: Final = "/dev/nvme-fabrics"
_SPACE: Final = re.compile(r"nvme\d+n\d+")
_RECONNECT_S: Final = 2
LIVE: Final = "live"


class Space(msgspec.Struct, frozen=True):
    """A namespace that a connection has brought."""

    number: int
    path: str
    uuid: str
    size_kib: int
    in_use: bool


class Link(msgspec.Struct, frozen=True):
    """One connection."""

    name: str
    """Of the kernel's controller."""
    subsystem: str
    host: str
    """The NQN that we gave."""
    port: Port
    state: str
    """`live`; anything else while the kernel tries to have it back, or gives it up."""
    spaces: tuple[Space, ...]


async def links(host: Host, prefix: str, hosts: str) -> tuple[Link, ...]:
    """Those to subsystems with the one prefix, by hosts with the other."""
    tree = tree_of(host)
    found = []
    for name in await tree.names(_CONTROLLERS):
        folder = f"{_CONTROLLERS}/{name}"
        subsystem = await tree.read(f"{folder}/subsysnqn") or ""
        nqn = await tree.read(f"{folder}/hostnqn") or ""
        if subsystem.startswith(prefix) and nqn.startswith(hosts):
            transport = await tree.read(f"{folder}/transport") or ""
            found.append(
                Link(
                    name=name,
                    subsystem=subsystem,
                    host=nqn,
                    port=_port(transport, await tree.read(f"{folder}/address") or ""),
                    state=await tree.read(f"{folder}/state") or "",
                    spaces=await _spaces(tree, name),
                )
            )
    return tuple(found)


def _port(transport: str, address: str) -> Port:
    words = dict(word.partition("=")[::2] for word in address.split(","))
    return Port(transport, words.get("traddr", ""), words.get("trsvcid", ""))


async def _spaces(tree: Tree, controller: str) -> tuple[Space, ...]:
    """With several paths in the kernel namespaces are the subsystem's, without them the controller's."""
    subsystems = [f"{_SUBSYSTEMS}/{name}" for name in await tree.names(_SUBSYSTEMS)]
    folders = [folder for folder in subsystems if controller in await tree.names(folder)]
    folders.append(f"{_CONTROLLERS}/{controller}")
    names = {name for folder in folders for name in await tree.names(folder) if _SPACE.fullmatch(name)}
    found = []
    for name in sorted(names):
        block, path = f"/sys/block/{name}", f"/dev/{name}"
        sectors = await tree.read(f"{block}/size")
        number = await tree.read(f"{block}/nsid")
        if sectors and number:
            uuid = await tree.read(f"{block}/uuid") or ""
            found.append(Space(int(number), path, uuid, int(sectors) // 2, await tree.in_use(path)))
    return tuple(found)


async def connect(host: Host, port: Port, subsystem: str, nqn: str, host_id: str) -> None:
    """Returns when the kernel is connected. HostError `not-connected` when it cannot be."""
    tree = await ready(host, "nvme_tcp" if port.transport == "tcp" else f"nvme_{port.transport}")
    options = (
        f"transport={port.transport},traddr={port.address},trsvcid={port.service},nqn={subsystem},"
        f"hostnqn={nqn},hostid={host_id},reconnect_delay={_RECONNECT_S}"
    )
    try:
        await tree.ask(_FABRICS, options)
    except HostError as error:
        raise HostError(
            f"'{subsystem}' at {port.address}, port {port.service}, cannot be connected",
            code="not-connected",
            cause=error.cause,
            correction="It is tried again by itself. See that the node with the disk is online.",
            name=subsystem,
        ) from error


async def rescan(host: Host, link: Link) -> None:
    """Look again which namespaces there are, and how large."""
    await tree_of(host).write(f"{_CONTROLLERS}/{link.name}/rescan_controller", "1")


async def disconnect(host: Host, link: Link) -> None:
    """HostError `engine-busy` while one of its devices is used."""
    used = [space.path for space in link.spaces if space.in_use]
    if used:
        raise HostError(
            f"'{link.subsystem}' is in use",
            code="engine-busy",
            cause=f"Something has {', '.join(used)} mounted or claimed.",
            correction="Unmount it or stop its user; it is tried again by itself.",
            name=link.subsystem,
        )
    await tree_of(host).write(f"{_CONTROLLERS}/{link.name}/delete_controller", "1")
