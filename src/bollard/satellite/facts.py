"""What this node can do and is, found once at start: the capabilities that the controller is told."""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import bollard
from bollard.domain.layers import AttachWay, LayerKind, ProviderKind, ReplicationKind
from bollard.domain.seen import Capabilities
from bollard.satellite.drivers import DEVICE_LAYERS, LAYERS, PROVIDERS
from bollard.satellite.host.base import KernelFacts
from bollard.satellite.probing import LAYER_NEEDS, PROVIDER_NEEDS, Needs, lacking
from bollard.wire.engine import DIGESTS
from bollard.wire.version import SATELLITE_FEATURES

__all__ = ["NO_KERNEL", "capabilities"]

NO_WAY: Final[Mapping[AttachWay, str]] = {}
NO_KERNEL: Final = KernelFacts(reason="The satellite was not told to use the kernel's DRBD.")


def capabilities(
    kernel: KernelFacts = NO_KERNEL,
    find: Callable[[str], str | None] = lambda _: None,
    attach: Mapping[AttachWay, str] = NO_WAY,
) -> Capabilities:
    """By name; what is missing says why.

    `kernel` is what was found of the kernel's DRBD, `find` gives the path of a program that is installed,
    `attach` the ways to block devices, the best first, with the reasons against them.
    """
    no_providers = {
        str(kind): reasons
        for kind in ProviderKind
        if (reasons := _why_not(kind in PROVIDERS, PROVIDER_NEEDS.get(kind), find))
    }
    always = {*LAYERS, LayerKind.STORAGE}
    no_layers = {
        str(kind): reasons
        for kind in LayerKind
        if kind not in always and (reasons := _why_not(kind in DEVICE_LAYERS, LAYER_NEEDS.get(kind), find))
    }
    return Capabilities(
        version=bollard.__version__,
        uname=platform.node(),
        providers=tuple(kind for kind in ProviderKind if kind not in no_providers),
        layers=tuple(kind for kind in LayerKind if kind not in no_layers),
        unsupported_providers=no_providers,
        unsupported_layers=no_layers,
        replication=(ReplicationKind.USER, *([kernel.kind] if kernel.kind is not None else [])),
        drbd_version=kernel.version,
        drbd_utils_version=kernel.utils,
        drbd_reason=kernel.reason,
        features=SATELLITE_FEATURES,
        platform="LINUX",
        os_variant=_os_variant(Path("/etc/os-release")),
        digests=DIGESTS,
        attach=next((way for way, reason in attach.items() if not reason), ""),
        attach_reasons={str(way): reason for way, reason in attach.items() if reason},
    )


def _why_not(driven: bool, needs: Needs | None, find: Callable[[str], str | None]) -> list[str]:
    if not driven:
        return ["This release of Bollard does not drive it."]
    return lacking(needs, find) if needs is not None else []


def _os_variant(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return (fields.get("PRETTY_NAME") or fields.get("ID", "")).strip('"')
