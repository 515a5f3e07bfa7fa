"""A node dies, or only its satellite, in the middle of everything at once: each operation at its own call.

Each operation has a volume group of its own: none waits for the lock of another, and one loss of power
is one crash for each of them. Then all must come to what was wanted: nothing twice, nothing left over.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import pytest

from bollard.lab.programs import LabError
from bollard.lab.satellites import LabCluster
from lab_cluster import (
    cluster,
    define,
    delete,
    lacking,
    place,
    pool,
    resource,
    state,
    volume,
    wait_ready,
)

_LACKING = lacking("lvcreate", "thin_check", "drbdadm")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
MODULES = ("dm-thin-pool", "dm-snapshot", "drbd", "loop")
KEY = "Bollard/DrbdImplementation"
NODE, PEER = 2, 1
DISKS = 9
SMALL, LARGE = 8192, 12288
TOOLS = ("lvcreate", "lvextend", "lvchange", "lvremove", "drbdadm")
When = Literal["before", "after"]


@dataclass(frozen=True)
class Point:
    """An operation, and the call of a tool at which it is caught."""

    what: str
    program: str
    call: int = 1


POINTS = (
    Point("thin", "lvcreate"),
    Point("thick", "lvchange"),
    Point("grow", "lvextend"),
    Point("growthick", "lvextend"),
    Point("snap", "lvcreate"),
    Point("gone", "lvremove"),
    Point("todisk", "lvchange", call=2),
    Point("fromdisk", "lvremove"),
    Point("kernel", "drbdadm", call=2),
)


THIN = {"thin", "grow", "snap", "gone"}
REPLICATED = {"todisk", "fromdisk", "kernel"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCluster]:
    root = tmp_path_factory.mktemp("crashes")
    assert len(POINTS) == DISKS
    with cluster(root, nodes=2, disks=DISKS, disk_mib=128, load=MODULES) as made:
        for node in made.lab.nodes:
            script = "true"
            for number, (letter, point) in enumerate(zip("bcdefghij", POINTS, strict=True)):
                if node == NODE or point.what in REPLICATED:
                    script += f" && vgcreate -q g{number} /dev/ubd{letter}"
                    script += f" && lvcreate -q -L 60M -T g{number}/tp" if point.what in THIN else ""
            made.lab.exec(node, "sh", "-c", script)
        for number, point in enumerate(POINTS):
            for node in made.lab.nodes if point.what in REPLICATED else (NODE,):
                thin = point.what in THIN
                on = f"g{number}/tp" if thin else f"g{number}"
                pool(made, node, f"pool{number}", "LVM_THIN" if thin else "LVM", on)
        made.lab.traps(NODE).lay(*TOOLS)
        made.restart_satellite(NODE)  # it keeps where it found a program
        yield made


class Board:
    """One resource for each point, as `prefix` + what is done to it."""

    def __init__(self, lab: LabCluster, prefix: str) -> None:
        self.lab, self.prefix = lab, prefix
        self.traps = lab.lab.traps(NODE)

    def name(self, point: Point) -> str:
        return f"{self.prefix}-{point.what}"

    def pool(self, point: Point) -> str:
        return f"pool{POINTS.index(point)}"

    def each(self, act: Callable[[Point], object]) -> list[object]:
        """At the same time for all."""
        with ThreadPoolExecutor(len(POINTS)) as workers:
            return list(workers.map(act, POINTS))

    def prepare(self, point: Point) -> None:
        """What must be there before the operation."""
        replicated = point.what in REPLICATED
        name = self.name(point)
        define(self.lab, name, *(("DRBD",) if replicated else ()), "STORAGE", sizes=(SMALL,))
        if point.what == "kernel":
            self.lab.call("PUT", f"/v1/resource-definitions/{name}", {"override_props": {KEY: "drbd84"}})
        if replicated:
            place(self.lab, name, PEER, self.pool(point))
        if point.what not in {"thin", "thick", "todisk", "kernel"}:
            place(self.lab, name, NODE, self.pool(point))
            wait_ready(self.lab, name, NODE)

    def begin(self, point: Point) -> None:
        """The operation, as far as the API waits for it."""
        name = self.name(point)
        path = f"/v1/resource-definitions/{name}"
        match point.what:
            case "thin" | "thick" | "todisk" | "kernel":
                place(self.lab, name, NODE, self.pool(point))
            case "grow" | "growthick":
                self.lab.call("PUT", f"{path}/volume-definitions/0", {"size_kib": LARGE})
            case "snap":
                self.lab.call("POST", f"{path}/snapshots", {"name": "s1"}, ok=False)
            case "gone":
                self.lab.call("DELETE", f"{path}/resources/node{NODE}")
            case "fromdisk":
                self.lab.call("PUT", f"{path}/resources/node{NODE}/toggle-disk/diskless")

    def arm(self, when: When) -> None:
        for point in POINTS:
            self.traps.arm(point.what, point.program, self._word(point), when=when, call=point.call)

    def _word(self, point: Point) -> str:
        return self.name(point) + ("" if point.program == "drbdadm" else "_00000")

    def caught(self) -> bool:
        return self.traps.held() >= {point.what for point in POINTS}

    def settle(self, point: Point) -> None:
        """Until it is as it was wanted."""
        name = self.name(point)
        match point.what:
            case "thin" | "thick":
                wait_ready(self.lab, name, NODE)
            case "todisk" | "kernel":
                wait_ready(self.lab, name, PEER, NODE)
            case "grow" | "growthick":
                wait_ready(self.lab, name, NODE)
                self.lab.until(lambda: self._size_kib(name) == LARGE, f"{name} to be larger")
            case "snap":
                self.lab.until(lambda: self._snapshot_settled(name), "the snapshot to be there or not")
                wait_ready(self.lab, name, NODE)
            case "gone":
                self.lab.until(lambda: resource(self.lab, name, NODE) is None, f"{name} to be gone")
            case "fromdisk":
                self.lab.until(lambda: state(self.lab, name, NODE) == "Diskless", f"{name} to have no disk")
                wait_ready(self.lab, name, PEER)

    def _size_kib(self, name: str) -> int:
        path = volume(self.lab, name, NODE).get("device_path", "")
        return int(self.lab.lab.exec(NODE, "blockdev", "--getsz", path)) // 2 if path else 0

    def _flags(self, name: str) -> list[str] | None:
        listed = self.lab.call("GET", f"/v1/resource-definitions/{name}/snapshots")
        return next((list(one.get("flags", [])) for one in listed if one["name"] == "s1"), None)

    def _snapshot_settled(self, name: str) -> bool:
        """Made, or given up: then it can be asked for again."""
        flags = self._flags(name)
        if flags is None or any(flag.startswith("FAILED") for flag in flags):
            self.lab.call("DELETE", f"/v1/resource-definitions/{name}/snapshots/s1", ok=False)
            self.lab.call("POST", f"/v1/resource-definitions/{name}/snapshots", {"name": "s1"}, ok=False)
            return False
        return "SUCCESSFUL" in flags

    def expected(self) -> set[str]:
        """The logical volumes of the node in the end."""
        names = {
            f"g{number}/{self.name(point)}_00000"
            for number, point in enumerate(POINTS)
            if point.what not in {"gone", "fromdisk"}
        }
        (number,) = (number for number, point in enumerate(POINTS) if point.what == "snap")
        return names | {f"g{number}/{self.prefix}-snap_00000_s1"}

    def there(self) -> set[str]:
        text = self.lab.lab.exec(NODE, "lvs", "--noheadings", "-o", "vg_name,lv_name,lv_attr")
        rows = [line.split() for line in text.splitlines()]
        return {f"{group}/{name}" for group, name, attr in rows if not attr.startswith("t")}

    def clear(self, point: Point) -> None:
        name = self.name(point)
        if point.what == "snap":
            self.lab.call("DELETE", f"/v1/resource-definitions/{name}/snapshots/s1")
        delete(self.lab, name)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["power", "satellite"])
def test_everything_is_completed_after_a_crash_in_the_middle(lab: LabCluster, when: When, how: str) -> None:
    board = Board(lab, f"{how}-{when}")
    board.each(board.prepare)
    assert lab.lab.traps(NODE).held() == set()
    board.arm(when)
    with ThreadPoolExecutor(len(POINTS)) as workers:
        begun = [workers.submit(board.begin, point) for point in POINTS]
        try:
            lab.until(board.caught, "every operation to be in the middle")
        except LabError as error:
            raise AssertionError(f"only {board.traps.held()}: {lab.log(NODE)}") from error
        if how == "power":
            lab.lose(NODE)
            lab.bring_back(NODE)
        else:
            lab.stop_satellite(NODE, kill=True)
            board.traps.release()
            lab.start_satellite(NODE)
            lab.wait_online(NODE)
        for one in begun:
            one.result()
    board.each(board.settle)
    lab.until(lambda: board.there() == board.expected(), "nothing to be missing or left over")
    board.each(board.clear)
    lab.until(lambda: board.there() == set(), "all to be gone")
