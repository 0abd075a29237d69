"""What each kind of failure in a TLS report means for whoever runs the domain.

Source: RFC 8460 §4.3.
Errors: none; a word that the standard does not have gives no advice.
"""

from __future__ import annotations

from gatepost.tls.tlsrpt.model import UNSPECIFIED

_ADVICE = {
    "starttls-not-supported": "the MX host did not offer STARTTLS; if only some senders see that, "
    "something on the way takes it out",
    "certificate-host-mismatch": "the certificate of the MX host does not carry the name in the MX "
    "record (MTA-STS), or the names that DANE allows",
    "certificate-expired": "renew the certificate of the MX host, and have the server read it",
    "certificate-not-trusted": "MTA-STS needs a certificate of a public authority, sent with its "
    "intermediates",
    "validation-failure": "the sender does not say more; compare its reason code and the log of "
    "the MX host",
    "tlsa-invalid": "TLSA records and certificate do not fit, or no record can be used; look at "
    "the last change of the certificate",
    "dnssec-invalid": "the zone's signatures do not validate; look at their expiry and at the DS "
    "record",
    "dane-required": "the sender requires DANE and found no TLSA records; nothing is broken here",
    "sts-policy-fetch-error": "https://mta-sts.DOMAIN/.well-known/mta-sts.txt could not be fetched",
    "sts-policy-invalid": "the MTA-STS policy file has a mistake, or does not name the MX host",
    "sts-webpki-invalid": "the certificate of https://mta-sts.DOMAIN does not verify",
    UNSPECIFIED: "counted in the summaries of reports without details",
}


def advice(result_type: str) -> str:
    """Return what a result type means, or an empty text."""
    return _ADVICE.get(result_type, "")
