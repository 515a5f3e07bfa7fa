"""Two engines that speak protocol 101 with each other: all that an 8.4 kernel does, without one."""

import pytest

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol import packets as p
from bollard.replica.protocol.commands import AfterSplitBrain, Channel, WireProtocol
from bollard.replica.protocol.config import QUORUM_OFF
from bollard.replica.protocol.dialect import DRBD84, MAX_DRBD9
from bollard.replica.protocol.frames import encode_frame
from bollard.replica.protocol.states import ConnState, DiskState, ReplState, Role, StateWord
from replica_world import BLOCK, World


def pair(**options: object) -> World:
    day0 = bool(options.pop("day0", True))
    chosen = {"quorum": QUORUM_OFF, "max_version": DRBD84, **options}
    return World(witnesses=0, day0=day0, **chosen)  # type: ignore[arg-type]


def promote(world: World, node: int, *, force: bool = False) -> None:
    answer = world.order(node, lambda tag: e.Promote(tag, force=force))
    assert answer.code is a.Code.OK, answer


def cut(world: World) -> None:
    world.cluster.network.cut(0, 1, silent=False)
    assert world.cluster.run_until(lambda: not world.connected(), 10.0)


def heal(world: World) -> None:
    world.cluster.network.heal(0, 1)
    assert world.cluster.run_until(world.healthy, 20.0), "\n".join(world.cluster.trace[-30:])


def same_data(world: World) -> bool:
    return all(world.on_disk(0, block) == world.on_disk(1, block) for block in range(32))


def test_they_speak_101_and_agree() -> None:
    world = pair()
    assert world.core(0).peers[1].dialect.version == DRBD84
    assert world.healthy()


def test_new_disks_are_synced_wholly_after_a_forced_promotion() -> None:
    world = pair(day0=False)
    promote(world, 0, force=True)
    world.write(0, 5, b"x")
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.on_disk(1, 5) == b"x" * BLOCK


def test_new_disks_of_zeroes_can_do_without_a_first_sync() -> None:
    world = pair(day0=False)
    assert world.order(0, lambda tag: e.NewCurrentUuid(tag, 0, clear_bitmap=True)).code is a.Code.OK
    assert world.cluster.run_until(world.healthy, 5.0)
    assert all(world.core(node).peers[1 - node].devices[0].resynced_bytes == 0 for node in (0, 1))
    promote(world, 1)
    world.write(1, 3, b"x")
    assert world.on_disk(0, 3) == b"x" * BLOCK


@pytest.mark.parametrize("protocol", list(WireProtocol))
def test_a_write_reaches_both_disks(protocol: WireProtocol) -> None:
    world = pair(protocol=protocol)
    promote(world, 0)
    world.write(0, 7, b"a")
    assert world.wait(world.submit(0, e.Verb.FLUSH)).errno == 0
    assert world.on_disk(1, 7) == b"a" * BLOCK


def test_the_peer_is_asked_before_a_promotion() -> None:
    world = pair()
    promote(world, 0)
    assert world.core(1).peers[0].role is Role.PRIMARY
    assert world.order(1, e.Promote).code is a.Code.CONFLICT
    assert world.order(0, e.Demote).code is a.Code.OK
    promote(world, 1)


@pytest.mark.parametrize("primary", [0, 1])
def test_only_what_changed_moves_after_a_cut(primary: int) -> None:
    world = pair()
    promote(world, primary)
    world.write(primary, 1, b"a")
    cut(world)
    world.write(primary, 2, b"b")
    heal(world)
    assert same_data(world)
    assert world.on_disk(1 - primary, 2) == b"b" * BLOCK
    assert world.core(1 - primary).peers[primary].devices[0].last_resync_bytes <= 2 * BLOCK
    histories = [tuple(u for u in world.core(n).volumes[0].superblock.history[:2]) for n in (0, 1)]  # type: ignore[union-attr]
    assert histories[0] == histories[1], "8.4 compares them to see a missed end"
    assert all(not p.bitmap_uuid for n in (0, 1) for p in world.core(n).volumes[0].superblock.peers)  # type: ignore[union-attr]


def test_a_primary_that_crashed_gets_what_the_other_wrote_since() -> None:
    world = pair()
    promote(world, 0)
    world.write(0, 1, b"a")
    world.cluster.crash(0)
    assert world.cluster.run_until(lambda: not world.core(1).peers[0].connected, 20.0)
    promote(world, 1)
    world.write(1, 3, b"c")
    world.cluster.start(0)
    assert world.cluster.run_until(world.healthy, 20.0), "\n".join(world.cluster.trace[-30:])
    assert same_data(world)
    assert world.read(1, 3) == b"c" * BLOCK


