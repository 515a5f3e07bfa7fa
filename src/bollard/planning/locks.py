"""Encrypted resources: who is told of them while the vault is open, and with which passphrases. Pure."""

import msgspec

from bollard.domain.layers import LayerKind
from bollard.domain.ports import Vault
from bollard.domain.resources import Resource, ResourceDefinition, VolumeDefinition
from bollard.domain.targets import TargetLayer

__all__ = ["LABEL", "encrypted", "held_back", "with_secrets"]

LABEL = "luks"
"""What passphrases are sealed under: not the volume, for what is restored or cloned keeps its own."""


def encrypted(resource: Resource) -> bool:
    """Whether this resource keeps encrypted data on its node."""
    return LayerKind.LUKS in resource.layer_stack and resource.diskful


def held_back(definition: ResourceDefinition, resource: Resource, vault: Vault) -> str:
    """Why the node is not told of this resource now; empty: it is."""
    if not encrypted(resource):
        return ""
    if not vault.unlocked:
        return "It is encrypted, and the controller waits for the passphrase"
    for volume in definition.volumes:
        if not volume.sealed_passphrase or _opened(volume, vault) is None:
            return f"The passphrase of volume {volume.number} cannot be opened with the master key"
    return ""


def with_secrets(
    layers: tuple[TargetLayer, ...], volume: VolumeDefinition, vault: Vault
) -> tuple[TargetLayer, ...]:
    """The layers of a volume, LUKS with its passphrases; the resource is not held back."""
    return tuple(
        layer if layer.kind is not LayerKind.LUKS else _with_secrets(layer, volume, vault) for layer in layers
    )


def _with_secrets(layer: TargetLayer, volume: VolumeDefinition, vault: Vault) -> TargetLayer:
    secret = _opened(volume, vault)
    assert secret is not None, volume.uuid
    before = [vault.open(sealed, LABEL) for sealed in volume.sealed_before]
    earlier = tuple(it for it in before if it is not None and it != secret)
    return msgspec.structs.replace(layer, secret=secret, secrets_before=earlier)


def _opened(volume: VolumeDefinition, vault: Vault) -> str | None:
    return vault.open(volume.sealed_passphrase, LABEL)
