"""Between handshake and volume: looks exports up, asks the volume to open, and carries its answer back.

It sends nothing itself: what the handshake wants done goes to `act`.
"""

from collections.abc import Callable

from bollard.replica.export import Exports, Volume
from bollard.replica.nbd import negotiation as talk
from bollard.replica.nbd import transmission

__all__ = ["Opening"]


class Opening:
    """One client's way to one volume. `volume` is set once it is granted; from then on it must be closed."""

    def __init__(
        self,
        exports: Exports,
        act: Callable[[list[talk.Action]], None],
        *,
        default_export: str,
        tls: bool,
    ) -> None:
        self._exports = exports
        self._act = act
        self._default = default_export
        self._talk = talk.Negotiation(self._look, self._names, tls_offered=tls, tls_required=tls)
        self._abandoned = False
        self.volume: Volume | None = None

    def receive(self, data: bytes) -> None:
        """Takes bytes of the client."""
        self._act(self._talk.receive(data))

    def rest(self) -> bytes:
        """What came after the handshake."""
        return self._talk.rest()

    def abandon(self) -> None:
        """The client is gone: gives the volume back, now or when it answers."""
        self._abandoned = True
        volume, self.volume = self.volume, None
        if volume is not None:
            volume.close()

    def open(self, name: str) -> None:
        """Asks the volume; goes on with the handshake when it has answered."""
        volume = self._exports.find(name or self._default)
        if volume is None:
            self._act(self._talk.refused(f"export {name} is gone"))
            return

        def opened(refusal: str) -> None:
            if self._abandoned:
                if not refusal:
                    volume.close()
                return
            if refusal:
                self._act(self._talk.refused(refusal))
                if not self._abandoned:
                    # Options may have come while the volume was opening.
                    self.receive(b"")
            else:
                actions = self._talk.opened()
                if isinstance(actions[-1], talk.Transmit):
                    self.volume = volume
                else:
                    volume.close()
                self._act(actions)

        volume.open(opened)

    def _look(self, name: str) -> talk.ExportInfo | None:
        volume = self._exports.find(name or self._default)
        if volume is None:
            return None
        flags = transmission.export_flags(read_only=volume.read_only)
        return talk.ExportInfo(volume.size_bytes, flags, volume.description, volume.block_bytes)

    def _names(self) -> list[str]:
        return [name for name, _ in self._exports]
