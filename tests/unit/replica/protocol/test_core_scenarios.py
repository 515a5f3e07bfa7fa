"""What a resource does, seen from outside: two nodes with disks and a witness on a simulated network."""

import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import AfterSplitBrain, WireProtocol
from bollard.replica.protocol.config import QUORUM_OFF, OnNoQuorum, Options
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role
from replica_world import BLOCK, World


def test_day0_nodes_connect_without_a_resync() -> None:
    world = World()
    assert world.healthy()
    assert all(world.core(node).peers[1 - node].devices[0].resynced_bytes == 0 for node in (0, 1))


def test_new_disks_need_force_and_are_then_synced_wholly() -> None:
    world = World(day0=False)
    refused = world.order(0, e.Promote)
    assert (refused.code, refused.number) == (a.Code.UNAVAILABLE, -2)
    assert world.order(0, lambda tag: e.Promote(tag, force=True)).code is a.Code.OK
    world.write(0, 5, b"x")
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(1, 5) == b"x" * BLOCK


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_a_write_reaches_both_disks(protocol: WireProtocol) -> None:
    world = World(protocol=protocol)
    assert world.order(0, e.Promote).code is a.Code.OK
    world.write(0, 7, b"a")
    assert world.wait(world.submit(0, e.Verb.FLUSH)).errno == 0
    assert world.on_disk(1, 7) == b"a" * BLOCK
    assert world.cluster.nodes[1].disk.durable[7] == b"a" * BLOCK


def test_only_one_primary() -> None:
    world = World()
    assert world.order(0, e.Promote).code is a.Code.OK
    second = world.order(1, e.Promote)
    assert second.code is a.Code.CONFLICT
    assert world.core(1).role is Role.SECONDARY


def test_two_primaries_where_allowed() -> None:
    world = World(allow_two_primaries=True)
    assert world.order(0, e.Promote).code is a.Code.OK
    assert world.order(1, e.Promote).code is a.Code.OK
    world.write(0, 1, b"a")
    world.write(1, 2, b"b")
    assert world.read(0, 2) == b"b" * BLOCK
    assert world.read(1, 1) == b"a" * BLOCK


def test_an_opener_promotes_and_the_last_close_demotes() -> None:
    world = World()
    assert world.order(1, lambda tag: e.Open(tag, 0)).code is a.Code.OK
    assert world.core(1).role is Role.PRIMARY
    world.cluster.deliver(1, e.Close(0))
    assert world.cluster.run_until(lambda: world.core(1).role is Role.SECONDARY, 5.0)
    world.cluster.run(1.0)
    assert world.order(0, lambda tag: e.Open(tag, 0)).code is a.Code.OK


def test_failover_without_loss() -> None:
    world = World()
    world.order(0, e.Promote)
    world.write(0, 3, b"a")
    world.cluster.crash(0)
    assert world.order(1, e.Promote).code is a.Code.OK
    assert world.read(1, 3) == b"a" * BLOCK
    world.write(1, 3, b"b")
    world.cluster.start(0)
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(0, 3) == b"b" * BLOCK


def test_only_missed_blocks_move_after_an_absence() -> None:
    world = World()
    world.order(0, e.Promote)
    world.order(1, e.Disconnect)
    for block in range(10):
        world.write(0, block * 9, b"n")
    world.order(1, e.Connect)
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.core(1).peers[0].devices[0].last_resync_bytes == 10 * BLOCK
    assert all(world.on_disk(1, block * 9) == b"n" * BLOCK for block in range(10))


@pytest.mark.parametrize("writing", [False, True], ids=["alone", "beside-writes"])
def test_a_resync_asks_for_little_at_a_time_while_an_application_writes(writing: bool) -> None:
    world = World(al_extents=67, max_buffers=512)
    world.order(0, e.Promote)
    world.order(1, lambda tag: e.Disconnect(tag, 0))
    for start in range(0, 3072, 128):
        assert world.wait(world.submit(0, e.Verb.WRITE, start, b"n" * (128 * BLOCK))).errno == 0
    world.order(1, lambda tag: e.Connect(tag, 0))
    device = world.core(1).peers[0].devices[0]
    asked = []
    for turn in range(4000):
        if writing:
            world.submit(0, e.Verb.WRITE, 4000 + turn % 90, b"w" * BLOCK)
        world.cluster.run(0.001)
        receiving = world.core(1).peers[0].receiving
        if device.resync is not None and writing == bool(receiving and receiving.count):
            bitmap = device.volume.bitmap
            assert bitmap is not None
            asked.append((device.resync.in_flight_bytes, bitmap.out_of_sync_bytes(device.slot)))
        elif asked:
            break
    # What was asked before the first write comes first; at the end there is little to ask for.
    midway = [size for size, left in asked if 4 << 20 < left < 8 << 20]
    assert midway
    if writing:
        assert max(midway) <= (1 << 20) + (1 << 18)
    else:
        assert max(midway) > 3 << 19