@pytest.mark.parametrize("version", [DRBD84, MAX_DRBD9])
def test_data_carries_its_digest_where_that_is_agreed(version: int) -> None:
    world = pair(max_version=version, data_integrity_alg="crc32c")
    assert world.core(0).peers[1].dialect.digest_bytes == 4
    promote(world, 0)
    world.write(0, 1, b"a")
    cut(world)
    world.write(0, 2, b"b")
    heal(world)
    assert same_data(world)
    assert world.on_disk(1, 2) == b"b" * BLOCK
    assert world.order(0, lambda tag: e.Detach(tag, 0, force=True)).code is a.Code.OK
    assert world.read(0, 2) == b"b" * BLOCK


def split(world: World) -> None:
    cut(world)
    promote(world, 0)
    world.write(0, 1, b"p")
    assert world.order(0, e.Demote).code is a.Code.OK
    promote(world, 1)
    world.write(1, 2, b"q")
    world.write(1, 4, b"q")
    assert world.order(1, e.Demote).code is a.Code.OK
    world.cluster.network.heal(0, 1)


def test_split_brain_ends_in_two_stand_alone_nodes_and_is_mended_by_discarding() -> None:
    world = pair()
    split(world)
    peers = [world.core(0).peers[1], world.core(1).peers[0]]
    assert world.cluster.run_until(lambda: all(p.cstate is ConnState.STAND_ALONE for p in peers), 20.0)
    world.order(0, lambda tag: e.Connect(tag, 1, discard_my_data=True))
    world.order(1, lambda tag: e.Connect(tag, 0))
    assert world.cluster.run_until(world.healthy, 20.0), "\n".join(world.cluster.trace[-30:])
    assert same_data(world)
    assert world.on_disk(0, 2) == b"q" * BLOCK


def test_split_brain_is_solved_by_policy() -> None:
    world = pair(after_sb_0pri=AfterSplitBrain.DISCARD_LEAST_CHANGES)
    split(world)
    assert world.cluster.run_until(world.healthy, 20.0), "\n".join(world.cluster.trace[-30:])
    assert same_data(world)
    assert world.on_disk(0, 4) == b"q" * BLOCK


def test_verify_finds_what_differs() -> None:
    world = pair()
    disk = world.cluster.nodes[1].disk
    assert disk is not None
    disk.write(3 * BLOCK, b"!" * BLOCK)
    assert world.order(0, lambda tag: e.Verify(tag, 0, 1)).code is a.Code.OK
    device = world.core(0).peers[1].devices[0]
    assert world.cluster.run_until(lambda: device.verifies_done == 1, 20.0)
    assert device.verify_out_of_sync_bytes == BLOCK
    assert world.core(1).peers[0].devices[0].verify_out_of_sync_bytes == BLOCK


def test_invalidate_fetches_everything() -> None:
    world = pair()
    promote(world, 0)
    world.write(0, 1, b"a")
    assert world.order(1, lambda tag: e.Invalidate(tag, 0)).code is a.Code.OK
    assert world.cluster.run_until(world.healthy, 20.0)
    assert world.core(1).peers[0].devices[0].last_resync_bytes == world.core(1).volumes[0].size_bytes


def test_a_primary_that_loses_its_disk_goes_on_and_its_disk_is_synced_when_it_is_back() -> None:
    world = pair()
    promote(world, 0)
    world.write(0, 1, b"a")
    assert world.order(0, lambda tag: e.Detach(tag, 0, force=True)).code is a.Code.OK
    world.write(0, 2, b"b")
    assert world.read(0, 1) == b"a" * BLOCK
    assert world.order(0, lambda tag: e.Attach(tag, 0)).code is a.Code.OK
    assert world.cluster.run_until(world.healthy, 20.0), "\n".join(world.cluster.trace[-30:])
    assert world.on_disk(0, 2) == b"b" * BLOCK


def test_a_disk_that_a_kernel_attaches_is_negotiated_on_the_standing_connection() -> None:
    """A kernel whose connection is dropped while it negotiates gives its disk up again."""
    world = pair()
    promote(world, 0)
    world.write(0, 1, b"a")
    before = world.core(1).volumes[0].superblock
    assert before is not None
    assert world.order(1, lambda tag: e.Detach(tag, 0)).code is a.Code.OK
    world.write(0, 2, b"b")
    peer = world.core(0).peers[1]
    word = StateWord(role=Role.SECONDARY, conn=int(ReplState.ESTABLISHED), disk=DiskState.NEGOTIATING)
    for packet in (p.Uuids(before.current_uuid, 0, (0, 0), 0, 0), p.State(word)):
        frame = b"".join(bytes(part) for part in encode_frame(packet, peer.dialect, 0))
        world.cluster.deliver(0, e.Received(1, Channel.DATA, frame))
    assert peer.connected
    assert peer.devices[0].repl is ReplState.WF_BITMAP_S


def test_leaving_on_purpose_is_told() -> None:
    world = pair()
    assert world.order(0, lambda tag: e.Disconnect(tag, 1)).code is a.Code.OK
    peer = world.core(1).peers[0]
    assert world.cluster.run_until(lambda: not peer.connected, 5.0)
    assert any("the peer disconnected" in line for line in world.cluster.trace) or not peer.connected
    assert world.disk(1) is DiskState.UP_TO_DATE
