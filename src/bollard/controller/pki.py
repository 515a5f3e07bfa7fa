"""The cluster's certificate authority, its certificates and the tokens with which nodes get one.

Keys are files for their owner only. A token works once and for a limited time; only its hash is kept.
"""

import hashlib
import ipaddress
import os
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bollard.domain.access import GIVEN_SCOPES, Scope
from bollard.domain.errors import Denied, Exists, Invalid, NotFound, Subject, Unsupported
from bollard.domain.ids import key_of, node_name
from bollard.wire.link import CONTROLLER_IDENTITY

CA_DAYS: Final = 3650
TOKEN_TTL_S_MAX: Final = 30 * 24 * 3600
_SKEW: Final = timedelta(minutes=5)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{20,128}")
_CLIENT: Final = re.compile(r"[A-Za-z0-9.@_-]{1,64}")
_CLIENT_URI: Final = "urn:bollard:client:"
_PEM: Final = serialization.Encoding.PEM


class _Token(msgspec.Struct, frozen=True):
    node: str
    expires_ms: int


class Pki:
    """The folder of keys, certificates and tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_certificate = folder / "ca.crt"
        self.certificate = folder / "controller.crt"
        self.key = folder / "controller.key"
        self._ca_key = folder / "ca.key"
        self._tokens = folder / "tokens"
        self._revoked = folder / "revoked"

    @property
    def ready(self) -> bool:
        """Whether there is an authority."""
        return self.ca_certificate.exists()

    def init(self, now_ms: int, hosts: Sequence[str] = ()) -> str:
        """Make the authority and the controller's certificate; returns the authority's SHA-256 fingerprint.

        `hosts` are names and addresses under which clients reach the controller. Raises Exists.
        """
        if self.ready or self._ca_key.exists():
            raise Exists(
                Subject.CONTROLLER,
                str(self.folder),
                f"There is a certificate authority in {self.folder} already",
                details="Nothing was changed: a new authority would lock out every node that has joined.",
                correction="To begin anew, move the folder away and join every node again.",
            )
        _make_folder(self.folder)
        _make_folder(self._tokens)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Bollard cluster CA")])
        ca = _builder(name, name, ca_key.public_key(), ca_key.public_key())
        start = _time(now_ms) - _SKEW
        ca = ca.not_valid_before(start).not_valid_after(start + timedelta(days=CA_DAYS))
        ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        ca = ca.add_extension(_usage(signs_certificates=True), critical=True)
        authority = ca.sign(ca_key, hashes.SHA256())
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(CONTROLLER_IDENTITY)]
        names += [_host_name(host) for host in dict.fromkeys(("localhost", "127.0.0.1", "::1", *hosts))]
        mine = _leaf(
            "Bollard controller", names, key.public_key(), authority=authority, ca_key=ca_key, now_ms=now_ms
        )
        _write(self._ca_key, _key_pem(ca_key))
        _write(self.key, _key_pem(key))
        _write(self.certificate, mine.public_bytes(_PEM))
        _write(self.ca_certificate, authority.public_bytes(_PEM), mode=0o644)
        return authority.fingerprint(hashes.SHA256()).hex()

    def create_token(self, node: str, ttl_s: int, now_ms: int, secret: str) -> str:
        """Keep the hash of a token for this node and return the token. Raises Invalid, NotFound."""
        self._demand()
        name = node_name(node)
        if not 1 <= ttl_s <= TOKEN_TTL_S_MAX:
            raise Invalid(
                Subject.REQUEST,
                str(ttl_s),
                f"A token cannot live {ttl_s} s",
                cause=f"It may live between 1 s and {TOKEN_TTL_S_MAX} s (30 days).",
            )
        assert _TOKEN.fullmatch(secret), "the source of secrets gives letters, digits, '_' and '-'"
        self._forget_expired(now_ms)
        _make_folder(self._tokens)
        kept = msgspec.json.encode(_Token(name, now_ms + ttl_s * 1000))
        _write(self._tokens / _hashed(secret), kept)
        return secret

    def join(self, token: str, node: str, csr_pem: bytes, now_ms: int) -> tuple[bytes, bytes]:
        """Certificates (the node's, the authority's; PEM) for a valid token, which is used up then.

        Raises Denied when the token is unknown, used, expired or for another node; Invalid when the request
        for a certificate is not one: the token stays usable then.
        """
        self._demand()
        public_key = _public_key(csr_pem)
        path = self._tokens / _hashed(token)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=_Token)
        except FileNotFoundError:
            raise _refused("The token is not known, or was used already") from None
        if now_ms >= kept.expires_ms:
            path.unlink(missing_ok=True)
            raise _refused("The token has expired")
        if key_of(node) != key_of(kept.node):
            raise _refused(f"The token is not for node '{node[:255]}'")
        try:
            path.unlink()
        except FileNotFoundError:
            raise _refused("The token is not known, or was used already") from None
        authority = x509.load_pem_x509_certificate(self.ca_certificate.read_bytes())
        ca_key = serialization.load_pem_private_key(self._ca_key.read_bytes(), password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey), "the authority was made by init"
        names = [x509.DNSName(kept.node)]
        certificate = _leaf(kept.node, names, public_key, authority=authority, ca_key=ca_key, now_ms=now_ms)
        return certificate.public_bytes(_PEM), authority.public_bytes(_PEM)

    def create_client(self, name: str, scope: Scope, days: int, now_ms: int) -> bytes:
        """A key and a certificate (PEM, one after the other) for a person or a program. Raises Invalid."""
        self._demand()
        if not _CLIENT.fullmatch(name) or not 1 <= days <= CA_DAYS:
            raise Invalid(
                Subject.REQUEST,
                name[:64],
                f"There can be no certificate for '{name[:64]}' that lasts {days} days",
                cause=f"A name has 1 to 64 letters, digits and '.-_@'; it lasts 1 to {CA_DAYS} days.",
            )
        authority = x509.load_pem_x509_certificate(self.ca_certificate.read_bytes())
        ca_key = serialization.load_pem_private_key(self._ca_key.read_bytes(), password=None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey), "the authority was made by init"
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(f"{_CLIENT_URI}{scope}/{quote(name, safe='')}")]
        public = key.public_key()
        end = _time(now_ms) + timedelta(days=days)
        made = _leaf(name, names, public, authority=authority, ca_key=ca_key, now_ms=now_ms, end=end)
        return _key_pem(key) + made.public_bytes(_PEM)

    def revoke_client(self, serial: int) -> None:
        """Let a client's certificate open nothing any more."""
        self._demand()
        kept = {f"{number:x}" for number in self._revoked_serials()} | {f"{serial:x}"}
        _write(self._revoked, ("\n".join(sorted(kept)) + "\n").encode())

    def client(self, certificate: bytes, now_ms: int) -> tuple[str, Scope] | None:
        """Name and scope of a certificate (DER, verified by TLS); None: it is no client's, or revoked."""
        found = x509.load_der_x509_certificate(certificate)
        if not found.not_valid_before_utc <= _time(now_ms) < found.not_valid_after_utc:
            return None
        if found.serial_number in self._revoked_serials():
            return None
        try:
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
            scope, _, name = uri.removeprefix(_CLIENT_URI).partition("/")
            if uri.startswith(_CLIENT_URI) and scope in GIVEN_SCOPES:
                return unquote(name), Scope(scope)
        return None

    def _revoked_serials(self) -> set[int]:
        try:
            return {int(line, 16) for line in self._revoked.read_text("ascii").split()}
        except FileNotFoundError:
            return set()

    def authority_pem(self) -> bytes:
        """The authority's certificate, which is public. Raises NotFound."""
        self._demand()
        return self.ca_certificate.read_bytes()

    def client_context(self) -> ssl.SSLContext:
        """TLS towards satellites: we show our certificate, theirs must name the node. Raises NotFound."""
        self._demand()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self.ca_certificate)
        context.load_cert_chain(self.certificate, self.key)
        context.check_hostname = True
        return context

    def _demand(self) -> None:
        if not self.ready:
            raise NotFound(
                Subject.CONTROLLER,
                str(self.folder),
                f"There is no certificate authority in {self.folder}",
                correction="Run 'bollard-controller ca init' first.",
            )

    def _forget_expired(self, now_ms: int) -> None:
        for path in self._tokens.glob("*"):
            if now_ms >= msgspec.json.decode(path.read_bytes(), type=_Token).expires_ms:
                path.unlink(missing_ok=True)


