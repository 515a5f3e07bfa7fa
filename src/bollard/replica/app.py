"""`bollard-replica`: builds the data process from its parts and runs it until told to stop.

The only place that reads arguments, signals and the environment.
"""

import argparse
import gc
import logging
import os
import resource
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bollard.replica.control import ControlServer
from bollard.replica.fuse.server import FuseServer
from bollard.replica.handover import convert_md
from bollard.replica.loop import Loop
from bollard.replica.metadata.errors import MetadataError
from bollard.replica.metadata.superblock import NODES
from bollard.replica.metadisk import INTERNAL
from bollard.replica.nbd.listen import NbdListener, listen_tcp, listen_unix
from bollard.replica.node import Node
from bollard.replica.store import StateDir
from bollard.wire.engine import V08, V09

__all__ = ["main"]

_log = logging.getLogger("bollard.replica")


def main() -> None:
    """The console command; exits 0 after a clean stop, 1 with one sentence on stderr otherwise."""
    if not __debug__:
        sys.exit("bollard-replica: refusing to run with -O: its assertions guard the data")
    if sys.argv[1:2] == ["convert-md"]:
        _convert(sys.argv[2:])
        return
    arguments = _arguments()
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        _serve(arguments)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        sys.exit(f"bollard-replica: {words}")


def _convert(words: list[str]) -> None:
    """`bollard-replica convert-md`: the metadata of a volume that nobody uses, to the other version."""
    parser = argparse.ArgumentParser(
        prog="bollard-replica convert-md",
        description="Convert DRBD metadata between v09 (DRBD 9, Bollard) and v08 (DRBD 8.4); data stays.",
    )
    parser.add_argument("--to", required=True, choices=(V08, V09))
    parser.add_argument("--backing", required=True, help="the volume's file or block device")
    parser.add_argument("--meta", default=INTERNAL, help="device of external metadata (default: internal)")
    parser.add_argument("--node-id", type=int, default=0, help="of this node, in v09 (0..31)")
    parser.add_argument("--peer-node-id", type=int, required=True, help="of the other node, in v09 (0..31)")
    parser.add_argument("--max-peers", type=int, default=1, help="bitmap slots of v09 (1..31)")
    given = parser.parse_args(words)
    ids = given.node_id, given.peer_node_id
    if not all(0 <= node < NODES for node in ids) or ids[0] == ids[1] or not 1 <= given.max_peers < NODES:
        parser.error("node ids are two different numbers of 0..31, peer slots 1..31")
    try:
        changed = convert_md(
            given.backing,
            given.meta,
            to=given.to,
            node_id=given.node_id,
            peer_node_id=given.peer_node_id,
            max_peers=given.max_peers,
        )
    except (OSError, MetadataError) as error:
        words_of = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        sys.exit(f"bollard-replica convert-md: {words_of}")
    done = "is now" if changed else "is already"
    sys.stdout.write(f"metadata of {given.backing} {done} {given.to}\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bollard-replica", description=__doc__)
    parser.add_argument("--state-dir", required=True, help="where desired configurations are kept (0700)")
    parser.add_argument("--control", help="control socket (default: STATE_DIR/control.sock)")
    parser.add_argument(
        "--listen-nbd",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="unix:/path or host:port; may be repeated (default: unix:STATE_DIR/nbd.sock)",
    )
    parser.add_argument(
        "--volumes",
        metavar="FOLDER",
        help="show the volumes as files FOLDER/RESOURCE/NUMBER, for loop devices and other programs",
    )
    parser.add_argument("--tls-cert", help="certificate chain (PEM) for NBD over TCP")
    parser.add_argument("--tls-key", help="private key (PEM) for NBD over TCP")
    parser.add_argument("--tls-ca", help="require client certificates signed by this CA (PEM)")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


def _tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if not arguments.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(arguments.tls_cert, arguments.tls_key)
        if arguments.tls_ca:
            context.load_verify_locations(arguments.tls_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise ValueError(f"TLS files cannot be loaded: {error}; check --tls-cert, --tls-key") from error
    return context


def _serve(arguments: argparse.Namespace) -> None:
    _raise_file_limit()
    state = StateDir(arguments.state_dir)
    loop = Loop()
    listeners: list[NbdListener | FuseServer] = []

    def shut_down() -> None:
        _notify("STOPPING=1")
        # Clients go first: their close lets the resources demote.
        for listener in listeners:
            listener.close()
        listeners.clear()
        node.shut_down(loop.stop)

    node = Node(loop, state, wall_clock=time.time, on_shutdown=shut_down)
    control: ControlServer | None = None
    try:
        tls = _tls(arguments)
        for where in arguments.listen_nbd or [f"unix:{state.path / 'nbd.sock'}"]:
            listeners.append(_listener(loop, node, where, tls))  # noqa: PERF401  closed one by one on failure
        if arguments.volumes:
            files = FuseServer(loop, node.exports, Path(arguments.volumes))
            listeners.append(files)
            node.devices_folder = str(Path(arguments.volumes).absolute() / files.devices)
        control_path = arguments.control or str(state.path / "control.sock")
        control = ControlServer(loop, listen_unix(control_path), node)
        node.restore()
        _calm_collector()
        _watch_signals(loop, shut_down)
        for listener in listeners:
            _log.info("serving on %s", listener.address)
        _notify("READY=1")
        loop.run()
        _log.info("stopped")
    finally:
        for listener in listeners:
            listener.close()
        node.stop()
        if control is not None:
            control.close()
        loop.close()
        state.close()


def _listener(loop: Loop, node: Node, where: str, tls: ssl.SSLContext | None) -> NbdListener:
    if where.startswith(("unix:", "/")):
        return NbdListener(loop, listen_unix(where.removeprefix("unix:")), node.exports)
    host, _, port = where.removeprefix("tcp:").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--listen-nbd {where}: expected unix:/path or host:port")
    return NbdListener(loop, listen_tcp(host.strip("[]"), int(port)), node.exports, tls=tls)


def _raise_file_limit() -> None:
    """Every volume, peer and client is a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _calm_collector() -> None:
    """Requests make no cycles: looking for them at every 700 objects costs a tenth of the write path."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def _watch_signals(loop: Loop, shut_down: Callable[[], None]) -> None:
    told = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal told
        if told:
            # The second signal does not wait for anybody.
            loop.stop()
        told = True
        loop.post(shut_down)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _notify(message: str) -> None:
    """Tells systemd, if it started us."""
    where = os.environ.get("NOTIFY_SOCKET")
    if not where:
        return
    address = "\0" + where[1:] if where.startswith("@") else str(Path(where))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(message.encode(), address)
        except OSError as error:
            _log.warning("systemd was not told %s: %s", message, error)
