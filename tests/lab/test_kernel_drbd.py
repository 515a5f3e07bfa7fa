"""The kernel's own DRBD as the other node of a resource: what it makes of us, and the data byte by byte."""

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from bollard.client.nbd import NbdClientError
from bollard.wire import engine as wire
from kernel_peer import (
    BLOCK,
    DISK_MIB,
    KERNEL_ID,
    MIB,
    NAME,
    NODE,
    Pair,
    connection,
    fill,
    lacking,
    no_helpers,
)

_LACKING = lacking()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
Make = Callable[..., Pair]


# ---- resync of everything


def test_a_new_kernel_disk_gets_everything_from_the_engine_while_it_is_written(make: Make) -> None:
    pair = make(engine_mib=DISK_MIB - 1)
    pair.engine.start()
    pair.write_config()
    pair.make_kernel_disk()
    pair.make_engine_disk()
    pair.configure()
    pair.engine.control.must(wire.Primary(name=NAME, force=True))
    fill(pair, range(0, 6000, 3), b"e")
    pair.drbdadm("up")
    pair.engine_until(lambda state: connection(state) == "Connected")
    fill(pair, range(1, 6000, 60), b"f")
    pair.both_healthy()
    pair.same_bytes()
    assert pair.seen().role == "Secondary"


def test_a_new_engine_disk_gets_everything_from_the_kernel_while_it_is_written(make: Make) -> None:
    pair = make()
    pair.engine.start()
    pair.write_config()
    pair.make_kernel_disk()
    pair.drbdadm("up")
    pair.drbdadm("primary", "--force")
    pair.kernel_write(0, b"k", 2000)
    pair.make_engine_disk()
    pair.configure()
    pair.kernel_until(lambda seen: seen.connection == "Connected")
    pair.kernel_write(3000, b"l", 100)
    pair.both_healthy()
    pair.same_bytes()


def test_two_new_disks_wait_for_one_to_be_forced_while_they_are_connected(make: Make) -> None:
    pair = make()
    pair.engine.start()
    pair.write_config()
    pair.make_kernel_disk()
    pair.make_engine_disk()
    pair.configure()
    pair.drbdadm("up")
    pair.kernel_until(lambda seen: (seen.connection, seen.peer_disk) == ("Connected", "Inconsistent"))
    pair.drbdadm("primary", "--force")
    pair.kernel_write(10, b"k", 10)
    pair.both_healthy()
    pair.same_bytes()


@pytest.mark.parametrize("by", ["engine", "kernel"])
def test_new_disks_of_zeroes_can_do_without_a_first_sync(make: Make, by: str) -> None:
    pair = make()
    pair.engine.start()
    pair.write_config()
    pair.make_kernel_disk()
    pair.make_engine_disk()
    pair.configure()
    pair.drbdadm("up")
    pair.kernel_until(lambda seen: (seen.connection, seen.peer_disk) == ("Connected", "Inconsistent"))
    if by == "engine":
        pair.engine.control.must(wire.NewCurrentUuid(name=NAME, clear_bitmap=True))
    else:
        pair.run("drbdadm", "new-current-uuid", "--clear-bitmap", f"{NAME}/0")
    pair.both_healthy()
    assert resynced_bytes(pair) == 0
    fill(pair, range(7), b"e")
    pair.same_bytes()


# ---- writes


@pytest.mark.parametrize("protocol", ["A", "B", "C"])
def test_writes_of_either_reach_both(make: Make, protocol: str) -> None:
    pair = make(protocol=protocol)
    pair.start()
    fill(pair, range(512), b"e")
    with pair.client() as client:
        client.write(5 * MIB + 512, b"odd" * 1024)
        client.write(6 * MIB, Random(6).randbytes(2 * MIB), fua=True)
        client.write_zeroes(6 * MIB + BLOCK, 10 * BLOCK)
        client.trim(7 * MIB, 64 * BLOCK)
        client.flush()
    pair.both_healthy()
    pair.engine_until(lambda state: state["role"] == "Secondary")
    pair.same_bytes()
    pair.kernel_primary()
    pair.engine_until(lambda state: state["connections"][0]["peer-role"] == "Primary")
    pair.kernel_write(2000, b"k", 300)
    pair.run("blkdiscard", "-z", "-o", str(2010 * BLOCK), "-l", str(20 * BLOCK), "/dev/drbd0")
    pair.run("sync")
    pair.kernel_secondary()
    pair.both_healthy()
    pair.same_bytes()


def test_only_one_is_primary(make: Make) -> None:
    pair = make()
    pair.start()
    pair.kernel_primary()
    refused = pair.engine.control.ask(wire.Primary(name=NAME))
    assert not refused.ok
    pair.kernel_secondary()
    pair.engine_until(lambda state: state["connections"][0]["peer-role"] == "Secondary")
    pair.engine.control.must(wire.Primary(name=NAME))
    pair.kernel_until(lambda seen: seen.role == "Secondary")
    assert pair.try_drbdadm("primary").code != 0