def _refused(message: str) -> Denied:
    return Denied(
        Subject.NODE,
        "token",
        message,
        details="Nothing was changed.",
        correction="Make a new one with 'bollard-controller token create --node NAME'.",
    )


def _public_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        valid = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature) as error:
        raise Invalid(Subject.REQUEST, "csr", "The certificate request cannot be read") from error
    if not valid:
        raise Invalid(Subject.REQUEST, "csr", "The certificate request is not signed with its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size < 256:
        raise Unsupported(Subject.REQUEST, "csr", "The key must be an elliptic-curve key of 256 bits or more")
    return key


def _leaf(
    common_name: str,
    names: Sequence[x509.GeneralName],
    public_key: ec.EllipticCurvePublicKey,
    *,
    authority: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now_ms: int,
    end: datetime | None = None,
) -> x509.Certificate:
    # A common name has 64 characters at most; what counts is the alternative name.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(subject, authority.subject, public_key, ca_key.public_key())
    last = authority.not_valid_after_utc
    last = last if end is None else min(end, last)
    builder = builder.not_valid_before(_time(now_ms) - _SKEW).not_valid_after(last)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(both), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(ca_key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _time(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms // 1000, UTC)


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _make_folder(path: Path) -> None:
    if not path.exists():
        path.mkdir(mode=0o700, parents=True)
        _give_to_owner(path)


def _give_to_owner(path: Path) -> None:
    """Root may run the commands; the controller's own user, who has the folder, must be able to read it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """A new file, whole and on the disk, or none."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _give_to_owner(new)
    new.rename(path)
