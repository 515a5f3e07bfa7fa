"""`bollard-satellite join`: a key that never leaves the node, and a certificate for it from the controller.

The token proves the right to join, once; it is sent in the body and appears in no log.
Imported only when joining: a satellite that runs should not carry the memory of this.
"""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bollard.satellite.state import StateFolder, write_durably
from bollard.wire.join import Joined, JoinRequest

__all__ = ["JoinError", "join"]

_PATH: Final = "/v1/bollard/join"
_TIMEOUT_S: Final = 30.0
_ANSWER_BYTES_MAX: Final = 1 << 20


class JoinError(Exception):
    """Joining failed; the sentence says why and what to do."""


def join(state: StateFolder, *, controller: str, token: str, node: str, ca: Path | None) -> str:
    """Get a certificate for `node` and store it beside its key, 0600. The certificate's subject, for people.

    `ca` is the cluster's CA (PEM) with which an https controller is checked. Raises JoinError, and then
    nothing that was there before has changed.
    """
    if not controller.startswith(("http://", "https://")):
        raise JoinError(f"'{controller}' is no URL of a controller; it looks like https://HOST:3371")
    key_pem, request_pem = _key_and_request(node)
    body = msgspec.json.encode(JoinRequest(token=token, node_name=node, csr=request_pem.decode()))
    joined = _post(controller.rstrip("/") + _PATH, body, ca)
    certificate, authority = joined.certificate.encode(), joined.ca.encode()
    subject = _check(certificate, key_pem)
    try:
        write_durably(state.key, key_pem)
        write_durably(state.cert, certificate)
        write_durably(state.ca, authority)
    except OSError as error:
        raise JoinError(f"the certificate cannot be stored in {state.path}: {error.strerror}") from error
    return subject


def _key_and_request(node: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(node)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return key_pem, request.public_bytes(serialization.Encoding.PEM)


def _check(certificate: bytes, key_pem: bytes) -> str:

    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        key = serialization.load_pem_private_key(key_pem, password=None)
    except ValueError as error:
        raise JoinError(f"the controller sent something that is no certificate: {error}") from error
    spki = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if parsed.public_key().public_bytes(*spki) != key.public_key().public_bytes(*spki):
        raise JoinError("the controller's certificate is for another key; try again with a new token")
    return parsed.subject.rfc4514_string()


def _post(url: str, body: bytes, ca: Path | None) -> Joined:
    request = urllib.request.Request(  # noqa: S310  # http and https only, checked by the caller
        url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        context = (
            ssl.create_default_context(cafile=str(ca) if ca else None) if url.startswith("https") else None
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S, context=context) as reply:  # noqa: S310
            return msgspec.json.decode(reply.read(_ANSWER_BYTES_MAX), type=Joined)
    except urllib.error.HTTPError as error:
        raise JoinError(f"the controller refused: {_said(error)}") from error
    except urllib.error.URLError as error:
        raise JoinError(
            f"the controller at {url} cannot be reached: {error.reason}. "
            "Check the address; for https with the cluster's own CA name it with --ca."
        ) from error
    except (OSError, ValueError) as error:
        raise JoinError(f"this is no answer of a Bollard controller: {error}") from error


def _said(error: urllib.error.HTTPError) -> str:
    try:
        answer = json.loads(error.read(_ANSWER_BYTES_MAX))
        return "; ".join(f"{entry['message']} {entry.get('correction', '')}".strip() for entry in answer)
    except (OSError, ValueError, KeyError, TypeError):
        return f"HTTP status {error.code}"
