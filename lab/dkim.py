"""A DKIM signer behind Gatepost, and the check of what it signed.

Purpose: prove that headers which Gatepost adds are covered by signatures made after it, that of the
From: domain and that of the platform.
Source: opendkim.conf(5); RFC 6376; RFC 9477 §2.1.4 (two signatures).
Format: the signer listens on a UNIX socket below Postfix's queue directory, as an
administrator's would. Its settings are those that docs/feedback.md and `gatepost doctor` print.
Errors: `LabError` if it is not installed or does not start.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gatepost.postfix.doctor.signers import MUST_COVER
from lab.dns import Names
from lab.postfix import PrivatePostfix
from lab.process import Daemon, accepts

SELECTOR = "lab"
_START_S = 10

_CONF = """\
Syslog no
Mode s
Canonicalization relaxed/relaxed
KeyTable refile:{directory}/KeyTable
SigningTable refile:{directory}/SigningTable
MultipleSignatures yes
Socket local:{socket}
UMask 000
InternalHosts 0.0.0.0/0
RequireSafeKeys no
SignHeaders {headers}
OversignHeaders {oversigned}
"""


class Signer:
    """OpenDKIM; a tenant's domain, and mail of the platform if asked, signed with two keys."""

    def __init__(self, directory: Path, domains: Sequence[str], names: Names) -> None:
        """Make keys, and publish them.

        Args:
            directory: For files and logs; made if it is missing.
            domains: Whose mail to sign; the last is the platform's, which can sign all of it.
            names: Gets the key records.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.domains = tuple(domains)
        self._daemon: Daemon | None = None
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key = directory / "key.pem"
        self._key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        self._key.chmod(0o600)
        public = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.record = f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"
        for domain in domains:
            names.text(f"{SELECTOR}._domainkey.{domain}", self.record)

    def start(
        self,
        postfix: PrivatePostfix,
        *,
        platform: bool = False,
        signed: Sequence[str] = MUST_COVER,
    ) -> str:
        """Start for a Postfix, and return the entry for its ``smtpd_milters``.

        Args:
            postfix: The Postfix.
            platform: Whether the platform's domain signs all mail too.
            signed: Header fields to sign beside those that the signer signs by default.
        """
        path = postfix.queue_dir / "opendkim.sock"
        *tenants, own = self.domains
        rows = [f"*@{domain} {domain}" for domain in tenants]
        if platform:
            rows.append(f"* {own}")
        keys = [f"{domain} {domain}:{SELECTOR}:{self._key}" for domain in self.domains]
        for name, lines in (("KeyTable", keys), ("SigningTable", rows)):
            text = "".join(f"{line}\n" for line in lines)
            (self._directory / name).write_text(text, encoding="ascii")
        conf = self._directory / "opendkim.conf"
        conf.write_text(
            _CONF.format(
                directory=self._directory,
                socket=path,
                headers=",".join(["*", "+Message-ID", *(f"+{name}" for name in signed)]),
                oversigned=",".join(["From", *signed]),
            ),
            encoding="ascii",
        )
        self._daemon = Daemon(["opendkim", "-f", "-x", conf], self._directory / "opendkim.log")
        self._daemon.wait_until(lambda: accepts(path), _START_S, "opendkim to listen")
        return "unix:opendkim.sock"

    def sign(self, message: bytes, names: Sequence[str]) -> bytes:
        """Return a header line with a signature of the first domain, as a tenant would make it.

        Args:
            message: The message.
            names: Header fields to cover, also such as it lacks.
        """
        made: bytes = dkim.sign(
            message,
            SELECTOR.encode(),
            self.domains[0].encode(),
            self._key.read_bytes(),
            include_headers=[name.encode() for name in names],
        )
        return made.rstrip(b"\r\n")

    def stop(self) -> None:
        """Stop it; idempotent."""
        if self._daemon is not None:
            # Asked politely, libmilter looks up only every five seconds; there is nothing to save.
            self._daemon.kill()
            self._daemon = None


def signed_headers(octets: bytes, index: int = 0) -> tuple[bool, set[str]]:
    """Return whether a DKIM signature of a message verifies, and which fields it covers.

    A message without a signature gives False and no fields.

    Args:
        octets: The message.
        index: Which of its signatures, from the top.
    """
    verifier = dkim.DKIM(octets)
    good = bool(verifier.verify(index))
    # dkimpy has a list of fields only once it has seen a signature.
    covered = getattr(verifier, "include_headers", ())
    return good, {name.decode().lower() for name in covered}


def signatures(octets: bytes) -> dict[str, tuple[bool, list[str]]]:
    """Return what each signature of a message is worth: domain to (verifies, ``h=`` as written)."""
    found = {}
    count = len(
        [name for name, _ in dkim.DKIM(octets).headers if name.lower() == b"dkim-signature"]
    )
    for index in range(count):
        verifier = dkim.DKIM(octets)
        good = bool(verifier.verify(index))
        fields = verifier.signature_fields
        names = [each.strip().decode() for each in fields[b"h"].split(b":")]
        found[fields[b"d"].decode()] = (good, names)
    return found
