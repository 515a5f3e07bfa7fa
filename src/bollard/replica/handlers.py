"""Runs an operator's handler program when the core asks for it, and tells its verdict. It decides nothing.

The line of the configuration is split into words as a shell would and run without one.
"""

import logging
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Mapping
from typing import Final

from bollard.replica.loop import READ, Loop
from bollard.replica.protocol.actions import Call
from bollard.replica.protocol.config import Handler
from bollard.replica.protocol.events import CallDone
from bollard.wire.engine import ResourceSpec

__all__ = ["FENCE_PEER", "UNREACHABLE", "call_handler", "fence_peer", "run"]

FENCE_PEER: Final = Handler.FENCE_PEER.value
UNREACHABLE: Final = 5
"""The verdict of a fence handler that is not there, fails or takes too long: the peer may live."""
NOT_RUN: Final = -1
LIMIT_S: Final = 60.0
_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/drbd"
_log = logging.getLogger(__name__)


def fence_peer(loop: Loop, spec: ResourceSpec, peer_id: int, done: Callable[[int], None]) -> None:
    """Run the resource's fence handler for a peer; `done(exit code)` comes later, UNREACHABLE without one.

    The program finds in its environment what DRBD's helpers get: DRBD_RESOURCE, DRBD_MY_NODE_ID,
    DRBD_PEER_NODE_ID, DRBD_PEER, DRBD_PEER_AF, DRBD_PEER_ADDRESS and DRBD_BACKING_DEV of the first volume.
    """
    line = spec.options.get(FENCE_PEER, "")
    if not line or not any(one.node_id == peer_id for one in spec.peers):
        loop.defer(lambda: done(UNREACHABLE))
        return
    backing = next((volume.backing for volume in spec.volumes if volume.backing), "")
    environment = {**_of_resource(spec), **_of_peer(spec, peer_id), "DRBD_BACKING_DEV": backing}
    run(loop, line, environment, LIMIT_S, done)


def call_handler(loop: Loop, spec: ResourceSpec, call: Call, tell: Callable[[CallDone], None]) -> None:
    """Run any other handler; `tell` comes later, with code 0 when it could not be run or took too long.

    What is broken about a handler must not keep a resync from starting. The environment is DRBD's: that of
    the fence handler, and DRBD_VOLUME, DRBD_MINOR, DRBD_BACKING_DEV and DRBD_LL_DISK of the volume it is
    about, DRBD_CSTATE, UP_TO_DATE_NODES (a mask of node ids), DRBD_MINOR_n and DRBD_NODE_ID_n of all.
    """
    line = spec.options.get(call.handler, "")
    if not line:
        loop.defer(lambda: tell(CallDone(call.tag, 0)))
        return
    environment = {**_of_resource(spec), "UP_TO_DATE_NODES": f"0x{call.good_nodes:X}"}
    volume = next((one for one in spec.volumes if one.number == call.volume), None)
    if volume is not None:
        environment |= {
            "DRBD_VOLUME": str(volume.number),
            "DRBD_MINOR": str(volume.minor),
            "DRBD_BACKING_DEV": volume.backing or "none",
            "DRBD_LL_DISK": volume.backing or "none",
        }
    if call.peer is not None:
        environment |= _of_peer(spec, call.peer) | {"DRBD_CSTATE": call.state}

    def ended(code: int) -> None:
        tell(CallDone(call.tag, 0 if code == NOT_RUN else code))

    run(loop, line, environment, LIMIT_S, ended, not_run=NOT_RUN)


def _of_resource(spec: ResourceSpec) -> dict[str, str]:
    """What every handler is told."""
    return {
        "DRBD_RESOURCE": spec.name,
        "DRBD_MY_NODE_ID": str(spec.node_id),
        "DRBD_MY_AF": _family(spec.address),
        "DRBD_MY_ADDRESS": spec.address,
        **{f"DRBD_MINOR_{volume.number}": str(volume.minor) for volume in spec.volumes},
        **{f"DRBD_NODE_ID_{peer.node_id}": peer.name for peer in spec.peers},
    }


def _of_peer(spec: ResourceSpec, node_id: int) -> dict[str, str]:
    peer = next((one for one in spec.peers if one.node_id == node_id), None)
    known = {"DRBD_PEER_NODE_ID": str(node_id)}
    if peer is None:
        return known
    address = {"DRBD_PEER_AF": _family(peer.address), "DRBD_PEER_ADDRESS": peer.address}
    return {**known, "DRBD_PEER": peer.name, **address}


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def run(  # noqa: PLR0917  a process has that much
    loop: Loop,
    line: str,
    environment: Mapping[str, str],
    limit_s: float,
    done: Callable[[int], None],
    not_run: int = UNREACHABLE,
) -> None:
    """Run a handler; `done` once, on the loop, with its exit code, or `not_run` when it has none."""
    try:
        words = shlex.split(line)
        program = shutil.which(words[0], path=_SEARCH) if words else None
        if program is None:
            raise FileNotFoundError(f"it is not in {_SEARCH}")
        pid = os.posix_spawn(
            program,
            words,
            {"PATH": _SEARCH, "LC_ALL": "C", **environment},
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGTERM, signal.SIGINT],
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        )
    except (OSError, ValueError) as error:
        _log.error("the handler '%s' cannot be run: %s", line, error)
        loop.defer(lambda: done(not_run))
        return
    _watch(loop, pid, line, limit_s, lambda code: done(code if code >= 0 else not_run))


def _watch(loop: Loop, pid: int, line: str, limit_s: float, done: Callable[[int], None]) -> None:
    handle = os.pidfd_open(pid)

    def too_late() -> None:
        _log.error("the handler '%s' did not end within %g s", line, limit_s)
        os.killpg(pid, signal.SIGKILL)

    timer = loop.after(limit_s, too_late)

    def ended(_events: int) -> None:
        timer.cancel()
        loop.forget(handle)
        os.close(handle)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        _log.info("the handler '%s' ended with %d", line, code)
        done(code)

    loop.watch(handle, READ, ended)
