"""Device layers between a volume's storage and what serves it: found, raised, grown and lowered as one stack.

The drivers know one layer each; the order, the companions and the marks on the storage are kept here.
"""

import logging

import msgspec

from bollard.domain.layers import LayerKind
from bollard.domain.local import LocalLayer
from bollard.domain.targets import TargetPool, TargetVolume
from bollard.satellite.drivers import DEVICE_LAYERS, DeviceLayer, Provider, Wipes
from bollard.satellite.host.base import BackingSeen, Host, HostError, LayerMark, LayerSeen, Marks

__all__ = ["grow", "lower", "observe", "raise_", "wipe", "with_layers"]

_log = logging.getLogger(__name__)


async def observe(
    provider: Provider, pool: TargetPool, host: Host, resource: str | None = None
) -> tuple[BackingSeen, ...]:
    """What the provider sees, with the layers that are open on it."""
    return await with_layers(await provider.observe(pool, host, resource), host)


async def with_layers(backings: tuple[BackingSeen, ...], host: Host) -> tuple[BackingSeen, ...]:
    """Storage with the layers that are open on it. No layer is looked for where none was ever made."""
    kinds = {kind for backing in backings for kind in backing.local.made}
    if not kinds:
        return backings
    by_lower: dict[tuple[LayerKind, str], LayerSeen] = {}
    for kind in sorted(kinds):
        for seen in await _driver(kind).observe(host):
            by_lower[kind, seen.below[0]] = seen
    return tuple(_stacked(backing, by_lower) for backing in backings)


def _stacked(backing: BackingSeen, by_lower: dict[tuple[LayerKind, str], LayerSeen]) -> BackingSeen:
    layers: list[LayerSeen] = []
    device = backing.device
    for kind in backing.local.made:
        seen = by_lower.get((kind, device)) if device else None
        if seen is None:
            break
        layers.append(seen)
        device = seen.device
    if not layers:
        return backing
    known = tuple(LocalLayer(seen.kind, seen.size_kib, seen.shown) for seen in layers)
    return msgspec.structs.replace(
        backing, layers=tuple(layers), local=msgspec.structs.replace(backing.local, layers=known)
    )


async def raise_(
    volume: TargetVolume,
    backing: BackingSeen,
    companions: dict[LayerKind, str],
    owner: tuple[Provider, TargetPool],
    host: Host,
) -> str:
    """Activate the storage, make the layers that it never had and open all; the path of the highest.

    `companions` are the opened devices beside the volume. Each layer that was made is remembered on the
    storage at once: it is never made again there.
    """
    provider, pool = owner
    path = await provider.activate(backing, host, block=bool(volume.layers))
    made = list(backing.local.made)
    for index, layer in enumerate(volume.layers):
        if index < len(backing.layers):
            path = backing.layers[index].path
            continue
        driver = _driver(layer.kind)
        mark = _mark(backing, companions.get(layer.kind, ""), made=layer.kind in made)
        path = await driver.raise_(layer, path, mark, host)
        if layer.kind not in made:
            made.append(layer.kind)
            await provider.mark(backing, pool, Marks(made=tuple(made)), host)
    return path


async def grow(volume: TargetVolume, backing: BackingSeen, host: Host) -> bool:
    """Let each open layer take what is below it now, the lowest first; whether one changed."""
    changed = False
    layers = {layer.kind: layer for layer in volume.layers}
    for seen in backing.layers:
        if (layer := layers.get(seen.kind)) is not None:
            mark = _mark(backing, "", made=True)
            changed |= await _driver(seen.kind).grow(layer, seen, mark, host)
    return changed


async def lower(backing: BackingSeen, provider: Provider, host: Host) -> bool:
    """Close the layers, the highest first, then let go of the storage. HostError `busy` while one is used."""
    changed = False
    for seen in reversed(backing.layers):
        changed |= await _driver(seen.kind).lower(seen, _mark(backing, "", made=True), host)
    return await provider.deactivate(backing, host) or changed


async def wipe(backing: BackingSeen, provider: Provider, host: Host) -> None:
    """Make storage that is about to be destroyed unreadable, where a layer on it was made to protect it.

    A disk that cannot be written does not keep its volume from being deleted; the log says so.
    """
    for kind in backing.local.made:
        driver: object = DEVICE_LAYERS.get(kind)
        if not isinstance(driver, Wipes) or backing.layers:
            continue
        try:
            path = await provider.activate(backing, host)
            await driver.wipe(path, backing.local.size_kib, host)
        except HostError as error:
            _log.warning("the %s header on %s was not overwritten: %s", kind, backing.path, error.cause)


def _mark(backing: BackingSeen, companion: str, *, made: bool) -> LayerMark:
    local = backing.local
    return LayerMark(backing.resource, local.number, local.volume_uuid, made=made, companion=companion)


def _driver(kind: LayerKind) -> DeviceLayer:
    driver = DEVICE_LAYERS.get(kind)
    if driver is None:
        raise HostError(
            f"The layer {kind} cannot be used on this node",
            code="layer-missing",
            cause="This satellite does not drive it.",
            correction="Choose another layer stack, or another node.",
        )
    return driver
