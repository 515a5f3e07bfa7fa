"""Handlers of an operator: run without a shell, judged by their exit code, ended when they take too long."""

import shlex
import sys
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bollard.replica.handlers import UNREACHABLE, call_handler, fence_peer, run
from bollard.replica.loop import Loop
from bollard.replica.protocol.actions import Call
from bollard.replica.protocol.config import Handler, parse_options
from bollard.replica.specs import option_items
from bollard.wire.engine import PeerSpec, ResourceSpec, VolumeSpec


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()
    assert made.failures == 0


def verdict(loop: Loop, line: str, limit_s: float = 30.0, **environment: str) -> int:
    found: list[int] = []
    run(loop, line, environment, limit_s, found.append)
    while not found:
        loop.run_once(1.0)
    return found[0]


def script(tmp_path: Path, body: str) -> str:
    path = tmp_path / "fence"
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o700)
    return str(path)


def spec(line: str = "") -> ResourceSpec:
    peer = PeerSpec(node_id=1, name="beta", address="10.0.0.2", port=7000)
    options = {"fence-peer": line} if line else {}
    return ResourceSpec(name="data", uuid="u", volumes=(), node_id=0, peers=(peer,), options=options)


@pytest.mark.parametrize("code", [3, 4, 5, 6, 7])
def test_the_exit_code_is_the_verdict(loop: Loop, tmp_path: Path, code: int) -> None:
    assert verdict(loop, script(tmp_path, f"raise SystemExit({code})")) == code


def test_words_are_split_as_a_shell_would_and_given_to_no_shell(loop: Loop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = script(tmp_path, "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]))")
    assert verdict(loop, f"{line} {shlex.quote(str(out))} 'two words' $HOME ; true") == 0
    assert out.read_text() == repr(["two words", "$HOME", ";", "true"])


def test_one_that_cannot_be_run_is_no_proof_of_death(loop: Loop) -> None:
    assert verdict(loop, "no-such-handler-anywhere") == UNREACHABLE
    assert verdict(loop, "'unbalanced") == UNREACHABLE


def test_one_that_takes_too_long_is_ended(loop: Loop, tmp_path: Path) -> None:
    assert verdict(loop, script(tmp_path, "import signal; signal.pause()"), limit_s=0.2) == UNREACHABLE


def test_a_fence_handler_knows_whom_to_fence(loop: Loop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ["DRBD_RESOURCE", "DRBD_PEER", "DRBD_PEER_NODE_ID", "DRBD_PEER_ADDRESS", "DRBD_PEER_AF"]
    body = f"import os; open({str(out)!r}, 'w').write(' '.join(os.environ[n] for n in {names}))"
    found: list[int] = []
    fence_peer(loop, spec(script(tmp_path, body + "; raise SystemExit(7)")), 1, found.append)
    while not found:
        loop.run_once(1.0)
    assert found == [7]
    assert out.read_text() == "data beta 1 10.0.0.2 ipv4"


def test_without_a_handler_the_peer_may_live(loop: Loop) -> None:
    found: list[int] = []
    fence_peer(loop, spec(), 1, found.append)
    loop.run_once(0.0)
    assert found == [UNREACHABLE]


def test_the_core_only_knows_which_handlers_there_are() -> None:
    options = parse_options(option_items(spec("/bin/true --secret-of-the-operator")))
    assert options.handlers == {Handler.FENCE_PEER}
    assert parse_options([("split-brain", " ")]).handlers == frozenset()


def test_any_handler_is_told_what_drbd_tells(loop: Loop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    body = f"import os; open({str(out)!r}, 'w').write(repr(sorted(os.environ.items()))); raise SystemExit(9)"
    volume = VolumeSpec(number=2, minor=1002, backing="/dev/vg/data", size_bytes=0)
    made = msgspec.structs.replace(
        spec(), volumes=(volume,), options={"before-resync-target": script(tmp_path, body)}
    )
    call = Call("before-resync-target", 1, 2, 1, "Connected", 0b11)
    found: list[int] = []
    call_handler(loop, made, call, lambda done: found.append(done.code))
    while not found:
        loop.run_once(1.0)
    assert found == [9]
    told = dict(literal_eval(out.read_text()))
    assert told["DRBD_RESOURCE"] == "data"
    assert (told["DRBD_VOLUME"], told["DRBD_MINOR"], told["DRBD_MINOR_2"]) == ("2", "1002", "1002")
    assert told["DRBD_BACKING_DEV"] == told["DRBD_LL_DISK"] == "/dev/vg/data"
    assert (told["DRBD_PEER_NODE_ID"], told["DRBD_PEER_ADDRESS"], told["DRBD_NODE_ID_1"]) == (
        "1",
        "10.0.0.2",
        "beta",
    )
    assert (told["DRBD_CSTATE"], told["UP_TO_DATE_NODES"], told["DRBD_MY_NODE_ID"]) == (
        "Connected",
        "0x3",
        "0",
    )


@pytest.mark.parametrize("line", ["", "no-such-handler-anywhere"])
def test_a_handler_that_cannot_run_stops_nothing(loop: Loop, line: str) -> None:
    made = msgspec.structs.replace(spec(), options={"before-resync-target": line})
    found: list[int] = []
    call_handler(loop, made, Call("before-resync-target", 1), lambda done: found.append(done.code))
    while not found:
        loop.run_once(1.0)
    assert found == [0]
