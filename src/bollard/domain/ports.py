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
