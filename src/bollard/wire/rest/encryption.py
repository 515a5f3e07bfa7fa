"""Bodies and answers about passphrases. No passphrase is ever in an answer."""

import msgspec

from bollard.wire.rest.bodies import Body


class PassphraseStatus(msgspec.Struct, frozen=True):
    """unset, locked or unlocked."""

    status: str


class PassphraseCreate(Body, frozen=True, kw_only=True):
    """The body that sets or changes the master passphrase."""

    new_passphrase: str | None = None
    old_passphrase: str | None = None


class VolumePassphrase(Body, frozen=True, kw_only=True):
    """The body that changes the passphrase of a volume."""

    new_passphrase: str | None = None
