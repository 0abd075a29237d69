"""Certificates of mail servers: what is in them, and what that is worth for a host.

Source: RFC 5280 (profile), RFC 6125 §6.4.4 (the common name counts only without DNS names), RFC
7672 §3.2.3 and RFC 8461 §4.1 (a wildcard is the whole left-most label), RFC 9325 §4.5 (key sizes).
Errors: `read_certificate` raises `MalformedMessage` for what cannot be read; OpenSSL may have read
it.
Not handled: revocation, as Postfix does not look at it either.
"""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from gatepost.domains import normalise_domain
from gatepost.errors import MalformedMessage
from gatepost.tls.survey.model import CertificateFacts, CertificateVerdict, ChainStatus

_RULE = "RFC 5280 §4"
_MAX_ISSUER = 200

# From OpenSSL's x509_vfy.h, which never gives these numbers another meaning.
_VERDICTS = {
    9: CertificateVerdict.NOT_YET_VALID,
    10: CertificateVerdict.EXPIRED,
    18: CertificateVerdict.SELF_SIGNED,
    2: CertificateVerdict.UNTRUSTED,
    19: CertificateVerdict.UNTRUSTED,
    20: CertificateVerdict.UNTRUSTED,
    21: CertificateVerdict.UNTRUSTED,
    27: CertificateVerdict.UNTRUSTED,
}


@contextlib.contextmanager
def tolerant() -> Iterator[None]:
    """Have the library not warn of certificates that break rules: of strangers, that is a fact."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def parse_certificate(octets: bytes) -> x509.Certificate | None:
    """Return a certificate in DER parsed, or None."""
    with contextlib.suppress(ValueError), tolerant():
        return x509.load_der_x509_certificate(octets)
    return None


def read_certificate(
    chain: Sequence[bytes], parsed: x509.Certificate | None = None
) -> CertificateFacts:
    """Return what the first certificate of a chain says.

    Args:
        chain: Certificates in DER, the server's own first; at least one.
        parsed: The first one, where somebody has parsed it already.

    Raises:
        MalformedMessage: If it cannot be read.
    """
    try:
        with tolerant():
            return _facts(chain, parsed or x509.load_der_x509_certificate(chain[0]))
    except Exception as error:
        # The library's parsers raise ValueError and its own kinds, and differ by version.
        raise MalformedMessage(
            f"certificate cannot be read: {type(error).__name__}", rule=_RULE
        ) from error


def names_match(names: Iterable[str], host: str) -> bool:
    """Tell whether one of a certificate's names is that of a host.

    Args:
        names: As in the certificate, normalised.
        host: Normalised host name.
    """
    _, dot, parent = host.partition(".")
    wildcard = f"*.{parent}" if dot else ""
    return any(name in {host, wildcard} for name in names)


def judge(facts: CertificateFacts, chain: ChainStatus, host: str) -> CertificateVerdict:
    """Return what a certificate is worth for a host that it was shown for."""
    if not chain.trusted:
        return _VERDICTS.get(chain.code, CertificateVerdict.INVALID)
    if not names_match(facts.names, host):
        return CertificateVerdict.WRONG_NAME
    return CertificateVerdict.VALID


def judge_for_another(
    names: Iterable[str], chain: ChainStatus, host: str
) -> CertificateVerdict | None:
    """Return what a certificate is worth for another host of the same address.

    A server that was asked for another name may show this host another certificate: that it would
    do is proven, that it would not do is not.
    """
    if chain.trusted and names_match(names, host):
        return CertificateVerdict.VALID
    return CertificateVerdict.NOT_ASKED


def _facts(chain: Sequence[bytes], certificate: x509.Certificate) -> CertificateFacts:
    key = certificate.public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return CertificateFacts(
        sha256=hashlib.sha256(chain[0]).hexdigest(),
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        names=_names(certificate),
        issuer=certificate.issuer.rfc4514_string()[:_MAX_ISSUER],
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        key=_kind(key),
        key_bits=getattr(key, "key_size", 256),
        self_issued=certificate.issuer == certificate.subject,
        chain_length=len(chain),
    )


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        found = extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        found = []
    if not found:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found = [str(each.value) for each in common]
    return tuple(dict.fromkeys(name for each in found if (name := _normal(each))))


def _normal(name: str) -> str:
    star = name.startswith("*.")
    try:
        return ("*." if star else "") + normalise_domain(name[2:] if star else name)
    except MalformedMessage:
        return ""


def _kind(key: object) -> str:
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "EC"
    if isinstance(key, dsa.DSAPublicKey):
        return "DSA"
    return type(key).__name__.removesuffix("PublicKey").strip("_")
