"""What one probe found, in the words that the store keeps and the reports count.

Purpose: one vocabulary for probe, store, reports and `tls promote`.
Source: RFC 3207 (STARTTLS). A server that is busy, or that greylists, has not said that it offers
no TLS.
Errors: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gatepost.tls.dns_answer import Tlsa


class Verdict(StrEnum):
    """What a server was seen to offer."""

    TLS = "tls"
    NONE = "none"
    BROKEN = "broken"
    STRIPPED = "stripped"
    INJECTED = "injected"
    UNKNOWN = "unknown"
    UNREACHABLE = "unreachable"

    @property
    def decisive(self) -> bool:
        """Tell whether it says something about TLS, and not only that this was a bad moment."""
        return self not in {Verdict.UNKNOWN, Verdict.UNREACHABLE}


MEANING = {
    Verdict.TLS: "STARTTLS offered, handshake done",
    Verdict.NONE: "EHLO answered without STARTTLS",
    Verdict.BROKEN: "STARTTLS offered, but it did not work",
    Verdict.STRIPPED: "somebody on the way blots STARTTLS out",
    Verdict.INJECTED: "plaintext after the 220 to STARTTLS; refused",
    Verdict.UNKNOWN: "busy, greylisting, slow or not understood: says nothing about TLS",
    Verdict.UNREACHABLE: "no connection",
}


class CertificateVerdict(StrEnum):
    """What a certificate is worth to a client that checks it."""

    VALID = "valid"
    WRONG_NAME = "wrong-name"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    SELF_SIGNED = "self-signed"
    UNTRUSTED = "untrusted"
    INVALID = "invalid"
    # Another name of the same server was asked for, and it may show another certificate to this.
    NOT_ASKED = "not-asked"


class DaneVerdict(StrEnum):
    """Whether the TLSA records of a host fit what its server showed."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNUSABLE = "unusable"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """What OpenSSL says of a chain.

    Attributes:
        code: OpenSSL's verification result, X509_V_OK = 0 if it ends at a trusted root.
        text: The same in OpenSSL's words; empty for 0.
    """

    code: int
    text: str = ""

    @property
    def trusted(self) -> bool:
        """Tell whether it ends at a trusted root, and everything on the way is in order."""
        return self.code == 0


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A server's own certificate.

    Attributes:
        sha256: Digest of the certificate, lower-case hexadecimal.
        spki_sha256: Digest of its public key, as a TLSA record 3 1 1 has it.
        names: DNS names in subjectAltName; without any, the common name, as OpenSSL has it.
        issuer: Issuer, RFC 4514.
        not_before: Unix time.
        not_after: Unix time.
        key: ``RSA``, ``EC``, ``Ed25519`` or the like.
        key_bits: Its size.
        self_issued: Whether issuer and subject are the same.
        chain_length: How many certificates the server sent.
    """

    sha256: str
    spki_sha256: str
    names: tuple[str, ...]
    issuer: str
    not_before: float
    not_after: float
    key: str
    key_bits: int
    self_issued: bool
    chain_length: int

    @property
    def weak_key(self) -> bool:
        """Tell whether the key is below 112 bits of strength (RFC 9325 §4.5)."""
        return self.key_bits < (2048 if self.key in {"RSA", "DSA"} else 224)


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """A handshake that was done.

    Attributes:
        version: Such as ``TLSv1.3``.
        cipher: OpenSSL's name.
        chain: Certificates in DER, the server's own first; empty if it showed none.
    """

    version: str
    cipher: str
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """One server to probe.

    Attributes:
        address: IP address in its usual form.
        host: The MX host name to ask for, in SNI and against the certificate.
        tlsa: The host's TLSA records, if they are authentic.
    """

    address: str
    host: str
    tlsa: tuple[Tlsa, ...] = ()


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe found.

    Attributes:
        target: Whom it asked.
        at: Unix time at which it began.
        seconds: How long it took.
        verdict: What was seen.
        reason: Why, in a few words, printable ASCII; empty for `Verdict.TLS` and `Verdict.NONE`.
        greeting: The greeting as it came, octets as Latin-1.
        ehlo: The reply to EHLO as it came.
        ehlo_tls: The reply to the EHLO within TLS.
        version: Protocol version, or empty.
        cipher: OpenSSL's name of the cipher, or empty.
        certificate: The server's certificate, if it showed one that can be read.
        chain: What OpenSSL says of its chain.
        dane: Whether the TLSA records fit.
    """

    target: Target
    at: float
    seconds: float
    verdict: Verdict
    reason: str = ""
    greeting: str = ""
    ehlo: str = ""
    ehlo_tls: str = ""
    version: str = ""
    cipher: str = ""
    certificate: CertificateFacts | None = None
    chain: ChainStatus | None = None
    dane: DaneVerdict = DaneVerdict.NONE
