"""The block devices of one resource's volumes, by one shared look at the machine. It decides nothing."""

from collections.abc import Collection
from typing import Final

from bollard.domain.layers import AttachWay
from bollard.satellite.host.base import DeviceSeen, Host

__all__ = ["LOOK", "attach", "detach_all", "drop", "follow", "of"]

LOOK: Final = "block devices"


async def of(host: Host, resource: str) -> tuple[DeviceSeen, ...]:
    """Those of the resource of exactly this name. HostError."""
    devices = host.devices
    if devices is None:
        return ()
    found = await host.shared.look(LOOK, devices.seen, resource)
    return tuple(one for one in found if one.resource == resource)


async def attach(host: Host, resource: str, number: int, minor: int, way: AttachWay) -> DeviceSeen:
    """Make one. HostError."""
    assert host.devices is not None
    made = host.devices.attach(resource, number, minor, way)
    device = await host.shared.changing(LOOK, resource, made)
    await host.devices.publish(device)
    return device


async def drop(host: Host, device: DeviceSeen) -> None:
    """Take one away. HostError `busy` names its users, unless it is dead: then it goes when they go."""
    assert host.devices is not None
    gone = host.devices.detach(device) if device.alive else host.devices.forget(device)
    await host.shared.changing(LOOK, device.resource, gone)


async def detach_all(host: Host, resource: str, keep: Collection[int] = ()) -> None:
    """Take away those of a resource but for some volumes. HostError `busy` names their users."""
    for device in await of(host, resource):
        if device.number not in keep:
            await drop(host, device)


async def follow(host: Host, device: DeviceSeen) -> None:
    """Let it take its volume's present size. HostError."""
    assert host.devices is not None
    await host.shared.changing(LOOK, device.resource, host.devices.follow(device))
