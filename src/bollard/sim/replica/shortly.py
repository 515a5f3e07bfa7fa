"""The core's short way on a simulated node, gone as the data process goes it: disk writes end at once."""

from collections.abc import Callable

from bollard.replica.protocol import actions as a
from bollard.replica.protocol import events as e
from bollard.replica.protocol.commands import Channel
from bollard.replica.protocol.resource import Resource
from bollard.sim.replica.disk import SimDisk

__all__ = ["shortly"]

_EIO = 5
Act = Callable[[a.Action], None]


def shortly(
    resource: Resource, disk: SimDisk | None, event: e.Event, now_s: float, act: Act
) -> list[e.Event]:
    """Takes the event the short way and acts on what follows; returns what is left of it for the core."""
    match event:
        case e.Request(verb=e.Verb.WRITE, fua=False) if disk is not None:
            if not _write(resource, disk, event, act):
                return [event]
        case e.Received(peer=peer) if event.data and peer in resource.core.peers:
            return _received(resource, disk, event, now_s, act)
        case _:
            return [event]
    return []


def _settle(resource: Resource, act: Act) -> None:
    if resource.unsettled:
        for action in resource.settle():
            act(action)


def _write(resource: Resource, disk: SimDisk, event: e.Request, act: Act) -> bool:
    if event.offset_bytes + event.length_bytes > resource.core.volumes[event.volume].size_bytes:
        return False
    lane = resource.steady.lane(event.volume)
    if lane is None:
        return False
    ops = lane.write([(event.offset_bytes, event.data, event.request)])
    if not ops:
        return False
    for send in resource.steady.take_sends():
        act(send)
    if disk.failing or disk.is_bad(event.offset_bytes, event.length_bytes):
        left = resource.steady.local_failed(ops, _EIO)
        assert not left, "one was given"
    else:
        disk.write(event.offset_bytes, bytes(event.data))
        if not lane.acked:
            lane.wrote(1)
            act(a.Complete(event.request))
    _settle(resource, act)
    return True


def _received(
    resource: Resource, disk: SimDisk | None, event: e.Received, now_s: float, act: Act
) -> list[e.Event]:
    """Bytes that the reader has no room for yet come as a further event."""
    peer = resource.core.peers[event.peer]
    reader, data = resource.reader(event.peer, event.channel), memoryview(event.data)
    room = reader.get_buffer()
    count = min(len(room), len(data))
    room[:count] = data[:count]
    reader.received(count)
    rest: list[e.Event] = [e.Received(event.peer, event.channel, bytes(data[count:]))] if data[count:] else []
    if event.channel is Channel.CONTROL:
        for request in resource.steady.acks(peer, reader, now_s):
            act(a.Complete(request))
    else:
        while disk is not None and (batch := resource.steady.data(peer, reader)) is not None:
            acks = batch.acks
            if disk.failing:
                acks = resource.steady.remote_failed(batch, 0, _EIO)
            else:
                for done, (offset, piece) in enumerate(batch.writes):
                    if disk.is_bad(offset, len(piece)):
                        acks = resource.steady.remote_failed(batch, done, _EIO)
                        break
                    disk.write(offset, bytes(piece))
            if acks:
                act(a.Send(event.peer, Channel.CONTROL, (acks,)))
    _settle(resource, act)
    return rest if resource.steady.waits(reader) else [e.Received(event.peer, event.channel), *rest]
