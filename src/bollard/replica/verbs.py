"""Control requests that are commands of the protocol core: one table from records to events."""

from collections.abc import Callable

from bollard.replica.protocol import events as e
from bollard.wire import engine as wire

__all__ = ["Command", "core_command"]

Command = (
    wire.Primary
    | wire.Secondary
    | wire.Verify
    | wire.Resize
    | wire.Connect
    | wire.Disconnect
    | wire.Attach
    | wire.Detach
    | wire.Outdate
    | wire.Invalidate
    | wire.NewCurrentUuid
    | wire.SuspendIo
    | wire.ResumeIo
)


def core_command(request: Command) -> Callable[[int], e.Event]:
    """The event for a request, still to be given its tag."""
    match request:
        case wire.Primary(force=force):
            return lambda tag: e.Promote(tag, force=force)
        case wire.Secondary(force=force):
            return lambda tag: e.Demote(tag, force=force)
        case wire.Verify(volume=volume, peer=peer):
            return lambda tag: e.Verify(tag, volume, peer)
        case wire.Resize(volume=volume, size_bytes=size, assume_clean=clean):
            return lambda tag: e.Resize(tag, volume, size, clean)
        case wire.Connect(peer=peer, discard_my_data=discard):
            return lambda tag: e.Connect(tag, peer, discard)
        case wire.Disconnect(peer=peer, force=force):
            return lambda tag: e.Disconnect(tag, peer, force)
        case wire.Attach(volume=volume):
            return lambda tag: e.Attach(tag, volume)
        case wire.Detach(volume=volume, force=force):
            return lambda tag: e.Detach(tag, volume, force)
        case wire.Outdate():
            return e.Outdate
        case wire.Invalidate(volume=volume):
            return lambda tag: e.Invalidate(tag, volume)
        case wire.NewCurrentUuid(volume=volume, clear_bitmap=clear):
            return lambda tag: e.NewCurrentUuid(tag, volume, clear)
        case wire.SuspendIo():
            return e.SuspendIo
        case wire.ResumeIo():
            return e.ResumeIo
