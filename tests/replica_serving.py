"""A data path inside the test process: a loop on a thread that serves plain volumes over NBD."""

import contextlib
import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bollard.replica.disk import Backing
from bollard.replica.export import Exports, PlainVolume, Volume
from bollard.replica.loop import Loop
from bollard.replica.nbd.listen import NbdListener, listen_tcp, listen_unix


@dataclass
class Serving:
    """Where the volume `vol/0` is served, and its backing file."""

    loop: Loop
    unix: str
    tcp: str
    file: Path
    volume: Volume

    def uri(self) -> str:
        return f"nbd+unix:///vol/0?socket={self.unix.removeprefix('unix:')}"


@contextlib.contextmanager
def serving(
    directory: Path,
    size_bytes: int = 16 << 20,
    *,
    read_only: bool = False,
    tls: ssl.SSLContext | None = None,
    volume: Volume | None = None,
) -> Iterator[Serving]:
    """Serves one volume on a Unix and a TCP socket until the block ends."""
    file = directory / "backing"
    with file.open("ab") as out:
        out.truncate(size_bytes)
    loop = Loop()
    exports = Exports()
    backing = Backing(loop, str(file), read_only=read_only)
    served = volume or PlainVolume("vol/0", backing)
    exports.add("vol/0", served)
    listeners = [
        NbdListener(loop, listen_unix(str(directory / "nbd.sock")), exports, default_export="vol/0"),
        NbdListener(loop, listen_tcp("127.0.0.1", 0), exports, default_export="vol/0", tls=tls),
    ]
    unix, tcp = (listener.address for listener in listeners)
    thread = threading.Thread(target=loop.run, name="nbd-loop")
    thread.start()
    try:
        yield Serving(loop, unix, tcp, file, served)
    finally:
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()
        for listener in listeners:
            listener.close()
        backing.close()
        loop.close()
        assert loop.failures == 0, "a handler of the data process failed"


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    start = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file
