"""Split brain between the data process and the kernel's DRBD: found, solved by policy, mended by hand."""

from collections.abc import Callable

import pytest

from bollard.wire import engine as wire
from kernel_peer import (
    BLOCK,
    NAME,
    Pair,
    connection,
    fill,
    lacking,
)

_LACKING = lacking()
pytestmark = [pytest.mark.lab, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]
Make = Callable[..., Pair]


def split(pair: Pair) -> None:
    """Both write while they are apart: the engine 2 blocks, the kernel 5."""
    pair.drbdadm("disconnect")
    pair.engine_until(lambda state: connection(state) != "Connected")
    fill(pair, range(200, 202), b"e")
    pair.kernel_primary()
    pair.kernel_write(201, b"k", 5)
    pair.engine_until(lambda state: state["role"] == "Secondary")


def apart(pair: Pair) -> None:
    """Who finds the split brain first closes the connection, and the other one may not have seen it yet."""
    pair.engine_until(lambda state: connection(state) == "StandAlone")
    pair.kernel_until(lambda seen: seen.connection in ("StandAlone", "Connecting"))
    pair.try_drbdadm("disconnect")  # refused if it is apart already


def test_split_brain_ends_apart_and_the_engine_can_discard_its_data(make: Make) -> None:
    pair = make()
    pair.start()
    split(pair)
    pair.drbdadm("connect")
    apart(pair)
    pair.engine.control.must(wire.Connect(name=NAME, discard_my_data=True))
    pair.drbdadm("connect")
    pair.both_healthy()
    pair.same_bytes()
    assert pair.engine_disk.read_bytes()[200 * BLOCK : 202 * BLOCK] == bytes(BLOCK) + b"k" * BLOCK


def test_split_brain_ends_apart_and_the_kernel_can_discard_its_data(make: Make) -> None:
    pair = make()
    pair.start()
    split(pair)
    pair.drbdadm("connect")
    apart(pair)
    pair.kernel_secondary()
    pair.drbdadm("connect", "--discard-my-data")
    pair.engine.control.must(wire.Connect(name=NAME))
    pair.both_healthy()
    pair.same_bytes()
    assert pair.kernel_disk.read_bytes()[200 * BLOCK : 202 * BLOCK] == b"e" * (2 * BLOCK)


POLICIES = {
    "discard-least-changes": b"k",
    "discard-younger-primary": b"k",
    "discard-older-primary": b"e",
}


@pytest.mark.parametrize("policy", POLICIES)
def test_split_brain_is_solved_alike_by_policy(make: Make, policy: str) -> None:
    """The engine parts from a generation that it wrote, the kernel from one that it did not."""
    pair = make(net={"after-sb-0pri": policy})
    pair.start()
    split(pair)
    pair.kernel_secondary()
    pair.drbdadm("connect")
    pair.both_healthy()
    pair.same_bytes()
    if policy == "discard-least-changes":
        assert pair.engine_disk.read_bytes()[201 * BLOCK : 202 * BLOCK] == POLICIES[policy] * BLOCK


def test_split_brain_with_one_primary_keeps_its_data(make: Make) -> None:
    pair = make(net={"after-sb-1pri": "discard-secondary"})
    pair.start()
    split(pair)
    pair.drbdadm("connect")
    pair.both_healthy()
    pair.same_bytes()
    assert pair.engine_disk.read_bytes()[201 * BLOCK : 206 * BLOCK] == b"k" * (5 * BLOCK)
