"""The authority and its tokens: who gets a certificate, and who does not."""

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from bollard.controller.pki import Pki
from bollard.domain.errors import Denied, Exists, Invalid, NotFound, Unsupported
from bollard.wire.link import CONTROLLER_IDENTITY

NOW_MS = 1_800_000_000_000
SECRET = "s" * 32


def request(name: str = "anything", key: object = None) -> bytes:
    signer = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path / "pki")
    made.init(NOW_MS, ["ctl.example"])
    return made


def test_keys_are_for_their_owner_only(pki: Pki) -> None:
    pki.create_token("n1", 60, NOW_MS, SECRET)
    modes = {it.name: it.stat().st_mode & 0o777 for it in pki.folder.rglob("*") if it.is_file()}
    assert modes.pop("ca.crt") == 0o644
    assert set(modes.values()) == {0o600}, modes
    assert (pki.folder.stat().st_mode & 0o777) == 0o700


def test_a_second_init_is_refused(pki: Pki) -> None:
    before = pki.ca_certificate.read_bytes()
    with pytest.raises(Exists, match="already"):
        pki.init(NOW_MS)
    assert pki.ca_certificate.read_bytes() == before


def test_the_controller_certificate_says_what_it_is(pki: Pki) -> None:
    certificate = x509.load_pem_x509_certificate(pki.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [CONTROLLER_IDENTITY]
    assert "ctl.example" in names.get_values_for_type(x509.DNSName)
    authority = x509.load_pem_x509_certificate(pki.ca_certificate.read_bytes())
    certificate.verify_directly_issued_by(authority)
    assert (authority.not_valid_after_utc - authority.not_valid_before_utc).days == 3650
    assert pki.client_context().check_hostname


def test_a_token_gives_a_certificate_for_its_node_whatever_was_asked_for(pki: Pki) -> None:
    token = pki.create_token("Node-1", 60, NOW_MS, SECRET)
    certificate_pem, authority_pem = pki.join(token, "node-1", request("controller"), NOW_MS + 59_000)
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName("Node-1")]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_token_works_once(pki: Pki) -> None:
    token = pki.create_token("n1", 60, NOW_MS, SECRET)
    pki.join(token, "n1", request(), NOW_MS)
    with pytest.raises(Denied, match="used already") as caught:
        pki.join(token, "n1", request(), NOW_MS)
    assert "token create" in caught.value.correction


def test_a_token_expires(pki: Pki) -> None:
    token = pki.create_token("n1", 60, NOW_MS, SECRET)
    with pytest.raises(Denied, match="expired"):
        pki.join(token, "n1", request(), NOW_MS + 60_000)
    with pytest.raises(Denied):
        pki.join(token, "n1", request(), NOW_MS)


def test_a_token_is_for_one_node(pki: Pki) -> None:
    token = pki.create_token("n1", 60, NOW_MS, SECRET)
    with pytest.raises(Denied, match="not for node 'n2'"):
        pki.join(token, "n2", request(), NOW_MS)
    pki.join(token, "n1", request(), NOW_MS)


@pytest.mark.parametrize("token", ["", "x", SECRET, "../ca.key", "t" * 100_000])
def test_an_unknown_token_is_refused(pki: Pki, token: str) -> None:
    with pytest.raises(Denied, match="not known"):
        pki.join(token, "n1", request(), NOW_MS)


@pytest.mark.parametrize(
    "csr",
    [b"", b"nonsense", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"],
)
def test_a_bad_request_does_not_use_up_the_token(pki: Pki, csr: bytes) -> None:
    token = pki.create_token("n1", 60, NOW_MS, SECRET)
    with pytest.raises(Invalid):
        pki.join(token, "n1", csr, NOW_MS)
    pki.join(token, "n1", request(), NOW_MS)


def test_a_request_signed_with_another_key_is_refused(pki: Pki) -> None:
    token = pki.create_token("n1", 60, NOW_MS, SECRET)
    der = bytearray(x509.load_pem_x509_csr(request()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    body = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM)
    with pytest.raises(Invalid, match="not signed with its own key"):
        pki.join(token, "n1", body, NOW_MS)


def test_other_kinds_of_keys_are_refused(pki: Pki) -> None:
    token = pki.create_token("n1", 60, NOW_MS, SECRET)
    with pytest.raises(Unsupported):
        pki.join(token, "n1", request(key=rsa.generate_private_key(65537, 2048)), NOW_MS)


def test_the_token_itself_is_not_kept(pki: Pki) -> None:
    pki.create_token("n1", 60, NOW_MS, SECRET)
    for path in pki.folder.rglob("*"):
        assert SECRET not in path.name
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()


def test_expired_tokens_are_swept(pki: Pki) -> None:
    pki.create_token("n1", 1, NOW_MS, "a" * 32)
    pki.create_token("n2", 60, NOW_MS + 5000, "b" * 32)
    assert len(list((pki.folder / "tokens").iterdir())) == 1


@pytest.mark.parametrize("ttl_s", [0, -1, 31 * 24 * 3600])
def test_a_token_lives_a_sensible_time(pki: Pki, ttl_s: int) -> None:
    with pytest.raises(Invalid, match="cannot live"):
        pki.create_token("n1", ttl_s, NOW_MS, SECRET)


def test_a_token_needs_a_node_name_and_an_authority(pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        pki.create_token("-bad", 60, NOW_MS, SECRET)
    with pytest.raises(NotFound, match="no certificate authority"):
        Pki(tmp_path / "none").create_token("n1", 60, NOW_MS, SECRET)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_state_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    pki = Pki(tmp_path / "pki")
    pki.init(NOW_MS)
    pki.create_token("n1", 60, NOW_MS, SECRET)
    assert {path.stat().st_uid for path in tmp_path.rglob("*")} == {65534}
