"""What this node can do and is, found once at start: the capabilities that the controller is told."""

import platform
from pathlib import Path
from typing import Final

import bollard
from bollard.domain.layers import LayerKind, ProviderKind
from bollard.domain.seen import Capabilities
from bollard.domain.targets import ReplicationKind
from bollard.satellite.drivers import LAYERS, PROVIDERS
from bollard.satellite.host.base import KernelFacts
from bollard.wire.engine import DIGESTS
from bollard.wire.version import SATELLITE_FEATURES

__all__ = ["NO_KERNEL", "capabilities"]

NO_KERNEL: Final = KernelFacts(reason="The satellite was not told to use the kernel's DRBD.")


def capabilities(kernel: KernelFacts = NO_KERNEL) -> Capabilities:
    """By name; what is missing says why. `kernel` is what was found of the kernel's DRBD."""
    layers = (*LAYERS, LayerKind.STORAGE)
    missing = ["This release of Bollard does not drive it."]
    return Capabilities(
        version=bollard.__version__,
        uname=platform.node(),
        providers=tuple(PROVIDERS),
        layers=layers,
        unsupported_providers={str(kind): missing for kind in ProviderKind if kind not in PROVIDERS},
        unsupported_layers={str(kind): missing for kind in LayerKind if kind not in layers},
        replication=(ReplicationKind.USER, *([kernel.kind] if kernel.kind is not None else [])),
        drbd_version=kernel.version,
        drbd_utils_version=kernel.utils,
        drbd_reason=kernel.reason,
        features=SATELLITE_FEATURES,
        platform="linux",
        os_variant=_os_variant(Path("/etc/os-release")),
        digests=DIGESTS,
    )


def _os_variant(path: Path) -> str:
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("ID", "").strip('"')
