"""Replicated volumes between real processes: failover, resync, verify, and equal bytes at the end."""

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bollard.client.nbd import NbdClient, NbdClientError
from bollard.wire import engine as wire
from bollard.wire.nbd import NbdError
from replica_cluster import BLOCK, MIB, Cluster, blocks, pattern, whole

Make = Callable[..., Cluster]


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Cluster] = []

    def build(**kwargs: object) -> Cluster:
        made.append(Cluster(tmp_path, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for cluster in made:
        cluster.stop()
        print(cluster.logs())  # noqa: T201  shown by pytest when the test fails


def can_write(client: NbdClient, offset: int, data: bytes) -> bool:
    try:
        client.write(offset, data)
    except NbdClientError as error:
        if error.errno != NbdError.ENOSPC:
            raise
        return False
    return True


def check(client: NbdClient, wanted: dict[int, int]) -> None:
    for number, generation in wanted.items():
        assert client.read(number * BLOCK, BLOCK) == pattern(number, generation), number


def test_a_write_reaches_both_and_only_one_node_may_write(make: Make) -> None:
    cluster = make()
    cluster.start()
    with cluster.open(0) as client:
        for offset, data in blocks(range(100), 1):
            client.write(offset, data)
        client.write(2 * MIB, b"\xaa" * (3 * MIB), fua=True)
        client.write_zeroes(3 * MIB, MIB)
        client.trim(4 * MIB, MIB)
        client.flush()
        assert cluster.nodes[0].status("data")["role"] == "Primary"
        with pytest.raises(NbdClientError, match="Primary"):
            NbdClient(cluster.nodes[1].nbd, "data")
    cluster.nodes[0].until("data", lambda state: state["role"] == "Secondary")
    with cluster.open(1) as client:
        check(client, dict.fromkeys(range(100), 1))
        assert client.read(2 * MIB, MIB) == b"\xaa" * MIB
        assert client.read(3 * MIB, MIB) == bytes(MIB)
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)


def test_failover_keeps_every_acknowledged_block_and_the_comeback_is_a_small_resync(make: Make) -> None:
    cluster = make(size_bytes=64 * MIB)
    cluster.start()
    acked: dict[int, int] = {}
    client = cluster.open(0)
    for offset in client.write_many(blocks(range(1500), 1), depth=32):
        acked[offset // BLOCK] = 1
    writing = client.write_many(blocks(range(1500), 2), depth=32)
    for offset in itertools.islice(writing, 700):
        acked[offset // BLOCK] = 2
    cluster.nodes[0].kill()
    with contextlib.suppress(OSError):
        acked.update((offset // BLOCK, 2) for offset in writing)
    client.abort()
    lost_at = time.monotonic()
    with cluster.open(1) as survivor:
        assert time.monotonic() - lost_at < 10
        for number, generation in acked.items():
            found = survivor.read(number * BLOCK, BLOCK)
            # What was not acknowledged in round 2 may be there or not.
            assert found in {pattern(number, generation), pattern(number, 2)}, number
        list(survivor.write_many(blocks(range(2000, 2200), 3), depth=16))
        survivor.flush()
        cluster.nodes[0].start()
        cluster.settled()
        resynced = cluster.nodes[0].status("data")["connections"][0]["peer_devices"][0]["resynced"]
        assert 0 < resynced < cluster.size_bytes // 1024 // 2
        check(survivor, dict.fromkeys(range(2000, 2200), 3))
    verified = cluster.nodes[1].control.must(wire.Verify(name="data", peer=0))
    assert verified.changed
    cluster.nodes[1].until(
        "data",
        lambda state: state["connections"][0]["peer_devices"][0]["replication-state"] == "Established",
    )
    cluster.settled()
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)


def test_writes_go_on_while_a_secondary_is_away_and_only_changes_are_copied(make: Make) -> None:
    cluster = make()
    cluster.start()
    with cluster.open(0) as client:
        list(client.write_many(blocks(range(1000), 1), depth=16))
        cluster.nodes[1].kill()
        list(client.write_many(blocks(range(50), 2), depth=16))
        client.flush()
        state = cluster.nodes[0].status("data")
        assert state["connections"][0]["peer_devices"][0]["out-of-sync"] >= 200
        cluster.nodes[1].start()
        cluster.settled()
        check(client, {**dict.fromkeys(range(1000), 1), **dict.fromkeys(range(50), 2)})
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)


def test_three_replicas_with_quorum_survive_the_loss_of_the_primary(make: Make) -> None:
    cluster = make(diskful=3, options={"quorum": "majority", "on-no-quorum": "io-error"})
    cluster.start()
    with cluster.open(0) as client:
        list(client.write_many(blocks(range(500), 1), depth=16))
        client.flush()
        cluster.nodes[0].kill()
        client.abort()
    with cluster.open(2) as survivor:
        check(survivor, dict.fromkeys(range(500), 1))
        list(survivor.write_many(blocks(range(100), 2), depth=16))
        survivor.flush()
        cluster.nodes[0].start()
        cluster.settled()
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1) == cluster.data(2)


def test_two_replicas_and_a_tiebreaker_survive_the_loss_of_the_primary_in_mid_write(make: Make) -> None:
    cluster = make(diskful=2, diskless=1, options={"quorum": "majority", "on-no-quorum": "suspend-io"})
    cluster.start()
    client = cluster.open(0)
    acked: set[int] = set()
    writing = client.write_many(blocks(range(4000), 1), depth=16)
    acked.update(offset // BLOCK for offset in itertools.islice(writing, 300))
    cluster.nodes[0].kill()
    with contextlib.suppress(OSError):
        acked.update(offset // BLOCK for offset in writing)
    client.abort()
    with cluster.open(1) as survivor:
        check(survivor, dict.fromkeys(acked, 1))
        list(survivor.write_many(blocks(range(100), 2), depth=16))
        survivor.flush()
        cluster.nodes[0].start()
        cluster.settled()
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)


def test_without_quorum_nothing_is_promoted_and_with_it_again_it_is(make: Make) -> None:
    cluster = make(diskful=3, options={"quorum": "majority", "on-no-quorum": "io-error"})
    cluster.start()
    cluster.nodes[0].kill()
    cluster.nodes[1].kill()
    cluster.nodes[2].until("data", lambda state: not state["devices"][0]["quorum"])
    with pytest.raises(NbdClientError):
        NbdClient(cluster.nodes[2].nbd, "data")
    cluster.nodes[1].start()
    cluster.settled(1, 2)
    with cluster.open(2) as client:
        client.write(0, bytes(BLOCK))


def test_a_diskless_node_reads_and_writes_over_the_network(make: Make) -> None:
    cluster = make(diskful=2, diskless=1)
    cluster.start()
    with cluster.open(2) as client:
        assert client.size_bytes == cluster.size_bytes
        list(client.write_many(blocks(range(200), 1), depth=16))
        client.write(8 * MIB, b"\x55" * MIB)
        client.flush()
        check(client, dict.fromkeys(range(200), 1))
        assert client.read(8 * MIB, MIB) == b"\x55" * MIB
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)
    assert cluster.data(0)[:BLOCK] == pattern(0, 1)


def test_fresh_disks_need_a_forced_primary_once_and_then_a_full_resync(make: Make) -> None:
    cluster = make(initial_uuid=None, size_bytes=8 * MIB)
    for number, node in enumerate(cluster.nodes):
        node.start()
        cluster.make_disk(number)
        node.control.must(wire.Configure(resource=cluster.spec(number)))
    cluster.nodes[0].until("data", lambda state: state["connections"][0]["connection-state"] == "Connected")
    with pytest.raises(NbdClientError):
        NbdClient(cluster.nodes[0].nbd, "data")
    cluster.nodes[0].control.must(wire.Primary(name="data", force=True))
    cluster.settled()
    cluster.nodes[0].control.must(wire.Secondary(name="data"))
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)


def test_another_secret_never_connects_and_is_never_told(make: Make) -> None:
    cluster = make()
    for number, node in enumerate(cluster.nodes):
        node.start()
        cluster.make_disk(number)
        secret = f"secret {number} of its own"
        node.control.must(wire.Configure(resource=cluster.spec(number, shared_secret=secret)))
    cluster.nodes[0].until(
        "data",
        lambda state: "auth" in cluster.nodes[0].log().lower() or "secret" in cluster.nodes[0].log().lower(),
    )
    states = [node.status("data")["connections"][0]["connection-state"] for node in cluster.nodes]
    assert "Connected" not in states
    for node in cluster.nodes:
        assert "of its own" not in node.log()


def test_growing_online(make: Make) -> None:
    from bollard.replica.metadata import layout

    cluster = make()
    cluster.start()
    with cluster.open(0) as client:
        client.write(0, pattern(0, 1))
        cluster.size_bytes = 24 * MIB
        for number in range(len(cluster.nodes)):
            with cluster.backing(number).open("r+b") as backing:
                backing.truncate(layout.internal_device_bytes(24 * MIB, layout.Geometry(max_peers=7)))
        for number, node in reversed(list(enumerate(cluster.nodes))):
            node.control.must(wire.Configure(resource=cluster.spec(number)))
        cluster.nodes[0].until("data", lambda state: state["devices"][0]["size"] == 24 << 10)
        cluster.settled()
        # Users get the new space once the metadata has moved, a moment after the size was agreed.
        cluster.nodes[0].until("data", lambda _state: can_write(client, 20 * MIB, pattern(5, 1)))
        assert client.read(20 * MIB, BLOCK) == pattern(5, 1)
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)


