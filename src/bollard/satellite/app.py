"""`bollard-satellite`: builds the satellite from its parts and runs it until told to stop.

The only place that reads arguments, signals and the environment.
"""

import asyncio
import contextlib
import errno
import logging
import os
import platform
import signal
import socket
import ssl
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bollard.domain.ids import NodeName, key_of
from bollard.domain.ports import Clock
from bollard.domain.seen import Capabilities
from bollard.runtime.channel import SocketChannel
from bollard.runtime.clock import RealClock
from bollard.satellite import guard
from bollard.satellite.board import Board
from bollard.satellite.data_process import DataProcess
from bollard.satellite.devices import Devices
from bollard.satellite.facts import NO_KERNEL, capabilities
from bollard.satellite.files import FileKeeper
from bollard.satellite.host import kernel_freeze
from bollard.satellite.host.base import Files, Host, Runner, Tree
from bollard.satellite.host.block_devices import LocalBlockDevices
from bollard.satellite.host.engine import EngineClient
from bollard.satellite.host.kernel_drbd import KernelDrbd
from bollard.satellite.host.kernel_tree import LocalTree
from bollard.satellite.host.local import LocalFiles
from bollard.satellite.host.runner import LocalRunner, start_detached
from bollard.satellite.link import Links
from bollard.satellite.loop import Loop
from bollard.satellite.reports import KEPT, ErrorReports
from bollard.satellite.settings import Settings, SettingsError, parse
from bollard.satellite.state import StateFolder, StateFolderError, keep_token
from bollard.satellite.trust import distrust
from bollard.wire.devices import DevicePoolSpec

__all__ = ["Doors", "Satellite", "main"]

_FUSE: Final = "/dev/fuse"
_log = logging.getLogger("bollard.satellite")


def main() -> None:
    """The console command; exits 0 after a clean stop, 1 with one sentence on stderr otherwise."""
    if not __debug__:
        sys.exit("bollard-satellite: refusing to run with -O: its assertions guard the data")
    try:
        settings = parse(sys.argv[1:])
        logging.basicConfig(
            level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
        )
        state = StateFolder(settings.state_dir)
        if settings.joining:
            _join(state, settings)
        elif settings.leaving:
            sys.stdout.write(
                "The node has left its cluster.\n" if state.leave() else "It was in no cluster.\n"
            )
        else:
            state.lock()
            asyncio.run(Satellite(settings, state).run())
    except (SettingsError, StateFolderError, OSError) as error:
        sys.exit(f"bollard-satellite: {error}")


def _join(state: StateFolder, settings: Settings) -> None:
    from bollard.satellite.join import JoinError, join  # noqa: PLC0415  # its libraries are large

    try:
        subject = join(
            state,
            controller=settings.controller,
            token=settings.token,
            node=settings.node_name,
            ca=settings.ca,
        )
    except JoinError as error:
        sys.exit(f"bollard-satellite: {error}")
    sys.stdout.write(f"The node has its certificate ({subject}); start bollard-satellite now.\n")


@dataclass(frozen=True)
class Doors:
    """To a machine that is not this one: a node of a lab whose satellite runs beside it."""

    files: Files
    runner: Runner
    tree: Tree
    able: Capabilities


