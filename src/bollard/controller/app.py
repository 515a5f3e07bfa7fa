"""`bollard-controller`: the only place that chooses real adapters; reads arguments, signals, environment.

Exit codes are those of `starting.Exit`.
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import uvloop

from bollard import __version__
from bollard.controller import logs, notify
from bollard.controller.clock import RealClock, RealDraw
from bollard.controller.config import Config, ConfigError, parse, settle
from bollard.controller.credentials import ca_init, token_create
from bollard.controller.joining import routes
from bollard.controller.pki import Pki
from bollard.controller.reconcilers.ticker import Ticker
from bollard.controller.reports import Reports
from bollard.controller.rest.api import Info, OpenGuard
from bollard.controller.rest.app import build
from bollard.controller.rest.guard import LocalGuard
from bollard.controller.service import Service
from bollard.controller.serving import CannotListen, Serving, bind
from bollard.controller.sessions.satellites import Satellites
from bollard.controller.sessions.sockets import SocketDialer, is_loopback
from bollard.controller.starting import (
    CannotStart,
    Exit,
    check_state_dir,
    choose_store,
    kind_of_database,
    sentence,
)
from bollard.controller.store.base import Store
from bollard.domain.errors import DomainError

_log = logging.getLogger("bollard.controller")


def main() -> None:
    """The console command."""
    if not __debug__:
        sys.exit("bollard-controller: refusing to run with -O: its assertions guard the data")
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Do what the command line says; returns the exit code."""
    try:
        flags = parse(argv)
        config = settle(flags)
        match flags.command:
            case "run":
                logs.set_up(config.logging.level)
                return uvloop.run(serve(config))
            case "ca":
                ca_init(config, flags)
            case _:
                token_create(config, flags)
        return Exit.STOPPED
    except ConfigError as error:
        return _fail(Exit.USAGE, str(error))
    except CannotStart as error:
        return _fail(error.code, str(error))
    except DomainError as error:
        return _fail(Exit.REFUSED, sentence(error))
    except OSError as error:
        return _fail(Exit.STATE_DIR, f"{error.filename}: {error.strerror}")


async def serve(config: Config) -> int:
    """Run the controller until a signal ends it."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock = RealClock()
    check_state_dir(config.state)
    store = choose_store(config)
    try:
        await store.open()
    except DomainError as error:
        raise CannotStart(Exit.DATABASE, sentence(error)) from error
    try:
        return await _serve(config, store, clock, stop)
    finally:
        await store.close()


async def _serve(config: Config, store: Store, clock: RealClock, stop: asyncio.Event) -> int:
    pki = Pki(config.pki)
    tls = pki.client_context() if pki.ready else None
    links = Satellites(
        SocketDialer(tls, insecure_plain=config.link.insecure_plain), clock, version=__version__
    )
    reports = Reports(store, clock, node=socket.gethostname(), version=__version__)
    service = Service(store, links, clock=clock, draw=RealDraw(), reports=reports)
    try:
        sockets = _bind_all(config, pki)
        await service.start()
    except CannotListen as error:
        raise CannotStart(Exit.ADDRESS, str(error)) from error
    except DomainError as error:
        raise CannotStart(Exit.DATABASE, sentence(error)) from error
    gc.freeze()
    info = Info(
        version=__version__,
        node=socket.gethostname(),
        started_ms=clock.now_ms(),
        listen_address=config.http.listen,
        port=sockets[0].getsockname()[1],
        https_port=sockets[1].getsockname()[1] if len(sockets) > 1 else None,
        config_dir="/etc/bollard",
        database=kind_of_database(config),
    )
    guard = OpenGuard() if config.http.open else LocalGuard()
    app = build(service, store=store, clock=clock, info=info, guard=guard, more=routes(pki, clock))
    serving = Serving()
    await serving.start(app, sockets[0])
    if len(sockets) > 1:
        await serving.start(app, sockets[1], pki)
    links.start(service)
    ticker = asyncio.create_task(Ticker(service, clock).run(), name="ticker")
    _log.info("serving on %s port %s, revision %s", info.listen_address, info.port, service.cluster.revision)
    if config.http.open and not is_loopback(config.http.listen):
        _log.warning("the API on %s is open to everyone who can reach it", info.listen_address)
    notify.tell("READY=1")
    ends: set[asyncio.Future[Any]] = {asyncio.ensure_future(stop.wait()), service.lost, ticker}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    notify.tell("STOPPING=1")
    _log.info("stopping")
    service.events.end()
    await serving.stop()
    ticker.cancel()
    ended = (await asyncio.gather(ticker, return_exceptions=True))[0]
    await service.stop()
    await links.stop()
    if service.lost.done():
        raise CannotStart(Exit.OVERTAKEN, sentence(service.lost.result()))
    if isinstance(ended, Exception):
        _log.critical("the ticker ended", exc_info=ended)
        return Exit.BUG
    return Exit.STOPPED


def _bind_all(config: Config, pki: Pki) -> list[socket.socket]:
    sockets = [bind(config.http.listen, config.http.port)]
    if config.https.enabled:
        if not pki.ready:
            raise CannotStart(Exit.USAGE, "https needs a certificate: run 'bollard-controller ca init' first")
        sockets.append(bind(config.https.listen, config.https.port))
    return sockets


def _fail(code: Exit, message: str) -> int:
    sys.stderr.write(f"bollard-controller: {message}\n")
    return code


if __name__ == "__main__":
    main()
