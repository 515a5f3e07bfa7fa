"""The doors of the shells to time and chance, as Protocols, so that a simulator can stand behind them."""

from typing import Protocol

from bollard.domain.ids import Uuid


class Clock(Protocol):
    """Time, real or virtual."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, delay_s: float) -> None:
        """Let at least this much time pass."""


class Draw(Protocol):
    """Fresh ids and secrets, random or from a seed."""

    def uuid(self) -> Uuid:
        """A new object id."""

    def hex16(self) -> str:
        """64 random bits as 16 upper-case hex digits, never 0 and never 4."""

    def secret(self) -> str:
        """20 characters that nobody can guess."""


class Vault(Protocol):
    """The open master key, in memory only: it seals the passphrases of encrypted volumes and opens them."""

    @property
    def unlocked(self) -> bool:
        """Whether there is an open master key. Nothing else may be called before."""

    def seal(self, secret: str, label: str) -> str:
        """The secret as it may be stored; it opens under the same label only."""

    def open(self, sealed: str, label: str) -> str | None:
        """The secret; None when it was not sealed with this key and label."""


class LockedVault:
    """A vault without a key."""

    unlocked = False

    def seal(self, secret: str, label: str) -> str:  # noqa: ARG002
        """Never called."""
        raise AssertionError("the vault is locked")

    def open(self, sealed: str, label: str) -> str | None:  # noqa: ARG002
        """Never called."""
        raise AssertionError("the vault is locked")
