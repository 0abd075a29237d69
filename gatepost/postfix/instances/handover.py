"""The two ways between the main instance and a lane's own, as master.cf entries.

Purpose: mail goes over by ``gp-<lane>``, one for each such lane, and what does not belong there
comes back by ``gatepost-return``, one for all. Both are an lmtp(8) that speaks to an smtpd(8) on a
UNIX socket below the other's ``private`` directory. Only Postfix's own account can enter that, so
no other user of the host can put mail into either; a port on loopback would be open to all of them.
Source: smtpd(8) and lmtp(8). smtpd(8) speaks no LMTP, and smtp(8) knows no UNIX sockets; but LMTP
differs from SMTP in nothing but its greeting, LHLO, and one reply for each recipient after the
message, RFC 2033 §4. smtpd_command_filter turns the greeting into EHLO, and each message is handed
over for one recipient alone, so there is one reply. Sender, recipient, DSN parameters, BODY and
SMTPUTF8 go along as the servers announce them; XFORWARD brings the queue id. REQUIRETLS (3.11) is
announced over TLS alone; it goes along in the header that requiretls_esmtp_header adds.
Limits: `HAND_OVERS` messages at once; handing over takes milliseconds.
Errors: none.
Security: see Purpose. The way back asks no milter and no policy service, since what comes by it has
passed them, and copies no mail to always_bcc and its kin a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from gatepost.postfix.editor import Editor
from gatepost.postfix.parameters import Setting
from gatepost.traffic.lanes import hand_over_name

RETURN = "gatepost-return"
RETURN_CLEANUP = "gatepost-cleanup"
BACK = "gp-back"
GREETING = "gatepost"
HAND_OVERS = 20

_INDENT = "  "
_NO_LIMIT = "0"
# smtpd(8) takes a UNIX socket for localhost: 127.0.0.1, or ::1 with inet_protocols = ipv6.
LOCALHOST = "127.0.0.0/8, [::1]/128"
FILTER = f"regexp:{{ {{/^LHLO {GREETING}/ EHLO {GREETING}}} }}"

# What the operator may have set for other LMTP servers, and would be wrong here.
_FOREIGN = {
    "lmtp_sasl_auth_enable": "no",
    "lmtp_use_tls": "no",
    "lmtp_enforce_tls": "no",
    "lmtp_tls_policy_maps": "",
    "lmtp_generic_maps": "",
    "lmtp_header_checks": "",
    "lmtp_mime_header_checks": "",
    "lmtp_nested_header_checks": "",
    "lmtp_body_checks": "",
    "lmtp_reply_filter": "",
    "lmtp_delivery_status_filter": "",
    "lmtp_discard_lhlo_keywords": "",
    "lmtp_discard_lhlo_keyword_address_maps": "",
}
# Restrictions and limits of the operator's listeners: by this door comes only what passed them.
_OPEN_DOOR = {
    "smtpd_client_restrictions": "",
    "smtpd_helo_restrictions": "",
    "smtpd_sender_restrictions": "",
    "smtpd_recipient_restrictions": "",
    "smtpd_data_restrictions": "",
    "smtpd_end_of_data_restrictions": "",
    "smtpd_milters": "",
    "smtpd_milter_maps": "",
    "smtpd_proxy_filter": "",
    "content_filter": "",
    "smtpd_sasl_auth_enable": "no",
    "smtpd_tls_security_level": "none",
    "smtpd_enforce_tls": "no",
    "smtpd_tls_wrappermode": "no",
    "smtpd_reject_unlisted_sender": "no",
    "strict_rfc821_envelopes": "no",
    "smtpd_discard_ehlo_keywords": "",
    "smtpd_discard_ehlo_keyword_address_maps": "",
    "smtpd_upstream_proxy_protocol": "",
    "smtpd_reject_footer": "",
    "smtpd_client_connection_count_limit": _NO_LIMIT,
    "smtpd_client_connection_rate_limit": _NO_LIMIT,
    "smtpd_client_message_rate_limit": _NO_LIMIT,
    "smtpd_client_recipient_rate_limit": _NO_LIMIT,
}
_CLEAN = {
    "always_bcc": "",
    "sender_bcc_maps": "",
    "recipient_bcc_maps": "",
    "header_checks": "",
    "mime_header_checks": "",
    "nested_header_checks": "",
    "body_checks": "",
    "non_smtpd_milters": "",
}


def listening() -> Iterator[Setting]:
    """Yield what makes an smtpd(8) the other end of such a way."""
    yield Setting(
        "smtpd_command_filter",
        FILTER,
        "lmtp(8) says LHLO; all else of LMTP is SMTP, as each message comes for one recipient.",
    )
    yield Setting("mynetworks", LOCALHOST, "The name of whoever comes by a UNIX socket.")
    yield Setting(
        "smtpd_relay_restrictions",
        "permit_mynetworks, reject",
        "Who gets as far as this socket is Postfix: its directory lets nobody else in.",
    )
    yield Setting(
        "smtpd_authorized_xforward_hosts",
        LOCALHOST,
        "Log the queue id of the other instance, so that a message can be followed.",
    )
    yield Setting("message_size_limit", _NO_LIMIT, "The main instance has taken it already.")


def connecting(name: str, syslog: str, main: Mapping[str, str]) -> Iterator[Setting]:
    """Yield the overrides of an lmtp(8) that goes such a way.

    Args:
        name: Name of the service.
        syslog: The syslog_name of its instance.
        main: Parameter to value in the main.cf that it reads.
    """
    yield Setting("syslog_name", f"{syslog}/{name}", "Its own name in the log.")
    yield Setting("lmtp_lhlo_name", GREETING, "What the other side turns into an EHLO.")
    yield Setting("lmtp_send_xforward_command", "yes", "Tells the queue id, for the other's log.")
    yield Setting(
        "lmtp_tls_security_level",
        "none",
        "A UNIX socket: nobody can listen in. Deliveries to the outside have the TLS of their "
        "profile.",
    )
    for other, value in _FOREIGN.items():
        if other in main:
            yield Setting(other, value, "Yours is for other servers.")


def add_hand_over(editor: Editor, lane: str, syslog: str, main: Mapping[str, str]) -> None:
    """Add the service that hands mail to a lane's own instance to the block of master.cf."""
    name = hand_over_name(lane)
    editor.add(
        f"{name:<9} unix  -       -       n       -       {HAND_OVERS:<7} lmtp",
        f"Lane {lane} is a Postfix instance of its own. Its mail is handed over here, by a socket "
        "that only Postfix's own account can reach; while nobody answers there, it waits here.",
    )
    for setting in connecting(name, syslog, main):
        editor.add(override(setting), setting.reason, indent=_INDENT)