def test_a_snapshot_point_is_still_while_io_is_suspended(make: Make) -> None:
    cluster = make()
    cluster.start()
    with cluster.open(0) as client:
        client.write(0, pattern(0, 1))
        cluster.nodes[0].control.must(wire.SuspendIo(name="data"))
        cookie = client.submit_write(0, pattern(0, 2))
        assert cluster.nodes[0].status("data")["suspended-user"]
        assert cluster.data(0)[:BLOCK] == pattern(0, 1)
        cluster.nodes[0].control.must(wire.ResumeIo(name="data"))
        client.wait(cookie)
        assert client.read(0, BLOCK) == pattern(0, 2)


def test_a_disk_that_is_missing_is_told_and_attached_when_configured_again(make: Make) -> None:
    cluster = make()
    cluster.start()
    cluster.nodes[1].terminate()
    away = cluster.backing(1).rename(cluster.root / "away")
    with cluster.open(0) as client:
        client.write(0, pattern(0, 1))
    cluster.nodes[1].start()
    reply = cluster.nodes[1].control.ask(wire.Configure(resource=cluster.spec(1)))
    assert reply.error is not None
    assert "No such file" in reply.error.message + reply.error.cause
    assert cluster.nodes[1].status("data")["devices"][0]["disk-state"] == "Diskless"
    away.rename(cluster.backing(1))
    cluster.nodes[1].control.must(wire.Configure(resource=cluster.spec(1)))
    cluster.settled()
    assert cluster.data(1)[:BLOCK] == pattern(0, 1)


