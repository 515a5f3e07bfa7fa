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
from pathlib import Path
from typing import Any

import uvloop

from bollard import __version__
from bollard.controller import logs, notify
from bollard.controller.audit import Audit, FileAudit, JournalAudit, NoAudit
from bollard.controller.config import Config, ConfigError, parse, settle
from bollard.controller.credentials import auth_disable, ca_init, client_create, client_revoke, token_create
from bollard.controller.joining import routes
from bollard.controller.opening import open_vault, passphrase_of
from bollard.controller.pki import Pki
from bollard.controller.reconcilers.ticker import Ticker
from bollard.controller.reports import Reports
from bollard.controller.rest.api import Info, OpenGuard
from bollard.controller.rest.app import build
from bollard.controller.rest.guard import KeyGuard, LocalGuard
from bollard.controller.rest.limits import Buckets
from bollard.controller.rest.warming import Warmer
from bollard.controller.secure import Secure, ToHttps
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
from bollard.domain import props
from bollard.domain.errors import DomainError
from bollard.runtime.clock import RealClock, RealDraw

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
                {"init": ca_init, "client": client_create, "revoke": client_revoke}[flags.verb](config, flags)
            case "auth":
                asyncio.run(auth_disable(choose_store(config)))
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
    listen = config.https.listen or config.http.listen
    secure = Secure(config.https, listen, pki, config.state / "https", clock)
    try:
        sockets = _bind_all(config, pki, secure)
        await service.start()
    except CannotListen as error:
        raise CannotStart(Exit.ADDRESS, str(error)) from error
    except DomainError as error:
        raise CannotStart(Exit.DATABASE, sentence(error)) from error
    await open_vault(service, passphrase_of(config))
    gc.freeze()
    audit = _audit(config)
    info = _info(config, clock, sockets)
    guard = KeyGuard(
        OpenGuard() if config.http.open else LocalGuard(),
        lambda: service.cluster,
        clock,
        calls=Buckets(config.limits.calls_per_s, config.limits.burst),
        certificates=pki,
    )
    more = routes(pki, clock)
    app = build(
        service, store=store, clock=clock, info=info, guard=guard, more=more, audit=audit, https=secure
    )
    serving = Serving()
    secure.attach(serving, app)
    await serving.start(
        ToHttps(app, secure, lambda: props.NO_HTTP_METRICS.truth(service.cluster.props())), sockets[0]
    )
    if len(sockets) > 1:
        await secure.serve(sockets[1])
    elif props.AUTO_HTTPS.truth(service.cluster.props()):
        await _enable(secure)
    links.start(service)
    ticker = asyncio.create_task(Ticker(service, clock).run(), name="ticker")
    warmer = asyncio.create_task(Warmer(app.api).run(), name="warmer")
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
    warmer.cancel()
    ended = (await asyncio.gather(ticker, warmer, return_exceptions=True))[0]
    await service.stop()
    await links.stop()
    audit.close()
    return _end_of(service, ended)


def _end_of(service: Service, ended: object) -> int:
    if service.lost.done():
        raise CannotStart(Exit.OVERTAKEN, sentence(service.lost.result()))
    if isinstance(ended, Exception):
        _log.critical("the ticker ended", exc_info=ended)
        return Exit.BUG
    return Exit.STOPPED


def _info(config: Config, clock: RealClock, sockets: list[socket.socket]) -> Info:
    return Info(
        version=__version__,
        node=socket.gethostname(),
        started_ms=clock.now_ms(),
        listen_address=config.http.listen,
        port=sockets[0].getsockname()[1],
        https_port=sockets[1].getsockname()[1] if len(sockets) > 1 else None,
        config_dir="/etc/bollard",
        database=kind_of_database(config),
        body_bytes_max=config.limits.body_bytes,
        state_dir=config.state_dir,
    )


def _audit(config: Config) -> Audit:
    match config.audit.to:
        case "off":
            return NoAudit()
        case "journal":
            return JournalAudit()
        case _:
            path = Path(config.audit.path) if config.audit.path else config.state / "audit.jsonl"
            try:
                return FileAudit(path, bytes_max=config.audit.file_bytes, keep=config.audit.keep)
            except OSError as error:
                raise CannotStart(
                    Exit.STATE_DIR, f"the audit log {path} cannot be written: {error.strerror}"
                ) from error


async def _enable(secure: Secure) -> None:
    try:
        await secure.enable()
    except DomainError as error:
        raise CannotStart(Exit.ADDRESS, sentence(error)) from error


def _bind_all(config: Config, pki: Pki, secure: Secure) -> list[socket.socket]:
    sockets = [bind(config.http.listen, config.http.port)]
    if config.https.enabled:
        if not pki.ready:
            raise CannotStart(Exit.USAGE, "https needs a certificate: run 'bollard-controller ca init' first")
        sockets.append(secure.bind())
    return sockets


def _fail(code: Exit, message: str) -> int:
    sys.stderr.write(f"bollard-controller: {message}\n")
    return code


if __name__ == "__main__":
    main()
