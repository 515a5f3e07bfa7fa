"""Our NBD server and our NBD client against each other: data, durability, refusals, TLS, rude clients."""

import random
import socket
import ssl
from pathlib import Path

import pytest

from bollard.client.nbd import NbdClient, NbdClientError, parse_address
from bollard.replica.export import Opened, PlainVolume
from bollard.wire import nbd as wire
from replica_serving import certificate, serving

BLOCK = 4096


def test_what_is_written_is_read_and_is_in_the_file(tmp_path: Path) -> None:
    with serving(tmp_path) as where, NbdClient(where.unix, "vol/0") as client:
        big = random.Random(1).randbytes(3 << 20)
        client.write(5 * BLOCK, b"small" * 100)
        client.write(1 << 20, big, fua=True)
        client.flush()
        assert client.read(5 * BLOCK, 500) == b"small" * 100
        assert client.read(1 << 20, len(big)) == big
        assert where.file.read_bytes()[1 << 20 : (1 << 20) + len(big)] == big
        assert client.size_bytes == 16 << 20


def test_the_bare_resource_name_and_the_empty_name_mean_the_volume(tmp_path: Path) -> None:
    with serving(tmp_path) as where:
        for name in ("vol", ""):
            with NbdClient(where.tcp, name) as client:
                assert client.size_bytes == 16 << 20


def test_pipelined_writes_all_arrive(tmp_path: Path) -> None:
    with serving(tmp_path) as where, NbdClient(where.unix, "vol") as client:
        blocks = [(number * BLOCK, number.to_bytes(8) * 512) for number in range(2000)]
        acked = list(client.write_many(iter(blocks), depth=64))
        assert sorted(acked) == [offset for offset, _ in blocks]
        for offset, data in random.Random(2).sample(blocks, 100):
            assert client.read(offset, BLOCK) == data


def test_zeroes_and_trim_give_space_back(tmp_path: Path) -> None:
    with serving(tmp_path) as where, NbdClient(where.unix, "vol") as client:
        client.write(0, b"\xff" * (4 << 20), fua=True)
        used = where.file.stat().st_blocks
        client.write_zeroes(0, 2 << 20)
        client.trim(2 << 20, 1 << 20, fua=True)
        client.write_zeroes(3 << 20, BLOCK, no_hole=True)
        assert client.read(0, 3 << 20) == bytes(3 << 20)
        assert client.read(3 << 20, 2 * BLOCK) == bytes(BLOCK) + b"\xff" * BLOCK
        assert where.file.stat().st_blocks < used


def test_outside_of_the_volume_is_refused_and_the_connection_lives(tmp_path: Path) -> None:
    with serving(tmp_path) as where, NbdClient(where.unix, "vol") as client:
        with pytest.raises(NbdClientError) as caught:
            client.write((16 << 20) - 512, bytes(1024))
        assert caught.value.errno == wire.NbdError.ENOSPC
        with pytest.raises(NbdClientError):
            client.read(16 << 20, 512)
        assert client.read(0, 512) == bytes(512)


def test_a_read_only_backing_is_announced_and_writes_are_refused(tmp_path: Path) -> None:
    with serving(tmp_path, read_only=True) as where, NbdClient(where.unix, "vol") as client:
        assert client.read_only
        with pytest.raises(NbdClientError) as caught:
            client.write(0, bytes(512))
        assert caught.value.errno == wire.NbdError.EPERM


class Refusing(PlainVolume):
    """A volume that never opens, as a replica whose peer is Primary."""

    def __init__(self) -> None:
        self.size_bytes = 1 << 20

    @property
    def read_only(self) -> bool:
        return False

    @property
    def description(self) -> str:
        return "refuses"

    def open(self, done: Opened) -> None:
        done("resource vol: node n2 is Primary")


def test_a_refused_open_reaches_the_client_in_words(tmp_path: Path) -> None:
    with (
        serving(tmp_path, volume=Refusing()) as where,
        pytest.raises(NbdClientError, match="node n2 is Primary"),
    ):
        NbdClient(where.unix, "vol")


def test_unknown_exports_are_named(tmp_path: Path) -> None:
    with serving(tmp_path) as where, pytest.raises(NbdClientError, match="no export 'nope'"):
        NbdClient(where.unix, "nope")


def test_openers_are_counted_and_given_back_however_a_client_leaves(tmp_path: Path) -> None:
    with serving(tmp_path) as where:
        volume = where.volume
        assert isinstance(volume, PlainVolume)
        first, second = NbdClient(where.unix, "vol"), NbdClient(where.unix, "vol")
        assert volume.openers == 2
        first.close()
        second.abort()
        with NbdClient(where.unix, "vol") as third:
            third.flush()
            assert volume.openers == 1


def test_a_client_that_asks_for_much_and_reads_nothing_is_not_given_unbounded_memory(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, 64 << 20) as where, NbdClient(where.unix, "vol") as client:
        cookies = [client.submit_read(0, 32 << 20) for _ in range(12)]
        assert client.wait(cookies[0]) == bytes(32 << 20)
        for cookie in cookies[1:]:
            client.wait(cookie)


@pytest.mark.parametrize("seed", range(8))
def test_garbage_in_any_phase_ends_the_connection_only(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with serving(tmp_path) as where:
        path = parse_address(where.unix)
        assert isinstance(path, str)
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5)
                sock.connect(path)
                junk = dice.randbytes(dice.randrange(1, 4000))
                if dice.random() < 0.5:
                    junk = (3).to_bytes(4) + junk
                try:
                    sock.sendall(junk)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
                except OSError:
                    pass
        for _ in range(20):
            client = NbdClient(where.unix, "vol", timeout_s=5)
            requests = b"".join(
                wire.REQUEST.pack(
                    wire.REQUEST_MAGIC if dice.random() < 0.9 else dice.getrandbits(32),
                    dice.choice([0, 0, 1, 2, 0xFFFF]),
                    dice.randrange(9),
                    dice.getrandbits(64),
                    dice.choice([0, 4096, 2**63, (16 << 20) - 1]),
                    dice.choice([0, 1, 512, 65536, 33 << 20]),
                )
                for _ in range(dice.randrange(1, 20))
            )
            try:
                client._sock.sendall(requests)
                client._sock.shutdown(socket.SHUT_WR)
                while client._sock.recv(65536):
                    pass
            except OSError:
                pass
            client.abort()
        with NbdClient(where.unix, "vol") as client:
            client.write(0, b"alive" + bytes(507))
            assert client.read(0, 5) == b"alive"


def test_tls_carries_data_and_plain_clients_are_refused(tmp_path: Path) -> None:
    cert_file, key_file = certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert_file, key_file)
    trusting = ssl.create_default_context(cafile=str(cert_file))
    trusting.check_hostname = False
    with serving(tmp_path, tls=server) as where:
        with pytest.raises(NbdClientError, match="TLS"):
            NbdClient(where.tcp, "vol")
        with NbdClient(where.tcp, "vol", tls=trusting) as client:
            data = random.Random(3).randbytes(2 << 20)
            client.write(0, data)
            assert client.read(0, len(data)) == data
            assert (
                len(list(client.write_many(((n * BLOCK, data[:BLOCK]) for n in range(500)), depth=32))) == 500
            )
            cookies = [client.submit_read(0, 1 << 20) for _ in range(16)]
            assert all(client.wait(cookie) for cookie in cookies)
