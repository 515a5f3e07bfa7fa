"""Carries out the core's short way: bursts of writes straight to the disk, acknowledged together.

What the core declines goes to it as events; this decides nothing.
"""

import errno
import os
from typing import Final, Protocol

from bollard.replica.disk import Buffer
from bollard.replica.export import Writing, tell, told
from bollard.replica.loop import Loop
from bollard.replica.protocol import actions as a
from bollard.replica.protocol.commands import Channel
from bollard.replica.protocol.resource import Resource
from bollard.replica.protocol.steady import Batch
from bollard.replica.protocol.writes import QuickOp
from bollard.replica.storage import Storage

__all__ = ["Owner", "Quick", "Sender"]

_EIO: Final = errno.EIO
_NONE: Final[list[Writing]] = []


class Sender(Protocol):
    """What is needed of the links."""

    def send(self, node_id: int, channel: Channel, buffers: tuple[Buffer, ...]) -> None: ...
    def send_now(self, node_id: int, channel: Channel, buffers: tuple[Buffer, ...]) -> None: ...


class Owner(Protocol):
    """What is needed of the resource."""

    @property
    def core(self) -> Resource: ...
    def carry_out(self, actions: list[a.Action]) -> None: ...
    def break_off(self, error: Exception) -> None: ...


class Quick:
    """The short way of one resource."""

    def __init__(self, owner: Owner, loop: Loop, sender: Sender, storage: Storage) -> None:
        self._owner = owner
        self._core = owner.core
        self._steady = owner.core.steady
        self._loop = loop
        self._sender = sender
        self._storage = storage
        self._disks = storage.disks

    def stop(self) -> None:
        """Nothing is answered any more: writes under way fail."""
        for asked in self._steady.under_way():
            told(asked, errno.ESHUTDOWN)

    # -- clients

    def write(self, number: int, writes: list[Writing]) -> list[Writing]:
        """Takes writes off the front and returns the rest, which the core must be asked for."""
        steady = self._steady
        lane = steady.lanes.get(number) or steady.lane(number)
        if lane is None:
            return writes
        taken = 0
        try:
            ops = lane.write(writes)
            taken = len(ops) if lane.acked else 0
            for act in steady.take_sends():
                self._sender.send_now(act.peer, act.channel, act.buffers)
            there = self._put_own(number, ops, writes)
            if not lane.acked:
                lane.wrote(len(there))
                taken = len(ops)
                tell([op.request for op in there])
        except Exception as error:  # noqa: BLE001  the resource's outermost frame: others must go on
            self._owner.break_off(error)
        return writes[taken:] if taken < len(writes) else _NONE

    def _put_own(self, number: int, ops: list[QuickOp], writes: list[Writing]) -> list[QuickOp]:
        """To the disk; returns those that are there."""
        disk = self._disks[number].data
        self._storage.changes += len(ops)
        fd, pwrite = disk.fd, os.pwrite
        at = 0
        try:
            for _ in ops:
                offset, data, _ = writes[at]
                if pwrite(fd, data, offset) != len(data):
                    disk.write(offset, data)
                at += 1
        except OSError as error:
            there = ops[:at]
            rest = self._steady.local_failed(ops[at:], error.errno or _EIO)
            self._owner.carry_out(self._core.settle())
            return there + self._put_own(number, rest, writes[at + 1 :]) if rest else there
        return ops

    # -- peers

    def received(self, peer: int, channel: Channel) -> bool:
        """Takes what it can of what arrived; False when the rest is for the core."""
        steady = self._steady
        found = self._core.core.peers.get(peer)
        if found is None:
            return False
        reader = found.readers[channel]
        try:
            if channel is Channel.CONTROL:
                tell(steady.acks(found, reader, self._loop.now()))
            else:
                while (batch := steady.data(found, reader)) is not None:
                    self._put(batch)
            if self._core.unsettled:
                self._owner.carry_out(self._core.settle())
        except Exception as error:  # noqa: BLE001  the resource's outermost frame: others must go on
            self._owner.break_off(error)
            return True
        return steady.waits(reader)

    def _put(self, batch: Batch) -> None:
        disk = self._disks[batch.volume.number].data
        self._storage.changes += len(batch.writes)
        fd, pwrite, acks = disk.fd, os.pwrite, batch.acks
        at = 0
        try:
            for offset, data in batch.writes:
                if pwrite(fd, data, offset) != len(data):
                    disk.write(offset, data)
                at += 1
        except OSError as error:
            acks = self._steady.remote_failed(batch, at, error.errno or _EIO)
        if acks:
            self._sender.send(batch.peer.node_id, Channel.CONTROL, (acks,))
