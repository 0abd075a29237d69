"""Whether a message has passed us before: what makes a second run change nothing.

Purpose: Postfix runs milters again over requeued mail (``postsuper -r``) and over mail that a content
filter hands back. The queue id is then another one and often the login is gone, so the tokens that
the first run left are the only witness.
Source: Postfix MILTER_README ("non-SMTP Milter applications"); postsuper(1) -r.
Errors: none.
Security: a token alone proves little, since each recipient of a message can copy its header. It is
believed when the envelope sender carries the bounce token of the same message, which only
mail in our own queue does, or when the client is on this host: then whoever sends can be
expected to be the content filter or Postfix itself.
"""

from __future__ import annotations

from gatepost.decisions.facts import MessageFacts
from gatepost.decisions.headers import values_of
from gatepost.domains import domain_of
from gatepost.errors import MalformedMessage
from gatepost.feedback.token import Purpose, Token, message_id_of, open_token
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import Tenant

_LOCAL = ("127.", "::1")


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
    return _open(value.strip(), Purpose.COMPLAINT, tenant, snapshot, now)


def return_path_token(
    sender: str, tenant: Tenant | None, snapshot: Snapshot, now: float
) -> Token | None:
    """Return the token of a token return path, if it is genuine."""
    domain = snapshot.platform.bounce_domain
    if domain is None or domain_of(sender) != domain:
        return None
    return _open(sender.rpartition("@")[0], Purpose.BOUNCE, tenant, snapshot, now)


def ran_before(
    facts: MessageFacts, header: Token, tenant: Tenant, snapshot: Snapshot, now: float
) -> bool:
    """Tell whether the token header comes from an earlier run over the same message."""
    if header.message == message_id_of(facts.host, facts.queue_id) or _is_local(facts):
        return True
    envelope = return_path_token(facts.sender, tenant, snapshot, now)
    return envelope is not None and envelope.message == header.message


def processed_tenant(facts: MessageFacts, snapshot: Snapshot, now: float) -> str | None:
    """Return the tenant of unidentified mail that an earlier run has marked, or None."""
    tags = [value.strip() for value in values_of(facts.headers, snapshot.platform.tenant_header)]
    token = complaint_token(facts, None, snapshot, now)
    if len(tags) != 1 or token is None:
        return None
    tenant = snapshot.tenants.by_id.get(tags[0])
    if tenant is None or tenant.number != token.tenant:
        return None
    return tenant.id if ran_before(facts, token, tenant, snapshot, now) else None


def _is_local(facts: MessageFacts) -> bool:
    return not facts.client.address or facts.client.address.startswith(_LOCAL)


def _open(
    text: str, purpose: Purpose, tenant: Tenant | None, snapshot: Snapshot, now: float
) -> Token | None:
    try:
        token = open_token(text, purpose, snapshot.keyring, now)
    except MalformedMessage:
        return None
    return token if tenant is None or token.tenant == tenant.number else None
