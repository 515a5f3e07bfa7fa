"""Real sockets: who is let in by TLS, what plain links may do, and streams that lie about their length."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bollard.controller.pki import Pki
from bollard.controller.sessions.base import DialError
from bollard.controller.sessions.sockets import SocketDialer
from bollard.domain.ids import NetIfName, Uuid
from bollard.domain.nodes import Encryption, NetInterface
from bollard.runtime.clock import RealClock
from bollard.wire.link import Hello, LinkError, Welcome
from unit.controller.fakes import FakeSatellite

HELLO = Hello(cluster_uuid="c", version="1", node="n1")


def net_if(port: int, encryption: Encryption = Encryption.PLAIN, address: str = "127.0.0.1") -> NetInterface:
    return NetInterface(NetIfName("default"), address, Uuid("u"), port, encryption)


def joined(pki: Pki, node: str, folder: Path) -> ssl.SSLContext:
    """The TLS context of a satellite that has joined under this name."""
    now_ms = RealClock().now_ms()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    token = pki.create_token(node, 60, now_ms, "t" * 24 + node)
    certificate, authority = pki.join(token, node, request.public_bytes(serialization.Encoding.PEM), now_ms)
    folder.mkdir()
    (folder / "crt").write_bytes(certificate)
    (folder / "ca").write_bytes(authority)
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "crt", folder / "key")
    context.load_verify_locations(folder / "ca")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def authority(folder: Path) -> Pki:
    pki = Pki(folder)
    pki.init(RealClock().now_ms())
    return pki


@contextlib.asynccontextmanager
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeSatellite]:
    fake = FakeSatellite("n1")
    await fake.start(tls=tls)
    try:
        yield fake
    finally:
        await fake.stop()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await scene()
        # Let closed transports go before the loop does.
        await asyncio.sleep(0.02)

    asyncio.run(whole())


def test_mutual_tls_with_the_right_names(tmp_path: Path) -> None:
    pki = authority(tmp_path / "pki")
    theirs = joined(pki, "n1", tmp_path / "n1")

    async def scene() -> None:
        async with listening(theirs) as fake:
            dialer = SocketDialer(pki.client_context())
            channel = await dialer.dial("N1", net_if(fake.port, Encryption.SSL))
            await channel.send(HELLO)
            assert isinstance(await channel.receive(), Welcome)
            channel.close()

    play(scene)


def test_a_satellite_with_another_nodes_certificate_is_refused(tmp_path: Path) -> None:
    pki = authority(tmp_path / "pki")
    theirs = joined(pki, "n2", tmp_path / "n2")

    async def scene() -> None:
        async with listening(theirs) as fake:
            with pytest.raises(DialError, match="does not name node 'n1'") as caught:
                await SocketDialer(pki.client_context()).dial("n1", net_if(fake.port, Encryption.SSL))
            assert caught.value.status == "HOSTNAME_MISMATCH"
            assert not fake.messages

    play(scene)


def test_a_satellite_of_another_authority_is_refused(tmp_path: Path) -> None:
    mine, other = authority(tmp_path / "mine"), authority(tmp_path / "other")
    theirs = joined(other, "n1", tmp_path / "n1")

    async def scene() -> None:
        async with listening(theirs) as fake:
            with pytest.raises(DialError, match="not trusted") as caught:
                await SocketDialer(mine.client_context()).dial("n1", net_if(fake.port, Encryption.SSL))
            assert caught.value.status == "AUTHENTICATION_ERROR"
            assert not fake.messages

    play(scene)


def test_a_controller_of_another_authority_gets_nothing_from_a_satellite(tmp_path: Path) -> None:
    mine, other = authority(tmp_path / "mine"), authority(tmp_path / "other")
    theirs = joined(mine, "n1", tmp_path / "n1")
    intruder = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    intruder.load_verify_locations(mine.ca_certificate)
    intruder.load_cert_chain(other.certificate, other.key)

    async def scene() -> None:
        async with listening(theirs) as fake:
            channel = None
            with contextlib.suppress(DialError, OSError, LinkError):
                channel = await SocketDialer(intruder).dial("n1", net_if(fake.port, Encryption.SSL))
                await channel.send(HELLO)
                assert await channel.receive() is None
            if channel is not None:
                channel.close()
            assert not fake.messages

    play(scene)


def test_plain_towards_tls_and_tls_towards_plain_fail_plainly(tmp_path: Path) -> None:
    pki = authority(tmp_path / "pki")
    theirs = joined(pki, "n1", tmp_path / "n1")

    async def scene() -> None:
        async with listening() as fake:
            with pytest.raises(DialError) as caught:
                await SocketDialer(pki.client_context()).dial("n1", net_if(fake.port, Encryption.SSL))
            assert caught.value.status in ("AUTHENTICATION_ERROR", "OFFLINE")
        async with listening(theirs) as fake:
            channel = await SocketDialer(None).dial("n1", net_if(fake.port))
            await channel.send(HELLO)
            with contextlib.suppress(OSError, LinkError):
                assert await channel.receive() is None
            channel.close()
            assert not fake.messages

    play(scene)


def test_tls_without_a_certificate_says_what_to_do() -> None:
    async def scene() -> None:
        with pytest.raises(DialError, match="ca init") as caught:
            await SocketDialer(None).dial("n1", net_if(1, Encryption.SSL))
        assert caught.value.status == "AUTHENTICATION_ERROR"

    play(scene)


@pytest.mark.parametrize("address", ["192.0.2.1", "::ffff:192.0.2.1", "example.invalid"])
def test_a_plain_link_to_another_machine_is_refused(address: str) -> None:
    async def scene() -> None:
        with pytest.raises(DialError, match="--insecure-plain") as caught:
            await SocketDialer(None).dial("n1", net_if(3366, address=address))
        assert caught.value.status == "AUTHENTICATION_ERROR"

    play(scene)


def test_a_plain_link_is_possible_by_the_flag() -> None:
    async def scene() -> None:
        with pytest.raises(DialError) as caught:
            await SocketDialer(None, insecure_plain=True).dial("n1", net_if(9, address="example.invalid"))
        assert caught.value.status == "OFFLINE"

    play(scene)


def test_nobody_there() -> None:
    async def scene() -> None:
        with pytest.raises(DialError, match="cannot be reached") as caught:
            await SocketDialer(None).dial("n1", net_if(9))
        assert caught.value.status == "OFFLINE"

    play(scene)
