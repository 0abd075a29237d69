"""The milter's decision at end of message: tag, feedback headers, return path.

Purpose: facts and snapshot in, plan out. Each feature says which edits it wants; its mode decides
whether they go into the plan or into an observation.
Source: DESIGN "How a message passes"; libmilter edits are made at end of message only.
Errors: none; a message that must not pass gets a plan with `Plan.reject`.
Security: header values are hostile text; they are compared and encoded, never interpreted.
Not handled: suppressed recipients of a platform login are deleted when the policy server admits the
message, see `suppression`; the body is never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gatepost.decisions.accepted import MESSAGE_ID
from gatepost.decisions.actions import (
    Action,
    AddHeader,
    ChangeSender,
    Notice,
    Plan,
    Reject,
    RemoveHeader,
)
from gatepost.decisions.covered import Fields
from gatepost.decisions.facts import CUT, MessageFacts
from gatepost.decisions.feedback import feedback_edits, header_names, stray_feedback_edits
from gatepost.decisions.headers import drop_header, drop_occurrences, values_of
from gatepost.decisions.quota import counted_campaign
from gatepost.decisions.rerun import processed_tenant
from gatepost.decisions.status import hold_message
from gatepost.decisions.unknown import is_refused
from gatepost.feedback.session import SESSION_HEADER, tenant_of_session
from gatepost.feedback.status import NO_STATUSES, Statuses
from gatepost.modes import MAX_DETAIL, Feature, Mode, Observation
from gatepost.snapshot import Snapshot
from gatepost.tenants.identity import Evidence, Identity, identify
from gatepost.tenants.model import Tenant
from gatepost.tenants.ownership import from_allowed, refusal
from gatepost.tenants.tags import named_tenant, words_of

_STRENGTH = {mode: strength for strength, mode in enumerate(Mode)}
_PROTECTED = f"{Feature.TAG}: names a tenant whose tag is enforced"
_OVERFULL = Reject("550", "5.7.1", "too many copies of header fields that this system sets itself")


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    facts: MessageFacts
    now: float
    tenant: str = ""
    actions: list[Action] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    steps: list[str | tuple[Feature, Action]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def settle(self, feature: Feature, mode: Mode, fields: Fields) -> None:
        """Put edits of header fields, and what is told of them, where the mode says."""
        self.apply(feature, mode, fields.edits)
        for notice in fields.notices:
            if mode is Mode.ENFORCE:
                self.notices.append(notice)
                self.steps.append(f"{feature}: {notice.text}")
            elif mode is Mode.OBSERVE:
                self.observe(feature, "leave-header", notice.text)

    def apply(self, feature: Feature, mode: Mode, edits: Sequence[Action]) -> None:
        """Put edits into the plan, or into observations, as the mode says."""
        if not edits or mode is Mode.OFF:
            return
        if mode is Mode.ENFORCE:
            self.actions += edits
            self.steps += [(feature, edit) for edit in edits]
            return
        for action, detail in _summaries(edits):
            self.observe(feature, action, detail)

    def protect(self, numbers: Sequence[int], snapshot: Snapshot) -> None:
        """Take out tags that name tenants whose tag is enforced, in whatever mode the sender is."""
        edits = drop_occurrences(snapshot.platform.tenant_header, numbers)
        self.actions += edits
        if edits:
            self.steps.append(_PROTECTED)
        self.steps += [(Feature.TAG, edit) for edit in edits]

    def refuse(self, feature: Feature, mode: Mode, reject: Reject) -> Reject | None:
        """Return a refusal, or None after recording it, as the mode says."""
        if mode is Mode.ENFORCE:
            self.steps.append(f"{feature}: refused, {reject.text}")
            return reject
        if mode is Mode.OBSERVE:
            self.observe(feature, "reject", reject.text)
        return None

    def observe(self, feature: Feature, action: str, detail: str) -> None:
        """Record what a feature in observe mode would have done."""
        self.steps.append(f"{feature}: observe, would {action} {detail}")
        self.observations.append(
            Observation(
                self.now,
                self.tenant,
                feature,
                action,
                detail[:MAX_DETAIL],
                self.facts.queue_id,
                self.facts.sender,
            )
        )

    def plan(
        self, reject: Reject | None = None, *, ask_admission: bool = False, campaign: str = ""
    ) -> Plan:
        """Return the finished plan."""
        return Plan(
            self.tenant,
            () if reject else tuple(self.actions),
            reject,
            ask_admission,
            tuple(self.observations),
            tuple(self.steps),
            tuple(self.notices),
            campaign,
        )


def wanted_headers(snapshot: Snapshot) -> frozenset[str]:
    """Return the lower-case names of the header fields that `decide_message` reads.

    The adapter keeps these and forgets all others, so a header block of any size costs nothing.
    """
    platform = snapshot.platform
    names = {platform.tenant_header, SESSION_HEADER, MESSAGE_ID, *header_names(platform)}
    for tenant in snapshot.tenants.by_id.values():
        if tenant.check_from:
            names.add("from")
        names.update(filter(None, (tenant.campaign_header, tenant.mail_type_header)))
    return frozenset(name.lower() for name in names)


def decide_message(
    facts: MessageFacts, snapshot: Snapshot, now: float, statuses: Statuses = NO_STATUSES
) -> Plan:
    """Return what becomes of a message.

    Args:
        facts: The message.
        snapshot: The configuration.
        now: Unix time in seconds.
        statuses: Which tenants are paused.
    """
    draft = _Draft(facts, now)
    identity, session_edits = _identify(facts, snapshot, now)
    tags = values_of(facts.headers, snapshot.platform.tenant_header)
    # Our own header between policy server and milter goes whatever the modes are: it was not in
    # the message when the client sent it.
    draft.actions += session_edits
    platform_login = identity.platform
    tenant = identity.tenant
    if platform_login is not None:
        header = snapshot.platform.tenant_header
        named = named_tenant(tags, platform_login, snapshot.tenants, header)
        if named.problem is not None:
            return _forbidden(draft, named.problem, tags, snapshot)
        tenant = named.tenant
    if tenant is None:
        return _unidentified(draft, identity, snapshot)
    draft.tenant = tenant.id
    draft.steps.append(f"tenant {tenant.id} by {identity.how}")
    reject = (
        _check_room(draft, tenant, snapshot)
        or _check_from(draft, tenant)
        or _check_status(draft, tenant, statuses)
    )
    if reject is not None:
        return draft.plan(reject)
    tag = Fields(facts.headers)
    tag.set(snapshot.platform.tenant_header, tenant.id, lambda _: True)
    draft.settle(Feature.TAG, tenant.modes.tag, tag)
    if tags and tenant.modes.tag is not Mode.ENFORCE:
        draft.protect(_protected(tags, snapshot), snapshot)
    if tenant.modes.feedback is not Mode.OFF:
        fields = feedback_edits(facts, tenant, snapshot, now, tag.covered)
        draft.settle(Feature.FEEDBACK, tenant.modes.feedback, fields)
    campaign = counted_campaign(facts, tenant, snapshot)
    asks = platform_login is not None or bool(campaign)
    return draft.plan(ask_admission=asks, campaign=campaign)


def _identify(facts: MessageFacts, snapshot: Snapshot, now: float) -> tuple[Identity, list[Action]]:
    """Return who sent it, and the edits that take our session header out."""
    identity = identify(facts.client, snapshot.tenants)
    sessions = values_of(facts.headers, SESSION_HEADER)
    if not sessions:
        return identity, []
    numbers = [tenant_of_session(value, facts.client, snapshot.keyring, now) for value in sessions]
    # A forged copy says nothing, but in enforce it has no business in the message either.
    strip_all = snapshot.modes.tag is Mode.ENFORCE
    gone = [index for index, number in enumerate(numbers, 1) if strip_all or number is not None]
    number = next((number for number in numbers if number is not None), None)
    # A login is stronger than a certificate, and a certificate than what else the milter sees.
    if number is not None and identity.evidence is not Evidence.LOGIN:
        tenant = snapshot.tenants.by_number.get(number)
        if tenant is not None:
            identity = Identity(tenant, None, "client certificate", Evidence.CERTIFICATE)
    return identity, drop_occurrences(SESSION_HEADER, gone)


def _unidentified(draft: _Draft, identity: Identity, snapshot: Snapshot) -> Plan:
    """Take from mail of no tenant what only a tenant's mail may carry."""
    facts, modes = draft.facts, snapshot.modes
    draft.steps.append(f"no tenant: {identity.how}")
    if (done := processed_tenant(facts, snapshot, draft.now)) is not None:
        draft.tenant = done
        draft.steps.append(f"already processed as mail of tenant {done}")
        return draft.plan()
    reject = _check_named(draft, identity, snapshot) or _check_room(draft, None, snapshot)
    if reject is not None:
        return draft.plan(reject)
    header = snapshot.platform.tenant_header
    draft.apply(Feature.TAG, modes.tag, drop_header(facts.headers, header))
    if modes.tag is not Mode.ENFORCE:
        draft.protect(_protected(values_of(facts.headers, header), snapshot), snapshot)
    if modes.feedback is not Mode.OFF:
        stray = stray_feedback_edits(facts, snapshot, draft.now)
        draft.apply(Feature.FEEDBACK, modes.feedback, stray.edits)
    return draft.plan()


