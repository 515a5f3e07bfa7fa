"""The cluster's master key as it is stored: sealed, with what opening it takes. Nothing here can open it."""

import msgspec

from bollard.domain.ids import Key

MASTER = Key("MASTER")


class MasterKey(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="master-key"):
    """The master key, sealed with a key that scrypt derives from the passphrase. There is at most one."""

    sealed: str
    """Base64 of nonce, ciphertext and tag (AES-256-GCM)."""
    salt: str
    """Base64, 16 bytes."""
    cost: int
    """scrypt's N, a power of two."""
    block_size: int
    """scrypt's r."""
    parallel: int
    """scrypt's p."""
    generation: str
    """16 hex digits: of the key inside; the same after a change of the passphrase."""

    @property
    def key(self) -> Key:
        """The store key."""
        return MASTER
