"""The doors of the satellite to its machine, as Protocols: files, external commands and the data process.

Drivers and the loop see only these; `local.py` and `bollard.sim.host` stand behind them.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from bollard.domain.errors import DomainError, Subject
from bollard.domain.ids import Uuid
from bollard.domain.layers import AttachWay, LayerKind, ReplicationKind
from bollard.domain.local import LocalBacking, LocalSnapshot
from bollard.domain.seen import Problem
from bollard.satellite.host.shared import Shared
from bollard.satellite.tools.backing_file import Owner
from bollard.satellite.tools.drbd_status import ResourceStatus
from bollard.satellite.tools.tags import Tags
from bollard.wire.engine import Event, Reply, Request

__all__ = [
    "BackingSeen",
    "BlockDevices",
    "Cmd",
    "DeviceSeen",
    "Done",
    "Engine",
    "FileSeen",
    "Files",
    "Follower",
    "Freeze",
    "Host",
    "HostError",
    "Kernel",
    "KernelFacts",
    "LayerMark",
    "LayerSeen",
    "Marks",
    "Runner",
    "SnapshotSeen",
    "Space",
    "Tree",
]


class HostError(DomainError):
    """The machine could not do it; `code` is a stable word, `retry` says whether trying again can help."""

    family = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        code: str,
        cause: str = "",
        correction: str = "",
        subject: Subject = Subject.VOLUME,
        name: str = "",
        said: str = "",
    ) -> None:
        super().__init__(subject, name, message, cause=cause, correction=correction)
        self.code = code
        self.said = said
        """Of `tool-failed`: the end of what the program wrote on its standard error."""

    def problem(self) -> Problem:
        """The same as a record for reports."""
        return Problem(message=self.message, cause=self.cause, correction=self.correction, code=self.code)


class FileSeen(msgspec.Struct, frozen=True):
    """A directory entry that is a regular file, a block device or a directory."""

    name: str
    size_bytes: int
    allocated_bytes: int = 0
    is_folder: bool = False


class Marked(msgspec.Struct, frozen=True):
    """A marker, and the file it stands beside: `file` is None when there is none of that name."""

    name: str
    content: bytes
    file: FileSeen | None


class Space(msgspec.Struct, frozen=True):
    """Of a file system."""

    free_bytes: int
    total_bytes: int
    read_only: bool = False
    block_bytes: int = 4096
    """In which files take room and give it back."""


class LayerSeen(msgspec.Struct, frozen=True):
    """A device layer that is open, by whomever: what it is is known by what it stands on."""

    kind: LayerKind
    path: str
    """To open it by."""
    device: str
    """`MAJOR:MINOR` of its block device."""
    below: tuple[str, ...]
    """`MAJOR:MINOR` of what it stands on: the layer or storage below it, then its companion if it has one."""
    size_kib: int
    secret: bool = False
    """Whether it keeps others from reading what is below."""
    shown: str = ""
    """As in LocalLayer."""


class BackingSeen(msgspec.Struct, frozen=True):
    """One backing that carries our mark, and what reports want to know of it."""

    resource: str
    path: str
    allocated_kib: int
    local: LocalBacking
    device: str = ""
    """`MAJOR:MINOR` while it is a block device that is there; empty otherwise."""
    layers: tuple[LayerSeen, ...] = ()
    """Those open on it, the lowest first."""
    problem: Problem | None = None
    """What is wrong with it, although it can be used."""
    filesystem: str = ""
    """As in Marks."""

    @property
    def top(self) -> str:
        """What the layer above opens: the highest layer, or the storage itself."""
        return self.layers[-1].path if self.layers else self.path


_Known = TypeVar("_Known", Owner, Tags)


class Marks(msgspec.Struct, frozen=True):
    """What storage remembers of the layers above it, for as long as it lives."""

    metadata: bool = False
    """DRBD metadata was written on it."""
    made: tuple[LayerKind, ...] = ()
    """These device layers were made on it, the lowest first."""
    filesystem: str = ""
    """`making` while its first file system is made, `made` when that is done or not needed."""

    def on(self, known: _Known) -> _Known:
        """What storage says of itself, with these added; what was made once stays made."""
        return msgspec.structs.replace(
            known,
            metadata=known.metadata or self.metadata,
            layers=self.made or known.layers,
            filesystem=self.filesystem or known.filesystem,
        )


class LayerMark(msgspec.Struct, frozen=True):
    """Whose a device layer is: one life of one volume on this node."""

    resource: str
    number: int
    volume_uuid: Uuid
    made: bool
    """Whether this layer was made on the storage once: then what is there is opened, never made anew."""
    companion: str = ""
    """The opened device beside the volume, for layers that need one."""


class SnapshotSeen(msgspec.Struct, frozen=True):
    """One snapshot of a volume that carries our mark."""

    resource: str
    """Whose volume it was taken of."""
    path: str
    allocated_kib: int
    local: LocalSnapshot
    made: tuple[LayerKind, ...] = ()
    """Device layers that its content has, the lowest first."""


class Freeze(msgspec.Struct, frozen=True):
    """How a resource stands still."""

    held: bool
    """It does now."""
    changes: int = 0
    """How often its data on this node was changed so far, by anyone."""
    instance: str = ""
    """Of what counts: figures of different ones say nothing about each other."""
    left_ms: int = 0


class Files(Protocol):
    """Files and folders. Every method raises HostError when the system refuses; absence is a value."""

    async def marked(self, folder: str, suffix: str, prefix: str = "") -> tuple[Marked, ...]:
        """The markers `prefix*suffix` of a folder, by name, with their content and the files they mark.

        Upper and lower case of the prefix are alike.
        HostError `pool-missing` when the folder is not there or no folder.
        """

    async def look(self, path: str) -> FileSeen | None:
        """One entry, None when absent."""

    async def space(self, folder: str) -> Space:
        """Free (for an unprivileged writer) and total bytes of the file system under a folder."""

    async def allocate(self, path: str, size_bytes: int, *, thick: bool) -> bool:
        """Make the file at least this large: reserved when `thick`, else sparse; whether it changed.

        Never shrinks. After HostError `no-space` a new file is gone again, an older one has its old size.
        """

    async def copy(self, source: str, path: str, size_bytes: int) -> None:
        """Make the file a durable copy of the first `size_bytes` of another, exactly so large.

        What the source lacks reads as zeroes. Blocks are shared where the file system can, holes stay holes.
        A file at `path` is replaced. Half a copy may be left behind by HostError or a crash.
        """

    async def zero(self, path: str, offset_bytes: int, length_bytes: int) -> None:
        """Let a piece of a file or block device read as zeroes, durably. The piece lies within it."""

    async def remove(self, path: str) -> bool:
        """Remove a file; whether it was there."""

    async def read(self, path: str) -> bytes | None:
        """The content of a small file, None when absent."""

    async def write(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Replace a small file whole and durably: after a crash there is the old content or the new."""

    async def make_folder(self, path: str) -> None:
        """See that a folder is there, its parents too; a new one is for the satellite's user alone."""

    async def can_reflink(self, folder: str) -> bool:
        """Whether files in this folder can be copied by sharing their blocks."""


