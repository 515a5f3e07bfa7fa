"""Disks that a running resource has let go of after an error: named, and asked for again, ever more slowly.

It looks at nothing itself: it is given what runs, and keeps when the next attempt is due.
"""

from collections.abc import Callable
from typing import Final

from bollard.domain.ids import Key
from bollard.domain.seen import Problem
from bollard.satellite.host.running import Running

__all__ = ["LostDisks", "problem_of"]

FIRST_S: Final = 5.0
MAX_S: Final = 300.0
KEPT_S: Final = 600.0
"""A disk that lasts for so long after an attempt has come back for good."""
_GONE: Final = frozenset({"Diskless", "Failed"})


class _Attempts:
    def __init__(self, due_s: float) -> None:
        self.count = 0
        self.due_s = due_s
        self.last_s = due_s


class LostDisks:
    """Of one machine, by resource."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._attempts: dict[Key, _Attempts] = {}

    def due(self, key: Key, running: Running) -> bool:
        """Whether what runs lacks a disk that shall be tried again now; that this was done is `tried`."""
        attempts = self._attempts.get(key)
        if not _lost(running):
            if attempts is not None and self._now_s() > attempts.last_s + KEPT_S:
                del self._attempts[key]
            return False
        if attempts is None:
            attempts = self._attempts[key] = _Attempts(self._now_s() + FIRST_S)
        return self._now_s() >= attempts.due_s

    def tried(self, key: Key) -> None:
        """An attempt begins; nothing to it when none was due."""
        attempts = self._attempts.get(key)
        if attempts is not None and self._now_s() >= attempts.due_s:
            attempts.count += 1
            attempts.last_s = self._now_s()
            attempts.due_s = attempts.last_s + min(MAX_S, FIRST_S * 2 ** min(attempts.count, 10))

    def wait_s(self, key: Key) -> float:
        """How long to the next attempt, if one is still needed then; endless when there is none."""
        attempts = self._attempts.get(key)
        if attempts is None or attempts.due_s <= self._now_s():
            return float("inf")
        return attempts.due_s - self._now_s()

    def hope(self) -> None:
        """Storage was mended: all that is lost may be tried at once."""
        for attempts in self._attempts.values():
            attempts.due_s = self._now_s()


def _lost(running: Running) -> list[int]:
    if running.status is None:
        return []
    states = {device.volume: device.disk_state for device in running.status.devices}
    volumes = running.spec.volumes
    return [one.number for one in volumes if one.backing is not None and states.get(one.number) in _GONE]


def problem_of(running: Running) -> Problem | None:
    """What a person should know of a disk that is lost."""
    lost = _lost(running)
    if not lost:
        return None
    name = running.spec.name
    (volume,) = (one for one in running.spec.volumes if one.number == lost[0])
    return Problem(
        message=f"Volume {lost[0]} of '{name}' has lost its disk",
        cause=f"{volume.backing} was let go of after an I/O error, or somebody detached it.",
        correction="Its data is served from the peers. It is tried again by itself, and gets what it missed; "
        "when the device is broken, make another replica and delete this one.",
        code="disk-failed",
    )
