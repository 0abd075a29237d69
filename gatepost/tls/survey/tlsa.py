"""Whether the TLSA records of a host fit the certificates that its server showed.

Source: RFC 7672 §3.1 (usages 2 and 3 only), §3.1.1 (DANE-EE: no name check, expiry ignored), §3.1.2
(DANE-TA: a chain to the anchor, with the host's name); RFC 7671 §9 (digest agility: of the digests
of one usage and selector, only the strongest counts).
Errors: none.
Not handled: of the names that §3.2.2 allows for DANE-TA, only the host's; the next-hop's is not
known where a server is probed for many domains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.tls.dane import is_usable
from gatepost.tls.dns_answer import Tlsa
from gatepost.tls.survey.model import ChainStatus, DaneVerdict

_EE, _TA = 3, 2
_CERTIFICATE, _KEY = 0, 1

# From a trust anchor in DER to what OpenSSL says of the chain with it as the only root.
Anchored = Callable[[bytes], ChainStatus]


def match(records: Sequence[Tlsa], chain: Sequence[bytes], anchored: Anchored) -> DaneVerdict:
    """Return whether one of the records fits.

    Args:
        records: Authentic TLSA records of the host.
        chain: Certificates in DER, the server's own first; empty if it showed none.
        anchored: Asks OpenSSL, for DANE-TA.
    """
    usable = [record for record in records if is_usable(record)]
    if not usable:
        return DaneVerdict.UNUSABLE if records else DaneVerdict.NONE
    fits = any(_fits(record, chain, anchored) for record in _strongest(usable))
    return DaneVerdict.MATCH if fits else DaneVerdict.MISMATCH


def _strongest(records: Sequence[Tlsa]) -> list[Tlsa]:
    best: dict[tuple[int, int], int] = {}
    for each in records:
        key = (each.usage, each.selector)
        best[key] = max(best.get(key, 0), each.matching)
    # The octets themselves (0) are no digest, and always count.
    return [each for each in records if each.matching in {0, best[each.usage, each.selector]}]


def _fits(record: Tlsa, chain: Sequence[bytes], anchored: Anchored) -> bool:
    if record.usage == _EE:
        return bool(chain) and _is(record, chain[0])
    anchors = [each for each in chain[1:] if _is(record, each)]
    if (record.selector, record.matching) == (_CERTIFICATE, 0) and record.data not in chain[:1]:
        # The anchor itself is in DNS, and the server need not send it.
        anchors.append(record.data)
    return any(anchored(anchor).trusted for anchor in anchors)


def _is(record: Tlsa, certificate: bytes) -> bool:
    octets = certificate if record.selector == _CERTIFICATE else _key_of(certificate)
    if record.matching == 1:
        octets = hashlib.sha256(octets).digest()
    elif record.matching == 2:
        octets = hashlib.sha512(octets).digest()
    return octets == record.data


def _key_of(certificate: bytes) -> bytes:
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:
        # The parsers raise ValueError and kinds of their own; what cannot be read fits nothing.
        return b""
