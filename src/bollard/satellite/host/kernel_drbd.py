"""The kernel's DRBD on this machine: which one, its state from one stream of events, and its tools.

It configures nothing by itself. No tool is started while the module is not loaded: each would load it.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from bollard.domain.errors import Subject
from bollard.domain.layers import ReplicationKind
from bollard.domain.ports import Clock
from bollard.satellite.host.base import Cmd, Done, Files, Follower, HostError, KernelFacts, Runner
from bollard.satellite.tools.drbd_conf import OPTIONS_84, Allowed
from bollard.satellite.tools.drbd_events import KernelModel, model_of, parse_event
from bollard.satellite.tools.drbd_status import ResourceStatus, busy
from bollard.satellite.tools.drbd_version import (
    kernel_version,
    kind_of,
    option_names,
    utils_suffice,
    utils_version,
)

__all__ = ["KernelDrbd"]

AGAIN_S: Final = 2.0
PROGRESS_S: Final = 1.0
HEAL_MAX_S: Final = 300.0
INCLUDE: Final = "/etc/drbd.d/bollard-resources.res"
_PROC: Final = "/proc/drbd"
_QUICK_S: Final = 30.0
_MISSING: Final = -1
_ASK_MAX: Final = 3
_SECTIONS: Final = {
    "Resource": ("resource-options",),
    "Net": ("net-options", "new-peer"),
    "Disk": ("disk-options", "new-minor"),
    "PeerDevice": ("peer-device-options",),
}
_log = logging.getLogger(__name__)


class KernelDrbd:
    """Of one machine. `folder` gets the resource files; without a `follower` it asks instead of listening."""

    def __init__(
        self,
        runner: Runner,
        files: Files,
        clock: Clock,
        *,
        folder: str,
        follower: Follower | None = None,
        load_modules: bool = False,
        include: str = INCLUDE,
        guard: Callable[[str, str, tuple[int, ...], int], None] | None = None,
    ) -> None:
        self._runner = runner
        self._files = files
        self._clock = clock
        self._follower = follower
        self._load = load_modules
        self._include = include
        self._guard = guard
        self._model = KernelModel()
        self._live = False
        self._dirty: set[str] = set()
        self._heard: Counter[str] = Counter()
        """Events by resource: what was asked for before one of them must not undo it."""
        self._refreshed_s = float("-inf")
        self._attempts: dict[tuple[str, int], tuple[int, float]] = {}
        self.folder = folder
        self.facts = KernelFacts(reason="It was not looked for yet.")

    async def probe(self) -> KernelFacts:
        """Find out what is there; again whenever asked, for packages and modules come and go."""
        self.facts = await self._probe()
        if self.facts.kind is not None:
            await self._files.make_folder(self.folder)
            await self._write_include()
        return self.facts

    async def run(self, changed: Callable[[str | None], None]) -> None:
        """For ever: listen to the kernel. `changed` gets a resource's name; None: all may have changed."""
        while True:
            if self._follower is not None and self.facts.kind is not None and await self._loaded():
                await self._listen(self._follower, changed)
                self._live = False
                changed(None)
            elif self.facts.kind is None and (await self.probe()).kind is not None:
                changed(None)
                continue
            for name in {name for (name, _), (_, due) in self._attempts.items() if due <= self._now()}:
                changed(name)
            await self._clock.sleep(AGAIN_S if self.facts.kind is not None else HEAL_MAX_S)

    async def statuses(self) -> dict[str, ResourceStatus]:
        """Every resource of the kernel, whoever made it, as it is now."""
        if self.facts.kind is None or not await self._loaded():
            return {}
        if not self._live:
            self._model = await self._ask("")
        found = {name: self._model.status(name) for name in self._model.names}
        return {name: status for name, status in found.items() if status is not None}

    async def status(self, name: str) -> ResourceStatus | None:
        """One resource by its exact name, None when there is none. Costs a process only after a change."""
        if self.facts.kind is None or not await self._loaded():
            return None
        if not self._live or name in self._dirty:
            self._dirty.discard(name)
            await self._renew(name)
        status = self._model.status(name)
        if status is not None and self._live and busy(status):
            # No event tells how far a resync is; one process a second tells it for all of them.
            if self._now() - self._refreshed_s >= PROGRESS_S:
                self._refreshed_s = self._now()
                before = self._heard.copy()
                for known in (told := await self._ask("")).names:
                    if self._heard[known] == before[known]:
                        self._model.adopt(known, told)
            status = self._model.status(name)
        return status

    async def _renew(self, name: str) -> None:
        """Ask for one resource. While events of it come in, the answer may be older than they are."""
        for _ in range(_ASK_MAX):
            before = self._heard[name]
            told = await self._ask(name)
            if self._heard[name] == before:
                self._model.adopt(name, told)
                return
        self._dirty.add(name)

    def split_brain(self, name: str) -> frozenset[int]:
        """Node ids of the peers with which the kernel found data that diverged."""
        return self._model.split_brain(name)

    def heal_due(self, status: ResourceStatus, *, missing: bool = False) -> bool:
        """Whether a link that gave up shall be tried again now; ever more slowly while that fails.

        `missing`: the kernel has forgotten a link, as 8.4 does with one that it gave up.
        """
        if any(one.connection_state == "Connected" for one in status.connections):
            for connection in status.connections:
                if connection.connection_state == "Connected":
                    self._attempts.pop((status.name, connection.peer_node_id), None)
            if not missing:
                self._attempts.pop((status.name, _MISSING), None)
        never = (0, float("-inf"))
        return any(self._attempts.get(key, never)[1] <= self._now() for key in _given_up(status, missing))

    def healing(self, status: ResourceStatus, *, missing: bool = False) -> None:
        """A new attempt at its links begins."""
        for key in _given_up(status, missing):
            count = self._attempts.get(key, (0, 0.0))[0] + 1
            self._attempts[key] = (count, self._now() + min(HEAL_MAX_S, 5.0 * 2 ** min(count, 8)))

    def forget(self, name: str) -> None:
        """The resource is gone."""
        self._dirty.add(name)
        for key in [key for key in self._attempts if key[0] == name]:
            del self._attempts[key]

    def guard(self, path: str, token: str, minors: tuple[int, ...], deadline_ms: int) -> None:
        """Start what ends a freeze at its deadline. HostError when nothing can be started here."""
        if self._guard is None:
            raise HostError("Nothing here would end a freeze", code="snapshots-not-supported", name=path)
        try:
            self._guard(path, token, minors, deadline_ms)
        except OSError as error:
            raise HostError(
                "What would end a freeze at its deadline cannot be started",
                code="snapshots-not-supported",
                cause=str(error),
                name=path,
            ) from error

    async def tool(self, cmd: Cmd, name: str) -> Done:
        """Run one of DRBD's tools; what is known of the resource `name` is asked anew after it. HostError."""
        if not await self._loaded():
            raise HostError(
                "The kernel module drbd is not loaded",
                code="drbd-module-missing",
                cause="It was loaded when this satellite looked first, or never.",
                correction="Load it (modprobe drbd), or let the satellite do so (load_modules).",
                subject=Subject.RESOURCE,
                name=name,
            )
        try:
            return await self._runner.run(cmd)
        finally:
            self._dirty.add(name)

    def _now(self) -> float:
        return self._clock.monotonic_s()

    async def _loaded(self) -> bool:
        return await self._files.read(_PROC) is not None

    async def _ask(self, name: str) -> KernelModel:
        argv = ("drbdsetup", "events2", "--now", "--statistics", *((name,) if name else ()))
        # Code 10: there is no such resource.
        done = await self._runner.run(Cmd(argv, timeout_s=_QUICK_S, expect=(0, 10)))
        return model_of(done.stdout.decode("utf-8", "replace").splitlines())

    async def _listen(self, follower: Follower, changed: Callable[[str | None], None]) -> None:
        model = KernelModel()
        try:
            async for line in follower.follow(Cmd(("drbdsetup", "events2", "--timestamps", "--statistics"))):
                event = parse_event(line)
                if event is None:
                    if line.strip():
                        _log.warning("DRBD's events are told anew: %s", line.strip()[:200])
                        return
                    continue
                model.take(event)
                self._heard[event.name] += 1
                if model.complete and not self._live:
                    self._model, self._live = model, True
                    changed(None)
                elif self._live and event.name:
                    changed(event.name)
        except HostError as error:
            _log.warning("DRBD's events cannot be listened to: %s %s", error.message, error.cause)

    async def _probe(self) -> KernelFacts:
        utils = await self._utils()
        if not utils:
            return KernelFacts(reason="The program drbdadm is not installed (package drbd-utils).")
        if not utils_suffice(utils):
            return KernelFacts(utils=utils, reason=f"drbd-utils {utils} is too old; 9.0 or newer is needed.")
        version = kernel_version((await self._files.read(_PROC) or b"").decode("ascii", "replace"))
        if not version:
            loadable = kernel_version(await self._said("modinfo", "-F", "version", "drbd"))
            if loadable and self._load:
                await self._said("modprobe", "drbd")
                version = kernel_version((await self._files.read(_PROC) or b"").decode("ascii", "replace"))
            if not version:
                how = (
                    f"The kernel module drbd {loadable} is not loaded; load it, or set load_modules."
                    if loadable
                    else "This kernel has no module drbd."
                )
                return KernelFacts(version=loadable, utils=utils, reason=how)
        kind = kind_of(version)
        if kind is None:
            return KernelFacts(version=version, utils=utils, reason=f"DRBD {version} is not supported.")
        if kind is ReplicationKind.DRBD84:
            return KernelFacts(kind, version, utils, allowed=OPTIONS_84)
        if self._load:
            await self._said("modprobe", "drbd_transport_tcp")
        return KernelFacts(kind, version, utils, allowed=await self._options())

    async def _utils(self) -> str:
        if self._runner.path_of("drbdadm") is None or self._runner.path_of("drbdsetup") is None:
            return ""
        return utils_version(await self._said("drbdadm", "--version"))

    async def _options(self) -> Allowed:
        found: dict[str, frozenset[str]] = {}
        for section, commands in _SECTIONS.items():
            names = [option_names(await self._said("drbdsetup", "xml-help", one)) for one in commands]
            if any(names):
                found[section] = frozenset().union(*names)
        return found

    async def _said(self, *argv: str) -> str:
        try:
            done = await self._runner.run(Cmd(argv, timeout_s=_QUICK_S))
        except HostError as error:
            _log.debug("%s", error.cause)
            return ""
        return done.stdout.decode("utf-8", "replace")

    async def _write_include(self) -> None:
        folder = self._include.rpartition("/")[0]
        if await self._files.look(folder) is None:
            return
        content = f'# Written by Bollard.\ninclude "{self.folder}/*.res";\n'.encode()
        if await self._files.read(self._include) != content:
            await self._files.write(self._include, content, 0o644)


def _given_up(status: ResourceStatus, missing: bool) -> list[tuple[str, int]]:
    """Keys of the links that are not tried by the kernel."""
    alone = [one.peer_node_id for one in status.connections if one.connection_state == "StandAlone"]
    return [(status.name, peer) for peer in (*alone, *([_MISSING] if missing else []))]
