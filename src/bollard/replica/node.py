"""All resources of this data process: configure, remove, and the requests that name one of them.

It owns the tables (resources, exports, watchers) and the stored configurations; the work is the resources'.
"""

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

import bollard
from bollard.replica.attached import AttachedVolume
from bollard.replica.changes import Picture, changes
from bollard.replica.control import Answer
from bollard.replica.export import DEVICES, Exports
from bollard.replica.freezing import Freezes
from bollard.replica.loop import Loop
from bollard.replica.metadisk import create_md
from bollard.replica.nbd.listen import NbdListener, listen_unix
from bollard.replica.plain import PlainResource
from bollard.replica.replicated import Finish, ReplicatedResource
from bollard.replica.store import StateDir
from bollard.replica.trouble import Trouble, from_os_error
from bollard.replica.verbs import Command, core_command
from bollard.wire import engine as wire
from bollard.wire.engine import ErrorCode, Kind, PeerSpec, Reply, ResourceSpec

__all__ = ["Node"]

_log = logging.getLogger(__name__)
Emit = Callable[[wire.Event], None]
Resource = PlainResource | ReplicatedResource
_STOP_TIMEOUT_S: Final = 10.0


class Node:
    """The handler behind the control socket."""

    def __init__(
        self,
        loop: Loop,
        state: StateDir,
        *,
        wall_clock: Callable[[], float],
        on_shutdown: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._state = state
        self._wall_clock = wall_clock
        self._on_shutdown = on_shutdown
        self.exports = Exports()
        self.devices_folder = ""
        """Where volumes are shown as files for block devices; empty: nowhere."""
        self._resources: dict[str, Resource] = {}
        self._sockets: dict[tuple[str, int], NbdListener] = {}
        self._watchers: dict[int, tuple[str, Emit]] = {}
        self._watcher_count = 0
        self._pictures: dict[str, Picture] = {}
        self._dirty: set[str] = set()
        self._sweep_due = False
        self._unsaved: set[str] = set()
        self._freezes = Freezes(loop, os.urandom(16).hex())

    # -- life

    def restore(self) -> None:
        """Brings the stored resources back; one that fails is logged and the others go on."""
        specs, complaints = self._state.load()
        for complaint in complaints:
            _log.error("stored configuration unreadable: %s", complaint)
        for spec in specs:
            try:
                self._create(spec)
            except Trouble as trouble:
                _log.error("resource %s did not come back: %s: %s", spec.name, trouble, trouble.error.cause)

    def shut_down(self, finish: Callable[[], None]) -> None:
        """Drops every client, stops every resource cleanly, then `finish()`; `stop` must follow."""
        waiting = set(self._resources)
        timer = self._loop.after(_STOP_TIMEOUT_S, finish)

        def stopped(name: str) -> None:
            waiting.discard(name)
            if not waiting and timer.call is not None:
                timer.cancel()
                finish()

        for listener in self._sockets.values():
            listener.close()
        self._sockets.clear()
        for name, resource in list(self._resources.items()):
            resource.shut_down(force=False, finish=lambda name=name: stopped(name))  # type: ignore[misc]
        stopped("")

    def stop(self) -> None:
        """Closes every export and resource; the stored configurations stay."""
        for listener in self._sockets.values():
            listener.close()
        self._sockets.clear()
        for resource in self._resources.values():
            resource.stop()
        self._resources.clear()

    # -- requests

    def handle(self, request: wire.Request, answer: Answer) -> None:
        """Answers exactly once; refusals are replies, never exceptions."""
        try:
            self._route(request, answer)
        except Trouble as trouble:
            answer(Reply(id=request.id, ok=False, error=trouble.error))
        except OSError as error:
            refusal = from_os_error("the request failed", error).error
            answer(Reply(id=request.id, ok=False, error=refusal))

    def _route(self, request: wire.Request, answer: Answer) -> None:
        def reply(changed: bool = False, result: Any = None) -> None:
            answer(Reply(id=request.id, ok=True, changed=changed, result=result))

        def finish(changed: bool, trouble: Trouble | None) -> None:
            if trouble is None:
                reply(changed)
            else:
                answer(Reply(id=request.id, ok=False, error=trouble.error))

        match request:
            case wire.Version():
                reply(result=self._version())
            case wire.Configure(resource=spec):
                self._configure(spec, finish)
            case wire.Remove(name=name, force=force):
                self._remove(name, finish, force=force)
            case wire.CreateMd():
                create_md(self._loop, request, finish)
            case wire.Status(name=name):
                reply(result=[resource.status() for resource in self._named(name)])
            case wire.Show(name=name):
                specs = [resource.spec.redacted() for resource in self._named(name)]
                reply(result=msgspec.to_builtins(specs))
            case wire.SuspendIo(token=token) if token:
                self._freeze(request, answer)
            case wire.ResumeIo(token=token) if token:
                self._thaw(request, answer)
            case wire.ReleaseDevice():
                self._release_device(request, reply)
            case wire.Shutdown():
                reply(changed=True)
                self._loop.after(0.05, self._on_shutdown)
            case wire.WatchEvents():
                raise AssertionError("the control connection serves events2")
            case _:
                self._command(request, finish)

    def _freeze(self, request: wire.SuspendIo, answer: Answer) -> None:
        resource = self._find(request.name)

        def tell(changed: bool, result: Any, trouble: Trouble | None) -> None:
            error = trouble.error if trouble is not None else None
            answer(Reply(id=request.id, ok=error is None, changed=changed, result=result, error=error))

        self._freezes.freeze(request.name, resource, request.token, request.deadline_ms, tell)
        self.changed(request.name)

    def _thaw(self, request: wire.ResumeIo, answer: Answer) -> None:
        changed, result = self._freezes.thaw(request.name, self._find(request.name), request.token)
        answer(Reply(id=request.id, ok=True, changed=changed, result=result))
        self.changed(request.name)

    def _release_device(self, request: wire.ReleaseDevice, reply: Callable[[bool, Any], None]) -> None:
        self._find(request.name)
        device = self.exports.exact(f"{DEVICES}{request.name}/{request.volume}")
        if not isinstance(device, AttachedVolume):
            raise Trouble(
                ErrorCode.NOT_FOUND,
                f"resource {request.name} has no volume {request.volume}",
                "it was never configured, or it was removed",
                "ask for a volume that the resource has",
            )
        known: AttachedVolume = device

        def finish(changed: bool) -> None:
            reply(changed, {"open": known.in_use, "ops": known.ops})

        known.release(request.ops, finish)

    def _command(self, request: Command, finish: Finish) -> None:
        resource = self._find(request.name)
        if isinstance(resource, ReplicatedResource):
            if isinstance(request, wire.Resize):
                resource.measure(request.volume)
            resource.demand(core_command(request), finish)
            return
        match request:
            case wire.SuspendIo():
                resource.suspend(finish)
            case wire.ResumeIo():
                finish(resource.resume(), None)
            case wire.Primary() | wire.Secondary():
                # A plain volume may be used wherever it is.
                finish(False, None)
            case _:
                raise Trouble(
                    ErrorCode.INVALID,
                    f"resource {request.name} is plain",
                    f"{type(request).__name__} needs a replicated resource",
                    "configure the resource as replicated first",
                )
        self.changed(request.name)

    def _version(self) -> dict[str, Any]:
        return {
            "version": bollard.__version__ if hasattr(bollard, "__version__") else "",
            "capabilities": list(wire.CAPABILITIES),
            "pid": os.getpid(),
            "state_dir": str(self._state.path),
            "devices": self.devices_folder,
        }

    def _find(self, name: str) -> Resource:
        resource = self._resources.get(name)
        if resource is None:
            raise Trouble(
                ErrorCode.NOT_FOUND,
                f"resource {name} is not known here",
                "it was never configured, or it was removed",
                "configure it first",
            )
        return resource

    def _named(self, name: str) -> list[Resource]:
        if name:
            return [self._find(name)]
        return [self._resources[key] for key in sorted(self._resources)]

    # -- configure and remove

    def _configure(self, spec: ResourceSpec, finish: Finish) -> None:
        """A refusal changes nothing; a disk that does not attach is told, not undone."""
        _check(spec)
        changed = self._reach(spec)
        resource = self._resources[spec.name]
        if isinstance(resource, PlainResource):
            finish(changed, None)
        else:
            resource.when_attached(lambda trouble: finish(changed, trouble))

    def _reach(self, spec: ResourceSpec) -> bool:
        present = self._resources.get(spec.name)
        if present is None:
            self._create(spec)
            changed = True
        else:
            if present.spec == spec:
                self._save(spec, only_if_missed=True)
                if isinstance(present, ReplicatedResource):
                    present.attach_again()
                return False
            if present.spec.uuid != spec.uuid or present.spec.kind != spec.kind:
                raise Trouble(
                    ErrorCode.CONFLICT,
                    f"resource {spec.name} exists with another identity",
                    f"here it has uuid {present.spec.uuid} and kind {present.spec.kind}",
                    "remove the old resource first",
                )
            changed = present.apply(spec) or present.spec != spec
            self._publish(present)
        self._save(spec)
        return changed

    def _save(self, spec: ResourceSpec, *, only_if_missed: bool = False) -> None:
        """Keeps a configuration; one that could not be kept is tried again at the next request."""
        if only_if_missed and spec.name not in self._unsaved:
            return
        self._unsaved.add(spec.name)
        self._state.save(spec)
        self._unsaved.discard(spec.name)

    def _build(self, spec: ResourceSpec) -> Resource:
        def changed() -> None:
            self.changed(spec.name)

        if spec.kind is Kind.PLAIN:
            return PlainResource(self._loop, spec, changed)
        return ReplicatedResource(
            self._loop,
            spec,
            on_change=changed,
            last_sizes=self._state.last_sizes(spec.name),
            remember_size=lambda number, size: self._state.remember_size(spec.name, number, size),
        )

    def _create(self, spec: ResourceSpec) -> None:
        resource = self._build(spec)
        self._resources[spec.name] = resource
        try:
            resource.start()
            self._publish(resource)
        except BaseException:
            self._unpublish(resource)
            del self._resources[spec.name]
            resource.stop()
            raise
        self.changed(spec.name)

    def _remove(self, name: str, finish: Finish, *, force: bool) -> None:
        resource = self._resources.get(name)
        if resource is None:
            self._state.forget(name)
            finish(False, None)
            return
        if resource.in_use() and not force:
            raise Trouble(
                ErrorCode.BUSY,
                f"resource {name} is in use",
                f"{resource.in_use()} NBD client(s) have it open",
                "disconnect the clients, or remove with force",
            )
        self._state.forget(name)
        self._freezes.forget(name)
        self._unpublish(resource)
        del self._resources[name]

        def stopped() -> None:
            resource.stop()
            self.changed(name)
            finish(True, None)

        resource.shut_down(force=force, finish=stopped)

    def _publish(self, resource: Resource) -> None:
        """Makes the export names and per-volume sockets those of the resource's volumes."""
        name = resource.spec.name
        volumes = resource.volumes
        for export, _ in list(self.exports):
            owner, _, number = export.rpartition("/")
            if owner == name and int(number) not in volumes:
                self._unpublish_volume(name, int(number))
        for spec in resource.spec.volumes:
            export = f"{name}/{spec.number}"
            if self.exports.exact(export) is not volumes[spec.number]:
                self._withdraw(export)
                self.exports.add(export, volumes[spec.number])
                device = AttachedVolume(self._loop, export, volumes[spec.number])
                self.exports.add(f"{DEVICES}{export}", device)
            listener = self._sockets.get((name, spec.number))
            if listener is not None and listener.address != f"unix:{spec.nbd_socket}":
                listener.close()
                del self._sockets[name, spec.number]
                listener = None
            if spec.nbd_socket and listener is None:
                try:
                    sock = listen_unix(spec.nbd_socket)
                except OSError as error:
                    raise from_os_error(f"volume {export} cannot be exported", error) from error
                self._sockets[name, spec.number] = NbdListener(
                    self._loop, sock, self.exports, default_export=export
                )

    def _unpublish(self, resource: Resource) -> None:
        for number in [volume.number for volume in resource.spec.volumes]:
            self._unpublish_volume(resource.spec.name, number)

    def _withdraw(self, export: str) -> None:
        self.exports.remove(export)
        device = self.exports.exact(f"{DEVICES}{export}")
        if isinstance(device, AttachedVolume):
            self.exports.remove(f"{DEVICES}{export}")
            device.retire()

    def _unpublish_volume(self, name: str, number: int) -> None:
        self._withdraw(f"{name}/{number}")
        listener = self._sockets.pop((name, number), None)
        if listener is not None:
            listener.close()

    # -- events

    def watch(self, name: str, emit: Emit) -> Callable[[], None]:
        """See control.Handler."""
        self._sweep()
        time = self._timestamp()
        for known, picture in sorted(self._pictures.items()):
            if name in {"", known}:
                for (kind, identity), fields in picture.items():
                    emit(
                        wire.Event(
                            time=time, action="exists", object=kind, fields={**dict(identity), **fields}
                        )
                    )
        emit(wire.Event(time=time, action="exists", object="-"))
        self._watcher_count += 1
        ticket = self._watcher_count
        self._watchers[ticket] = (name, emit)
        return lambda: self._watchers.pop(ticket, None) and None

    def changed(self, name: str) -> None:
        """Something about a resource may have changed; watchers hear of it at the end of this round."""
        self._dirty.add(name)
        if not self._sweep_due:
            self._sweep_due = True
            self._loop.defer(self._sweep)

    def _sweep(self) -> None:
        self._sweep_due = False
        dirty, self._dirty = self._dirty, set()
        for name in sorted(dirty):
            resource = self._resources.get(name)
            new = resource.picture() if resource is not None else {}
            old = self._pictures.pop(name, {})
            if resource is not None:
                self._pictures[name] = new
            if self._watchers:
                self._emit(name, old, new)

    def _emit(self, name: str, old: Picture, new: Picture) -> None:
        time = self._timestamp()
        for action, kind, fields in changes(old, new):
            event = wire.Event(time=time, action=action, object=kind, fields=fields)
            for wanted, emit in list(self._watchers.values()):
                if wanted in {"", name}:
                    emit(event)

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(self._wall_clock(), UTC).isoformat(timespec="microseconds")


def _check(spec: ResourceSpec) -> None:
    """Refuses what can never work, before anything is touched."""
    numbers = [volume.number for volume in spec.volumes]
    problems = []
    if not spec.name or "/" in spec.name or len(spec.name) > 128:
        problems.append("the name must have 1 to 128 characters and no slash")
    if len(set(numbers)) != len(numbers):
        problems.append("volume numbers must differ")
    if not all(0 <= number < 1 << 16 for number in numbers):
        problems.append("volume numbers must be 0 to 65535")
    if any(volume.size_bytes < 0 or volume.size_bytes % 512 for volume in spec.volumes):
        problems.append("sizes must be multiples of 512 bytes and not negative")
    if spec.kind is Kind.REPLICATED:
        ids = [spec.node_id, *(peer.node_id for peer in spec.peers)]
        if len(set(ids)) != len(ids) or not all(0 <= ident < 32 for ident in ids):
            problems.append("node ids must differ and be 0 to 31")
        addresses = [address for peer in spec.peers for address in _addresses(peer)]
        mine = {spec.address, *(path.address for peer in spec.peers for path in peer.paths)}
        if len({*addresses, *mine}) != len(addresses) + len(mine):
            problems.append("this node and its peers must have different addresses")
        if spec.peers and (not spec.address or not 0 < spec.port < 1 << 16):
            problems.append("a resource with peers needs an address and a port")
    if problems:
        raise Trouble(
            ErrorCode.INVALID,
            f"the configuration of resource {spec.name!r} cannot work",
            "; ".join(problems),
            "correct the configuration and send it again",
        )


def _addresses(peer: PeerSpec) -> set[str]:
    """By which it is reached, and known when it calls."""
    return {path.peer_address for path in peer.paths} or {peer.address}
