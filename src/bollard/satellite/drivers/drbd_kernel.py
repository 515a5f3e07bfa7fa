"""The DRBD layer as the kernel runs it, 9 or 8.4: targets become resource files, and `drbdadm` does the rest.

Beside each resource file stands what was applied last. A resource without that is not ours and is left alone.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from bollard.domain.errors import Subject
from bollard.domain.ids import key_of
from bollard.domain.layers import LayerKind, ReplicationKind
from bollard.domain.seen import Problem
from bollard.domain.steps import CreateMetadata, ResizeReplication
from bollard.domain.targets import TargetPeer, TargetResource
from bollard.planning.diff import fingerprint
from bollard.satellite.host import kernel_freeze
from bollard.satellite.host.base import BackingSeen, Cmd, Freeze, Host, HostError, Kernel
from bollard.satellite.host.running import Running
from bollard.satellite.host.spec import spec_of
from bollard.satellite.tools.drbd_conf import ConfError, render9, render84
from bollard.satellite.tools.drbd_md import dump_of, format_of
from bollard.satellite.tools.drbd_status import ConnectionStatus, ResourceStatus
from bollard.satellite.tools.paths import Paths
from bollard.wire.engine import ResourceSpec

__all__ = ["Drbd9", "Drbd84"]

_APPLIED: Final = ".applied"
_FILE: Final = ".res"
_REFUSED: Final = 11
_LONG_S: Final = 120.0
_DEMOTIONS: Final = 6
_DEMOTE_S: Final = 0.1
_IN_USE: Final = ("(-12)", "(-22)", "held open")


class _Applied(msgspec.Struct, frozen=True):
    """What stands beside a resource file."""

    kind: ReplicationKind
    spec: ResourceSpec
    fingerprint: str = ""
    """Empty while it is being applied."""


_DECODER: Final = msgspec.json.Decoder(_Applied)


class _Kernel:
    """See `drivers.Layer` for the verbs."""

    kind = LayerKind.DRBD
    implementation: ReplicationKind

    async def format(self, step: CreateMetadata, path: str, meta: str, host: Host) -> bool:
        """Write it anew: it is only planned for storage whose mark says that it never had any."""
        kernel = self._usable(host, step.resource)
        for device in filter(None, (path, meta)):
            _check_device(device, step.resource)
        kind = self.implementation
        minor, version = str(_minor(step.minor, step.resource)), format_of(kind)
        slots = 1 if kind is ReplicationKind.DRBD84 else step.peer_slots
        place = (meta, "flex-external") if meta else (path, "internal")
        where = ("drbdmeta", "--force", minor, version, *place)
        count = () if kind is ReplicationKind.DRBD84 else (str(slots),)
        await kernel.tool(Cmd((*where, "create-md", *count), timeout_s=_LONG_S), step.resource)
        if step.current_gi is not None:
            text = dump_of(kind, current_gi=step.current_gi, size_kib=step.size_kib, peer_slots=slots)
            dump = f"{kernel.folder}/{step.resource}-{step.number}.metadata"
            await host.files.write(dump, text.encode(), 0o600)  # the tool cannot read it from a pipe
            await kernel.tool(Cmd((*where, "restore-md", dump), timeout_s=_LONG_S), step.resource)
            await host.files.remove(dump)
        return True

    async def open(
        self,
        target: TargetResource,
        backings: Mapping[int, BackingSeen],
        paths: Paths,
        host: Host,
    ) -> bool:
        kernel = self._usable(host, target.name)
        for path in (*paths.data.values(), *paths.metadata.values()):
            _check_device(path, target.name)
        spec = spec_of(target, backings, paths, node_name=host.facts.get("node", "")).redacted()
        wanted = _Applied(self.implementation, spec, fingerprint(target))
        file = f"{kernel.folder}/{target.name}{_FILE}"
        content = self._render(target, paths, host, kernel)
        before = _decoded(await host.files.read(file + _APPLIED))
        status = await kernel.status(target.name)
        if status is not None and before is None:
            raise _foreign(target.name)
        same = await host.files.read(file) == content
        if same and before == wanted and status is not None and not _wanting(spec, status, kernel):
            return False
        if not same:
            await self._check(file, content, target, kernel, host)
        await host.files.write(file + _APPLIED, _encoded(msgspec.structs.replace(wanted, fingerprint="")))
        if not same:
            await host.files.write(file, content, 0o600)
        await self._adjust(target, paths, status, file, kernel)
        await host.files.write(file + _APPLIED, _encoded(wanted))
        return True

    async def grow(self, step: ResizeReplication, name: str, host: Host) -> bool:
        kernel = self._usable(host, name)
        status = await kernel.status(name)
        devices = {device.volume: device for device in status.devices} if status is not None else {}
        device = devices.get(step.number)
        if status is None or device is None or device.disk_state == "Diskless":
            return False  # it will be as large as its configuration says when it comes up
        if device.size >= step.size_kib:
            return False
        argv = ["drbdsetup", "resize", str(device.minor), f"--size={step.size_kib * 2}s"]
        if step.assume_clean:
            argv.append(
                "--assume-clean=yes" if self.implementation is ReplicationKind.DRBD84 else "--assume-clean"
            )
        if any(one.connection_state != "Connected" for one in status.connections):
            argv.append("--assume-peer-has-space=yes")
        resize = Cmd(tuple(argv), timeout_s=_LONG_S)
        in_use = status.role == "Primary" or any(one.peer_role == "Primary" for one in status.connections)
        if self.implementation is ReplicationKind.DRBD84 and not in_use:
            # DRBD 8.4 resizes only where one node is Primary: this one, for the moment.
            await kernel.tool(Cmd(("drbdsetup", "primary", str(device.minor))), name)
            try:
                await kernel.tool(resize, name)
            finally:
                await _demote(device.minor, name, kernel)
            return True
        await kernel.tool(resize, name)
        return True

    async def close(self, name: str, host: Host) -> bool:
        kernel = host.kernel
        assert kernel is not None, name
        file = f"{kernel.folder}/{name}{_FILE}"
        if await host.files.read(file + _APPLIED) is None:
            return False
        if await kernel.status(name) is not None:
            done = await kernel.tool(
                Cmd(("drbdsetup", "down", name), timeout_s=_LONG_S, expect=(0, _REFUSED)), name
            )
            if done.code == _REFUSED:
                raise _refused(name, done.stderr.decode("utf-8", "replace"))
        await host.files.remove(file)
        await host.files.remove(file + kernel_freeze.FROZEN)
        await host.files.remove(file + _APPLIED)
        kernel.forget(name)
        return True

    async def observe(self, host: Host, name: str = "") -> tuple[Running, ...]:
        kernel = host.kernel
        if kernel is None or await host.files.look(kernel.folder) is None:
            return ()
        marked = await host.files.marked(kernel.folder, _FILE + _APPLIED, name)
        records = [record for one in marked if (record := _decoded(one.content)) is not None]
        mine = [
            record
            for record in records
            if record.kind is self.implementation and (not name or key_of(record.spec.name) == key_of(name))
        ]
        if name:
            return tuple([_running(one, await kernel.status(one.spec.name), kernel) for one in mine])
        statuses = await kernel.statuses() if mine else {}
        return tuple(_running(one, statuses.get(one.spec.name), kernel) for one in mine)

    def _usable(self, host: Host, name: str) -> Kernel:
        kernel = host.kernel
        if kernel is not None and kernel.facts.kind is self.implementation:
            return kernel
        found = "" if kernel is None or kernel.facts.kind is None else f"DRBD {kernel.facts.version}"
        why = kernel.facts.reason if kernel is not None else "This satellite was not told to use it."
        raise HostError(
            f"'{name}' cannot be run by this node's kernel",
            code="drbd-module-missing",
            cause=f"The node has {found}, the resource is for {self.implementation.value}." if found else why,
            correction="Install and load the module, or let the data process run the resource "
            "(property Bollard/DrbdImplementation).",
            subject=Subject.RESOURCE,
            name=name,
        )

    def _render(self, target: TargetResource, paths: Paths, host: Host, kernel: Kernel) -> bytes:
        uname = host.facts.get("uname") or host.facts.get("node", "")
        render = render84 if self.implementation is ReplicationKind.DRBD84 else render9
        try:
            return render(target, paths, host=uname, allowed=kernel.facts.allowed).text.encode()
        except ConfError as error:
            raise HostError(
                f"'{target.name}' cannot be expressed as a DRBD configuration",
                code="drbd-config",
                cause=f"{error}.",
                subject=Subject.RESOURCE,
                name=target.name,
            ) from None

    async def _check(
        self, file: str, content: bytes, target: TargetResource, kernel: Kernel, host: Host
    ) -> None:
        """Have drbdadm read it before it replaces the file that is there."""
        candidate = file + ".candidate"
        await host.files.write(candidate, content, 0o600)
        try:
            check = Cmd(("drbdadm", "-c", candidate, "sh-nop"), masked=_secrets(target))
            await kernel.tool(check, target.name)
        finally:
            await host.files.remove(candidate)

    async def _adjust(
        self,
        target: TargetResource,
        paths: Paths,
        status: ResourceStatus | None,
        file: str,
        kernel: Kernel,
    ) -> None:
        attached = {one.volume for one in status.devices if one.disk_state != "Diskless"} if status else set()
        for volume in target.volumes:
            number = volume.number
            if number in paths.data and number not in {*attached, *paths.metadata}:
                # Storage that grew while nothing ran on it: its metadata moves to the new end first.
                where = (str(volume.minor), format_of(self.implementation), paths.data[number])
                move = Cmd(("drbdmeta", *where, "internal", "check-resize"), timeout_s=_LONG_S)
                await kernel.tool(move, target.name)
        if status is not None:
            kernel.healing(status, missing=len(status.connections) < len(_linked(target)))
        adjust = ("drbdadm", "-c", file, "adjust", target.name)
        await kernel.tool(Cmd(adjust, timeout_s=_LONG_S, masked=_secrets(target)), target.name)


class Drbd9(_Kernel):
    """DRBD 9."""

    implementation = ReplicationKind.DRBD9


class Drbd84(_Kernel):
    """The in-tree DRBD 8.4: two nodes, no quorum, promoted by hand."""

    implementation = ReplicationKind.DRBD84

    async def freeze(self, name: str, token: str, deadline_ms: int, host: Host) -> Freeze:
        """See `drivers.Suspends`."""
        self._usable(host, name)
        return await kernel_freeze.freeze(name, token, deadline_ms, host)

    async def thaw(self, name: str, token: str, host: Host) -> Freeze:
        """See `drivers.Suspends`."""
        return await kernel_freeze.thaw(name, token, host)


async def _demote(minor: int, name: str, kernel: Kernel) -> None:
    """Udev looks at a device that has changed: it is held open for a moment by nobody who matters."""
    demote = Cmd(("drbdsetup", "secondary", str(minor)))
    for attempt in range(_DEMOTIONS):
        try:
            await kernel.tool(demote, name)
            return
        except HostError:
            if attempt == _DEMOTIONS - 1:
                raise
            await asyncio.sleep(_DEMOTE_S * 2**attempt)


def _running(applied: _Applied, status: ResourceStatus | None, kernel: Kernel) -> Running:
    spec, kind = applied.spec, applied.kind
    if status is None:
        return Running(kind, spec, fingerprint="", broken=True)
    split = kernel.split_brain(spec.name)
    lacks = _lacks(spec, status)
    # After a split brain 8.4 forgets the link: it is tried again, but not at once each time.
    missing = (lacks and not split) or kernel.heal_due(status, missing=lacks)
    problem = _problem(spec, status, split)
    if kind is ReplicationKind.DRBD84:
        status = _named(spec, status)
    return Running(
        kind,
        spec,
        status,
        may_promote=bool(status.may_promote) or (kind is ReplicationKind.DRBD84 and _could_promote(status)),
        fingerprint=applied.fingerprint,
        broken=missing,
        problem=problem,
    )


def _lacks(spec: ResourceSpec, status: ResourceStatus) -> bool:
    """Whether the kernel has less of the resource than was applied."""
    volumes = {device.volume for device in status.devices}
    diskless = all(volume.backing is None for volume in spec.volumes)
    linked = [peer for peer in spec.peers if not (diskless and peer.diskless)]
    return len(status.connections) < len(linked) or any(one.number not in volumes for one in spec.volumes)


def _wanting(spec: ResourceSpec, status: ResourceStatus, kernel: Kernel) -> bool:
    """Whether something of what was applied is missing and is to be tried again: a part, a link, a disk."""
    states = {device.volume: device.disk_state for device in status.devices}
    lost = any(one.backing is not None and states.get(one.number) == "Diskless" for one in spec.volumes)
    return lost or _lacks(spec, status) or kernel.heal_due(status)


def _linked(target: TargetResource) -> list[TargetPeer]:
    """The peers that it has a link to: two nodes without disks have none to each other."""
    assert target.replication is not None, target.name
    diskless = all(volume.gross_kib is None for volume in target.volumes)
    return [peer for peer in target.replication.peers if not (diskless and peer.diskless)]


def _could_promote(status: ResourceStatus) -> bool:
    return all(device.disk_state == "UpToDate" for device in status.devices) and not any(
        connection.peer_role == "Primary" for connection in status.connections
    )


def _named(spec: ResourceSpec, status: ResourceStatus) -> ResourceStatus:
    """DRBD 8.4 calls its only peer `peer`: the name and the id that the resource gave it."""
    connections: list[ConnectionStatus] = [
        msgspec.structs.replace(connection, name=peer.name, peer_node_id=peer.node_id)
        for connection, peer in zip(status.connections, spec.peers, strict=False)
    ]
    return msgspec.structs.replace(status, connections=connections)


def _problem(spec: ResourceSpec, status: ResourceStatus, split: frozenset[int]) -> Problem | None:
    alone = [one.peer_node_id for one in status.connections if one.connection_state == "StandAlone"]
    if split:
        return Problem(
            message=f"'{spec.name}' here and on '{_name_of(spec, min(split))}' diverged (split brain)",
            cause="Both were written while they could not reach each other.",
            correction=f"Where changes shall be lost: drbdadm disconnect {spec.name}; drbdadm connect "
            f"--discard-my-data {spec.name}. The other node connects again by itself.",
            code="split-brain",
        )
    if alone:
        return Problem(
            message=f"The link of '{spec.name}' to '{_name_of(spec, alone[0])}' gave up",
            cause="The kernel closed it after a refused handshake, or somebody disconnected it.",
            correction="It is tried again by itself; the kernel's log says why it was refused.",
            code="stand-alone",
        )
    return None


def _name_of(spec: ResourceSpec, node_id: int) -> str:
    """Of a peer; DRBD 8.4 does not tell ids, and has only one."""
    if len(spec.peers) == 1:
        return spec.peers[0].name
    return next((peer.name for peer in spec.peers if peer.node_id == node_id), str(node_id))


def _decoded(content: bytes | None) -> _Applied | None:
    if content is None:
        return None
    try:
        return _DECODER.decode(content)
    except msgspec.DecodeError:
        return None


def _encoded(applied: _Applied) -> bytes:
    return msgspec.json.encode(applied) + b"\n"


def _secrets(target: TargetResource) -> tuple[str, ...]:
    """What the tools may repeat in their errors, and must not be shown."""
    secret = target.replication.secret if target.replication is not None else None
    return (secret, secret.replace(" ", "\\ ")) if secret else ()


def _minor(minor: int | None, name: str) -> int:
    if minor is None:
        raise HostError(f"A volume of '{name}' has no minor number", code="drbd-config", name=name)
    return minor


def _check_device(path: str, name: str) -> None:
    if not path.startswith("/dev/"):
        raise HostError(
            f"The kernel cannot run '{name}' on a plain file",
            code="drbd-no-device",
            cause=f"{path} is no block device.",
            correction="Use a storage pool of LVM or ZFS, or let the data process run the resource "
            "(property Bollard/DrbdImplementation).",
            name=name,
        )


def _foreign(name: str) -> HostError:
    return HostError(
        f"The kernel runs a resource '{name}' that is not Bollard's",
        code="foreign-resource",
        cause="There is no record of it in the satellite's folder.",
        correction=f"Rename or remove it (drbdadm down {name}), or use another name.",
        subject=Subject.RESOURCE,
        name=name,
    )


def _refused(name: str, said: str) -> HostError:
    in_use = any(word in said for word in _IN_USE)
    return HostError(
        f"'{name}' is in use" if in_use else f"DRBD refuses to stop '{name}'",
        code="engine-busy" if in_use else "drbd-refused",
        cause=said.strip()[:400],
        correction="Close its volumes on this node (unmount, stop what uses them)." if in_use else "",
        subject=Subject.RESOURCE,
        name=name,
    )