class Cmd(msgspec.Struct, frozen=True):
    """An external command as data. `argv[0]` is a bare program name; secrets go over `stdin` only."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    timeout_s: float = 45.0
    expect: tuple[int, ...] = (0,)
    """Exit codes that are no error."""
    masked: tuple[str, ...] = ()
    """Arguments that logs and errors show as `***`."""

    def shown(self) -> str:
        """The command for logs and error texts."""
        return " ".join("***" if word in self.masked else word for word in self.argv)


class Done(msgspec.Struct, frozen=True):
    """What a command left: its exit code and what it wrote."""

    code: int
    stdout: bytes
    stderr: bytes


class Runner(Protocol):
    """The only way to external programs."""

    def path_of(self, program: str) -> str | None:
        """The absolute path, found once; None when the machine lacks it."""

    async def run(self, cmd: Cmd) -> Done:
        """Run to the end. HostError: `tool-missing`, `tool-timeout`, `tool-failed` (exit code)."""


class Follower(Protocol):
    """Programs that run on and tell what happens, a line at a time."""

    def follow(self, cmd: Cmd) -> AsyncIterator[str]:
        """Start it and give its lines; it ends with the iteration, and the iteration with it. HostError."""


class Tree(Protocol):
    """The kernel's own files (sysfs, configfs). HostError `kernel-refused` or `busy` when it refuses."""

    async def names(self, path: str) -> tuple[str, ...]:
        """What is in a folder; empty when it is not there."""

    async def read(self, path: str) -> str | None:
        """A small text without the blanks around it; None when it cannot be read."""

    async def write(self, path: str, text: str) -> None:
        """Give a file that is there a text; the kernel acts on it before this returns."""

    async def make(self, path: str) -> bool:
        """Make a folder; whether it was not there."""

    async def drop(self, path: str) -> bool:
        """Remove a folder; whether it was there."""

    async def link(self, path: str, to: str) -> bool:
        """Make a symbolic link; whether it was not there."""

    async def unlink(self, path: str) -> bool:
        """Remove a symbolic link; whether it was there."""

    async def ask(self, path: str, text: str) -> str:
        """Write a text and read the answer, through one opened file."""

    async def device(self, path: str) -> str:
        """`MAJOR:MINOR` of a block device; empty when there is none."""

    async def in_use(self, path: str) -> bool:
        """Whether a block device is mounted or claimed by the kernel for something else."""


