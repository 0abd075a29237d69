"""A requirement in the words of Postfix's TLS policy table, for the version that reads it.

Purpose: one unknown attribute makes Postfix discard the whole policy and defer the mail ("client
TLS configuration problem"), so every attribute is emitted only for versions that know it.
Source: postconf(5) smtp_tls_policy_maps; RELEASE_NOTES-3.4 (servername), RELEASE_NOTES-3.6
(protocols as a range), POSTFIX's tls_policy parser in src/smtp/smtp_tls_policy.c.
Format: ``encrypt protocols=>=TLSv1.2``; ``verify match=mx.example:.example servername=hostname``.
Limits: `match` names are joined by ":", which no normalised domain contains. A comma-separated
protocol list is a syntax error inside a policy, hence the range form.
Not handled: a minimum version at level ``may``. With it, a server that has only older versions
would be sent to in plaintext, which is worse than old TLS.
Errors: `format_policy` raises `LocalProtocolError` for a requirement that no policy can express.
"""

from __future__ import annotations

from gatepost.errors import LocalProtocolError
from gatepost.postfix_version import PostfixVersion
from gatepost.tls.levels import Level, Requirement

PROTOCOL_RANGE_SINCE = (3, 6)
SERVERNAME_SINCE = (3, 4)


def format_policy(requirement: Requirement, version: PostfixVersion) -> str:
    """Return the right-hand side of a policy table entry.

    Args:
        requirement: What to demand; must be satisfiable.
        version: The Postfix that asks.

    Raises:
        LocalProtocolError: If the requirement is unsatisfiable, or the version is too old to be
            told about a minimum protocol version without listing every older one.
    """
    if requirement.unsatisfiable:
        raise LocalProtocolError("an unsatisfiable requirement has no policy")
    words = [requirement.level.keyword]
    if requirement.level is Level.VERIFY:
        # "hostname" is the MX host name; it is Postfix's default for this level and is spelled
        # out so that an operator's smtp_tls_verify_cert_match cannot change what we promise.
        names = sorted(requirement.match) if requirement.match else ["hostname"]
        words.append("match=" + ":".join(names))
        # Without SNI many hosts present another certificate (RFC 8461 §7.1 asks for it too).
        if (version.major, version.minor) >= SERVERNAME_SINCE:
            words.append("servername=hostname")
    if requirement.min_version is not None and requirement.level >= Level.ENCRYPT:
        if (version.major, version.minor) < PROTOCOL_RANGE_SINCE:
            raise LocalProtocolError(f"Postfix {version} has no protocol ranges")
        words.append(f"protocols=>={requirement.min_version.keyword}")
    return " ".join(words)
