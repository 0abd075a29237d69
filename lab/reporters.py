"""Those who answer mail: mailbox providers that report complaints, servers that return mail.

Purpose: make what comes back to a message that was really sent, in the shapes that are seen in
the field, so that tests and the demo need no provider. Each function takes the message as a
server received it and returns a mail; `ReportSigner` signs it as the provider would.
Source: RFC 5965, RFC 9477, RFC 3464, RFC 6376.
"""

from __future__ import annotations

import base64
from email.parser import BytesHeaderParser
from email.policy import compat32
from functools import cache

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

SELECTOR = "lab"

_SIGNED = ("from", "to", "subject", "date", "message-id", "mime-version", "content-type")


@cache
def _key() -> rsa.RSAPrivateKey:
    # One for all domains: it takes a while to make.
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class ReportSigner:
    """Signs mail of one domain.

    Attributes:
        domain: d= of its signatures.
        name: Where the key stands in DNS.
        record: The TXT record there.
    """

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.name = f"{SELECTOR}._domainkey.{domain}"
        public = (
            _key()
            .public_key()
            .public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        self.record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
        self._pem = _key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )

    def sign(self, mail: bytes, *, names: tuple[str, ...] = _SIGNED, length: bool = False) -> bytes:
        """Return a mail with a signature on top.

        Args:
            mail: The mail.
            names: Header fields to cover.
            length: Whether the signature covers only the length that the body has now (l=).
        """
        made: bytes = dkim.sign(
            mail,
            SELECTOR.encode(),
            self.domain.encode(),
            self._pem,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[name.encode() for name in names],
            length=length,
        )
        return made + mail


def yahoo_report(original: bytes, to: str, recipient: str, *, incidents: int = 1) -> bytes:
    """Return a complaint as Yahoo writes it: all parts, the message whole, the recipient named."""
    fields = (
        "Feedback-Type: abuse\r\nUser-Agent: Yahoo!-Mail-Feedback/2.0\r\nVersion: 0.1\r\n"
        f"Original-Rcpt-To: {recipient}\r\nReceived-Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n"
        f"Incidents: {incidents}\r\n"
    )
    return _arf("feedback@arf.mail.yahoo.com", to, fields, "message/rfc822", original)


def microsoft_report(original: bytes, to: str) -> bytes:
    """Return a complaint in Microsoft's form of 2026: no recipient, no body, three fields."""
    fields = "Feedback-Type: abuse\r\nUser-Agent: JMRP/1.0\r\nVersion: 1\r\n"
    masked = b"".join(
        line for line in _header_lines(original) if not line.lower().startswith((b"to:", b"cc:"))
    )
    return _arf("staff@hotmail.com", to, fields, "message/rfc822", masked + b"\r\n")


def cfbl_report(original: bytes, to: str, provider: str) -> bytes:
    """Return a complaint as RFC 9477 has it: of the original, only what must be there."""
    kept = (b"message-id:", b"cfbl-feedback-id:", b"cfbl-address:")
    header = b"".join(line for line in _header_lines(original) if line.lower().startswith(kept))
    fields = "Feedback-Type: abuse\r\nUser-Agent: CFBL-Reporter/1.0\r\nVersion: 1\r\n"
    return _arf(f"fbl@{provider}", to, fields, "text/rfc822-headers", header + b"\r\n")


def bounce(
    to: str, recipient: str, *, status: str = "5.1.1", reply: str = "550 5.1.1 No such user here",
    host: str = "mx.example.org", action: str = "failed",
) -> bytes:  # fmt: skip
    """Return a notice as RFC 3464 has it, of a server that had taken the message first."""
    return (
        f"From: MAILER-DAEMON@{host}\r\nTo: {to}\r\nSubject: Undelivered Mail\r\n"
        f"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{action}.{status}@{host}>\r\n"
        "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\n\r\nIt could not be delivered.\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; {host}\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n"
        f"Diagnostic-Code: smtp; {reply}\r\n\r\n--b--\r\n"
    ).encode()


def unsubscribe_mail(to: str, sender: str) -> bytes:
    """Return the mail that a mail program sends to the address in List-Unsubscribe."""
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: unsubscribe\r\nMIME-Version: 1.0\r\n"
        f"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\n\r\n"
    ).encode()


def header(original: bytes, name: str) -> str:
    """Return a header field of a message, unfolded, or an empty text."""
    found = BytesHeaderParser(policy=compat32).parsebytes(original)[name]
    return "" if found is None else "".join(str(found).splitlines()).strip()


def _arf(sender: str, to: str, fields: str, inner: str, original: bytes) -> bytes:
    head = (
        f"From: {sender}\r\nTo: {to}\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n"
        f"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <report@{sender.split('@')[1]}>\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="lab-boundary"\r\n'
        "\r\n--lab-boundary\r\nContent-Type: text/plain\r\n\r\nThis is a report.\r\n"
        f"--lab-boundary\r\nContent-Type: message/feedback-report\r\n\r\n{fields}\r\n"
        f"--lab-boundary\r\nContent-Type: {inner}\r\n\r\n"
    )
    return head.encode() + original + b"\r\n--lab-boundary--\r\n"


def _header_lines(original: bytes) -> list[bytes]:
    """Return the header fields of a message, each with its folded lines."""
    head = original.replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    found: list[bytes] = []
    for line in head.split(b"\n"):
        if line[:1] in (b" ", b"\t") and found:
            found[-1] += line + b"\r\n"
        else:
            found.append(line + b"\r\n")
    return found
