"""Who is connected to smtpd(8), in Postfix's own evidence.

Source: Postfix SMTPD_POLICY_README (attributes), MILTER_README (macros).
Errors: none.
Security: the address and the authenticated names are Postfix's word; nothing else is in here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Client:
    """Who is connected to smtpd(8).

    Attributes:
        login: SASL login, empty if none (``sasl_username``, ``{auth_authen}``).
        certificate: Fingerprint of the client certificate, empty if none
            (``ccert_fingerprint``); a milter never sees it. No authority need have signed the
            certificate: the TLS handshake proved that the client has its key.
        address: IP address as text, without an ``IPv6:`` before it, empty if unknown. Mail of
            sendmail(1) has 127.0.0.1, see cleanup_milter_client_init() in cleanup_milter.c.
        port: Client TCP port as text, empty if unknown.
        listener: ``milter_macro_daemon_name`` of the listener (``policy_context``,
            ``{daemon_name}``).
    """

    login: str = ""
    certificate: str = ""
    address: str = ""
    port: str = ""
    listener: str = ""
