"""What the API takes and gives, but for the settings of a tenant: see `tenant_model`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gatepost.feedback.rules import Step
from gatepost.feedback.status import MAX_REASON, NORMAL, Pause, Status, Statuses
from gatepost.feedback.suppression import MAX_ADDRESS_OCTETS, MAX_NOTE
from gatepost.feedback.suppression_table import format_time
from gatepost.modes import Feature
from gatepost.tenants.model import Tenant
from gatepost.web.api.rights import TENANT_PATTERN
from gatepost.web.api.tenant_model import PLAIN, SETTINGS

MAX_PAUSE_S = 400 * 86_400
MAX_CHECKED = 100
MAX_HEADERS = 100

Source = Literal["file", "api"]
Reason = Literal["complaint", "unsubscribe", "invalid", "manual", "hard-bounce", "soft-bounces"]
Plain = Annotated[str, StringConstraints(strict=True, pattern=PLAIN)]
# Printable ASCII: it is shown in SMTP replies.
ReasonText = Annotated[
    str, StringConstraints(strict=True, max_length=MAX_REASON, pattern=r"^[ -~]*$")
]
Address = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=MAX_ADDRESS_OCTETS, pattern=PLAIN),
]


class Given(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", strict=True)


class NewTenant(Given):
    """A tenant to make."""

    id: str = Field(pattern=TENANT_PATTERN, description="Tenant id; it can never be changed.")
    settings: SETTINGS = Field(  # type: ignore[valid-type]
        default_factory=SETTINGS, description="As in a file, see docs/config.md."
    )


class PauseView(BaseModel):
    """A pause by the operator."""

    scope: str
    reason: str
    since: float = Field(description="Unix time in seconds.")
    until: float | None = Field(description="Unix time at which it ends, or null.")
    by: str
    queued: str = Field(description="What becomes of mail that is in the queue.")
    campaign: str = ""
    domain: str = ""


class LadderView(BaseModel):
    """What the ladder has done by itself."""

    step: str
    mode: str | None = Field(description="Whether it acts: in enforce alone.")
    since: float | None
    why: str
    counted_from: float | None


class StatusView(BaseModel):
    """The status of a tenant."""

    active: bool = Field(description="Whether nothing of its mail is paused or slowed down.")
    pauses: list[PauseView]
    ladder: LadderView


class Effective(BaseModel):
    """What is in force for a tenant, defaults included."""

    profile: str
    lane: str
    return_path: str
    check_from: bool
    senders: list[str]
    logins: list[str]
    certificates: list[str]
    clients: list[str]
    listeners: list[str]
    modes: dict[str, str]


class TenantSummary(BaseModel):
    """A tenant in a list."""

    id: str
    source: Source
    profile: str
    lane: str


class TenantPage(BaseModel):
    """Some tenants."""

    tenants: list[TenantSummary]
    next: str | None = Field(description="`cursor` of the next page, or null at the end.")


class TenantView(BaseModel):
    """A tenant."""

    id: str
    source: Source = Field(description="Whether it stands in a file, or was made here.")
    in_force: bool = Field(description="Whether the settings shown are those in force.")
    version: int | None = Field(description="As in the ETag; null for one of a file.")
    changed_at: str | None
    changed_by: str | None
    settings: dict[str, Any] | None = Field(description="As they were given; null for a file's.")
    effective: Effective | None = Field(description="What is in force; null if nothing is yet.")
    status: StatusView


class PauseRequest(Given):
    """A pause."""

    reason: Annotated[ReasonText, Field(min_length=1)] = Field(
        description="Why; the tenant's clients see it in the SMTP reply.", examples=["ticket 4711"]
    )
    scope: Literal["all", "marketing"] = Field(
        "all", description="What waits; with campaign or domain it has to be all."
    )
    campaign: str = Field(
        "", max_length=100, pattern=PLAIN, description="Only mail of this campaign."
    )
    domain: Plain = Field("", max_length=255, description="Only mail to this domain.")
    queued: Literal["keep", "retry", "hold"] | None = Field(
        None,
        description="What becomes of mail that is in the queue. Without it, retry for all mail of "
        "the tenant, and keep for a part. hold needs gatepost tenant apply on each node, as root.",
    )
    confirm: bool = Field(
        default=False, description="Also if it stops more than this customer, as --yes."
    )
    seconds: int | None = Field(
        None, ge=1, le=MAX_PAUSE_S, description="Ends by itself after so long."
    )


class ResumeRequest(Given):
    """The end of a pause."""

    reason: ReasonText = Field("", description="Why, for the record.")
    campaign: str = Field(
        "", max_length=100, pattern=PLAIN, description="End the pause of this campaign alone."
    )
    domain: str = Field(
        "", max_length=255, pattern=PLAIN, description="End the pause to this domain alone."
    )


class QuotaView(BaseModel):
    """How far one quota is used."""

    of: str
    quota: str
    limit: int
    window_s: int
    unit: str
    used: int
    open: bool
    opens_in_s: float


class QuotasView(BaseModel):
    """How far quotas are used, as it was a second ago."""

    quotas: list[QuotaView]
    problems: list[str] = Field(description="Why that is not known, or empty.")


class EntryView(BaseModel):
    """One reason why one address is suppressed."""

    tenant: str = Field(description="Whose list; empty for the global one.")
    address: str | None = Field(description="Null where the list keeps only hashes.")
    reason: Reason
    since: str
    expires: str | None
    source: str
    note: str


class EntryPage(BaseModel):
    """Some entries."""

    entries: list[EntryView]
    next: str | None = Field(description="`cursor` of the next page, or null at the end.")


class NewEntry(Given):
    """An address to suppress."""

    address: Address = Field(examples=["ann@example.org"])
    reason: Reason | None = Field(
        None, description="Without it, manual; invalid on the global list."
    )
    seconds: int | None = Field(
        None, ge=1, le=100 * 365 * 86_400, description="Ends by itself after so long."
    )
    note: Plain = Field("", max_length=MAX_NOTE)


class Removal(Given):
    """An address to take off a list."""

    address: Address = Field(examples=["ann@example.org"])
    reason: Reason | None = Field(None, description="Only the entry with this reason.")


class Changed(BaseModel):
    """What has changed on a list."""

    entries: list[EntryView] = Field(description="Those that were added or changed, or removed.")


class CheckRequest(Given):
    """Addresses to look up."""

    addresses: list[Address] = Field(min_length=1, max_length=MAX_CHECKED)


class CheckedEntry(EntryView):
    """An entry of an address."""

    in_force: bool


class Checked(BaseModel):
    """What the lists say of an address."""

    address: str
    suppressed: bool
    entries: list[CheckedEntry]


class CheckedAll(BaseModel):
    """What the lists say of some addresses."""

    addresses: list[Checked]


class BadLineView(BaseModel):
    """A line that was left out."""

    line: int
    problem: str


class Imported(BaseModel):
    """What became of an import."""

    entries: int = Field(description="Lines that hold an entry that has not ended.")
    changed: int = Field(description="How many were new or changed anything.")
    ended: int
    bad: int
    bad_lines: list[BadLineView] = Field(description="The first of them.")
    dry_run: bool


class EventView(BaseModel):
    """An event, in the form of webhooks."""

    id: str
    type: str
    timestamp: str
    data: dict[str, Any]


class EventPage(BaseModel):
    """A part of the stream of events."""

    events: list[EventView]
    next: str = Field(description="`cursor` to go on from, also where there is nothing more yet.")


class HeaderField(Given):
    """A header field."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[!-9;-~]+$")
    value: Plain = Field("", max_length=2000)