class Engine(Protocol):
    """The data process, by its control socket's records."""

    async def ask(self, request: Request) -> Reply:
        """Send one request. A refusal is HostError `engine-<code>`, no connection is `engine-away`."""

    def events(self) -> AsyncIterator[Event]:
        """The present state, then every change; ends with HostError `engine-away` when the process goes."""


class KernelFacts(msgspec.Struct, frozen=True):
    """What of DRBD a node's kernel has."""

    kind: ReplicationKind | None = None
    """None: it cannot be used, for `reason`."""
    version: str = ""
    """Of the module, loaded or not."""
    utils: str = ""
    reason: str = ""
    allowed: Mapping[str, frozenset[str]] = {}
    """Option names that the tools know, by section; a section that is absent was not asked for."""


class Kernel(Protocol):
    """The kernel's DRBD: its state without a process per question, and its tools."""

    folder: str
    """Of the resource files."""
    facts: KernelFacts

    async def run(self, changed: Callable[[str | None], None]) -> None:
        """For ever: listen to the kernel. `changed` gets a resource's name; None: all may have changed."""

    async def status(self, name: str) -> ResourceStatus | None:
        """One resource, None when the kernel has none of exactly this name."""

    async def statuses(self) -> dict[str, ResourceStatus]:
        """Every resource of the kernel, whoever made it, as it is now."""

    def split_brain(self, name: str) -> frozenset[int]:
        """Node ids of the peers with which the kernel found data that diverged."""

    def heal_due(self, status: ResourceStatus, *, missing: bool = False) -> bool:
        """Whether a link that gave up, or that the kernel has forgotten, shall be tried again now."""

    def healing(self, status: ResourceStatus, *, missing: bool = False) -> None:
        """A new attempt at its links begins."""

    def forget(self, name: str) -> None:
        """The resource is gone."""

    def guard(self, path: str, token: str, minors: tuple[int, ...], deadline_ms: int) -> None:
        """Start what ends a freeze at its deadline if the file at `path` still names its token. HostError."""

    async def tool(self, cmd: Cmd, name: str) -> Done:
        """Run one of DRBD's tools; what is known of the resource `name` is asked anew after it. HostError."""


class DeviceSeen(msgspec.Struct, frozen=True):
    """The block device of a volume that the data process serves."""

    path: str
    resource: str
    number: int
    way: AttachWay
    size_bytes: int
    alive: bool = True
    """False: what it stood on is gone or another now, only errors come from it."""


class BlockDevices(Protocol):
    """Block devices on volumes of the data process. Those of other satellites are never seen.

    Methods raise HostError when the system refuses.
    """

    def usable(self) -> Mapping[AttachWay, str]:
        """Every way, the best first; why it cannot be used here, empty when it can."""

    async def seen(self, resource: str = "") -> tuple[DeviceSeen, ...]:
        """All, or those of the resource of exactly this name."""

    async def attach(self, resource: str, number: int, minor: int, way: AttachWay) -> DeviceSeen:
        """Make a device, with a number made of `minor` where that is free. It does not open the volume."""

    async def detach(self, device: DeviceSeen) -> None:
        """Take it away; one that is gone is no mistake. HostError `busy` names its users; nothing is done."""

    async def forget(self, device: DeviceSeen) -> None:
        """Take a dead one away: now, or as soon as its last user goes."""

    async def follow(self, device: DeviceSeen) -> None:
        """Let it take its volume's present size."""

    async def unused(self, devices: tuple[DeviceSeen, ...]) -> tuple[DeviceSeen, ...]:
        """Those that nobody has open, by any name. Who went a moment ago may still count as a user."""

    async def publish(self, device: DeviceSeen) -> None:
        """Let the paths by name lead to it, where no other program keeps them."""


@dataclass(frozen=True)
class Host:
    """One machine."""

    files: Files
    runner: Runner
    engine: Engine
    nbd_socket: str
    """The Unix socket on which the data process serves all volumes, as exports `RESOURCE/NUMBER`."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What is fixed for the life of the process: uname, os_variant, version."""
    shared: Shared = field(default_factory=Shared)
    """Looks at the whole machine that many passes share, and locks."""
    kernel: Kernel | None = None
    """None: this satellite leaves the kernel's DRBD alone."""
    devices: BlockDevices | None = None
    """None: volumes of the data process are not made block devices."""
    tree: Tree | None = None
    """None: this satellite leaves the kernel's NVMe alone."""
