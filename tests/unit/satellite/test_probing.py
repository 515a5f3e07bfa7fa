"""What a machine lacks for providers and layers, in words with the package's name."""

import platform
from pathlib import Path

from bollard.domain.layers import LayerKind, ProviderKind
from bollard.satellite.facts import capabilities
from bollard.satellite.probing import LAYER_NEEDS, PROVIDER_NEEDS, lacking


def everything(program: str) -> str | None:
    return f"/sbin/{program}"


def test_programs_are_named_with_their_packages(tmp_path: Path) -> None:
    (reason, modules) = lacking(
        PROVIDER_NEEDS[ProviderKind.LVM_THIN],
        lambda program: None if program == "thin_check" else everything(program),
        tmp_path,
    )
    assert "thin-provisioning-tools" in reason
    assert "dm_thin_pool" in modules


def test_modules_are_found_loaded_built_in_and_loadable(tmp_path: Path) -> None:
    needs = PROVIDER_NEEDS[ProviderKind.LVM_THIN]
    folder = tmp_path / "lib/modules" / platform.release()
    folder.mkdir(parents=True)
    (tmp_path / "sys/module/dm_mod").mkdir(parents=True)
    assert len(lacking(needs, everything, tmp_path)) == 1
    (folder / "modules.dep").write_text("kernel/drivers/md/dm-thin-pool.ko.xz: kernel/drivers/md/dm-mod.ko\n")
    assert lacking(needs, everything, tmp_path) == []
    (folder / "modules.dep").unlink()
    (folder / "modules.builtin").write_text("kernel/drivers/md/dm-thin-pool.ko\n")
    assert lacking(needs, everything, tmp_path) == []


def test_a_machine_without_programs_keeps_what_needs_none() -> None:
    found = capabilities()
    assert {ProviderKind.DISKLESS, ProviderKind.FILE, ProviderKind.FILE_THIN} <= set(found.providers)
    assert ProviderKind.LVM not in found.providers
    assert "lvm2" in found.unsupported_providers["LVM"][0]
    assert set(found.layers) >= {LayerKind.DRBD, LayerKind.STORAGE}
    assert all(found.unsupported_layers[str(kind)] for kind in LAYER_NEEDS)