def _forbidden(draft: _Draft, problem: str, tags: Sequence[str], snapshot: Snapshot) -> Plan:
    """Refuse a tag that its login may not set, or record that it would be refused.

    Where it names a tenant whose tag is enforced, the general mode has no say.
    """
    mode = snapshot.modes.tag
    unseen = draft.facts.overfull and _is_any_enforced(snapshot)
    if mode is not Mode.ENFORCE and (unseen or _protected(tags, snapshot)):
        draft.steps.append(_PROTECTED)
        mode = Mode.ENFORCE
    return draft.plan(draft.refuse(Feature.TAG, mode, Reject("550", "5.7.1", problem)))


def _protected(tags: Sequence[str], snapshot: Snapshot) -> list[int]:
    """Return which tags (1-based) of mail whose own tag is not enforced name an enforced tenant.

    That tenant was promised that nobody else's mail carries its tag, whatever the sender's mode.
    """
    by_id = snapshot.tenants.by_id

    def is_protected(word: str) -> bool:
        named = by_id.get(word)
        return named is not None and named.modes.tag is Mode.ENFORCE

    # What was too long to be looked at to its end may name anybody.
    cut = any(value.endswith(CUT) for value in tags) and _is_any_enforced(snapshot)
    return [
        number
        for number, value in enumerate(tags, 1)
        if (cut and value.endswith(CUT)) or any(map(is_protected, words_of(value)))
    ]