class Satellite:
    """One satellite process."""

    def __init__(self, settings: Settings, state: StateFolder, doors: Doors | None = None) -> None:
        """`doors` lead to another machine; None: this one."""
        instance = uuid.uuid1().hex[:12].upper()
        self._settings = settings
        self._state = state
        self._clock = RealClock()
        self._process = DataProcess(
            state.replica, self._clock, start=not settings.attach_replica, volumes=_volumes(settings)
        )
        self._engine = EngineClient(str(self._process.control))
        self._board = Board(NodeName(settings.node_name))
        self._doors = doors
        files, runner = LocalFiles(), LocalRunner()
        self._runner = runner
        log = state.replica / "guard.log"
        self._kernel = _kernel(settings, runner, files, self._clock, log) if doors is None else None
        self._files = FileKeeper(settings.allow_ext_files, state.files)
        self._host = host = Host(
            files=files if doors is None else doors.files,
            runner=runner if doors is None else doors.runner,
            engine=self._engine,
            nbd_socket=str(self._process.nbd),
            facts={"node": settings.node_name, "uname": platform.node()},
            kernel=self._kernel,
            devices=_devices(self._process, settings) if doors is None else None,
            tree=_tree() if doors is None else doors.tree,
        )
        self._host = host
        self._loop = Loop(host, self._board, self._clock, self._files)
        self._devices = Devices(host)
        self._reports = ErrorReports(instance)
        logging.getLogger().addHandler(self._reports)
        self._links = Links(
            self._board,
            self._loop,
            self._clock,
            capabilities=self._able,
            membership=state,
            answers=self._answer,
            instance=instance,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises SettingsError or OSError when that cannot begin."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        if self._kernel is not None:
            await self._kernel.probe()
            await kernel_freeze.release(self._host)
        server = await self._listen()
        reason = await self._process.ensure()
        if reason:
            _log.error("%s", reason)
        await server.start_serving()
        jobs = [asyncio.create_task(self._loop.run()), asyncio.create_task(self._process.run())]
        _notify("READY=1")
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([stopped, *jobs], return_when=asyncio.FIRST_COMPLETED)
        _notify("STOPPING=1")
        _log.info("stopping; the data process and its volumes go on")
        server.close()
        await self._links.close("the satellite stops")
        for job in (*jobs, stopped):
            job.cancel()
        ends = await asyncio.gather(*jobs, return_exceptions=True)
        await self._engine.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def _able(self) -> Capabilities:
        if self._doors is not None:
            return self._doors.able
        kernel = self._kernel.facts if self._kernel is not None else NO_KERNEL
        assert self._host.devices is not None
        return capabilities(kernel, self._runner.path_of, self._host.devices.usable())

    async def _listen(self) -> asyncio.Server:
        context = self._tls()
        bind, port = self._settings.listen_at(tls=context is not None)
        try:
            server = await asyncio.start_server(self._accept, bind, port, ssl=context, start_serving=False)
        except OSError as error:
            hint = "Another program has it; stop that, or choose another with --port."
            why = "the port is taken" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
            raise SettingsError(
                f"cannot listen on {bind} port {port}: {why}."
                + (f" {hint}" if error.errno == errno.EADDRINUSE else "")
            ) from error
        port = server.sockets[0].getsockname()[1]
        _log.info(
            "node %s: %s link on %s port %d", self._board.node, "TLS" if context else "plain", bind, port
        )
        return server

    def _tls(self) -> ssl.SSLContext | None:
        state = self._state
        if not state.cert.exists():
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(state.cert, state.key)
            context.load_verify_locations(state.ca)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"the certificate in {state.cert.parent} cannot be used: {error}. Join again."
            ) from error
        return context

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = SocketChannel(reader, writer)
        with contextlib.suppress(asyncio.CancelledError):
            await self._links.serve(channel, distrust(writer))
        await channel.closed()

    async def _answer(self, topic: str, arguments: dict[str, str]) -> object:
        match topic:
            case "error-reports":
                limit, since = int(arguments.get("limit", KEPT)), int(arguments.get("since_ms", 0))
                return self._reports.find(arguments.get("id", ""), since, limit)
            case "config":
                return self._configuration()
            case "log-level":
                logging.getLogger().setLevel(arguments.get("level", "info").upper())
                return {}
            case "file-check":
                return {"allowed": self._files.allows(arguments.get("path", ""))}
            case "file-status":
                suffixes = [it for it in arguments.get("suffixes", "").split("\0") if it]
                found = await asyncio.to_thread(self._files.status, arguments.get("path", ""), suffixes)
                return {"actual_path": found[0], "sha256": found[1]}
            case "auth-token":
                keep_token(self._settings.token_path, arguments.get("token", ""))
                return {}
            case "free-devices":
                return await self._devices.free()
            case "device-pool":
                return await self._devices.make(msgspec.json.decode(arguments["spec"], type=DevicePoolSpec))
            case "delete-error-reports":
                return {"count": self._reports.delete(arguments.get("ids", "").split(","))}
            case "space":
                pool = self._board.pools.get(key_of(arguments.get("pool", "")))
                if pool is None:
                    raise ValueError("there is no such pool here")
                return pool
            case _:
                raise ValueError(f"this satellite has no answer about '{topic}'")

    def _configuration(self) -> dict[str, str | int]:
        """What a person may want to know of this process; no secrets."""
        bind, port = self._settings.listen_at(tls=self._state.cert.exists())
        level = logging.getLevelName(logging.getLogger().getEffectiveLevel())
        folder = str(self._settings.config.parent) if self._settings.config is not None else ""
        return {"level": level, "bind": bind, "port": port, "folder": folder}


def _volumes(settings: Settings) -> str:
    """Only where it can be mounted: without root a data process that is told to would not start."""
    return settings.volumes if os.geteuid() == 0 and Path(_FUSE).exists() else ""


def _devices(process: DataProcess, settings: Settings) -> LocalBlockDevices:
    return LocalBlockDevices(lambda: process.devices, settings.links)


def _tree() -> LocalTree | None:
    """The kernel's own files take root as well."""
    return LocalTree() if os.geteuid() == 0 else None


def _kernel(
    settings: Settings, runner: LocalRunner, files: LocalFiles, clock: Clock, log: Path
) -> KernelDrbd | None:
    """The kernel's DRBD takes root; without that it is left alone."""
    if os.geteuid() != 0:
        return None

    def start(path: str, token: str, minors: tuple[int, ...], deadline_ms: int) -> None:
        start_detached(guard.argv(path, token, minors, deadline_ms), log)

    return KernelDrbd(
        runner,
        files,
        clock,
        folder=settings.drbd_dir,
        follower=runner,
        load_modules=settings.load_modules,
        guard=start,
    )


def _notify(message: str) -> None:
    """Tell systemd, if it started us."""
    where = os.environ.get("NOTIFY_SOCKET")
    if where:
        address = "\0" + where[1:] if where.startswith("@") else where
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.sendto(message.encode(), address)


if __name__ == "__main__":
    main()
