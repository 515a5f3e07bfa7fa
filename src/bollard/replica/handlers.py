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
from bollard.wire.engine import ResourceSpec

__all__ = ["FENCE_PEER", "HANDLERS", "UNREACHABLE", "fence_peer", "run"]

FENCE_PEER: Final = "fence-peer"
HANDLERS: Final = frozenset(
    (
        *("after-resync-target", "before-resync-source", "before-resync-target", FENCE_PEER),
        *("initial-split-brain", "local-io-error", "out-of-sync", "pri-lost", "pri-lost-after-sb"),
        *("pri-on-incon-degr", "quorum-lost", "split-brain", "unfence-peer", "disconnected"),
    )
)
"""Names of handlers among the options; only `fence-peer` is called here."""
UNREACHABLE: Final = 5
"""The verdict of a fence handler that is not there, fails or takes too long: the peer may live."""
LIMIT_S: Final = 60.0
_SEARCH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/drbd"
_log = logging.getLogger(__name__)


def fence_peer(loop: Loop, spec: ResourceSpec, peer_id: int, done: Callable[[int], None]) -> None:
    """Run the resource's fence handler for a peer; `done(exit code)` comes later, UNREACHABLE without one.

    The program finds in its environment what DRBD's helpers get: DRBD_RESOURCE, DRBD_MY_NODE_ID,
    DRBD_PEER_NODE_ID, DRBD_PEER, DRBD_PEER_AF, DRBD_PEER_ADDRESS and DRBD_BACKING_DEV of the first volume.
    """
    peer = next((one for one in spec.peers if one.node_id == peer_id), None)
    line = spec.options.get(FENCE_PEER, "")
    if peer is None or not line:
        loop.defer(lambda: done(UNREACHABLE))
        return
    environment = {
        "DRBD_RESOURCE": spec.name,
        "DRBD_MY_NODE_ID": str(spec.node_id),
        "DRBD_PEER_NODE_ID": str(peer_id),
        "DRBD_PEER": peer.name,
        "DRBD_PEER_AF": "ipv6" if ":" in peer.address else "ipv4",
        "DRBD_PEER_ADDRESS": peer.address,
        "DRBD_BACKING_DEV": next((volume.backing for volume in spec.volumes if volume.backing), ""),
    }
    run(loop, line, environment, LIMIT_S, done)


def run(
    loop: Loop, line: str, environment: Mapping[str, str], limit_s: float, done: Callable[[int], None]
) -> None:
    """Run a handler; `done` once, on the loop, with its exit code, or UNREACHABLE when it has none."""
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
        loop.defer(lambda: done(UNREACHABLE))
        return
    _watch(loop, pid, line, limit_s, done)


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
        done(code if code >= 0 else UNREACHABLE)

    loop.watch(handle, READ, ended)