class ExplainRequest(Given):
    """A message to one recipient."""

    sender: str = Field(
        "", max_length=320, pattern=PLAIN, description="Envelope sender; empty for a bounce."
    )
    recipient: Address
    login: Plain = Field("", max_length=256, description="SASL login of the client.")
    client_address: Plain = Field("", max_length=45, description="Its IP address.")
    certificate: str = Field(
        "", max_length=200, pattern=PLAIN, description="Fingerprint of its certificate."
    )
    listener: str = Field(
        "", max_length=128, pattern=PLAIN, description="milter_macro_daemon_name."
    )
    headers: list[HeaderField] = Field(default_factory=list, max_length=MAX_HEADERS)
    next_hop: Plain | None = Field(None, min_length=1, max_length=300)


def moment(at: float) -> str:
    """Return a Unix time as ISO 8601."""
    return format_time(at)


def effective(tenant: Tenant) -> Effective:
    """Return what is in force for a tenant."""
    return Effective(
        profile=tenant.profile,
        lane=tenant.lane,
        return_path=tenant.return_path.value,
        check_from=tenant.check_from,
        senders=list(tenant.senders),
        logins=list(tenant.logins),
        certificates=list(tenant.certificates),
        clients=list(tenant.clients),
        listeners=list(tenant.listeners),
        modes={feature.value: tenant.modes.of(feature).value for feature in Feature},
    )


def status_view(id_: str, statuses: Statuses, tenant: Tenant | None, now: float) -> StatusView:
    """Return the status of a tenant."""
    status: Status = statuses.get(id_, NORMAL)
    pauses = status.pauses_at(now)
    return StatusView(
        active=not pauses and status.step is Step.NONE,
        pauses=[_pause(each) for each in pauses],
        ladder=LadderView(
            step=status.step.keyword,
            mode=None if tenant is None else tenant.modes.ladder.value,
            since=status.since or None,
            why=status.why,
            counted_from=status.counted_from or None,
        ),
    )


def _pause(pause: Pause) -> PauseView:
    return PauseView(
        scope=pause.scope.value,
        reason=pause.reason,
        since=pause.since,
        until=pause.until,
        by=pause.by,
        queued=pause.queued.value,
        campaign=pause.campaign,
        domain=pause.domain,
    )
