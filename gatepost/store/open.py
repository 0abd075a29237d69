"""From a store's URL to the store.

Purpose: one function for each concern, so that nobody else names a database. What belongs to the
platform is found at the setting ``state``, what belongs to one node alone at ``local_state``: see
`LOCAL`.
Format: ``sqlite:///relative/path`` or ``sqlite:////absolute/path``; for what nodes share also
``postgresql://user@host/database``.
Limits: a kind of store is loaded when the first of it is opened, so that a process pays for none
that it does not use.
Errors: each function raises `StoreUnavailable` if the store cannot be opened or made, or was made
by a newer version; with ``create=False`` also if there is none yet.
"""

# ruff: noqa: PLC0415
# See Limits.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.store.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from gatepost.maillog.evidence import DeliveryStore
    from gatepost.store.api_tenants import ApiTenantStore
    from gatepost.store.api_tokens import ApiTokenStore
    from gatepost.store.event_readers import ReaderStore
    from gatepost.store.events import EventStore
    from gatepost.store.gmail import GmailStore
    from gatepost.store.held import HeldStore
    from gatepost.store.interface import ObservationStore
    from gatepost.store.lanes import LaneStore
    from gatepost.store.messages import MessageStore
    from gatepost.store.mta_sts import StsStore
    from gatepost.store.quotas import QuotaStore
    from gatepost.store.rates import RateStore
    from gatepost.store.received import ReceivedStore
    from gatepost.store.sights import SqliteSights
    from gatepost.store.suppression import Lookup, SuppressionStore
    from gatepost.store.survey import SurveyStore
    from gatepost.store.tenant_status import TenantStatusStore
    from gatepost.store.tls_reports import TlsReportStore
    from gatepost.store.webhooks import WebhookStore

_SQLITE = "sqlite:///"
DEFAULT_LOCAL = "sqlite:////var/lib/gatepost/gatepost.db"

FileT = TypeVar("FileT", bound=SqliteFile)


def sqlite_path(url: str) -> Path | None:
    """Return the file that a URL names, or None if it is not for SQLite."""
    path = url.removeprefix(_SQLITE)
    return Path(path) if path and path != url else None


def is_postgres(url: str) -> bool:
    """Tell whether a URL names a database of PostgreSQL."""
    return url.startswith(("postgresql://", "postgres://"))


def _unknown(url: str) -> StoreUnavailable:
    # What stands before an @ may be a password.
    scheme, _, rest = url.partition("://")
    shown = f"{scheme}://{rest.rpartition('@')[2]}" if rest else url
    return StoreUnavailable(
        f"{shown!a} is no store that is known here; use sqlite:////path or postgresql://host/name"
    )


def directory_of(local: str) -> Path:
    """Return the directory of the store of what is one node's alone."""
    path = sqlite_path(local) or sqlite_path(DEFAULT_LOCAL)
    assert path is not None
    return path.parent


def is_missing(url: str) -> bool:
    """Tell whether a store is a file that does not exist; a server may be asked.

    Raises:
        OSError: If it cannot be told.
    """
    path = sqlite_path(url)
    return path is not None and not path.exists()


def open_as(kind: type[FileT], url: str, *, create: bool = True) -> FileT:
    """Return a store of a class for SQLite at a URL; errors as above."""
    path = sqlite_path(url)
    if path is None:
        raise _unknown(url)
    return kind(path, create=create)


def open_store(url: str, *, create: bool = True) -> ObservationStore:
    """Return the store of observations."""
    if is_postgres(url):
        from gatepost.store.postgres_observations import PostgresObservations

        return PostgresObservations(url, create=create)
    from gatepost.store.sqlite import SqliteStore

    return open_as(SqliteStore, url, create=create)


def open_events(url: str, *, create: bool = True) -> EventStore:
    """Return the store of events."""
    if is_postgres(url):
        from gatepost.store.postgres_events import PostgresEvents

        return PostgresEvents(url, create=create)
    from gatepost.store.sqlite_events import SqliteEvents

    return open_as(SqliteEvents, url, create=create)


def open_rates(url: str, *, create: bool = True) -> RateStore:
    """Return the sums of the counts of events."""
    if is_postgres(url):
        from gatepost.store.postgres_rates import PostgresRates

        return PostgresRates(url, create=create)
    from gatepost.store.sqlite_rates import SqliteRates

    return open_as(SqliteRates, url, create=create)


def open_gmail(url: str, *, create: bool = True) -> GmailStore:
    """Return the store of what Gmail said."""
    if is_postgres(url):
        from gatepost.store.postgres_rates import PostgresGmail

        return PostgresGmail(url, create=create)
    from gatepost.store.sqlite_gmail import SqliteGmail

    return open_as(SqliteGmail, url, create=create)


def open_webhooks(url: str, *, create: bool = True) -> WebhookStore:
    """Return the store of the state of webhooks."""
    if is_postgres(url):
        from gatepost.store.postgres_webhooks import PostgresWebhooks

        return PostgresWebhooks(url, create=create)
    from gatepost.store.sqlite_webhooks import SqliteWebhooks

    return open_as(SqliteWebhooks, url, create=create)


def open_readers(url: str, *, create: bool = True) -> ReaderStore:
    """Return the store of the positions of readers."""
    from gatepost.store.sqlite_readers import SqliteReaders

    return open_as(SqliteReaders, url, create=create)


