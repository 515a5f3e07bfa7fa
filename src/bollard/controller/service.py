"""The unit of work: decide, commit, publish, push, wait. Everyone who wants a change comes through `submit`.

Decisions are made one after the other against the newest cluster; what readers and nodes see is durable.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import msgspec

from bollard.controller.events import Committed, Events, Reader
from bollard.controller.intake import Intake
from bollard.controller.links import Links
from bollard.controller.reports import Reports
from bollard.controller.store.base import Store
from bollard.controller.undo import undo_of
from bollard.controller.vault import MasterVault
from bollard.controller.verdicts import Outcome, entries_of
from bollard.controller.waiting import Waiting
from bollard.controller.wish import Initial, Touched, Wish
from bollard.domain.answers import Decision, Entry, Explained, Operation, Severity, Wait
from bollard.domain.cluster import Change, Cluster, Drop, Put
from bollard.domain.commands import Command, Tick
from bollard.domain.errors import DomainError, Subject
from bollard.domain.ids import key_of
from bollard.domain.nodes import Node
from bollard.domain.observed import Observed
from bollard.domain.ports import Clock, Draw
from bollard.domain.seen import Capabilities, Observation
from bollard.planning.assess import assess
from bollard.planning.bootstrap import initial_records
from bollard.planning.decide import decide
from bollard.planning.targets import held_back
from bollard.planning.world import World

Decide = Callable[[Command, World], Decision]


class Answer(msgspec.Struct, frozen=True):
    """What a command did."""

    entries: tuple[Entry, ...]
    explanation: tuple[Explained, ...] = ()
    revision: int = 0
    """Of the cluster after the command."""


def decide_or_assess(command: Command, world: World) -> Decision:
    """The decision for any command: a Tick is answered by what the reports call for."""
    if isinstance(command, Tick):
        return assess(world, command.definitions, survey=command.survey, balanced=command.balance)
    return decide(command, world)


class Service:
    """The owner of the cluster. Lives in one event loop; nothing here blocks it."""

    def __init__(
        self,
        store: Store,
        links: Links,
        *,
        clock: Clock,
        draw: Draw,
        reports: Reports,
        decide: Decide = decide_or_assess,
        initial: Initial = initial_records,
        vault: MasterVault | None = None,
    ) -> None:
        self.observed = Observed()
        self.events = Events(clock)
        self.reports = reports
        self.vault = vault or MasterVault()
        self._wish = Wish(store, clock, draw, initial)
        self._wish.on_commit = self._committed
        self._wish.on_reload = links.resend
        self._wish.on_quarantine = reports.file_quarantined
        self._waiting = Waiting(self.observed, lambda: self._wish.durable)
        self._intake = Intake(self.observed, self.events, self._waiting, clock)
        self._links, self._clock, self._draw, self._decide = links, clock, draw, decide
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def cluster(self) -> Cluster:
        """What is durable: read it, never change it."""
        return self._wish.durable

    @property
    def lost(self) -> "asyncio.Future[DomainError]":
        """Done when another controller has taken the database: this one must end."""
        return self._wish.lost

    async def start(self) -> None:
        """Read the store. Raises DomainError."""
        await self._wish.load()
        for node in self.cluster.nodes.values():
            self._intake.node_changed(node)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Let calls under way end, up to `grace_s`, then all commits."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        await self._wish.close()
        await self.reports.drain()

    def world(self) -> World:
        """What readers may see: the durable cluster and the reports."""
        return World(self.cluster, self.observed, self._clock.now_ms(), self._draw, self.vault)

    def unlock(self, key: bytes) -> None:
        """Take the open master key: nodes are told of what was held back for the lack of it."""
        self.vault.take(key)
        self._links.resend()

    async def reconnect(self, node: str, deadline_s: float = 10.0) -> tuple[Entry, ...]:
        """Make the link to a node anew; the entries say whether it stood before the deadline."""
        self._links.reconnect(node)
        verdicts = await self._waiting.wait((Wait(node=node),), 0, deadline_s)
        return tuple(entry for verdict in verdicts for entry in entries_of(verdict, None, deadline_s))

    def subscribe(self) -> Reader:
        """All that happens from now on, in order; close it when done."""
        return self.events.follow()

    async def ask(self, node: str, topic: str, arguments: dict[str, str]) -> str:
        """A node's answer to a query, JSON. Raises Unavailable or Unsupported."""
        return await self._links.ask(node, topic, arguments)

    async def submit(self, command: Command, deadline_s: float = 15.0) -> Answer:
        """Carry out a command. Raises DomainError when it is refused; nothing has happened then.

        The answer comes when the nodes that are online have followed, or after `deadline_s`. An error of
        our own becomes an error report, and an ERROR entry with its id.
        """
        self._calls += 1
        self._idle.clear()
        try:
            return await self._carry_out(command, deadline_s)
        except DomainError:
            raise
        except Exception as error:  # noqa: BLE001  # the outermost frame of a command
            return self._broken(command, error)
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def take(self, observation: Observation) -> None:
        """Take over a node's report."""
        self._intake.take(observation, self.cluster)

    def node_status(
        self, node: str, status: str, message: str = "", capabilities: Capabilities | None = None
    ) -> None:
        """A session's word on its node: the API's connection status, and a sentence."""
        self._intake.node_status(node, status, message, capabilities)

    def broken(self, error: Exception, context: str) -> str:
        """An error of our own in a session or a reconciler; returns the id of its report."""
        return self.reports.file(error, context)

    async def _carry_out(self, command: Command, deadline_s: float) -> Answer:
        await self._wish.usable(deadline_s)
        world = World(self._wish.head, self.observed, self._clock.now_ms(), self._draw, self.vault)
        decision = self._decide(command, world)
        revision, since = self._wish.head.revision, 0
        if decision.changes:
            since, touched = await self._wish.commit(decision.changes)
            revision = since
            # A node answers for what it was sent: what is waited for is sent, even if it is as before.
            named = {(key_of(it.node), key_of(it.resource)) for it in decision.waits if it.resource}
            self._links.committed((), frozenset(named - touched))
        waits, held = self._held_back(decision.waits)
        if held:
            decision = msgspec.structs.replace(decision, entries=(*decision.entries, *held))
        if not waits:
            return Answer(decision.entries, decision.explanation, revision)
        verdicts = await self._waiting.wait(waits, since, deadline_s)
        about = decision.entries[0] if decision.entries else None
        told = [entry for verdict in verdicts for entry in entries_of(verdict, about, deadline_s)]
        if decision.undo_if_failed and any(verdict.outcome is Outcome.PROBLEM for verdict in verdicts):
            await self._wish.usable(deadline_s)
            undo = undo_of(decision, self._wish.head)
            if undo:
                await self._wish.commit(undo)
                return Answer(tuple(told), revision=self._wish.head.revision)
        return Answer((*decision.entries, *told), decision.explanation, revision)

    def _held_back(self, waits: Sequence[Wait]) -> tuple[list[Wait], list[Entry]]:
        """The waits for what nodes are told of, and a warning for each that they are not told of now."""
        rest: list[Wait] = []
        said: list[Entry] = []
        for wait in waits:
            found = self.cluster.resource(wait.resource, wait.node) if wait.resource else None
            reason = held_back(self.cluster, found, self.vault) if found is not None else ""
            if not reason:
                rest.append(wait)
                continue
            said.append(
                Entry(
                    Severity.WARNING,
                    Operation.NONE,
                    Subject.RESOURCE,
                    f"'{wait.resource}' on '{wait.node}' stays as it is for now",
                    code="NOT_FOUND_CRYPT_KEY",
                    cause=reason + ".",
                    correction="Enter the passphrase with 'bollard encryption enter-passphrase'.",
                )
            )
        return rest, said

    def _committed(self, revision: int, changes: Sequence[Change], touched: Touched) -> None:
        for change in changes:
            if isinstance(change, Drop) and change.kind == "tombstone":
                self._intake.forget_finished(change.key.partition("/")[0], self.cluster)
            elif isinstance(change, Drop) and change.kind == "node":
                self.observed.forget(change.key)
            elif isinstance(change, Put) and isinstance(change.record, Node):
                self._intake.node_changed(change.record)
        self.events.tell(Committed(revision=revision, changes=tuple(changes)))
        self._links.committed(changes, touched)

    def _broken(self, command: Command, error: Exception) -> Answer:
        name = type(command).__name__
        report_id = self.reports.file(error, f"command {name}")
        entry = Entry(
            Severity.ERROR,
            Operation.NONE,
            Subject.CONTROLLER,
            "The controller failed on this request because of an error of its own",
            code="IMPL_ERROR",
            cause=type(error).__name__,
            correction=f"Please report it with error report {report_id}.",
            error_report_ids=(report_id,),
        )
        return Answer((entry,), revision=self.cluster.revision)