# ---- resync of what changed


def resynced_bytes(pair: Pair) -> int:
    (device,) = pair.engine.status(NAME)["connections"][0]["peer_devices"]
    return int(device["resynced"]) * 1024


def test_after_a_cut_the_kernel_gets_what_the_engine_wrote(make: Make) -> None:
    pair = make()
    pair.start()
    with pair.client() as client:
        client.write(0, b"a" * BLOCK)
        pair.part()
        pair.engine_until(lambda state: connection(state) != "Connected")
        for block in (7, 1000, 5000):
            client.write(block * BLOCK, b"b" * BLOCK)
        client.flush()
        pair.heal()
        pair.both_healthy()
    assert resynced_bytes(pair) <= 4 * BLOCK
    pair.same_bytes()


def test_after_a_cut_the_engine_gets_what_the_kernel_wrote(make: Make) -> None:
    pair = make()
    pair.start()
    pair.kernel_primary()
    pair.kernel_write(0, b"a")
    pair.part()
    pair.kernel_until(lambda seen: seen.connection != "Connected")
    pair.kernel_write(7, b"b", 3)
    pair.kernel_write(5000, b"b", 2)
    pair.heal()
    pair.both_healthy()
    assert resynced_bytes(pair) <= 6 * BLOCK  # the first one may not have been flushed
    pair.same_bytes()


def test_digests_with_all_data_and_resyncs_by_checksums(make: Make) -> None:
    algorithms = {"data-integrity-alg": "sha256", "csums-alg": "crc32c", "csums-after-crash-only": "no"}
    pair = make(net=algorithms)
    pair.start()
    with pair.client() as client:
        client.write(0, b"a" * (64 * BLOCK))
        client.flush()
        pair.drbdadm("disconnect")
        pair.engine_until(lambda state: connection(state) != "Connected")
        client.write(0, b"a" * (60 * BLOCK) + b"b" * (4 * BLOCK))
        client.flush()
        pair.drbdadm("connect")
        pair.both_healthy()
    pair.same_bytes()
    said = next(line for line in pair.run("dmesg").splitlines()[::-1] if "had equal checksums" in line)
    assert "eliminated: 128K" in said, "the kernel compares 128 KiB at a time, and the first half is equal"
    pair.engine_until(lambda state: state["role"] == "Secondary")
    pair.kernel_primary()
    pair.drbdadm("disconnect")
    pair.kernel_write(0, b"a", 62)
    pair.drbdadm("connect")
    pair.both_healthy()
    assert resynced_bytes(pair) == 2 * BLOCK
    pair.same_bytes()


# ---- verify


def damage(path: Path, blocks: tuple[int, ...]) -> None:
    with path.open("r+b") as file:
        for block in blocks:
            file.seek(block * BLOCK)
            file.write(b"!" * BLOCK)


def test_the_engine_verifies_and_a_reconnect_repairs(make: Make) -> None:
    pair = make()
    pair.start()
    damage(pair.engine_disk, (3, 1500))
    pair.engine.control.must(wire.Verify(name=NAME, peer=KERNEL_ID))
    pair.engine_until(lambda state: state["connections"][0]["peer_devices"][0]["verifies-done"] == 1)
    pair.kernel_until(lambda seen: (seen.replication, seen.out_of_sync_kib) == ("Established", 8))
    pair.kernel_primary()
    repair(pair)


def test_the_kernel_verifies_and_a_reconnect_repairs(make: Make) -> None:
    pair = make()
    pair.start()
    damage(pair.engine_disk, (8, 9, 4000))
    pair.drbdadm("verify")
    pair.kernel_until(lambda seen: (seen.replication, seen.out_of_sync_kib) == ("Established", 12))
    pair.engine_until(lambda state: state["connections"][0]["peer_devices"][0]["out-of-sync"] == 12)
    pair.kernel_primary()
    repair(pair)


def repair(pair: Pair) -> None:
    """The kernel is Primary: what differs is its."""
    pair.drbdadm("disconnect")
    pair.kernel_write(6000, b"n")
    pair.drbdadm("connect")
    pair.both_healthy()
    pair.same_bytes()


# ---- coming and going


