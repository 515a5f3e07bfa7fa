"""Snapshots with real processes: one instant over nodes and volumes, restored, rolled back, cloned, cut."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bollard.cli.demo.cluster import ClusterView
from bollard.client.nbd import NbdClient
from bollard.client.rest import ClientError, Reply, RestClient
from small_cluster import SmallCluster

MIB = 1 << 20
VOLUMES = 2
RD = "/v1/resource-definitions"
pytestmark = pytest.mark.slow


class Town:
    """Three nodes, one resource with two volumes on two of them, and a tiebreaker."""

    def __init__(self, root: Path) -> None:
        self.cluster = SmallCluster(root)
        self.client = RestClient([self.cluster.servers.controller_url], timeout_s=120.0)

    def start(self) -> None:
        self.cluster.start()
        self.must("POST", RD, {"resource_definition": {"name": "src"}})
        for _ in range(VOLUMES):
            self.must("POST", f"{RD}/src/volume-definitions", {"volume_definition": {"size_kib": 8192}})
        self.must("POST", f"{RD}/src/autoplace", {"select_filter": {"place_count": 2}})
        self.settle("src")

    def ask(self, method: str, path: str, body: object = None) -> Reply:
        return self.client.call(method, path, body=body)

    def must(self, method: str, path: str, body: object = None) -> Any:
        reply = self.ask(method, path, body)
        assert reply.ok, (path, reply.body)
        return reply.body

    def disks(self, name: str) -> list[str]:
        """Nodes with a disk."""
        found = self.must("GET", f"{RD}/{name}/resources")
        return sorted(one["node_name"] for one in found if "DISKLESS" not in one.get("flags", ()))

    def settle(self, name: str) -> None:
        self.until(lambda: self._settled(name), f"{name} to be up to date")

    def _settled(self, name: str) -> bool:
        found = ClusterView(self.cluster.servers.controller_url, name).resources()
        states = [
            volume.get("state", {}).get("disk_state")
            for one in found.values()
            for volume in one.get("volumes", ())
        ]
        wanted = VOLUMES * len(found)
        return (
            len(found) > 1 and len(states) == wanted and set(states) <= {"UpToDate", "Diskless", "TieBreaker"}
        )

    def until(self, ready: Callable[[], bool], what: str, limit_s: float = 90.0) -> None:
        deadline_s = time.monotonic() + limit_s
        pause = threading.Event()
        while not ready():
            assert time.monotonic() < deadline_s, f"waited for {what}"
            pause.wait(0.1)

    def open(self, name: str, node: str, number: int = 0) -> NbdClient:
        """A volume on a node; tried until it may be opened there."""
        socket = self.cluster.servers.nodes[node].state_dir / "replica" / "nbd.sock"
        made: list[NbdClient] = []

        def opened() -> bool:
            try:
                made.append(NbdClient(f"unix:{socket}", f"{name}/{number}", timeout_s=60.0))
            except OSError:
                return False
            return True

        self.until(opened, f"{name}/{number} to open on {node}")
        return made[0]

    def content(self, name: str, node: str) -> list[bytes]:
        """All of each volume, as a client reads it there."""
        found = []
        for number in range(VOLUMES):
            with self.open(name, node, number) as client:
                found.append(b"".join(client.read(at, MIB) for at in range(0, 8 * MIB, MIB)))
        return found

    def digests(self, name: str, node: str) -> list[str]:
        return [hashlib.sha256(data).hexdigest() for data in self.content(name, node)]

    def snapshot(self, name: str = "s1") -> Any:
        return self.must("POST", f"{RD}/src/snapshots", {"name": name})

    def flags(self, name: str = "s1") -> list[str]:
        reply = self.ask("GET", f"{RD}/src/snapshots/{name}")
        return list(reply.body.get("flags", ())) if reply.ok else ["GONE"]


@contextmanager
def writing(town: Town, node: str) -> Iterator[list[int]]:
    """Somebody writes a growing number, on volume 0 and then, when that is acknowledged, on volume 1."""
    stop, count, errors = threading.Event(), [0], list[BaseException]()

    def write() -> None:
        try:
            with town.open("src", node, 0) as first, town.open("src", node, 1) as second:
                while not stop.is_set():
                    number = count[0] + 1
                    block = number.to_bytes(8, "big") * 512
                    place = number % 1024 * 4096
                    for client in (first, second):
                        client.write(place, block)
                        client.write(8 * MIB - 4096, block)
                    count[0] = number
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        town.until(lambda: count[0] > 50 or bool(errors), "the writer")
        yield count
    finally:
        stop.set()
        thread.join(60)
    assert not errors, errors


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.cluster.servers.stop()


def _counters(content: list[bytes]) -> list[int]:
    return [int.from_bytes(data[-4096:-4088], "big") for data in content]


def _restore(town: Town, to: str, snapshot: str = "s1") -> None:
    town.must("POST", RD, {"resource_definition": {"name": to}})
    body = {"to_resource": to}
    town.must("POST", f"{RD}/src/snapshot-restore-volume-definition/{snapshot}", body)
    town.must("POST", f"{RD}/src/snapshot-restore-resource/{snapshot}", body)
    town.settle(to)


def test_a_snapshot_is_one_instant_and_can_be_restored_rolled_back_and_cloned(town: Town) -> None:
    first, second = town.disks("src")
    with writing(town, first) as count:
        before = count[0]
        entries = town.snapshot()
        after = count[0]
        assert all(entry["ret_code"] >= 0 for entry in entries), entries
        town.until(lambda: count[0] > after + 50, "the writer to go on")
    assert town.flags() == ["SUCCESSFUL"]
    _restore(town, "copy")
    there, elsewhere = town.content("copy", first), town.content("copy", second)
    assert there == elsewhere, "both nodes start with the same"
    one, two = _counters(there)
    assert one in {two, two + 1}, "volume 0 is written first"
    assert before <= two <= after + 1
    resyncs = [
        state.get("resynced_kib", 0)
        for resource in town.must("GET", f"{RD}/copy/resources")
        for volume in resource.get("volumes", ())
        for state in volume.get("state", {}).get("replication_states", {}).values()
    ]
    assert not any(resyncs), "copies of one snapshot need no resync"

    town.must("POST", f"{RD}/src/snapshot-rollback/s1", {})
    town.settle("src")
    assert town.content("src", second) == there
    assert town.content("src", first) == there
    assert _counters(town.content("copy", first)) == [one, two]

    with town.open("src", first) as client:
        client.write(0, b"new" + bytes(4093))
    town.must("POST", f"{RD}/src/clone", {"name": "twin"})

    def cloned() -> bool:
        status = town.must("GET", f"{RD}/src/clone/twin")["status"]
        assert status != "FAILED"
        return bool(status == "COMPLETE")

    town.until(cloned, "the clone")
    town.settle("twin")
    assert town.content("twin", second)[0][:4096] == b"new" + bytes(4093)
    assert [one["name"] for one in town.must("GET", f"{RD}/src/snapshots")] == ["s1"]
    town.must("DELETE", f"{RD}/src/snapshots/s1")

    def no_files_left() -> bool:
        pools = [node.pool_dir for node in town.cluster.servers.nodes.values()]
        return not [path for pool in pools for path in pool.glob("*.snapshot")]

    town.until(no_files_left, "all snapshots to be removed")
    assert town.content("copy", second) == there, "what was restored lives on"


def test_deaths_while_a_snapshot_is_taken_leave_it_whole_or_failed(town: Town) -> None:
    first, second = town.disks("src")
    for number, victim in enumerate(["controller", second, f"data process of {second}"]):
        name = f"cut{number}"
        with writing(town, first) as count:
            asked = threading.Thread(target=_ask_quietly, args=(town, name), daemon=True)
            asked.start()
            town.until(lambda name=name: town.flags(name) != ["GONE"], "the snapshot to begin")  # type: ignore[misc]
            _kill(town, victim, second)
            seen = count[0]
            town.until(lambda seen=seen: count[0] > seen + 20, "the writer to go on")  # type: ignore[misc]
        asked.join(90)
        town.until(lambda name=name: bool(_ended(town, name)), f"{name} to end")  # type: ignore[misc]
        town.settle("src")
        if _ended(town, name) == ["SUCCESSFUL"]:
            _restore(town, f"of-{name}", name)
            there = town.content(f"of-{name}", first)
            assert there == town.content(f"of-{name}", second)
            one, two = _counters(there)
            assert one in {two, two + 1}
        else:
            town.until(lambda: not _kept(town), "half a snapshot to be removed")
        town.must("DELETE", f"{RD}/src/snapshots/{name}")


def test_a_node_that_dies_during_a_rollback_comes_back_with_the_same_data(town: Town) -> None:
    first, second = town.disks("src")
    with town.open("src", first) as client:
        client.write(0, b"old" + bytes(4093))
    town.snapshot()
    with town.open("src", second) as client:
        client.write(0, b"new" + bytes(4093))
        client.write(MIB, b"new" + bytes(4093))
    town.until(lambda: not _in_use(town), "the last client to be gone")
    before = _generations(town)
    asked = threading.Thread(target=_quietly, args=(town, f"{RD}/src/snapshot-rollback/s1", {}), daemon=True)
    asked.start()
    town.until(lambda: _generations(town) != before, "the rollback to begin")
    town.cluster.servers.kill_node(second)
    asked.join(90)
    town.until(lambda: not town.must("GET", f"{RD}/src").get("procedures"), "its end without the node")
    town.cluster.servers.start_node(second)
    town.settle("src")
    there = town.content("src", first)
    assert there == town.content("src", second)
    assert (there[0][:4], there[0][MIB : MIB + 4]) == (b"old\0", bytes(4))

    def one_life() -> bool:
        pools = [node.pool_dir for node in town.cluster.servers.nodes.values()]
        return len([path for pool in pools for path in pool.glob("*.owner")]) == 2 * VOLUMES

    town.until(one_life, "the former lives to be removed")


def _generations(town: Town) -> list[str]:
    """The first data generation of each volume: a rollback begins a new one."""
    found = town.must("GET", f"{RD}/src/volume-definitions")
    return [one["props"]["DrbdCurrentGi"] for one in found]


def _in_use(town: Town) -> bool:
    found = town.must("GET", f"{RD}/src/resources")
    return any(one.get("state", {}).get("in_use") for one in found)


def _ask_quietly(town: Town, name: str) -> None:
    _quietly(town, f"{RD}/src/snapshots", {"name": name})


def _quietly(town: Town, path: str, body: object) -> None:
    try:
        Town.ask(_with_own_client(town), "POST", path, body)
    except ClientError:
        return


def _with_own_client(town: Town) -> Town:
    other = Town.__new__(Town)
    other.cluster = town.cluster
    other.client = RestClient([town.cluster.servers.controller_url], timeout_s=120.0)
    return other


def _ended(town: Town, name: str) -> list[str]:
    try:
        return [flag for flag in town.flags(name) if flag != "GONE"]
    except ClientError:
        return []


def _kept(town: Town) -> list[Path]:
    return [path for node in town.cluster.servers.nodes.values() for path in node.pool_dir.glob("*.snapshot")]


def _kill(town: Town, victim: str, second: str) -> None:
    servers = town.cluster.servers
    if victim == "controller":
        servers.kill_controller()
        servers.start_controller()
    elif victim == second:
        node = servers.nodes[second]
        assert node.process is not None
        node.process.kill()
        node.process.wait(15)
        servers.start_node(second)
    else:
        for pid in servers.data_processes(second):
            os.kill(pid, signal.SIGKILL)
