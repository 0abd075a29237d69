"""Whether a message has passed us before: what makes a second run change nothing.

Purpose: a content filter hands mail back to Postfix by SMTP or sendmail(1), and unless that way in
has ``no_milters``, as FILTER_README advises, the milter sees the message again: under another
queue id and often without its login. The tokens that the first run left are the only witness.
Source: Postfix FILTER_README; MILTER_README ("non-SMTP Milter applications"); postsuper(1): mail
that was requeued does not pass the milters again.
Errors: none.
Security: each recipient of a message can copy its tokens, those of the header and of Return-Path:,
and send them from anywhere. So mail of nobody keeps the marks of a tenant only if it comes from
this host, where whoever sends can be expected to be the content filter, or bears its own queue id.
So does mail of a tenant, and a content filter does not log in: a tenant that sent all its mail with
one token of its own would have all complaints about it count as one.
Not handled: a content filter on another host, or one that passes on the client's address
(XFORWARD), that hands mail back to a listener with milters. Such mail gets new references.
"""

from __future__ import annotations

from gatepost.decisions.facts import MessageFacts
from gatepost.decisions.headers import BLANKS, values_of
from gatepost.domains import domain_of
from gatepost.errors import MalformedMessage
from gatepost.feedback.token import Purpose, Token, message_id_of, open_token
from gatepost.snapshot import Snapshot
from gatepost.tenants.identity import is_loopback
from gatepost.tenants.model import Tenant


def genuine_token(
    text: str, purpose: Purpose, tenant: Tenant | None, snapshot: Snapshot, now: float
) -> Token | None:
    """Return what a text says, if it is a token of ours for a purpose, or None.

    Args:
        text: What may be a token.
        purpose: Its purpose.
        tenant: The tenant that it must belong to, or None for any.
        snapshot: The configuration.
        now: Unix time in seconds.
    """
    try:
        token = open_token(text, purpose, snapshot.keyring, now)
    except MalformedMessage:
        return None
    return token if tenant is None or token.tenant == tenant.number else None


def complaint_token(
    facts: MessageFacts,
    tenant: Tenant | None,
    snapshot: Snapshot,
    now: float,
    value: str | None = None,
) -> Token | None:
    """Return the token of the token header, if there is exactly one and it is genuine.

    Args:
        facts: The message.
        tenant: The tenant that it must belong to, or None for any.
        snapshot: The configuration.
        now: Unix time in seconds.
        value: Look at this header value instead of the message's.
    """
    if value is None:
        values = values_of(facts.headers, snapshot.platform.token_header)
        if len(values) != 1:
            return None
        value = values[0]
    return genuine_token(value.strip(BLANKS), Purpose.COMPLAINT, tenant, snapshot, now)


def return_path_token(
    sender: str, tenant: Tenant | None, snapshot: Snapshot, now: float
) -> Token | None:
    """Return the token of a token return path, if it is genuine."""
    domain = snapshot.platform.bounce_domain
    if domain is None or domain_of(sender) != domain:
        return None
    return genuine_token(sender.rpartition("@")[0], Purpose.BOUNCE, tenant, snapshot, now)


def earlier_run(
    facts: MessageFacts, tenant: Tenant, snapshot: Snapshot, now: float
) -> Token | None:
    """Return the token of an earlier run over a tenant's message, or None if there was none."""
    header = complaint_token(facts, tenant, snapshot, now)
    return header if header is not None and _is_here(facts, header) else None


def processed_tenant(facts: MessageFacts, snapshot: Snapshot, now: float) -> str | None:
    """Return the tenant of unidentified mail that an earlier run has marked, or None."""
    tags = [
        value.strip(BLANKS) for value in values_of(facts.headers, snapshot.platform.tenant_header)
    ]
    token = complaint_token(facts, None, snapshot, now)
    if len(tags) != 1 or token is None or not _is_here(facts, token):
        return None
    tenant = snapshot.tenants.by_id.get(tags[0])
    return tenant.id if tenant is not None and tenant.number == token.tenant else None


def _is_here(facts: MessageFacts, token: Token) -> bool:
    """Tell whether a message is the token's own, or comes from a content filter on this host."""
    if token.message == message_id_of(facts.host, facts.queue_id):
        return True
    return not facts.client.login and is_loopback(facts.client.address)