def test_reconnects_under_load_of_the_engine(make: Make) -> None:
    pair = make()
    pair.start()
    stop, wrote = threading.Event(), [0]

    def load() -> None:
        with pair.client() as client:
            while not stop.is_set():
                block = wrote[0] * 17 % 6000
                client.write(block * BLOCK, wrote[0].to_bytes(8) * (BLOCK // 8))
                wrote[0] += 1
            client.flush()

    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(3):
            pair.drbdadm("disconnect")
            pair.engine_until(lambda state: connection(state) != "Connected")
            pair.drbdadm("connect")
            pair.engine_until(lambda state: connection(state) == "Connected")
    finally:
        stop.set()
        thread.join(60)
    assert wrote[0] > 100
    pair.both_healthy()
    pair.same_bytes()


def test_reconnects_under_load_of_the_kernel(make: Make) -> None:
    pair = make()
    pair.start()
    pair.kernel_primary()
    script = (
        "RANDOM=1; while [ ! -e /tmp/stop ]; do"
        " dd if=/dev/urandom of=/dev/drbd0 bs=64k count=40 seek=$((RANDOM % 300)) oflag=direct status=none;"
        " done; touch /tmp/stopped"
    )
    pair.run("rm", "-f", "/tmp/stop", "/tmp/stopped")
    pair.lab.try_exec(NODE, "bash", "-c", script, background=True)
    for _ in range(2):
        pair.engine.control.must(wire.Disconnect(name=NAME))
        pair.kernel_until(lambda seen: seen.connection != "Connected")
        pair.engine.control.must(wire.Connect(name=NAME))
        pair.kernel_until(lambda seen: seen.connection == "Connected")
    pair.engine.kill()
    pair.engine.start()
    pair.kernel_until(lambda seen: seen.connection == "Connected")
    pair.run("touch", "/tmp/stop")
    pair.run("sh", "-c", "until [ -e /tmp/stopped ]; do :; done")
    pair.both_healthy()
    pair.same_bytes()


def test_a_killed_engine_gets_what_the_kernel_wrote_since(make: Make) -> None:
    pair = make()
    pair.start()
    with pair.client() as client:
        client.write(100 * BLOCK, b"a" * (20 * BLOCK))
        pair.engine.kill()
        with pytest.raises((NbdClientError, OSError)):
            client.write(0, b"lost" * 1024)
    pair.kernel_until(lambda seen: seen.connection != "Connected")
    pair.kernel_primary()
    pair.kernel_write(110, b"k", 30)
    pair.engine.start()
    pair.both_healthy()
    pair.same_bytes()
    assert pair.run("dd", "if=/dev/drbd0", "bs=4k", "skip=110", "count=1", "status=none") == "k" * BLOCK


def test_a_kernel_that_lost_power_as_primary_is_brought_up_to_date(make: Make) -> None:
    pair = make()
    pair.start()
    pair.kernel_primary()
    pair.kernel_write(50, b"k", 10)
    pair.lab.kill(NODE)
    pair.engine_until(lambda state: connection(state) != "Connected")
    fill(pair, range(55, 80), b"e")
    pair.lab.boot(NODE)
    no_helpers(pair.lab)
    pair.write_config()
    pair.drbdadm("up")
    pair.both_healthy()
    pair.same_bytes()


def test_the_kernel_gives_its_data_up_and_takes_ours_and_gives_us_its(make: Make) -> None:
    pair = make()
    pair.start()
    fill(pair, range(100), b"e")
    pair.engine_until(lambda state: state["role"] == "Secondary")
    damage(pair.kernel_disk, (1, 2000))
    pair.drbdadm("invalidate")
    pair.both_healthy()
    pair.same_bytes()
    damage(pair.engine_disk, (5, 3000))
    pair.drbdadm("invalidate-remote")
    pair.both_healthy()
    pair.same_bytes()
    damage(pair.engine_disk, (7, 3001))
    pair.engine.control.must(wire.Invalidate(name=NAME))
    pair.both_healthy()
    pair.same_bytes()


def test_disks_come_and_go_while_both_are_connected(make: Make) -> None:
    pair = make()
    pair.start()
    with pair.client() as client:
        client.write(0, b"a" * BLOCK)
        pair.drbdadm("detach")
        pair.engine_until(
            lambda state: state["connections"][0]["peer_devices"][0]["peer-disk-state"] == "Diskless"
        )
        client.write(9 * BLOCK, b"b" * (5 * BLOCK))
        pair.drbdadm("attach")
        pair.both_healthy()
    pair.engine_until(lambda state: state["role"] == "Secondary")
    pair.same_bytes()
    pair.kernel_primary()
    pair.engine.control.must(wire.Detach(name=NAME))
    pair.kernel_until(lambda seen: seen.peer_disk == "Diskless")
    pair.kernel_write(77, b"k", 4)
    pair.engine.control.must(wire.Attach(name=NAME))
    pair.both_healthy()
    pair.same_bytes()


def test_a_wrong_secret_or_other_settings_end_in_two_stand_alone_nodes(make: Make) -> None:
    pair = make()
    pair.start()
    pair.engine.control.must(wire.Remove(name=NAME))
    pair.kernel_until(lambda seen: seen.connection != "Connected")
    pair.engine.control.must(wire.Configure(resource=pair.spec(shared_secret="another")))
    pair.engine_until(lambda state: connection(state) == "StandAlone")
    assert "secret" in pair.engine.log()
    pair.engine.control.must(wire.Remove(name=NAME))
    other = {**pair.spec().options, "protocol": "A"}
    pair.drbdadm("adjust")
    pair.engine.control.must(wire.Configure(resource=pair.spec(options=other)))
    pair.engine_until(lambda state: connection(state) == "StandAlone")
