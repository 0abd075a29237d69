"""OpenSSL's verdict on a chain of certificates that a server showed.

Purpose: a probe takes whatever certificate it is shown, or it could neither look at a bad one nor
say QUIT; Python's ssl then keeps OpenSSL's verdict to itself. So the chain is shown to OpenSSL once
more: a handshake in memory, whose other side is two messages from a text book, gets as far as the
certificates and says what it thinks of them. No second connection, and the same library, roots and
rules as Postfix has. That costs as much as half a real handshake, so a chain that a stricter and
much faster verifier accepts is not shown: what that one accepts, OpenSSL does, too, but for an
encoding of the signature that nobody has by accident; whatever it refuses is OpenSSL's to judge.
Source: RFC 5246 §7.4.1.3 (ServerHello), §7.4.2 (Certificate: read, and judged, before anything that
needs the server's key); Postfix src/tls/tls_client.c (security level 0, purpose sslserver).
Limits: 100 KiB of certificates, which is OpenSSL's own bound; the verdicts of an hour are kept, as
many servers of one provider show one chain.
Errors: none; what OpenSSL cannot read is untrusted. The constructor raises OSError or ssl.SSLError
for roots that cannot be read.
Security: nothing is sent anywhere, and no key is agreed upon.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from gatepost.tls.survey.certificates import tolerant
from gatepost.tls.survey.model import ChainStatus

KEPT_VERDICTS = 50_000
_HOUR_S = 3600
_RECORD_OCTETS = 16384
_UNSPECIFIED = 1

# One for each kind of key that a certificate may have; OpenSSL refuses the wrong one at once.
_ECDHE_RSA, _ECDHE_ECDSA = b"\xc0\x2f", b"\xc0\x2b"
_CIPHERS = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0"
# OpenSSL talks only to servers that have renegotiation mended (RFC 5746 §3.4).
_EXTENSIONS = b"\x00\x05" + b"\xff\x01\x00\x01\x00"


class Trust:
    """The roots of this host, and what OpenSSL says on their account."""

    def __init__(self, ca_file: str | None = None, ca_path: str | None = None) -> None:
        """Load the roots: those of the system, if neither file nor directory is given.

        Args:
            ca_file: Trusted roots in PEM.
            ca_path: A directory of them, as openssl-rehash(1) leaves it. They are read when they
                are asked for, so no verifier but OpenSSL has them, and it takes longer.
        """
        self._context = _context()
        if ca_file or ca_path:
            self._context.load_verify_locations(ca_file, ca_path)
        else:
            self._context.load_default_certs()
        self._kept: dict[bytes, ChainStatus] = {}
        self._hour = 0
        self._strict = _strict_policy(self._context.get_ca_certs(binary_form=True))

    def judge(
        self,
        chain: Sequence[bytes],
        host: str,
        now: float,
        parsed: x509.Certificate | None = None,
    ) -> ChainStatus:
        """Return whether a chain ends at a trusted root, whatever names it carries.

        Args:
            chain: Certificates in DER, the server's own first; at least one.
            host: The name that it probably carries, to be quicker if it does.
            now: Unix time, to know how old a verdict is.
            parsed: The first certificate, where somebody has parsed it already.
        """
        hour = int(now // _HOUR_S)
        if hour != self._hour or len(self._kept) >= KEPT_VERDICTS:
            self._kept.clear()
            self._hour = hour
        digest = hashlib.sha256(b"".join(chain)).digest()
        found = self._kept.get(digest)
        if found is None:
            clear = self._passes_strictly(chain, host, parsed)
            found = ChainStatus(0) if clear else _show(self._context, chain, "")
            self._kept[digest] = found
        return found

    def _passes_strictly(
        self, chain: Sequence[bytes], host: str, parsed: x509.Certificate | None = None
    ) -> bool:
        if self._strict is None:
            return False
        try:
            with tolerant():
                first = parsed or x509.load_der_x509_certificate(chain[0])
                others = [x509.load_der_x509_certificate(each) for each in chain[1:]]
            self._strict.build_server_verifier(x509.DNSName(host)).verify(first, others)
        except Exception:
            # Its parsers have many words for no, and none of them is the verdict.
            return False
        return True

    def anchored(self, chain: Sequence[bytes], anchor: bytes, host: str) -> ChainStatus:
        """Return whether a chain ends at one certificate, and carries a host's name.

        This is what a record of usage DANE-TA(2) asks for (RFC 7672 §3.1.2).

        Args:
            chain: Certificates in DER.
            anchor: The certificate that is trusted, and no other.
            host: Normalised host name.
        """
        context = _context()
        context.check_hostname = True
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=anchor)
            return _show(context, chain, host)
        except (ssl.SSLError, ValueError) as error:
            return ChainStatus(_UNSPECIFIED, str(error))


def _strict_policy(roots: Sequence[bytes]) -> PolicyBuilder | None:
    readable = []
    # Old roots have serial numbers that RFC 5280 forbids.
    with tolerant():
        for root in roots:
            with contextlib.suppress(ValueError):
                readable.append(x509.load_der_x509_certificate(root))
    return PolicyBuilder().store(Store(readable)) if readable else None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_ciphers(_CIPHERS)
    # In TLS 1.3 the certificates are encrypted, so there would have to be a key.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def _show(context: ssl.SSLContext, chain: Sequence[bytes], host: str) -> ChainStatus:
    for cipher in (_ECDHE_ECDSA, _ECDHE_RSA):
        status = _show_with(context, chain, host, cipher)
        if status is not None:
            return status
    return ChainStatus(_UNSPECIFIED, "certificate of a kind that OpenSSL has no use for")


def _show_with(
    context: ssl.SSLContext, chain: Sequence[bytes], host: str, cipher: bytes
) -> ChainStatus | None:
    """Return OpenSSL's verdict, or None if the cipher does not fit the key."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=host or None)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        incoming.write(_server_side(chain, cipher))
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return ChainStatus(0)
    except ssl.SSLCertVerificationError as error:
        return ChainStatus(error.verify_code, error.verify_message)
    except ssl.SSLError as error:
        if error.reason == "WRONG_CERTIFICATE_TYPE":
            return None
        return ChainStatus(_UNSPECIFIED, error.reason or "unreadable")
    return ChainStatus(_UNSPECIFIED, "unreadable")


def _server_side(chain: Sequence[bytes], cipher: bytes) -> bytes:
    hello = b"\x03\x03" + bytes(32) + b"\x00" + cipher + b"\x00" + _EXTENSIONS
    certificates = b"".join(_counted(each) for each in chain)
    messages = b"\x02" + _counted(hello) + b"\x0b" + _counted(_counted(certificates))
    return b"".join(
        b"\x16\x03\x03" + len(part).to_bytes(2, "big") + part
        for part in (
            messages[at : at + _RECORD_OCTETS] for at in range(0, len(messages), _RECORD_OCTETS)
        )
    )


def _counted(octets: bytes) -> bytes:
    return len(octets).to_bytes(3, "big") + octets
