"""Every point of the demo at which something may die: nothing acknowledged is lost, and all come back."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bollard.client.nbd import NbdClientError
from small_cluster import RESOURCE, SmallCluster, small_cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SmallCluster]:
    with small_cluster(tmp_path) as cluster:
        yield cluster


def _kill_when(cluster: SmallCluster, node: str, writes: int) -> threading.Thread:
    """Kill a node once so many writes are acknowledged."""

    def watch() -> None:
        while cluster.ledger.writes_acknowledged < writes:
            pause.wait(0.002)
        cluster.servers.kill_node(node)

    pause = threading.Event()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("percent", [0, 1, 30, 70, 100])
def test_the_primary_dies_while_it_is_filled(cluster: SmallCluster, percent: int) -> None:
    with cluster.open(cluster.primary) as client:
        killer = _kill_when(cluster, cluster.primary, cluster.ledger.blocks * percent // 100)
        with pytest.raises(OSError):
            cluster.fill_for_ever(client)
    killer.join()
    with cluster.open(cluster.survivor) as client:
        cluster.check(client)
        cluster.rewrite(client, 64, seed=1)
    cluster.servers.start_node(cluster.primary)
    cluster.check_everywhere()


def test_the_secondary_dies_and_writes_go_on(cluster: SmallCluster) -> None:
    killer = _kill_when(cluster, cluster.survivor, cluster.ledger.blocks // 2)
    with cluster.open(cluster.primary) as client:
        cluster.fill(client)
        killer.join()
        cluster.rewrite(client, 64, seed=2)
        cluster.check(client)
        cluster.servers.start_node(cluster.survivor)
        cluster.settle()
    cluster.check_everywhere()


def test_only_what_a_dead_secondary_missed_is_moved(cluster: SmallCluster) -> None:
    with cluster.open(cluster.primary) as client:
        cluster.fill(client)
        client.flush()
        cluster.servers.kill_node(cluster.survivor)
        cluster.rewrite(client, 64, seed=2)
        cluster.servers.start_node(cluster.survivor)
        cluster.settle()
    moved_kib, _done = cluster.view.resynced(cluster.survivor)
    assert moved_kib == 64 * 4
    cluster.check_everywhere()


def test_the_tiebreaker_dies_and_writes_go_on(cluster: SmallCluster) -> None:
    killer = _kill_when(cluster, cluster.witness, cluster.ledger.blocks // 2)
    with cluster.open(cluster.primary) as client:
        cluster.fill(client)
        killer.join()
        cluster.rewrite(client, 64, seed=3)
    cluster.servers.start_node(cluster.witness)
    cluster.check_everywhere()


def test_writes_go_on_without_satellite_and_controller(cluster: SmallCluster) -> None:
    with cluster.open(cluster.primary) as client:
        for name in (cluster.primary, cluster.survivor):
            satellite = cluster.servers.nodes[name].process
            assert satellite is not None
            satellite.kill()
            satellite.wait()
        cluster.servers.kill_controller()
        cluster.fill(client)
        cluster.check(client)
        cluster.servers.start_controller()
        for name in (cluster.primary, cluster.survivor):
            cluster.servers.start_node(name)
        cluster.settle()
    cluster.check_everywhere()


def test_a_data_process_that_dies_is_started_again(cluster: SmallCluster) -> None:
    with cluster.open(cluster.primary) as client:
        cluster.fill(client)
    for pid in cluster.servers.data_processes(cluster.survivor):
        os.kill(pid, signal.SIGKILL)
    cluster.check_everywhere()


def test_the_sync_target_dies_again_while_it_syncs(cluster: SmallCluster) -> None:
    cluster.servers.kill_node(cluster.survivor)
    with cluster.open(cluster.primary) as client:
        cluster.fill(client)
        cluster.servers.start_node(cluster.survivor)
        cluster.servers.kill_node(cluster.survivor)
        cluster.rewrite(client, 64, seed=4)
        cluster.servers.start_node(cluster.survivor)
        cluster.settle()
    cluster.check_everywhere()


def test_a_stale_replica_is_not_served(cluster: SmallCluster) -> None:
    """The only good copy is gone: the other one must refuse, and all is well when the good one is back."""
    cluster.servers.kill_node(cluster.survivor)
    with cluster.open(cluster.primary) as client:
        cluster.fill(client)
    cluster.servers.kill_node(cluster.primary)
    cluster.servers.start_node(cluster.survivor)
    cluster.view.wait(
        "the stale node's report", 30.0, lambda found: found[cluster.survivor]["observed"]["current"]
    )
    address, export = cluster.view.device(cluster.survivor)
    with pytest.raises((NbdClientError, OSError)):
        cluster.open_once(address, export)
    cluster.servers.start_node(cluster.primary)
    cluster.check_everywhere()


def test_a_node_dies_during_the_verify(cluster: SmallCluster) -> None:
    with cluster.open(cluster.primary) as client:
        cluster.fill(client)
    assert cluster.bollard("resource-definition", "verify", RESOURCE) == 0
    cluster.servers.kill_node(cluster.survivor)
    cluster.servers.start_node(cluster.survivor)
    cluster.check_everywhere()


def test_a_node_is_dead_before_the_volume_is_made(tmp_path: Path) -> None:
    """An offline node blocks nothing: the volume is placed on the two that live."""
    cluster = SmallCluster(tmp_path)
    try:
        cluster.start()
        cluster.servers.kill_node("alpha")
        cluster.view.wait_offline("alpha", 20.0)
        assert cluster.bollard("resource-group", "create", "grp", "--place-count", "2") == 0
        assert cluster.bollard("volume-group", "create", "grp") == 0
        assert cluster.bollard("resource-group", "spawn", "grp", RESOURCE, "8M") == 0
        assert {"beta", "gamma"} <= set(cluster.view.resources())
        cluster.primary, cluster.survivor = "beta", "gamma"
        with cluster.open("beta") as client:
            cluster.fill(client)
        cluster.servers.start_node("alpha")
        with cluster.open("gamma") as client:
            cluster.check(client)
    finally:
        cluster.servers.stop()
