"""Whether a node has followed a command, and the words for it. Pure: reports in, verdicts and entries out."""

from enum import StrEnum

import msgspec

from bollard.domain.answers import Entry, Operation, Severity, Wait
from bollard.domain.cluster import Cluster
from bollard.domain.errors import Subject
from bollard.domain.observed import NodeSeen, Observed
from bollard.domain.seen import Problem, SeenResource

USABLE = frozenset({"UpToDate", "Diskless", "TieBreaker", "Created"})
"""Disk states with which a volume can be used."""
ATTEMPTING = frozenset({"CONNECTED", "AUTHENTICATED"})
"""A link that is being set up."""

_PROBLEM_CODES = {
    "no-space": "NOT_ENOUGH_FREE_SPACE",
    "pool-missing": "STOR_POOL_CONFIGURATION_ERROR",
    "port-taken": "PORT_BLOCKED_DRBD_ADJUST",
    "unsupported-layer": "STLT_DOES_NOT_SUPPORT_LAYER",
    "unsupported-provider": "STLT_DOES_NOT_SUPPORT_PROVIDER",
}


class Outcome(StrEnum):
    """How a wait ends."""

    DONE = "done"
    PROBLEM = "problem"
    OFFLINE = "offline"
    LATE = "late"


class Verdict(msgspec.Struct, frozen=True):
    """The end of one wait."""

    wait: Wait
    outcome: Outcome
    problem: Problem | None = None
    volumes: tuple[int, ...] = ()


def judge(wait: Wait, revision: int, cluster: Cluster, observed: Observed) -> Verdict | None:
    """What the reports say about a wait for this revision; None: go on waiting."""
    node = observed.node(wait.node)
    if wait.resource is None and wait.pool is None:
        return _judge_node(wait, node)
    if not node.online:
        return None if node.status in ATTEMPTING else Verdict(wait, Outcome.OFFLINE)
    if wait.pool is not None:
        return _judge_pool(wait, wait.pool, revision, cluster, observed)
    assert wait.resource is not None
    return _judge_resource(wait, wait.resource, revision, cluster, observed)


def _judge_node(wait: Wait, node: NodeSeen) -> Verdict | None:
    """A node that was just registered: until its link stands, or the first attempt has failed."""
    if node.online:
        return Verdict(wait, Outcome.DONE)
    if not node.message or node.status in ATTEMPTING:
        return None
    return Verdict(wait, Outcome.OFFLINE, Problem(node.message))


def _judge_pool(wait: Wait, pool: str, revision: int, cluster: Cluster, observed: Observed) -> Verdict | None:
    record = cluster.pool(wait.node, pool)
    seen = observed.pool(wait.node, pool)
    if record is None:
        known = observed.node(wait.node).revision >= revision
        return Verdict(wait, Outcome.DONE) if known else None
    if seen is None or seen.uuid != record.uuid:
        return None
    if seen.problem is not None:
        return Verdict(wait, Outcome.PROBLEM, seen.problem)
    return Verdict(wait, Outcome.DONE)


def _judge_resource(
    wait: Wait, name: str, revision: int, cluster: Cluster, observed: Observed
) -> Verdict | None:
    record = cluster.resource(name, wait.node)
    seen = observed.resource(name, wait.node)
    if record is None:
        if seen is None:
            known = observed.node(wait.node).revision >= revision
            return Verdict(wait, Outcome.DONE) if known else None
        problem = _problem(seen) if seen.revision >= revision else None
        return Verdict(wait, Outcome.PROBLEM, problem) if problem is not None else None
    if seen is None or seen.uuid != record.uuid or seen.revision < revision:
        return None
    problem = _problem(seen)
    if problem is not None:
        return Verdict(wait, Outcome.PROBLEM, problem)
    if not seen.settled:
        return None
    if wait.ready and not all(volume.disk_state in USABLE for volume in seen.volumes):
        return None
    return Verdict(wait, Outcome.DONE, volumes=tuple(volume.number for volume in seen.volumes))


def _problem(seen: SeenResource) -> Problem | None:
    if seen.problem is not None:
        return seen.problem
    return next((volume.problem for volume in seen.volumes if volume.problem is not None), None)


def entries_of(verdict: Verdict, about: Entry | None, deadline_s: float) -> list[Entry]:
    """What a verdict tells the caller; `about` is the command's own first entry."""
    wait = verdict.wait
    subject = about.subject if about is not None else Subject.NODE
    refs = {"Node": wait.node}
    match verdict.outcome:
        case Outcome.DONE:
            return _done(verdict, about)
        case Outcome.PROBLEM:
            problem = verdict.problem or Problem("it reports a problem without words")
            code = "UNKNOWN_ERROR"
            if wait.pool is None:
                code = _PROBLEM_CODES.get(problem.code, code)
            return [
                Entry(
                    Severity.ERROR,
                    Operation.NONE,
                    subject,
                    f"Node '{wait.node}': {problem.message}",
                    code=code,
                    cause=problem.cause,
                    correction=problem.correction,
                    refs=refs,
                )
            ]
        case Outcome.OFFLINE:
            return [_offline(verdict, subject, refs)]
        case Outcome.LATE:
            return [
                Entry(
                    Severity.WARNING,
                    Operation.NONE,
                    subject,
                    f"Node '{wait.node}' is not ready after {deadline_s:g} s; it goes on by itself",
                    code="STLT_NOT_UPDATED",
                    details="The change is stored; its state is in the lists.",
                    refs=refs,
                )
            ]


def _offline(verdict: Verdict, subject: Subject, refs: dict[str, str]) -> Entry:
    node = verdict.wait.node
    return Entry(
        Severity.WARNING,
        Operation.NONE,
        subject,
        f"No active connection to satellite '{node}'",
        code="NOT_CONNECTED",
        cause=verdict.problem.message if verdict.problem is not None else "",
        details="The change is stored; the node is caught up when it returns.",
        correction=f"Make sure that the satellite runs on '{node}' and that its address and port are right.",
        refs=refs,
    )


def _done(verdict: Verdict, about: Entry | None) -> list[Entry]:
    wait = verdict.wait
    act = about.operation if about is not None else Operation.MODIFY
    refs = {"Node": wait.node}
    if wait.pool is not None:
        gone = act is Operation.DELETE
        text = f"Storage pool '{wait.pool}' on node '{wait.node}' " + ("let go" if gone else "ready")
        return [_told(Subject.POOL, text, "DELETED" if gone else "MODIFIED", refs)]
    if wait.resource is None:
        return [_told(Subject.NODE, f"Node '{wait.node}' is online", "CONNECTED", refs)]
    name = wait.resource
    if not verdict.volumes and act is Operation.DELETE:
        return [_told(Subject.RESOURCE, f"Resource '{name}' on '{wait.node}' removed", "DELETED", refs)]
    code = "CREATED" if act is Operation.CREATE else "MODIFIED"
    volumes = [
        _told(
            Subject.VOLUME,
            f"Volume {number} of '{name}' on '{wait.node}' ready",
            code,
            {**refs, "VlmNr": str(number)},
        )
        for number in verdict.volumes
    ]
    return [*volumes, _told(Subject.RESOURCE, f"Resource '{name}' on '{wait.node}' ready", "MODIFIED", refs)]


def _told(subject: Subject, message: str, code: str, refs: dict[str, str]) -> Entry:
    return Entry(Severity.SUCCESS, Operation.NONE, subject, message, code=code, refs=refs)