def test_a_disk_that_was_let_go_of_is_attached_when_configured_again(make: Make) -> None:
    """Nothing else of the configuration has changed; the disk gets what it missed."""
    cluster = make()
    cluster.start()
    cluster.nodes[1].control.must(wire.Detach(name="data", force=True))
    with cluster.open(0) as client:
        client.write(0, pattern(0, 1))
    reply = cluster.nodes[1].control.must(wire.Configure(resource=cluster.spec(1)))
    assert not reply.changed
    cluster.settled()
    assert cluster.data(1)[:BLOCK] == pattern(0, 1)


def test_a_backing_without_metadata_is_refused_and_not_touched(make: Make) -> None:
    cluster = make()
    cluster.nodes[0].start()
    with cluster.backing(0).open("wb") as out:
        out.write(b"precious" * 1000)
        out.truncate(32 * MIB)
    before = cluster.backing(0).read_bytes()
    reply = cluster.nodes[0].control.ask(wire.Configure(resource=cluster.spec(0)))
    assert reply.error is not None
    assert "metadata" in reply.error.message
    assert cluster.backing(0).read_bytes() == before


def test_a_client_node_gets_a_disk_and_loses_it_again(make: Make) -> None:
    cluster = make(diskful=1, diskless=1)
    cluster.start()
    with cluster.open(0) as client:
        list(client.write_many(blocks(range(64), 1), depth=16))
    client_peer = cluster.peers[1]
    cluster.peers[1] = wire.PeerSpec(
        node_id=1, name="n1", address=client_peer.address, port=client_peer.port, diskless=False
    )
    cluster.initial_uuid = None
    cluster.make_disk(1)
    for number in (0, 1):
        cluster.nodes[number].control.must(wire.Configure(resource=cluster.spec(number)))
    cluster.settled()
    assert cluster.data(1)[: 64 * BLOCK] == cluster.data(0)[: 64 * BLOCK]
    cluster.peers[1] = client_peer
    for number in (1, 0):
        cluster.nodes[number].control.must(wire.Configure(resource=cluster.spec(number)))
    cluster.settled()
    assert cluster.nodes[1].status("data")["devices"][0]["disk-state"] == "Diskless"
    with cluster.open(1) as client:
        assert client.read(0, BLOCK) == pattern(0, 1)


