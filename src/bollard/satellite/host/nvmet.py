"""The kernel's NVMe target: subsystems, namespaces, ports and hosts as folders of configfs. No policy.

What is ours is known by its namespaces' uuids; ports that others made are shared, and never removed.
"""

from typing import Final

import msgspec

from bollard.satellite.host.base import Cmd, Host, HostError, Tree

__all__ = ["Export", "Port", "exports", "look_again", "offer", "ready", "tree_of", "withdraw"]

BASE: Final = "/sys/kernel/config/nvmet"
_LOOK: Final = "nvmet"
_LOCK: Final = "nvmet"
_OUR_PORTS: Final = range(19456, 19968)
"""Numbers of ports that we make, so that others' are left alone."""


class Port(msgspec.Struct, frozen=True):
    """Where something is offered."""

    transport: str
    address: str
    service: str

    @property
    def family(self) -> str:
        """Of the address."""
        return "ipv6" if ":" in self.address else "ipv4"


class Export(msgspec.Struct, frozen=True):
    """One enabled namespace."""

    subsystem: str
    number: int
    """Of the namespace."""
    path: str
    """Of the device that it offers."""
    uuid: str
    device: str
    """`MAJOR:MINOR` of that device; empty when it is gone."""
    size_kib: int
    hosts: tuple[str, ...]
    """Sorted NQNs of who may use it."""
    ports: tuple[Port, ...]


def tree_of(host: Host) -> Tree:
    """HostError where the satellite leaves the kernel's NVMe alone."""
    if host.tree is None:
        raise HostError(
            "NVMe cannot be used on this node",
            code="layer-missing",
            cause="The satellite does not run as root.",
        )
    return host.tree


async def ready(host: Host, *modules: str) -> Tree:
    """See that these modules of the kernel are loaded. HostError when they cannot be."""
    tree = tree_of(host)
    missing = [name for name in modules if not await tree.names(f"/sys/module/{name}")]
    if missing:
        await host.runner.run(Cmd(("modprobe", "-a", *missing)))
    return tree


def look_again(host: Host) -> None:
    """Something was changed."""
    host.shared.changed(_LOOK)


async def exports(host: Host, prefix: str) -> tuple[Export, ...]:
    """All enabled namespaces of subsystems with this prefix, by one look for all who ask at once."""
    found = await host.shared.look(_LOOK, lambda: _look(host))
    return tuple(one for one in found if one.subsystem.startswith(prefix))


async def _look(host: Host) -> tuple[Export, ...]:
    tree = tree_of(host)
    ports: dict[str, list[Port]] = {}
    for number in await tree.names(f"{BASE}/ports"):
        port = await _port(tree, number)
        for subsystem in await tree.names(f"{BASE}/ports/{number}/subsystems"):
            ports.setdefault(subsystem, []).append(port)
    found: list[Export] = []
    for subsystem in await tree.names(f"{BASE}/subsystems"):
        folder = f"{BASE}/subsystems/{subsystem}"
        hosts = await tree.names(f"{folder}/allowed_hosts")
        for number in await tree.names(f"{folder}/namespaces"):
            space = f"{folder}/namespaces/{number}"
            if await tree.read(f"{space}/enable") != "1":
                continue
            path = await tree.read(f"{space}/device_path") or ""
            device = await tree.device(path)
            found.append(
                Export(
                    subsystem=subsystem,
                    number=int(number),
                    path=path,
                    uuid=await tree.read(f"{space}/device_uuid") or "",
                    device=device,
                    size_kib=await size_kib(tree, device),
                    hosts=hosts,
                    ports=tuple(ports.get(subsystem, ())),
                )
            )
    return tuple(found)


async def size_kib(tree: Tree, device: str) -> int:
    """Of a block device by its numbers; 0 when it is not there."""
    sectors = await tree.read(f"/sys/dev/block/{device}/size") if device else None
    return int(sectors) // 2 if sectors else 0


async def _port(tree: Tree, number: str) -> Port:
    folder = f"{BASE}/ports/{number}"
    words = [await tree.read(f"{folder}/addr_{name}") or "" for name in ("trtype", "traddr", "trsvcid")]
    return Port(*words)


async def offer(host: Host, wanted: Export) -> None:
    """Make the namespace of `wanted`, with its hosts and its one port; what is so already stays.

    HostError `name-taken` when the namespace is another's: it is left as it is.
    """
    tree = await ready(host, "nvmet")
    if not await tree.names(BASE):
        raise HostError(
            "The kernel's NVMe target cannot be set up",
            code="layer-missing",
            cause=f"There is no folder {BASE}.",
            correction="Mount configfs on /sys/kernel/config.",
        )
    async with host.shared.lock(_LOCK):
        try:
            await _namespace(tree, wanted)
            await _allow(tree, wanted)
            (port,) = wanted.ports
            await _attach(tree, wanted.subsystem, await _port_number(tree, port))
        finally:
            look_again(host)


