"""A plain resource: files or devices exported as they are, under the same verbs as a replicated one."""

from collections.abc import Callable
from typing import Any

from bollard.replica.changes import Picture
from bollard.replica.disk import Backing
from bollard.replica.export import PlainVolume, Volume
from bollard.replica.loop import Loop
from bollard.replica.trouble import Trouble, from_os_error
from bollard.wire.engine import ErrorCode, ResourceSpec, VolumeSpec

__all__ = ["PlainResource"]

Finish = Callable[[bool, Trouble | None], None]


class PlainResource:
    """The volumes of one PLAIN resource. Its role is Primary while a client has it open."""

    def __init__(self, loop: Loop, spec: ResourceSpec, on_change: Callable[[], None]) -> None:
        """Opens every backing; raises Trouble and leaves nothing open when one cannot be."""
        self.spec = spec
        self._loop = loop
        self._on_change = on_change
        self._volumes: dict[int, PlainVolume] = {}
        try:
            for volume in spec.volumes:
                self._volumes[volume.number] = self._opened(volume)
        except Trouble:
            self.stop()
            raise

    @property
    def volumes(self) -> dict[int, Volume]:
        return dict(self._volumes)

    def apply(self, spec: ResourceSpec) -> bool:
        """Adds, grows and drops volumes to match; True when something changed. Raises Trouble."""
        changed = False
        wanted = {volume.number: volume for volume in spec.volumes}
        for number in list(self._volumes):
            if number not in wanted or wanted[number].backing != self._volumes[number].backing.path:
                self._drop(number)
                changed = True
        for number, volume in wanted.items():
            present = self._volumes.get(number)
            if present is None:
                self._volumes[number] = self._opened(volume)
                changed = True
            elif self._resized(present, volume):
                changed = True
        self.spec = spec
        return changed

    def start(self) -> None:
        """Nothing runs by itself here."""

    def shut_down(self, *, force: bool, finish: Callable[[], None]) -> None:  # noqa: ARG002  same verbs
        """Nothing has to be said to anyone; `stop` must follow."""
        finish()

    def stop(self) -> None:
        """Closes every backing; nothing may be open for clients any more."""
        for volume in self._volumes.values():
            volume.backing.close()
        self._volumes.clear()

    def in_use(self) -> int:
        """How many clients have a volume open."""
        return sum(volume.openers for volume in self._volumes.values())

    def suspend(self, finish: Finish) -> None:
        waiting = set(self._volumes)
        if not waiting:
            finish(False, None)
            return
        changed = not all(volume.suspended for volume in self._volumes.values())

        def quiet(number: int) -> None:
            waiting.discard(number)
            if not waiting:
                finish(changed, None)

        for number, volume in list(self._volumes.items()):
            volume.suspend(lambda number=number: quiet(number))  # type: ignore[misc]

    def resume(self) -> bool:
        changed = any(volume.suspended for volume in self._volumes.values())
        for volume in self._volumes.values():
            volume.resume()
        return changed

    @property
    def changes(self) -> int:
        """How many bytes were written so far: while nothing may change, it stands still."""
        return sum(volume.writes for volume in self._volumes.values())

    def stand_still(self, quiet: Callable[[Trouble | None], None]) -> None:
        """See freezing.Still."""
        self.suspend(lambda _changed, trouble: quiet(trouble))

    def go_on(self) -> None:
        """See freezing.Still."""
        self.resume()

    def status(self) -> dict[str, Any]:
        """The shape of one resource in `drbdsetup status --json`."""
        suspended = any(volume.suspended for volume in self._volumes.values())
        minors = {volume.number: volume.minor for volume in self.spec.volumes}
        return {
            "name": self.spec.name,
            "node-id": self.spec.node_id,
            "role": "Primary" if self.in_use() else "Secondary",
            "suspended": suspended,
            "suspended-user": suspended,
            "write-ordering": "flush",
            "kind": "plain",
            "devices": [
                {
                    "volume": number,
                    "minor": minors.get(number, -1),
                    "disk-state": "UpToDate",
                    "client": False,
                    "quorum": True,
                    "size": volume.size_bytes >> 10,
                    "read": volume.reads >> 9,
                    "written": volume.writes >> 9,
                    "open": volume.openers > 0,
                }
                for number, volume in sorted(self._volumes.items())
            ],
            "connections": [],
        }

    def picture(self) -> Picture:
        name = self.spec.name
        role = "Primary" if self.in_use() else "Secondary"
        suspended = "user" if any(volume.suspended for volume in self._volumes.values()) else "no"
        picture: Picture = {
            ("resource", (("name", name),)): {"role": role, "suspended": suspended, "may_promote": "yes"}
        }
        for volume in self.spec.volumes:
            key = ("device", (("name", name), ("volume", str(volume.number)), ("minor", str(volume.minor))))
            opened = self._volumes.get(volume.number)
            picture[key] = {
                "backing_dev": volume.backing or "none",
                "disk": "UpToDate",
                "client": "no",
                "quorum": "yes",
                "size": str(opened.size_bytes >> 10 if opened else 0),
            }
        return picture

    def _opened(self, volume: VolumeSpec) -> PlainVolume:
        if volume.backing is None:
            raise Trouble(
                ErrorCode.INVALID,
                f"volume {self.spec.name}/{volume.number} has no backing",
                "a plain resource keeps its data on this node",
                "name a file or block device as backing",
            )
        try:
            backing = Backing(self._loop, volume.backing)
        except OSError as error:
            raise from_os_error(
                f"volume {self.spec.name}/{volume.number} cannot open its backing", error
            ) from error
        try:
            name = f"{self.spec.name}/{volume.number}"
            return PlainVolume(name, backing, volume.size_bytes, self._on_change)
        except ValueError as error:
            backing.close()
            raise Trouble(
                ErrorCode.CONFLICT,
                str(error),
                "the backing is smaller than the volume",
                "grow the backing first",
            ) from error

    def _resized(self, present: PlainVolume, wanted: VolumeSpec) -> bool:
        available = present.backing.measure()
        size = wanted.size_bytes or available
        if size > available:
            raise Trouble(
                ErrorCode.CONFLICT,
                f"volume {present.name} cannot have {size} bytes",
                f"its backing has {available} bytes",
                "grow the backing first",
            )
        changed = size != present.size_bytes
        present.size_bytes = size
        return changed

    def _drop(self, number: int) -> None:
        volume = self._volumes[number]
        if volume.openers:
            raise Trouble(
                ErrorCode.BUSY,
                f"volume {volume.name} is in use",
                f"{volume.openers} NBD client(s) have it open",
                "disconnect the clients first",
            )
        volume.backing.close()
        del self._volumes[number]
