"""The master key in memory: made, opened with the passphrase, sealed anew. It never leaves this object.

scrypt takes a moment and 64 MiB: callers run `create`, `unlock` and `reseal` in a thread.
"""

import asyncio
import base64
import binascii
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bollard.domain.encryption import MasterKey

COST: Final = 1 << 16
_BLOCK: Final = 8
_PARALLEL: Final = 1
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_COST_MAX: Final = 1 << 20
"""What a stored record may ask for: 1 GiB of memory."""


class MasterVault:
    """domain.ports.Vault, with what opens it."""

    def __init__(self, cost: int = COST) -> None:
        self._cost = cost
        self._key: bytes | None = None
        self.turn = asyncio.Lock()
        """To be held around what takes memory: one at a time, however many guess."""

    @property
    def unlocked(self) -> bool:
        """See Vault."""
        return self._key is not None

    def seal(self, secret: str, label: str) -> str:
        """See Vault."""
        assert self._key is not None, "the vault is locked"
        return _seal(self._key, secret.encode(), label)

    def open(self, sealed: str, label: str) -> str | None:
        """See Vault."""
        assert self._key is not None, "the vault is locked"
        plain = _open(self._key, sealed, label)
        return None if plain is None else plain.decode()

    def create(self, passphrase: str) -> tuple[MasterKey, bytes]:
        """A fresh master key: as it is to be stored, and what to `take` once it is."""
        key = secrets.token_bytes(_KEY_BYTES)
        return self._sealed(key, passphrase, secrets.token_hex(8).upper()), key

    def take(self, key: bytes) -> None:
        """Be open with this key from now on."""
        assert len(key) == _KEY_BYTES
        self._key = key

    @staticmethod
    def unseal(record: MasterKey, passphrase: str) -> bytes | None:
        """The master key to `take`, or None for a wrong passphrase or a damaged record."""
        if not 2 <= record.cost <= _COST_MAX or record.cost & (record.cost - 1):
            return None
        try:
            salt = base64.b64decode(record.salt, validate=True)
        except binascii.Error:
            return None
        wrapping = _derive(passphrase, salt, record.cost, record.block_size, record.parallel)
        return _open(wrapping, record.sealed, _label(record.generation))

    def reseal(self, record: MasterKey, old: str, new: str) -> tuple[MasterKey, bytes] | None:
        """The same master key under another passphrase, and the key; None when the old one is wrong."""
        key = self.unseal(record, old)
        return None if key is None else (self._sealed(key, new, record.generation), key)

    def _sealed(self, key: bytes, passphrase: str, generation: str) -> MasterKey:
        salt = secrets.token_bytes(16)
        wrapping = _derive(passphrase, salt, self._cost, _BLOCK, _PARALLEL)
        return MasterKey(
            sealed=_seal(wrapping, key, _label(generation)),
            salt=base64.b64encode(salt).decode(),
            cost=self._cost,
            block_size=_BLOCK,
            parallel=_PARALLEL,
            generation=generation,
        )


def _label(generation: str) -> str:
    return f"bollard master key {generation}"


def _derive(passphrase: str, salt: bytes, cost: int, block_size: int, parallel: int) -> bytes:
    scrypt = Scrypt(salt=salt, length=_KEY_BYTES, n=cost, r=block_size, p=parallel)
    return scrypt.derive(passphrase.encode())


def _seal(key: bytes, plain: bytes, label: str) -> str:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, plain, label.encode())).decode()


def _open(key: bytes, sealed: str, label: str) -> bytes | None:
    try:
        raw = base64.b64decode(sealed, validate=True)
        return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], label.encode())
    except (binascii.Error, ValueError, InvalidTag):
        return None