def _is_any_enforced(snapshot: Snapshot) -> bool:
    """Tell whether any tenant enforces its tag.

    It looks at all of them, and so is asked about hostile messages only.
    """
    return any(each.modes.tag is Mode.ENFORCE for each in snapshot.tenants.by_id.values())


def _check_named(draft: _Draft, identity: Identity, snapshot: Snapshot) -> Reject | None:
    """Return the refusal for a platform login that names no tenant where one is required.

    RCPT TO has let it pass, since the name stands in the message.
    """
    facts = draft.facts
    if identity.platform is None or not is_refused(facts.sender, facts.recipients, snapshot):
        return None
    header = snapshot.platform.tenant_header
    reject = Reject("550", "5.7.1", f"this login must name a tenant in {header}")
    return draft.refuse(Feature.SENDER, snapshot.modes.sender, reject)


def _check_room(draft: _Draft, tenant: Tenant | None, snapshot: Snapshot) -> Reject | None:
    """Return the refusal for a message with more header fields than could be looked at."""
    if not draft.facts.overfull:
        return None
    modes = snapshot.modes if tenant is None else tenant.modes
    # Both features edit headers; the one in the stronger mode speaks.
    feature = max((Feature.TAG, Feature.FEEDBACK), key=lambda each: _STRENGTH[modes.of(each)])
    mode = modes.of(feature)
    if mode is not Mode.ENFORCE and _is_any_enforced(snapshot):
        # A field that was not kept may be a tag that its tenant must not find on others' mail.
        feature, mode = Feature.TAG, Mode.ENFORCE
    return draft.refuse(feature, mode, _OVERFULL)


def _check_from(draft: _Draft, tenant: Tenant) -> Reject | None:
    """Return the refusal for a From: header that is not the tenant's, or None.

    Bounces always pass: a refused one is a lost one, and its From: is that of any mail server.
    """
    if not tenant.check_from or tenant.modes.sender is Mode.OFF or not draft.facts.sender:
        return None
    allowed, domain = from_allowed(values_of(draft.facts.headers, "from"), tenant)
    if allowed:
        return None
    reject = Reject("550", "5.7.1", "From: " + refusal(domain, tenant))
    return draft.refuse(Feature.SENDER, tenant.modes.sender, reject)


def _check_status(draft: _Draft, tenant: Tenant, statuses: Statuses) -> Reject | None:
    """Return the refusal for a message that has to wait, or None."""
    status = statuses.get(tenant.id)
    if status is None:
        return None
    facts = draft.facts
    header = tenant.mail_type_header
    types = values_of(facts.headers, header) if header is not None else []
    header = tenant.campaign_header if status.parts else None
    campaigns = values_of(facts.headers, header) if header is not None else []
    held = hold_message(tenant, types, status, draft.now, campaigns, facts.recipients)
    if held is None:
        return None
    if held.acts:
        draft.steps.append(held.reject.text)
        return held.reject
    draft.observe(Feature.LADDER, "defer", held.reject.text)
    return None


def _summaries(edits: Iterable[Action]) -> list[tuple[str, str]]:
    """Return one (action, detail) per kind of edit and header name."""
    removed: dict[str, int] = {}
    found = []
    for edit in edits:
        match edit:
            case AddHeader(name, value):
                found.append(("add-header", f"{name}: {value}"))
            case ChangeSender(address):
                found.append(("change-sender", address))
            case RemoveHeader(name, _):
                removed[name] = removed.get(name, 0) + 1
    return [*(("remove-header", f"{name} x{n}") for name, n in removed.items()), *found]
