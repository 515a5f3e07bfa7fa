"""Lost disks: named, tried again at growing intervals, at once when storage was mended."""

import itertools

from bollard.domain.ids import key_of
from bollard.domain.layers import ReplicationKind
from bollard.satellite.host.running import Running
from bollard.satellite.lost_disks import FIRST_S, KEPT_S, MAX_S, LostDisks, problem_of
from bollard.satellite.tools.drbd_status import DeviceStatus, ResourceStatus
from bollard.wire.engine import ResourceSpec, VolumeSpec

KEY = key_of("r")


def running(*states: str, backing: str | None = "/dev/vg/r") -> Running:
    volumes = tuple(
        VolumeSpec(number=number, size_bytes=0, minor=1000 + number, backing=backing)
        for number, _ in enumerate(states)
    )
    spec = ResourceSpec(name="r", uuid="u", volumes=volumes)
    devices = [DeviceStatus(number, 1000 + number, state) for number, state in enumerate(states)]
    return Running(ReplicationKind.USER, spec, ResourceStatus("r", devices=devices))


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def attempts(time: Time, disks: LostDisks, count: int) -> list[float]:
    """The times between attempts that all fail."""
    gone, found = running("Diskless"), [time.now_s]
    while len(found) <= count:
        if disks.due(KEY, gone):
            disks.tried(KEY)
            found.append(time.now_s)
        else:
            time.now_s += disks.wait_s(KEY)
    return [after - before for before, after in itertools.pairwise(found)]


def test_it_is_tried_again_ever_more_slowly() -> None:
    time = Time()
    waited = attempts(time, LostDisks(time), 10)
    assert waited[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert waited[-1] == MAX_S


def test_a_disk_that_comes_and_goes_is_not_tried_faster_for_it() -> None:
    time = Time()
    disks = LostDisks(time)
    attempts(time, disks, 4)
    assert not disks.due(KEY, running("UpToDate"))
    assert not disks.due(KEY, running("Diskless"))
    time.now_s += KEPT_S + 1
    assert not disks.due(KEY, running("UpToDate"))
    assert attempts(time, disks, 1) == [FIRST_S], "it lasted: the next loss is a new one"


def test_mended_storage_is_tried_at_once() -> None:
    time = Time()
    disks = LostDisks(time)
    attempts(time, disks, 5)
    assert not disks.due(KEY, running("Failed"))
    disks.hope()
    assert disks.due(KEY, running("Failed"))


def test_what_has_its_disk_or_never_had_one_is_left_alone() -> None:
    time = Time()
    disks = LostDisks(time)
    for one in (running("UpToDate"), running("Diskless", backing=None), running("Attaching")):
        assert problem_of(one) is None
        assert not disks.due(KEY, one)
        assert disks.wait_s(KEY) == float("inf")
    disks.tried(KEY)


def test_the_volume_is_named() -> None:
    problem = problem_of(running("UpToDate", "Failed"))
    assert problem is not None
    assert (problem.code, "Volume 1 of 'r'" in problem.message) == ("disk-failed", True)
