"""Whether a node has followed: every kind of wait against what may be reported."""

import pytest

from bollard.controller.verdicts import Outcome, Verdict, entries_of, judge
from bollard.domain.answers import Entry, Operation, Severity, Wait
from bollard.domain.cluster import Cluster, Record
from bollard.domain.errors import Subject
from bollard.domain.ids import NodeName, ResourceName, Uuid
from bollard.domain.layers import ProviderKind
from bollard.domain.nodes import StoragePool
from bollard.domain.observed import Observed
from bollard.domain.resources import Resource
from bollard.domain.seen import Observation, Problem, SeenPool, SeenResource, SeenVolume

N1, R1 = NodeName("n1"), ResourceName("r1")
RESOURCE = Resource(R1, N1, Uuid("u1"))
POOL = StoragePool(N1, "p1", Uuid("p-1"), ProviderKind.FILE_THIN)


def seen(
    uuid: str = "u1",
    revision: int = 5,
    *,
    settled: bool = True,
    disk: str = "UpToDate",
    problem: Problem | None = None,
    volume_problem: Problem | None = None,
) -> SeenResource:
    volume = SeenVolume(0, disk_state=disk, problem=volume_problem)
    return SeenResource(R1, Uuid(uuid), revision, settled=settled, volumes=(volume,), problem=problem)


def outcome(
    wait: Wait,
    *records: Record,
    status: str = "ONLINE",
    message: str = "",
    report: SeenResource | SeenPool | None = None,
    node_revision: int = 0,
) -> Outcome | None:
    """The verdict for revision 5."""
    observed = Observed()
    resources = (report,) if isinstance(report, SeenResource) else ()
    pools = (report,) if isinstance(report, SeenPool) else ()
    observed.take(Observation(N1, revision=node_revision, resources=resources, pools=pools), 1)
    node = observed.node("n1")
    node.status, node.message = status, message
    verdict = judge(wait, 5, Cluster(records), observed)
    return verdict.outcome if verdict is not None else None


PLAIN, READY = Wait("N1", resource="R1"), Wait("n1", resource="r1", ready=True)


@pytest.mark.parametrize("wait", [PLAIN, READY])
@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (None, None),
        (seen(), Outcome.DONE),
        (seen(revision=9), Outcome.DONE),
        (seen(revision=4), None),
        (seen("another life"), None),
        (seen(settled=False), None),
        (seen(problem=Problem("no")), Outcome.PROBLEM),
        (seen(volume_problem=Problem("no"), settled=False), Outcome.PROBLEM),
        (seen(revision=4, problem=Problem("old")), None),
    ],
)
def test_a_resource(wait: Wait, report: SeenResource | None, expected: Outcome | None) -> None:
    assert outcome(wait, RESOURCE, report=report) == expected


@pytest.mark.parametrize("disk", ["UpToDate", "Diskless", "Created"])
def test_ready_when_usable(disk: str) -> None:
    assert outcome(READY, RESOURCE, report=seen(disk=disk)) is Outcome.DONE


@pytest.mark.parametrize("disk", ["Inconsistent", "Negotiating", "DUnknown", "Outdated", "Failed"])
def test_not_ready_while_not_usable(disk: str) -> None:
    assert outcome(READY, RESOURCE, report=seen(disk=disk)) is None
    assert outcome(PLAIN, RESOURCE, report=seen(disk=disk)) is Outcome.DONE


def test_a_removal() -> None:
    assert outcome(PLAIN, report=seen(revision=9)) is None
    assert outcome(PLAIN, node_revision=4) is None
    assert outcome(PLAIN, node_revision=5) is Outcome.DONE
    assert outcome(PLAIN, report=seen(problem=Problem("in use"))) is Outcome.PROBLEM
    assert outcome(PLAIN, report=seen(revision=4, problem=Problem("old"))) is None


def test_a_pool() -> None:
    wait = Wait("n1", pool="P1")
    assert outcome(wait, POOL) is None
    assert outcome(wait, POOL, report=SeenPool("p1", Uuid("another"))) is None
    assert outcome(wait, POOL, report=SeenPool("p1", POOL.uuid)) is Outcome.DONE
    assert outcome(wait, POOL, report=SeenPool("p1", POOL.uuid, problem=Problem("no"))) is Outcome.PROBLEM
    assert outcome(wait, node_revision=5) is Outcome.DONE
    assert outcome(wait, node_revision=4) is None


@pytest.mark.parametrize("wait", [PLAIN, Wait("n1", pool="p1")])
def test_the_state_of_the_link(wait: Wait) -> None:
    assert outcome(wait, RESOURCE, POOL, status="OFFLINE") is Outcome.OFFLINE
    assert outcome(wait, RESOURCE, POOL, status="AUTHENTICATION_ERROR") is Outcome.OFFLINE
    assert outcome(wait, RESOURCE, POOL, status="CONNECTED") is None


def test_a_new_node() -> None:
    wait = Wait("n1")
    assert outcome(wait, status="OFFLINE") is None
    assert outcome(wait, status="CONNECTED", message="x") is None
    assert outcome(wait, status="ONLINE") is Outcome.DONE
    assert outcome(wait, status="OFFLINE", message="refused") is Outcome.OFFLINE
    assert outcome(wait, status="HOSTNAME_MISMATCH", message="not you") is Outcome.OFFLINE


@pytest.mark.parametrize("kind", list(Outcome))
@pytest.mark.parametrize("wait", [Wait("n1"), PLAIN, Wait("n1", pool="p1")])
@pytest.mark.parametrize("operation", list(Operation))
def test_every_verdict_has_words(kind: Outcome, wait: Wait, operation: Operation) -> None:
    about = Entry(Severity.SUCCESS, operation, Subject.RESOURCE, "done")
    problem = Problem("it is on fire") if kind is Outcome.PROBLEM else None
    for entries in (
        entries_of(Verdict(wait, kind, problem, (0, 1)), about, 15.0),
        entries_of(Verdict(wait, kind, problem), None, 15.0),
    ):
        assert entries
        for entry in entries:
            assert wait.node in entry.message
            assert entry.refs["Node"] == wait.node
            assert entry.operation is Operation.NONE
        severities = {entry.severity for entry in entries}
        expected = {
            Outcome.DONE: Severity.SUCCESS,
            Outcome.PROBLEM: Severity.ERROR,
            Outcome.OFFLINE: Severity.WARNING,
            Outcome.LATE: Severity.WARNING,
        }
        assert severities == {expected[kind]}
