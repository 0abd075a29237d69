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
        certificate: Fingerprint of a verified client certificate, empty if none
            (``ccert_fingerprint``); a milter never sees it.
        address: IP address as text, empty for mail of sendmail(1).
        port: Client TCP port as text, empty if unknown.
        listener: ``milter_macro_daemon_name`` of the listener (``policy_context``,
            ``{daemon_name}``).
    """

    login: str = ""
    certificate: str = ""
    address: str = ""
    port: str = ""
    listener: str = ""
