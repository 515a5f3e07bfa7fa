"""Freezes: a resource's input and output stands still for a snapshot, for a limited time whoever is alive.

The deadline is kept here, in the process that holds the requests: it needs nobody to thaw. It takes no
snapshots and knows of none.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from bollard.replica.loop import Loop, Timer
from bollard.replica.trouble import Trouble
from bollard.wire.engine import ErrorCode

__all__ = ["FREEZE_MAX_MS", "Freezes", "Still"]

FREEZE_MAX_MS: Final = 120_000
_REMEMBERED: Final = 1024
Told = Callable[[bool, Any, Trouble | None], None]


class Still(Protocol):
    """What can be made to stand still."""

    @property
    def changes(self) -> int:
        """How often the data of this node was changed so far, by anyone: clients, peers, resyncs."""

    def stand_still(self, quiet: Callable[[Trouble | None], None]) -> None:
        """Hold new requests; `quiet` once when none is running any more, or why not."""

    def go_on(self) -> None:
        """Let the held requests go."""


class _Freeze:
    def __init__(self, token: str) -> None:
        self.token = token
        self.quiet = False
        self.over = False
        self.timer: Timer | None = None
        self.waiting: list[Told] = []


class Freezes:
    """At most one freeze a resource. A token that was used up never freezes again in this process."""

    def __init__(self, loop: Loop, instance: str) -> None:
        """`instance` tells this process from those before and after it."""
        self._loop = loop
        self._instance = instance
        self._running: dict[str, _Freeze] = {}
        self._used: dict[str, None] = {}

    def freeze(self, name: str, still: Still, token: str, deadline_ms: int, tell: Told) -> None:
        """Stand still, or say how the freeze of this token does; `tell(changed, result, trouble)` once.

        Raises Trouble when the deadline is out of range or another freeze is on.
        """
        present = self._running.get(name)
        if present is not None and present.token != token:
            raise Trouble(
                ErrorCode.BUSY,
                f"resource {name} is frozen already",
                "another snapshot of it is being taken",
                "try again when that is done",
            )
        if token in self._used:
            tell(False, self._result(still, None), None)
            return
        if present is not None:
            self._tell_when_quiet(present, still, tell, changed=False)
            return
        if not 0 < deadline_ms <= FREEZE_MAX_MS:
            raise Trouble(
                ErrorCode.INVALID,
                f"resource {name} cannot be frozen for {deadline_ms} ms",
                f"a freeze lasts 1 to {FREEZE_MAX_MS} ms",
                "name a deadline within that range",
            )
        self._begin(name, still, token, deadline_ms, tell)

    def thaw(self, name: str, still: Still, token: str) -> tuple[bool, Any]:
        """End the freeze of this token (empty: any); whether one was on, and how it did until now."""
        present = self._running.get(name)
        if present is None or token not in {"", present.token}:
            return False, self._result(still, None)
        result = self._result(still, present)
        self._end(name, present, still)
        return True, result

    def forget(self, name: str) -> None:
        """The resource is gone; who waits for its freeze is told that it does not hold."""
        present = self._running.pop(name, None)
        if present is None:
            return
        present.over = True
        self._use_up(present)
        waiting, present.waiting = present.waiting, []
        for tell in waiting:
            tell(False, {"held": False, "left_ms": 0, "changes": 0, "instance": self._instance}, None)

    def _begin(self, name: str, still: Still, token: str, deadline_ms: int, tell: Told) -> None:
        freeze = self._running[name] = _Freeze(token)
        freeze.timer = self._loop.after(deadline_ms / 1000, lambda: self._end(name, freeze, still))
        freeze.waiting.append(tell)

        def quiet(trouble: Trouble | None) -> None:
            if freeze.over:
                return
            if trouble is not None:
                freeze.waiting, waiting = [], freeze.waiting
                self._end(name, freeze, still)
                for told in waiting:
                    told(False, None, trouble)
                return
            freeze.quiet = True
            self._answer(freeze, still)

        still.stand_still(quiet)

    def _tell_when_quiet(self, freeze: _Freeze, still: Still, tell: Told, *, changed: bool) -> None:
        if freeze.quiet:
            tell(changed, self._result(still, freeze), None)
        else:
            freeze.waiting.append(tell)

    def _answer(self, freeze: _Freeze, still: Still) -> None:
        waiting, freeze.waiting = freeze.waiting, []
        for tell in waiting:
            tell(True, self._result(still, freeze), None)

    def _end(self, name: str, freeze: _Freeze, still: Still) -> None:
        if freeze.over:
            return
        freeze.over = True
        self._running.pop(name, None)
        self._use_up(freeze)
        still.go_on()
        self._answer(freeze, still)

    def _use_up(self, freeze: _Freeze) -> None:
        if freeze.timer is not None:
            freeze.timer.cancel()
        self._used[freeze.token] = None
        while len(self._used) > _REMEMBERED:
            del self._used[next(iter(self._used))]

    def _result(self, still: Still, freeze: _Freeze | None) -> dict[str, Any]:
        held = freeze is not None and freeze.quiet and not freeze.over
        left_s = 0.0
        if held and freeze is not None and freeze.timer is not None:
            left_s = max(0.0, freeze.timer.when_s - self._loop.now())
        return {
            "held": held,
            "left_ms": int(left_s * 1000),
            "changes": still.changes,
            "instance": self._instance,
        }