def open_suppression(url: str, *, create: bool = True, local: str = "") -> SuppressionStore:
    """Return the suppression list.

    Args:
        url: Where it is.
        create: Make it if there is none.
        local: URL of what is the node's alone: the key file of a list on a server lies beside it.
    """
    if is_postgres(url):
        from gatepost.store.postgres_suppression import PostgresSuppression

        return PostgresSuppression(url, create=create, key_dir=directory_of(local))
    from gatepost.store.sqlite_suppression import SqliteSuppression

    return open_as(SqliteSuppression, url, create=create)


def open_lookup(url: str, clock: Callable[[], float], *, local: str = "") -> Lookup:
    """Return the suppression list as mail asks it; it opens with the first question.

    Args:
        url: Where it is.
        clock: Monotonic time in seconds.
        local: As of `open_suppression`.
    """
    if is_postgres(url):
        from gatepost.store.postgres_suppression_lookup import PostgresSuppressionLookup

        return PostgresSuppressionLookup(url, directory_of(local), clock)
    from gatepost.store.suppression_lookup import SuppressionLookup

    path = sqlite_path(url)
    if path is None:
        raise _unknown(url)
    return SuppressionLookup(path, clock)


def open_statuses(url: str, *, create: bool = True) -> TenantStatusStore:
    """Return the store of the status of tenants."""
    if is_postgres(url):
        from gatepost.store.postgres_tenant_status import PostgresTenantStatus

        return PostgresTenantStatus(url, create=create)
    from gatepost.store.sqlite_tenant_status import SqliteTenantStatus

    return open_as(SqliteTenantStatus, url, create=create)


def open_messages(url: str, *, create: bool = True) -> MessageStore:
    """Return the message book."""
    if is_postgres(url):
        from gatepost.store.postgres_messages import PostgresMessages

        return PostgresMessages(url, create=create)
    from gatepost.store.sqlite_messages import SqliteMessages

    return open_as(SqliteMessages, url, create=create)


def open_api_tenants(url: str, *, create: bool = True) -> ApiTenantStore:
    """Return the tenants that were made through the API."""
    if is_postgres(url):
        from gatepost.store.postgres_api import PostgresApiTenants

        return PostgresApiTenants(url, create=create)
    from gatepost.store.sqlite_api_tenants import SqliteApiTenants

    return open_as(SqliteApiTenants, url, create=create)


def open_api_tokens(url: str, *, create: bool = True) -> ApiTokenStore:
    """Return the tokens of the API."""
    if is_postgres(url):
        from gatepost.store.postgres_api import PostgresApiTokens

        return PostgresApiTokens(url, create=create)
    from gatepost.store.sqlite_api_tokens import SqliteApiTokens

    return open_as(SqliteApiTokens, url, create=create)


def open_received(url: str, *, create: bool = True) -> ReceivedStore:
    """Return the store of what came back."""
    if is_postgres(url):
        from gatepost.store.postgres_received import PostgresReceived

        return PostgresReceived(url, create=create)
    from gatepost.store.sqlite_received import SqliteReceived

    return open_as(SqliteReceived, url, create=create)


def open_held(url: str, *, create: bool = True) -> HeldStore:
    """Return what Gatepost has put on hold in one node's queue."""
    from gatepost.store.sqlite_held import SqliteHeld

    return open_as(SqliteHeld, url, create=create)


def open_quotas(url: str, *, create: bool = True) -> QuotaStore:
    """Return the counters of quotas of one node, and what others refused there."""
    from gatepost.store.sqlite_quotas import SqliteQuotas

    return open_as(SqliteQuotas, url, create=create)


def open_deliveries(url: str, *, create: bool = True) -> DeliveryStore:
    """Return the deliveries of one node, with the position in its log."""
    from gatepost.store.deliveries import SqliteDeliveries

    return open_as(SqliteDeliveries, url, create=create)


def open_lanes(url: str, *, create: bool = True) -> LaneStore:
    """Return what one node knows of its lanes."""
    from gatepost.store.sqlite_lanes import SqliteLanes

    return open_as(SqliteLanes, url, create=create)


def open_survey(url: str, *, create: bool = True) -> SurveyStore:
    """Return what one node's survey found."""
    from gatepost.store.sqlite_survey import SqliteSurvey

    return open_as(SqliteSurvey, url, create=create)


def open_sights(url: str, *, create: bool = True) -> SqliteSights:
    """Return what one node knows of destinations."""
    from gatepost.store.sights import SqliteSights

    return open_as(SqliteSights, url, create=create)


def open_sts(url: str, *, create: bool = True) -> StsStore:
    """Return the MTA-STS policies that one node has fetched."""
    from gatepost.store.mta_sts import SqliteSts

    return open_as(SqliteSts, url, create=create)


def open_tls_reports(url: str, *, create: bool = True) -> TlsReportStore:
    """Return the TLS reports that one node has read."""
    from gatepost.store.sqlite_tls_reports import SqliteTlsReports

    return open_as(SqliteTlsReports, url, create=create)


# What a node reads from its own log or finds out for itself, and others would have to wait for; and
# how far its own files have got.
LOCAL: frozenset[Callable[..., Any]] = frozenset(
    {
        open_deliveries,
        open_held,
        open_lanes,
        open_quotas,
        open_readers,
        open_sights,
        open_sts,
        open_survey,
        open_tls_reports,
    }
)
