"""What requests of block devices have open in a simulated data process: see `replica.attached`."""

from collections.abc import Callable
from typing import Any

__all__ = ["DeviceUse"]


class DeviceUse:
    """Of one process. `promote(name, primary)` opens and closes, and says whether it could."""

    def __init__(self, promote: Callable[[str, bool], bool]) -> None:
        self._promote = promote
        self._ops: dict[tuple[str, int], int] = {}
        self._open: set[tuple[str, int]] = set()

    def request(self, name: str, number: int) -> bool:
        """A request of a block device: it opens the volume if it can."""
        key = name, number
        self._ops[key] = self._ops.get(key, 0) + 1
        if key not in self._open and not self._promote(name, True):
            return False
        self._open.add(key)
        return True

    def close(self, name: str, number: int) -> None:
        """A block device has no user any more, or is gone."""
        if (name, number) in self._open:
            self._open.discard((name, number))
            if not any(one == name for one, _ in self._open):
                self._promote(name, False)

    def release(self, name: str, number: int, ops: int) -> tuple[bool, dict[str, Any]]:
        """The answer to `wire.engine.ReleaseDevice`."""
        key = name, number
        now = self._ops.get(key, 0)
        changed = key in self._open and ops == now
        if changed:
            self.close(name, number)
        return changed, {"open": key in self._open, "ops": now}