def test_an_isolated_primary_freezes_and_thaws() -> None:
    world = World()
    world.order(0, e.Promote)
    for other in (1, 2):
        world.cluster.network.cut(0, other, silent=False)
    world.cluster.run(1.0)
    request = world.submit(0, e.Verb.WRITE, 1, b"q" * BLOCK)
    world.cluster.run(5.0)
    assert request not in world.completed
    assert world.cluster.nodes[0].resource.status_record()["suspended-quorum"]
    for other in (1, 2):
        world.cluster.network.heal(0, other)
    assert world.wait(request).errno == 0
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(1, 1) == b"q" * BLOCK


def test_an_isolated_primary_fails_requests_where_configured() -> None:
    world = World(on_no_quorum=OnNoQuorum.IO_ERROR)
    world.order(0, e.Promote)
    for other in (1, 2):
        world.cluster.network.cut(0, other, silent=False)
    world.cluster.run(1.0)
    assert world.wait(world.submit(0, e.Verb.WRITE, 1, b"q" * BLOCK)).errno == 5


def test_the_stale_side_is_not_promoted() -> None:
    world = World()
    world.order(0, e.Promote)
    world.cluster.network.cut(0, 1, silent=False)
    world.cluster.run(2.0)
    world.write(0, 1, b"n")
    world.cluster.crash(0)
    world.cluster.run(5.0)
    refused = world.order(1, e.Promote)
    assert refused.code is not a.Code.OK
    assert world.disk(1) < DiskState.UP_TO_DATE


def test_a_node_without_a_disk_reads_and_writes_over_the_network() -> None:
    world = World()
    assert world.order(2, e.Promote).code is a.Code.OK
    world.write(2, 4, b"w")
    assert world.read(2, 4) == b"w" * BLOCK
    assert world.on_disk(0, 4) == world.on_disk(1, 4) == b"w" * BLOCK


def test_a_failing_disk_is_given_up_and_the_primary_goes_on() -> None:
    world = World()
    world.order(0, e.Promote)
    world.write(0, 1, b"a")
    world.cluster.nodes[0].disk.failing = True
    world.write(0, 1, b"b")
    assert world.disk(0) is DiskState.DISKLESS
    assert world.read(0, 1) == b"b" * BLOCK
    world.cluster.replace_disk(0)
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(0, 1) == b"b" * BLOCK


def test_trim_and_zeroes_reach_the_peer() -> None:
    world = World()
    world.order(0, e.Promote)
    world.write(0, 1, b"a")
    world.write(0, 2, b"a")
    assert world.wait(world.submit(0, e.Verb.TRIM, 1, length=BLOCK)).errno == 0
    assert world.wait(world.submit(0, e.Verb.ZERO, 2, length=BLOCK)).errno == 0
    assert world.on_disk(1, 1) == world.on_disk(1, 2) == bytes(BLOCK)


def test_a_large_request_is_cut_into_packets_and_answered_once() -> None:
    world = World()
    world.order(0, e.Promote)
    data = bytes(range(256)) * (3 << 12)
    assert world.wait(world.submit(0, e.Verb.WRITE, 8, data)).errno == 0
    assert world.cluster.nodes[1].disk.read(8 * BLOCK, len(data)) == data


def test_verify_finds_what_differs_and_a_reconnect_repairs_it() -> None:
    world = World()
    world.order(0, e.Promote)
    world.write(0, 9, b"v")
    world.cluster.nodes[1].disk.write(9 * BLOCK, b"?" * BLOCK)
    assert world.order(0, lambda tag: e.Verify(tag, 0)).code is a.Code.OK
    device = world.core(0).peers[1].devices[0]
    assert world.cluster.run_until(lambda: device.repl is ReplState.ESTABLISHED, 60.0)
    assert device.verify_out_of_sync_bytes == BLOCK
    bitmap = world.core(0).volumes[0].bitmap
    assert bitmap.count(device.slot) == 1


