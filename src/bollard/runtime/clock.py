"""Time and chance of the real machine, behind the ports that the simulator has too."""

import asyncio
import secrets
import time
import uuid

from bollard.domain.ids import Uuid

_NOT_A_GENERATION = frozenset({0, 4})
"""DRBD gives these two data generations a meaning of their own."""


class RealClock:
    """domain.ports.Clock."""

    def now_ms(self) -> int:
        """See Clock."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """See Clock."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """See Clock."""
        await asyncio.sleep(delay_s)


class RealDraw:
    """domain.ports.Draw."""

    def uuid(self) -> Uuid:
        """See Draw."""
        return Uuid(str(uuid.UUID(bytes=secrets.token_bytes(16), version=4)))

    def hex16(self) -> str:
        """See Draw."""
        while True:
            number = secrets.randbits(64)
            if number not in _NOT_A_GENERATION:
                return f"{number:016X}"

    def secret(self) -> str:
        """See Draw."""
        return secrets.token_urlsafe(15)
