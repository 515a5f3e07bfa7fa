"""Passphrases of encrypted volumes: each gets one, sealed, before a node gets the volume."""

from collections.abc import Iterable

import msgspec

from bollard.domain.cluster import Cluster
from bollard.domain.errors import Invalid, NotFound, Subject, Unavailable
from bollard.domain.ids import Key
from bollard.domain.ports import Vault
from bollard.domain.resources import ResourceDefinition, VolumeDefinition
from bollard.planning import locks
from bollard.planning.draft import Draft

__all__ = ["ensure", "require_open", "sealed"]

PASSPHRASE_MAX = 512
"""Characters; what cryptsetup takes on its standard input."""


def require_open(cluster: Cluster, vault: Vault) -> None:
    """Raises NotFound when there is no master passphrase, Unavailable when it was not entered yet."""
    if vault.unlocked:
        return
    if cluster.master_key is None:
        raise NotFound(
            Subject.PASSPHRASE,
            "master passphrase",
            "There is no master passphrase, and nothing can be encrypted without one",
            cause="It was never set.",
            details="Nothing was changed.",
            correction="Set it with 'bollard encryption create-passphrase'.",
        )
    raise Unavailable(
        Subject.PASSPHRASE,
        "master passphrase",
        "The controller is locked",
        cause="The master passphrase was not entered since the controller was started.",
        details="Nothing was changed.",
        correction="Enter it with 'bollard encryption enter-passphrase'.",
    )


def sealed(
    vault: Vault, definition: ResourceDefinition, volume: VolumeDefinition, passphrase: str
) -> VolumeDefinition:
    """The volume with this passphrase, not in use before. Raises Invalid. The vault is open."""
    if not 1 <= len(passphrase) <= PASSPHRASE_MAX or "\n" in passphrase or "\0" in passphrase:
        raise Invalid(
            Subject.PASSPHRASE,
            f"{definition.name}/{volume.number}",
            "This cannot be a passphrase",
            cause=f"It has 1 to {PASSPHRASE_MAX} characters, without line ends and zero bytes.",
        )
    kept = vault.seal(passphrase, locks.LABEL)
    return msgspec.structs.replace(volume, sealed_passphrase=kept)


def ensure(draft: Draft, definitions: Iterable[Key]) -> None:
    """Give every volume of an encrypted resource in the draft a passphrase. Raises as `require_open`."""
    for key in definitions:
        definition = draft.definition(key)
        if definition is None or not any(locks.encrypted(each) for each in draft.resources_of(key)):
            continue
        if all(volume.sealed_passphrase for volume in definition.volumes):
            continue
        require_open(draft.cluster, draft.world.vault)
        draw = draft.world.draw
        whole = tuple(
            volume
            if volume.sealed_passphrase
            else sealed(draft.world.vault, definition, volume, draw.secret() + draw.secret())
            for volume in definition.volumes
        )
        draft.put(msgspec.structs.replace(definition, volumes=whole))
