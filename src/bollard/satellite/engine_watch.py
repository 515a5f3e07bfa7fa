"""Follows the data process's events: which resource changed, which may be promoted, whether it is there.

It only wakes the loop; what is true is asked for by the pass that follows.
"""

import logging
from collections.abc import Callable
from typing import Final

from bollard.domain.ids import Key, key_of
from bollard.domain.ports import Clock
from bollard.satellite.host.base import Engine, HostError
from bollard.wire.engine import Event

__all__ = ["EngineWatch"]

AGAIN_S: Final = 1.0
_log = logging.getLogger(__name__)


class EngineWatch:
    """Names that the data process knows, by key, and what only its events say of them."""

    def __init__(self, engine: Engine, clock: Clock, changed: Callable[[Key | None], None]) -> None:
        """`changed` is called with a resource's key, or None when the process came or went."""
        self._engine = engine
        self._clock = clock
        self._changed = changed
        self.names: dict[Key, set[str]] = {}
        self._may_promote: dict[str, bool] = {}
        self.present = True

    def may_promote(self, name: str) -> bool:
        """Whether the resource of exactly this name could become Primary now."""
        return self._may_promote.get(name, False)

    async def run(self) -> None:
        """For ever: follow, and start over when the process went away."""
        while True:
            try:
                self.names.clear()
                async for event in self._engine.events():
                    self._take(event)
            except HostError as error:
                if self.present:
                    _log.warning("the data process is not there: %s", error.cause or error.message)
                    self.present = False
                    self._changed(None)
            await self._clock.sleep(AGAIN_S)

    def _take(self, event: Event) -> None:
        if event.object == "-":
            if not self.present:
                self.present = True
                self._changed(None)
            return
        name = event.fields.get("name")
        if name is None:
            return
        key = key_of(name)
        if event.object == "resource":
            if event.action == "destroy":
                self.names.get(key, set()).discard(name)
                self._may_promote.pop(name, None)
            else:
                self.names.setdefault(key, set()).add(name)
                if "may_promote" in event.fields:
                    self._may_promote[name] = event.fields["may_promote"] == "yes"
        if event.action != "exists":
            self._changed(key)