def test_a_wrong_secret_is_refused() -> None:
    world = World(cram_hmac_alg="sha256", shared_secret="right", witnesses=0, quorum=QUORUM_OFF)
    assert world.core(0).peers[1].connected
    world.cluster.crash(1)
    world.cluster.options = Options(cram_hmac_alg="sha256", shared_secret="wrong", quorum=QUORUM_OFF)
    world.cluster.start(1)
    world.cluster.run(5.0)
    assert not world.core(1).peers[0].connected
    assert ConnState.STAND_ALONE in (world.core(0).peers[1].cstate, world.core(1).peers[0].cstate)


def split(world: World) -> None:
    """Both nodes are Primary in turn while apart, and write different things."""
    world.cluster.network.cut(0, 1, silent=False)
    world.cluster.run(1.0)
    for node, letter in ((0, b"0"), (1, b"1")):
        assert world.order(node, e.Promote).code is a.Code.OK
        world.write(node, 1, letter)
        assert world.order(node, e.Demote).code is a.Code.OK
    world.cluster.network.heal(0, 1)


def test_a_split_brain_is_left_to_people() -> None:
    world = World(witnesses=0, quorum=QUORUM_OFF)
    split(world)
    world.cluster.run(5.0)
    assert all(world.core(node).peers[1 - node].cstate is ConnState.STAND_ALONE for node in (0, 1))
    world.order(0, e.Connect)
    world.order(1, lambda tag: e.Connect(tag, discard_my_data=True))
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(0, 1) == world.on_disk(1, 1) == b"0" * BLOCK


def test_a_split_brain_is_settled_by_policy() -> None:
    world = World(witnesses=0, quorum=QUORUM_OFF, after_sb_0pri=AfterSplitBrain.DISCARD_LEAST_CHANGES)
    split(world)
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(0, 1) == world.on_disk(1, 1)


def test_suspended_requests_wait_until_resumed() -> None:
    world = World()
    world.order(0, e.Promote)
    assert world.order(0, e.SuspendIo).code is a.Code.OK
    request = world.submit(0, e.Verb.WRITE, 1, b"s" * BLOCK)
    world.cluster.run(2.0)
    assert request not in world.completed
    world.order(0, e.ResumeIo)
    assert world.wait(request).errno == 0


def test_invalidate_fetches_everything_again() -> None:
    world = World()
    world.order(0, e.Promote)
    world.write(0, 2, b"i")
    world.cluster.nodes[1].disk.write(2 * BLOCK, b"?" * BLOCK)
    assert world.order(1, lambda tag: e.Invalidate(tag, 0)).code is a.Code.OK
    assert world.cluster.run_until(world.healthy, 30.0)
    assert world.on_disk(1, 2) == b"i" * BLOCK


def test_a_clean_stop_leaves_a_disk_that_needs_nothing() -> None:
    world = World()
    world.order(0, e.Promote)
    world.write(0, 2, b"c")
    assert world.order(0, e.Stop).code is a.Code.OK
    world.cluster.crash(0)
    world.cluster.start(0)
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.core(0).peers[1].devices[0].last_resync_bytes == 0


def test_secondaries_refuse_requests_and_ranges_beyond_the_end() -> None:
    world = World()
    assert world.wait(world.submit(0, e.Verb.READ, 0, length=BLOCK)).errno == 30
    world.order(0, e.Promote)
    assert world.wait(world.submit(0, e.Verb.READ, 4096, length=BLOCK)).errno == 22


def test_a_primary_keeps_quorum_when_the_other_node_leaves_on_purpose() -> None:
    world = World(witnesses=0)
    world.order(0, e.Promote)
    world.write(0, 1, b"a")
    assert world.order(1, e.Stop).code is a.Code.OK
    world.cluster.crash(1)
    world.cluster.run(1.0)
    assert world.core(0).volumes[0].quorum
    world.write(0, 1, b"b")
    world.cluster.start(1)
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(1, 1) == b"b" * BLOCK


def test_a_primary_does_not_leave_the_only_node_it_reads_from_unless_forced() -> None:
    world = World()
    world.order(2, e.Promote)
    world.write(2, 5, b"a")
    assert world.order(2, lambda tag: e.Disconnect(tag, 0)).code is a.Code.OK
    assert world.cluster.run_until(lambda: not world.core(2).peers[0].connected, 5.0)
    refused = world.order(2, lambda tag: e.Disconnect(tag, 1))
    assert (refused.code, refused.number) == (a.Code.CONFLICT, -2)
    assert world.read(2, 5) == b"a" * BLOCK
    assert world.order(2, lambda tag: e.Disconnect(tag, 1, force=True)).code is a.Code.OK
