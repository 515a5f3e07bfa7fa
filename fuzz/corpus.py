"""Inputs to begin with, by the codecs' own encoders: a simulated cluster's traffic and disks, and samples."""

import random
from collections.abc import Iterator

import msgspec

from bollard.domain.cluster import KINDS
from bollard.replica.metadata import al_block, superblock08
from bollard.replica.metadata.layout import Geometry, internal
from bollard.replica.protocol.commands import Channel
from bollard.replica.protocol.config import QUORUM_OFF
from bollard.replica.protocol.dialect import DRBD84
from bollard.sim.replica.disk import SimDisk, make_metadata
from bollard.sim.replica.history import History
from bollard.sim.replica.kind import Kind
from bollard.wire import engine, link, nbd
from fuzz.targets import COMMANDS, DEVICE_BYTES, DIALECTS, VOLUME_BYTES

_NEWEST = 4
_HEADERS = {b"\x86\x20\xec\x20": (16, 6, 8), b"\x83\x74\x02\x67": (8, 4, 6)}
"""Magic of a frame's header: its length, and where command and length of the payload are."""


def seeds(name: str) -> list[bytes]:
    """What a target starts from; always the same."""
    return sorted(set(_MAKERS[name]())) if name in _MAKERS else []


def _traffic(version: int) -> list[bytes]:
    """What two nodes send each other in a short history with crashes and resyncs."""
    sent: list[bytes] = []
    options: dict[str, object] = {"quorum": QUORUM_OFF, "max_version": version}
    history = History(11, Kind(witnesses=0, options=options))
    send = history.cluster.network.send

    def noted(node: int, peer: int, channel: Channel, data: bytes) -> None:
        sent.append(data)
        send(node, peer, channel, data)

    history.cluster.network.send = noted  # type: ignore[method-assign]
    for node in history.cluster.nodes:
        history.boot(node.node_id)
    history.cluster.run(3.0)
    for _ in range(25):
        history.step()
    return sent


def _both() -> Iterator[tuple[int, bytes]]:
    for dialect, version in ((1, DRBD84), (_NEWEST, DIALECTS[_NEWEST].version)):
        for data in _traffic(version):
            yield dialect, data


def _packets() -> Iterator[bytes]:
    """A few payloads of each command."""
    seen: dict[tuple[int, int], int] = {}
    for dialect, data in _both():
        form = _HEADERS.get(data[:4])
        if form is None:
            continue
        head, cmd_at, _ = form
        cmd = int.from_bytes(data[cmd_at : cmd_at + 2], "big")
        seen[dialect, cmd] = seen.get((dialect, cmd), 0) + 1
        if cmd in COMMANDS and seen[dialect, cmd] <= 4:
            yield bytes((dialect, COMMANDS.index(cmd))) + data[head : head + 4000]


def _streams() -> Iterator[bytes]:
    for dialect, data in _both():
        if len(data) < 2000:
            yield bytes((dialect, 30)) + data


def _bitmaps() -> Iterator[bytes]:
    yield bytes((255, 0)) + bytes(255)
    for dialect, data in _both():
        if len(data) < 300 and data[6:8] == b"\x00\x19" and dialect == _NEWEST:
            yield bytes((len(data) - 17, data[16])) + data[17:]


def _devices() -> Iterator[bytes]:
    for peers in (1, 3, 7):
        disk = SimDisk(DEVICE_BYTES)
        make_metadata(disk, max_peers=peers, day0_uuid=0x1234567890ABCDE0)
        yield disk.read(DEVICE_BYTES - (64 << 10), 64 << 10)


def _superblocks() -> Iterator[bytes]:
    for device in _devices():
        yield device[-4096:]


def _superblocks08() -> Iterator[bytes]:
    yield superblock08.encode08(superblock08.fresh08(internal(DEVICE_BYTES, Geometry(max_peers=1))))


def _logs() -> Iterator[bytes]:
    yield al_block.INITIALISED_BLOCK * 8


def _nbd_handshakes() -> Iterator[bytes]:
    magic, go = (0x49484156454F5054).to_bytes(8, "big"), b"\x00\x00\x00\x03vol\x00\x01\x00\x03"
    for option, body in ((7, go), (6, go), (1, b"vol"), (3, b""), (8, b""), (5, b""), (2, b"")):
        yield (
            b"\0\xff\x00\x00\x00\x03"
            + magic
            + option.to_bytes(4, "big")
            + len(body).to_bytes(4, "big")
            + body
        )


def _nbd_requests() -> Iterator[bytes]:
    for command in nbd.Command:
        yield nbd.REQUEST.pack(nbd.REQUEST_MAGIC, 0, command, 7, 4096, 512) + bytes(512)


def _spec() -> engine.ResourceSpec:
    peer = engine.PeerSpec(node_id=1, name="n1", address="10.0.0.2", port=7000)
    volume = engine.VolumeSpec(number=0, size_bytes=VOLUME_BYTES, minor=1000, backing="/dev/vg/r0")
    return engine.ResourceSpec(
        name="r0", uuid="u", volumes=(volume,), peers=(peer,), port=7000, options={"protocol": "C"}
    )


def _requests() -> Iterator[bytes]:
    orders = (engine.Configure(resource=_spec()), engine.Remove(name="r0"), engine.Primary(name="r0"))
    for record in (engine.Version(), engine.Status(), engine.WatchEvents(), *orders):
        yield engine.encode_line(record).strip()


def _replies() -> Iterator[bytes]:
    yield engine.encode_line(engine.Reply(id=1, ok=True, result={"a": [1, None]})).strip()


def _specs() -> Iterator[bytes]:
    yield engine.encode_spec(_spec())


def _links() -> Iterator[bytes]:
    yield b"\xff" + link.encode(link.Ping()) + link.encode(link.Bye(code="x", message="y"))


def _documents() -> Iterator[bytes]:
    """Of each kind an object with all its members' names, and plain values."""
    for at, kind in enumerate(sorted(KINDS)):
        for value in ("x", 1, [], {}):
            members = {field.encode_name: value for field in msgspec.structs.fields(KINDS[kind])}
            yield bytes((at,)) + msgspec.json.encode(members)


def _noise() -> Iterator[bytes]:
    dice = random.Random(5)
    for size in (16, 40, 80, 200):
        yield dice.randbytes(size)


_MAKERS = {
    "drbd-packet": _packets,
    "drbd-stream": _streams,
    "drbd-bitmap": _bitmaps,
    "superblock-v09": _superblocks,
    "superblock-v08": _superblocks08,
    "metadata": _devices,
    "activity-log": _logs,
    "nbd-handshake": _nbd_handshakes,
    "nbd-requests": _nbd_requests,
    "fuse-request": _noise,
    "control-request": _requests,
    "control-reply": _replies,
    "resource-spec": _specs,
    "link-frames": _links,
    "store-document": _documents,
}
