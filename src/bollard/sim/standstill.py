"""Freezes of a simulated data process: as replica/freezing.py, on virtual time, with nothing to hold."""

import asyncio
from typing import Any

__all__ = ["SimFreezes"]


class SimFreezes:
    """At most one freeze a resource; a token freezes once. Counts changes of data, by anyone."""

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self._running: dict[str, tuple[str, asyncio.TimerHandle]] = {}
        self._used: set[str] = set()
        self._changes: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        """Whether the resource stands still."""
        return name in self._running

    def changed(self, name: str) -> None:
        """Somebody wrote."""
        self._changes[name] = self._changes.get(name, 0) + 1

    def freeze(self, name: str, token: str, deadline_ms: int) -> dict[str, Any]:
        """Stand still, or say how the freeze of this token does."""
        if name not in self._running and token not in self._used:
            loop = asyncio.get_running_loop()
            self._used.add(token)
            self._running[name] = (token, loop.call_later(deadline_ms / 1000, self.thaw, name, token))
        return self.state(name, token)

    def state(self, name: str, token: str) -> dict[str, Any]:
        """How it does."""
        held = self._running.get(name, ("",))[0] == token
        return {"held": held, "changes": self._changes.get(name, 0), "instance": self._instance}

    def thaw(self, name: str, token: str) -> bool:
        """Go on; whether it stood still by this token."""
        if self._running.get(name, ("",))[0] != token:
            return False
        self._running.pop(name)[1].cancel()
        return True

    def forget(self, name: str) -> None:
        """The resource is gone."""
        if name in self._running:
            self._running.pop(name)[1].cancel()

    def stop(self) -> None:
        """The process ends."""
        for name in list(self._running):
            self.forget(name)