def add_return(editor: Editor, main: Mapping[str, str]) -> None:
    """Add the services by which lanes' own instances give mail back.

    Args:
        editor: The master.cf on its way.
        main: Parameter to value in main.cf as it will be, what attach sets included.
    """
    editor.add(
        f"{RETURN} unix -     -       n       -       -       smtpd",
        "What lanes' own instances give back: their bounces, which go from here as this "
        "instance's own do, and what is left in one that is to go. A socket that only Postfix's "
        "own account can reach.",
    )
    for setting in listening():
        editor.add(override(setting), setting.reason, indent=_INDENT)
    for name, value in _OPEN_DOOR.items():
        if name in main:
            editor.add(override(Setting(name, value, "")), _HELD, indent=_INDENT)
    editor.add(
        override(Setting("receive_override_options", "no_unknown_recipient_checks", "")),
        "A notice to a user who is gone fails where this instance's own would.",
        indent=_INDENT,
    )
    editor.add(
        override(Setting("cleanup_service_name", RETURN_CLEANUP, "")),
        "A cleanup(8) that does once more only what a bounce of this instance meets, too.",
        indent=_INDENT,
    )
    editor.add(
        f"{RETURN_CLEANUP} unix n   -       n       -       0       cleanup",
        "Addresses are rewritten as for this instance's own bounces. No copies for always_bcc "
        "and its kin, no milters, no header and body checks: there were all of them before.",
    )
    editor.add(override(Setting("message_size_limit", _NO_LIMIT, "")), _ROOM, indent=_INDENT)
    for name, value in _CLEAN.items():
        if name in main:
            editor.add(override(Setting(name, value, "")), _HELD, indent=_INDENT)


_HELD = "That of main.cf has held before."
_ROOM = "The main instance has taken it already, and it has one header more now."


def override(setting: Setting) -> str:
    """Return a setting as an override of a master.cf entry."""
    if any(blank in setting.value for blank in " \t"):
        return f"-o {{ {setting.name} = {setting.value} }}"
    return f"-o {setting.name}={setting.value}"


def back_to(queue_directory: Path) -> str:
    """Return transport and next-hop by which mail goes back to the main instance."""
    return f"{BACK}:unix:{queue_directory}/private/{RETURN}"


def queue_settings(service: str, main: Mapping[str, str]) -> Iterator[Setting]:
    """Yield what qmgr(8) has to know of such a service."""
    yield Setting(
        f"{service}_destination_recipient_limit",
        "1",
        "One recipient each: after the message LMTP has a reply for each recipient, SMTP has one.",
    )
    for suffix in ("_destination_rate_delay", "_transport_rate_delay"):
        if f"default{suffix}" in main:
            yield Setting(
                service + suffix, "0s", f"Handing over is no delivery: default{suffix} waits there."
            )
