"""Certificates: a certification authority of the lab's own, and good and bad ones from it.

Purpose: mail servers with a valid certificate and with every fault that a sending Postfix must
tell apart: expired, another name, signed by nobody.
Source: RFC 5280 (profile), RFC 6125 §6.4.4 (the name is in subjectAltName).
Format: one file per certificate with the key first, then the certificate, then its issuer, as
Postfix's ``smtpd_tls_chain_files`` and Python's ``load_cert_chain`` read it. Keys are ECDSA P-256
because they are made in under a millisecond.
Security: the keys lie unencrypted in the lab's directory and are worth nothing outside it.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = datetime.timedelta(days=1)
_VALID = (-_DAY, 30 * _DAY)
_EXPIRED = (-30 * _DAY, -_DAY)
_FUTURE = (_DAY, 30 * _DAY)
# Some 200 KiB, twice what OpenSSL takes.
_HUGE = 400

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Oddity(StrEnum):
    """What is wrong or unusual with a certificate that the authority has signed all the same."""

    NONE = "none"
    EXPIRED = "expired"
    NOT_YET = "notyet"
    WEAK_KEY = "weakkey"
    INTERMEDIATE = "intermediate"
    INCOMPLETE = "incomplete"
    HUGE_CHAIN = "hugechain"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its key, on disk.

    Attributes:
        chain_file: PEM: key, certificate, issuer (none for a self-signed one).
        sha256: Digest of the certificate in DER, lower-case hexadecimal.
        spki_sha256: Digest of its public key in DER, as a TLSA record 3 1 1 has it.
    """

    chain_file: Path
    sha256: str
    spki_sha256: str


class Authority:
    """The lab's certification authority; its certificates live in one directory."""

    def __init__(self, directory: Path) -> None:
        """Make a new authority, with its certificate in ``ca.pem`` of `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Lab CA")
        self._certificate = (
            _builder(self._name, self._name, self._key, _VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_CA_USAGE, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(_pem(self._certificate))

    def issue(self, *names: str, expired: bool = False) -> Certificate:
        """Issue a certificate for host names or IP addresses, the first also as common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _leaf(self._name, names, key, _EXPIRED if expired else _VALID)
            .add_extension(_issued_by(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        kind = "expired" if expired else "good"
        return self._write(f"{kind}-{names[0]}", key, certificate, _pem(self._certificate))

    def issue_self_signed(self, *names: str) -> Certificate:
        """Issue a certificate with the right names that no authority has signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _leaf(_name(names[0]), names, key, _VALID).sign(key, hashes.SHA256())
        return self._write(f"selfsigned-{names[0]}", key, certificate, b"")

    def issue_odd(self, *names: str, oddity: Oddity = Oddity.NONE) -> Certificate:
        """Issue a certificate as some servers have it; see `Oddity`."""
        key: PrivateKey = ec.generate_private_key(ec.SECP256R1())
        if oddity is Oddity.WEAK_KEY:
            key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
        validity = {Oddity.EXPIRED: _EXPIRED, Oddity.NOT_YET: _FUTURE}.get(oddity, _VALID)
        issuer, issuer_key, behind = self._name, self._key, _pem(self._certificate)
        if oddity in {Oddity.INTERMEDIATE, Oddity.INCOMPLETE}:
            between = self._intermediate()
            issuer, issuer_key = between[0].subject, between[1]
            behind = _pem(between[0]) if oddity is Oddity.INTERMEDIATE else b""
        elif oddity is Oddity.HUGE_CHAIN:
            behind = behind * _HUGE
        certificate = (
            _leaf(issuer, names, key, validity)
            .add_extension(_issued_by(issuer_key), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        return self._write(f"{oddity}-{names[0]}", key, certificate, behind)

    def _intermediate(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(self._name, _name("Lab intermediate CA"), key, _VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_CA_USAGE, critical=True)
            .add_extension(_issued_by(self._key), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate, key

    def _write(
        self,
        stem: str,
        key: PrivateKey,
        certificate: x509.Certificate,
        issuer: bytes,
    ) -> Certificate:
        path = self._directory / f"{stem}.pem"
        path.write_bytes(_private_pem(key) + _pem(certificate) + issuer)
        path.chmod(0o600)
        der = certificate.public_bytes(serialization.Encoding.DER)
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return Certificate(path, hashlib.sha256(der).hexdigest(), hashlib.sha256(spki).hexdigest())


def _issued_by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


_CA_USAGE = _usage(sign_certificates=True)
_LEAF_USAGE = _usage(sign_certificates=False)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: PrivateKey,
    validity: tuple[datetime.timedelta, datetime.timedelta],
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + validity[0])
        .not_valid_after(now + validity[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _leaf(
    issuer: x509.Name,
    names: tuple[str, ...],
    key: PrivateKey,
    validity: tuple[datetime.timedelta, datetime.timedelta],
) -> x509.CertificateBuilder:
    return (
        _builder(issuer, _name(names[0]), key, validity)
        .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_LEAF_USAGE, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