def test_a_frozen_peer_blocks_writes_only_until_it_is_given_up(make: Make) -> None:
    cluster = make(options={"ping-int": "1", "ping-timeout": "5", "timeout": "20", "ko-count": "2"})
    cluster.start()
    with cluster.open(0) as client:
        client.write(0, pattern(0, 1))
        assert cluster.nodes[1].process is not None
        cluster.nodes[1].process.send_signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        client.write(BLOCK, pattern(1, 1))
        assert time.monotonic() - frozen_at < 15
        cluster.nodes[1].process.send_signal(signal.SIGCONT)
        cluster.settled()
    for node in cluster.nodes:
        assert node.terminate() == 0
    assert cluster.data(0) == cluster.data(1)


def test_a_second_volume_joins_a_running_resource_and_leaves_it(make: Make) -> None:
    cluster = make()
    cluster.start()
    specs = []
    for number, node in enumerate(cluster.nodes):
        more = cluster.root / f"more{number}.img"
        with more.open("wb") as out:
            out.truncate(16 * MIB)
        node.control.must(
            wire.CreateMd(backing=str(more), size_bytes=8 * MIB, initial_uuid="5EED5EED5EED5EE2")
        )
        volume = wire.VolumeSpec(number=1, size_bytes=8 * MIB, minor=1001, backing=str(more))
        specs.append(cluster.spec(number, volumes=(*cluster.spec(number).volumes, volume)))
    for node, spec in zip(cluster.nodes, specs, strict=True):
        node.control.must(wire.Configure(resource=spec))
    for node in cluster.nodes:
        node.until(
            "data",
            lambda state: (
                [one["disk-state"] for one in state["devices"]] == ["UpToDate"] * 2
                and [one["peer-disk-state"] for one in state["connections"][0]["peer_devices"]]
                == ["UpToDate"] * 2
            ),
        )
    with NbdClient(cluster.nodes[0].nbd, "data/1") as client:
        assert client.size_bytes == 8 * MIB
        client.write(0, pattern(7, 7))
    cluster.nodes[0].until("data", lambda state: state["role"] == "Secondary")
    with NbdClient(cluster.nodes[1].nbd, "data/1") as client:
        assert client.read(0, BLOCK) == pattern(7, 7)
    for number, node in enumerate(cluster.nodes):
        node.control.must(wire.Configure(resource=cluster.spec(number)))
    cluster.settled()
    with pytest.raises(NbdClientError, match="no export"):
        NbdClient(cluster.nodes[1].nbd, "data/1")


def test_settled_is_a_condition_that_can_fail() -> None:
    state = {"devices": [{"disk-state": "UpToDate", "client": False}], "connections": []}
    assert whole(state, set())
    assert not whole(state, {1})
