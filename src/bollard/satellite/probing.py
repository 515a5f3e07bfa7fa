"""What providers and device layers need of the machine, and which of it is missing, in words for people.

It looks at names only: no program is run and no module is loaded.
"""

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bollard.domain.layers import LayerKind, ProviderKind

__all__ = ["LAYER_NEEDS", "PROVIDER_NEEDS", "Needs", "lacking"]


class Needs(msgspec.Struct, frozen=True):
    """Of one provider or layer."""

    programs: Mapping[str, str]
    """With the Debian package of each."""
    modules: tuple[str, ...] = ()
    """Of the kernel, built in or loadable."""


_LVM: Final = {"lvs": "lvm2", "vgs": "lvm2", "lvcreate": "lvm2"}
_ZFS: Final = {"zfs": "zfsutils-linux", "zpool": "zfsutils-linux"}
PROVIDER_NEEDS: Final[Mapping[ProviderKind, Needs]] = {
    ProviderKind.LVM: Needs(_LVM, ("dm_mod",)),
    ProviderKind.LVM_THIN: Needs(
        {**_LVM, "thin_check": "thin-provisioning-tools"}, ("dm_mod", "dm_thin_pool")
    ),
    ProviderKind.ZFS: Needs(_ZFS, ("zfs",)),
    ProviderKind.ZFS_THIN: Needs(_ZFS, ("zfs",)),
}
LAYER_NEEDS: Final[Mapping[LayerKind, Needs]] = {
    LayerKind.LUKS: Needs({"cryptsetup": "cryptsetup-bin", "dmsetup": "dmsetup"}, ("dm_mod", "dm_crypt")),
    LayerKind.CACHE: Needs({"dmsetup": "dmsetup"}, ("dm_mod", "dm_cache", "dm_cache_smq")),
    LayerKind.WRITECACHE: Needs({"dmsetup": "dmsetup"}, ("dm_mod", "dm_writecache")),
    LayerKind.BCACHE: Needs({"make-bcache": "bcache-tools"}, ("bcache",)),
    LayerKind.NVME: Needs({"modprobe": "kmod"}, ("configfs", "nvmet", "nvmet_tcp", "nvme_tcp")),
}


def lacking(needs: Needs, find: Callable[[str], str | None], root: Path = Path("/")) -> list[str]:
    """Why it cannot be used here; empty when nothing is missing. `find` gives a program's path or None."""
    reasons = [
        f"The program '{program}' is not installed; install the package {package}."
        for program, package in needs.programs.items()
        if find(program) is None
    ]
    absent = [name for name in needs.modules if not _has_module(name, root)]
    if absent:
        reasons.append(
            f"The kernel {platform.release()} has no module {', '.join(absent)}; "
            "install the kernel's modules, or another kernel."
        )
    return reasons


def _has_module(name: str, root: Path) -> bool:
    if (root / "sys/module" / name).exists():
        return True
    folder = root / "lib/modules" / platform.release()
    spellings = {name, name.replace("_", "-")}
    for listing in ("modules.builtin", "modules.dep"):
        try:
            lines = (folder / listing).read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            file = line.partition(":")[0].rpartition("/")[2]
            if file.partition(".ko")[0] in spellings:
                return True
    return name == "dm_mod" and (root / "dev/mapper/control").exists()
