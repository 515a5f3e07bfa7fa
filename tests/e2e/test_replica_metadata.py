"""Metadata beside the data, by the data process and by drbdmeta: made, used, grown, read by both."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bollard.client.nbd import NbdClient
from bollard.wire import engine as wire
from replica_cluster import free_port
from replica_process import ReplicaProcess
from unit.replica.metadata import drbdmeta

pytestmark = drbdmeta.needs_drbdmeta

MIB = 1 << 20
OLD, NEW = 64 * MIB, 4096 * MIB


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ReplicaProcess]:
    made = ReplicaProcess(tmp_path / "state")
    yield made
    made.kill()


def sized(path: Path, size_bytes: int) -> str:
    with path.open("ab") as out:
        out.truncate(size_bytes)
    return str(path)


def spec(backing: str, meta: str, port: int) -> wire.ResourceSpec:
    volume = wire.VolumeSpec(number=0, size_bytes=OLD, minor=1000, backing=backing, meta=meta)
    away = wire.PeerSpec(node_id=1, name="away", address="127.0.0.9", port=1)
    return wire.ResourceSpec(
        name="data", uuid="u1", volumes=(volume,), node_id=0, address="127.0.0.1", port=port, peers=(away,)
    )


@contextmanager
def grown(process: ReplicaProcess) -> Iterator[NbdClient]:
    """A client of the volume once it is served with its new size."""
    end = time.monotonic() + 60.0
    while True:
        with NbdClient(process.nbd, "data") as client:
            if client.size_bytes == NEW:
                yield client
                return
        assert time.monotonic() < end, process.log()[-2000:]
        process.until("data", bool)


def dump(meta: Path) -> str:
    with drbdmeta.unused_minor() as minor:
        return drbdmeta.run(minor, "v09", meta, "flex-external", "dump-md")


def test_it_is_made_used_and_grown_by_us_and_read_by_drbdmeta(
    tmp_path: Path, process: ReplicaProcess
) -> None:
    backing, meta = tmp_path / "data", tmp_path / "meta"
    sized(backing, OLD)
    sized(meta, 1 * MIB)
    process.start()
    make = wire.CreateMd(
        backing=str(backing),
        meta=str(meta),
        max_peers=1,
        node_id=0,
        size_bytes=OLD,
        initial_uuid="00000000DEADBEE0",
    )
    assert process.control.must(make).changed
    process.control.must(wire.Configure(resource=spec(str(backing), str(meta), free_port("127.0.0.1"))))
    with NbdClient(process.nbd, "data") as client:
        assert client.size_bytes == OLD
        client.write(OLD - 4096, b"last" + bytes(4092), fua=True)
        sized(backing, NEW)
        sized(meta, 4 * MIB)
        process.control.must(wire.Resize(name="data", volume=0, size_bytes=NEW))
    with grown(process) as client:
        client.write(NEW - 4096, b"more" + bytes(4092), fua=True)
    assert process.terminate() == 0
    text = dump(meta)
    assert f"la-size-sect {NEW // 512};" in text
    assert int(re.search(r"bits-set (\d+)", text).group(1)) == 2  # type: ignore[union-attr]
    with backing.open("rb") as file:
        file.seek(OLD - 4096)
        assert file.read(4) == b"last"
    process.start()
    process.until("data", lambda state: state["devices"][0]["disk-state"] == "UpToDate")
    with NbdClient(process.nbd, "data") as client:
        assert client.size_bytes == NEW
        assert client.read(NEW - 4096, 512)[:4] == b"more"


def test_what_drbdmeta_made_is_used(tmp_path: Path, process: ReplicaProcess) -> None:
    backing, meta = tmp_path / "data", tmp_path / "meta"
    sized(backing, OLD)
    sized(meta, 1 * MIB)
    with drbdmeta.unused_minor() as minor:
        drbdmeta.run(minor, "v09", meta, "flex-external", "create-md", "1")
    process.start()
    process.control.must(wire.Configure(resource=spec(str(backing), str(meta), free_port("127.0.0.1"))))
    process.control.must(wire.Primary(name="data", force=True))
    with NbdClient(process.nbd, "data") as client:
        assert client.size_bytes == OLD
        client.write(0, b"first" + bytes(507), fua=True)
    assert process.terminate() == 0
    with backing.open("rb") as file:
        assert file.read(5) == b"first"
    assert "la-size-sect" in dump(meta)


def test_options_of_a_volume_are_checked_and_change_in_place(tmp_path: Path, process: ReplicaProcess) -> None:
    backing, meta = tmp_path / "data", tmp_path / "meta"
    sized(backing, OLD)
    sized(meta, 1 * MIB)
    process.start()
    make = wire.CreateMd(
        backing=str(backing), meta=str(meta), max_peers=1, node_id=0, initial_uuid="00000000DEADBEE0"
    )
    process.control.must(make)
    plain = spec(str(backing), str(meta), free_port("127.0.0.1"))
    process.control.must(wire.Configure(resource=plain))
    with NbdClient(process.nbd, "data") as client:
        for options, right in (({"on-io-error": "pass_on"}, True), ({"on-io-error": "never"}, False)):
            (volume,) = plain.volumes
            changed = msgspec.structs.replace(
                plain, volumes=(msgspec.structs.replace(volume, options=options),)
            )
            assert process.control.ask(wire.Configure(resource=changed)).ok is right
        client.write(0, bytes(4096), fua=True)
    for options, right in (({"on-congestion": "pull-ahead"}, False), ({"protocol": "A"}, True)):
        changed = msgspec.structs.replace(plain, options=options)
        assert process.control.ask(wire.Configure(resource=changed)).ok is right
