"""A DKIM signer behind Gatepost, and the check of what it signed.

Purpose: prove that headers which Gatepost adds are covered by a signature made after it.
Source: opendkim.conf(5); RFC 6376.
Format: the signer listens on a UNIX socket below Postfix's queue directory, as an
administrator's would.
Errors: `LabError` if it is not installed or does not start.
"""

from __future__ import annotations

import base64
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.dns import Names
from lab.postfix import PrivatePostfix
from lab.process import Daemon, accepts

SELECTOR = "lab"
_START_S = 10

_CONF = """\
Syslog no
Mode s
Canonicalization relaxed/relaxed
Selector {selector}
Domain {domain}
KeyFile {key}
Socket local:{socket}
UMask 000
InternalHosts 0.0.0.0/0
RequireSafeKeys no
OversignHeaders From
SignHeaders {headers}
"""
# What opendkim signs by default, and then what only an administrator can ask for.
_SIGNED = "From,To,Subject,Date,Message-ID,Feedback-ID"


class Signer:
    """OpenDKIM for one domain; a context manager that starts and stops it."""

    def __init__(
        self, directory: Path, domain: str, names: Names, *, signed: str = _SIGNED
    ) -> None:
        """Make a key, and publish it.

        Args:
            directory: For files and logs; made if it is missing.
            domain: Whose mail to sign.
            names: Gets the key record.
            signed: Header fields to sign.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._domain = domain
        self._signed = signed
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
        names.text(f"{SELECTOR}._domainkey.{domain}", self.record)
        self._daemon: Daemon | None = None

    def start(self, postfix: PrivatePostfix) -> str:
        """Start for a Postfix, and return the entry for its ``smtpd_milters``."""
        path = postfix.queue_dir / "opendkim.sock"
        conf = self._directory / "opendkim.conf"
        conf.write_text(
            _CONF.format(
                selector=SELECTOR,
                domain=self._domain,
                key=self._key,
                socket=path,
                headers=self._signed,
            ),
            encoding="ascii",
        )
        self._daemon = Daemon(["opendkim", "-f", "-x", conf], self._directory / "opendkim.log")
        self._daemon.wait_until(lambda: accepts(path), _START_S, "opendkim to listen")
        return "unix:opendkim.sock"

    def stop(self) -> None:
        """Stop it; idempotent."""
        if self._daemon is not None:
            # Asked politely, libmilter looks up only every five seconds; there is nothing to save.
            self._daemon.kill()
            self._daemon = None


def signed_headers(octets: bytes) -> tuple[bool, set[str]]:
    """Return whether a message's DKIM signature verifies, and which fields it covers.

    A message without a signature gives False and no fields.
    """
    verifier = dkim.DKIM(octets)
    good = bool(verifier.verify())
    # dkimpy has a list of fields only once it has seen a signature.
    covered = getattr(verifier, "include_headers", ())
    return good, {name.decode().lower() for name in covered}
