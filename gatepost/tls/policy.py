"""A requirement in the words of Postfix's TLS policy table, for the version that reads it.

Purpose: one unknown attribute makes Postfix discard the whole policy and defer the mail ("client
TLS configuration problem"), so every attribute is emitted only for versions that know it.
Source: postconf(5) smtp_tls_policy_maps; RELEASE_NOTES-3.4 (servername), RELEASE_NOTES-3.6
(protocols as a range), POSTFIX's tls_policy parser in src/smtp/smtp_tls_policy.c.
Format: ``encrypt protocols=>=TLSv1.2``; ``verify match=mx.example:.example servername=hostname``;
``dane-only``; from 3.10 an MTA-STS answer tells the policy as well (TLSRPT_README), with which
Postfix writes its TLS reports and, from 3.10.5, checks MX names itself.
Limits: an MTA-STS policy of more than 4,000 characters is not told. `match` names are joined by
":", which no normalised domain contains. A comma-separated protocol list is a syntax error inside a
policy, hence the range form.
Not handled: a minimum version at level ``may``. With it, a server that has only older versions
would be sent to in plaintext, which is worse than old TLS.
Errors: `format_policy` raises `LocalProtocolError` for a requirement that no policy can express.
"""

from __future__ import annotations

from gatepost.errors import LocalProtocolError
from gatepost.postfix_version import PostfixVersion
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.levels import Dane, Level, Requirement
from gatepost.tls.mtasts.policy import format_policy_text

PROTOCOL_RANGE_SINCE = (3, 6)
SERVERNAME_SINCE = (3, 4)
STS_ATTRIBUTES_SINCE = (3, 10)
MAX_STS_CHARACTERS = 4_000

_DANE = {Dane.OPPORTUNISTIC: "dane", Dane.ONLY: "dane-only"}


def format_policy(
    requirement: Requirement, version: PostfixVersion, sts: Knowledge | None = None
) -> str:
    """Return the right-hand side of a policy table entry.

    Args:
        requirement: What to demand; must be satisfiable.
        version: The Postfix that asks.
        sts: The knowledge whose MTA-STS policy alone decides the certificate names, or None.

    Raises:
        LocalProtocolError: If the requirement is unsatisfiable, or the version is too old to be
            told about a minimum protocol version without listing every older one.
    """
    if requirement.unsatisfiable:
        raise LocalProtocolError("an unsatisfiable requirement has no policy")
    dane = requirement.dane is not Dane.OFF
    words = [_DANE[requirement.dane] if dane else requirement.level.keyword]
    if requirement.level is Level.VERIFY and not dane:
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
    if sts is not None and (version.major, version.minor) >= STS_ATTRIBUTES_SINCE:
        words += _sts_words(sts)
    return " ".join(words)


def _sts_words(knowledge: Knowledge) -> list[str]:
    policy = knowledge.sts
    if policy is None:
        return []
    lines = format_policy_text(policy).splitlines()
    words = ["policy_type=sts", f"policy_domain={knowledge.sts_domain}"]
    words += [f"{{ policy_string = {line} }}" for line in lines]
    # Here the wildcard keeps its star, other than in match.
    words += [f"mx_host_pattern={pattern}" for pattern in policy.patterns]
    return words if sum(map(len, words)) <= MAX_STS_CHARACTERS else []