async def _namespace(tree: Tree, wanted: Export) -> None:
    folder = f"{BASE}/subsystems/{wanted.subsystem}"
    space = f"{folder}/namespaces/{wanted.number}"
    if await tree.read(f"{space}/enable") == "1":
        if await tree.read(f"{space}/device_uuid") != wanted.uuid:
            raise HostError(
                f"There is another '{wanted.subsystem}' that offers namespace {wanted.number} here",
                code="name-taken",
                cause="Its uuid is not that of this volume; it is left alone.",
                correction="Remove it with nvmetcli, if nothing needs it.",
                name=wanted.subsystem,
            )
        if await tree.read(f"{space}/device_path") == wanted.path:
            await tree.write(f"{space}/revalidate_size", "1")
            return
        await tree.write(f"{space}/enable", "0")
    if await tree.make(folder):
        await tree.write(f"{folder}/attr_allow_any_host", "0")
    await tree.make(space)
    await tree.write(f"{space}/device_path", wanted.path)
    await tree.write(f"{space}/device_uuid", wanted.uuid)
    await tree.write(f"{space}/enable", "1")


async def _allow(tree: Tree, wanted: Export) -> None:
    allowed = f"{BASE}/subsystems/{wanted.subsystem}/allowed_hosts"
    for nqn in wanted.hosts:
        await tree.make(f"{BASE}/hosts/{nqn}")
        await tree.link(f"{allowed}/{nqn}", f"{BASE}/hosts/{nqn}")
    for nqn in await tree.names(allowed):
        if nqn not in wanted.hosts:
            await _disallow(tree, allowed, nqn)


async def _disallow(tree: Tree, allowed: str, nqn: str) -> None:
    await tree.unlink(f"{allowed}/{nqn}")
    try:
        await tree.drop(f"{BASE}/hosts/{nqn}")
    except HostError as error:
        if error.code != "busy":  # another subsystem lets it in as well
            raise


async def _port_number(tree: Tree, wanted: Port) -> str:
    """The number of a port with this address, made if there is none."""
    taken = await tree.names(f"{BASE}/ports")
    for number in taken:
        if await _port(tree, number) == wanted:
            return number
    number = next(str(one) for one in _OUR_PORTS if str(one) not in taken)
    folder = f"{BASE}/ports/{number}"
    await tree.make(folder)
    await tree.write(f"{folder}/addr_trtype", wanted.transport)
    await tree.write(f"{folder}/addr_adrfam", wanted.family)
    await tree.write(f"{folder}/addr_traddr", wanted.address)
    await tree.write(f"{folder}/addr_trsvcid", wanted.service)
    return number


async def _attach(tree: Tree, subsystem: str, wanted: str) -> None:
    """To this port and to no other; the first subsystem of a port makes the kernel listen there."""
    if subsystem not in await tree.names(f"{BASE}/ports/{wanted}/subsystems"):
        await tree.link(f"{BASE}/ports/{wanted}/subsystems/{subsystem}", f"{BASE}/subsystems/{subsystem}")
    for number in await tree.names(f"{BASE}/ports"):
        if number != wanted:
            await _detach(tree, subsystem, number)


async def _detach(tree: Tree, subsystem: str, number: str) -> None:
    folder = f"{BASE}/ports/{number}"
    await tree.unlink(f"{folder}/subsystems/{subsystem}")
    if int(number) in _OUR_PORTS and not await tree.names(f"{folder}/subsystems"):
        await tree.drop(folder)


async def withdraw(host: Host, subsystem: str, number: int, uuid: str) -> bool:
    """Remove a namespace that has this uuid, and its subsystem with the last one; whether it was there."""
    tree = tree_of(host)
    folder = f"{BASE}/subsystems/{subsystem}"
    space = f"{folder}/namespaces/{number}"
    async with host.shared.lock(_LOCK):
        try:
            if await tree.read(f"{space}/device_uuid") != uuid:
                return False
            await tree.write(f"{space}/enable", "0")
            await tree.drop(space)
            if not await tree.names(f"{folder}/namespaces"):
                for port in await tree.names(f"{BASE}/ports"):
                    await _detach(tree, subsystem, port)
                for nqn in await tree.names(f"{folder}/allowed_hosts"):
                    await _disallow(tree, f"{folder}/allowed_hosts", nqn)
                await tree.drop(folder)
        finally:
            look_again(host)
    return True
