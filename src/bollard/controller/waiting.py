"""Waits for the nodes' answers to a command, up to a deadline; woken by the reports that matter to it."""

import asyncio
from collections.abc import Callable, Iterable

from bollard.controller.verdicts import Outcome, Verdict, judge
from bollard.domain.answers import Wait
from bollard.domain.cluster import Cluster
from bollard.domain.ids import Key, key_of
from bollard.domain.observed import Observed

Topic = tuple[Key, Key | None]
"""Node key and the key of a resource definition or a pool; None: the node's status."""


class Waiting:
    """All waits that are open."""

    def __init__(self, observed: Observed, cluster: Callable[[], Cluster]) -> None:
        self._observed = observed
        self._cluster = cluster
        self._sleepers: dict[Topic, set[asyncio.Event]] = {}

    def wake(self, node: str, names: Iterable[str] | None) -> None:
        """Something about these resources or pools of a node is new; None: about the node as a whole."""
        node_key = key_of(node)
        if names is None:
            topics: Iterable[Topic] = [topic for topic in self._sleepers if topic[0] == node_key]
        else:
            topics = [(node_key, key_of(name)) for name in names]
        for topic in topics:
            for sleeper in self._sleepers.get(topic, ()):
                sleeper.set()

    async def wait(self, waits: Iterable[Wait], revision: int, deadline_s: float) -> list[Verdict]:
        """One verdict for each wait, at the latest after the deadline."""
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s
        return [await self._wait(wait, revision, until) for wait in waits]

    async def _wait(self, wait: Wait, revision: int, until: float) -> Verdict:
        topic = (key_of(wait.node), key_of(wait.resource or wait.pool or "") or None)
        sleeper = asyncio.Event()
        self._sleepers.setdefault(topic, set()).add(sleeper)
        try:
            async with asyncio.timeout_at(until):
                while True:
                    verdict = judge(wait, revision, self._cluster(), self._observed)
                    if verdict is not None:
                        return verdict
                    sleeper.clear()
                    await sleeper.wait()
        except TimeoutError:
            return Verdict(wait, Outcome.LATE)
        finally:
            sleepers = self._sleepers[topic]
            sleepers.discard(sleeper)
            if not sleepers:
                del self._sleepers[topic]
