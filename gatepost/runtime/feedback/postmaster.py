"""Ask Gmail's Postmaster Tools once a day; part of the back role.

Purpose: the shares of complaints at Gmail, which no report tells of, for rates and the ladder.
Source: see `feedback.postmaster`.
Format of the log line: ``postmaster domain=… days=… labels=… shares=…``.
Limits: once a day, and 1 h after a failure, then 2, 4, 8, 16 and 24 h, or what Retry-After says if
that is more; the last 10 days, as Gmail's data comes late. 30 s a request, 1 MiB an answer, 50
pages a query.
Errors: none; what goes wrong is logged as ``postmaster-failed`` and counted. What was stored stays.
Security: the token file is read anew each time, and not used if others than root and the service's
account may read it. Tokens go to https addresses only, certificates are checked, no redirect is
followed, no proxy of the environment is used; no token and no answer is logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from gatepost import __version__
from gatepost.errors import MalformedMessage, Unavailable
from gatepost.feedback.postmaster import (
    LABELS_A_REQUEST,
    MAX_DAYS,
    OAuthToken,
    Stat,
    is_protected,
    labels_query,
    parse_access,
    parse_page,
    parse_token,
    refresh_form,
    share_of,
    shares_query,
    usable,
)
from gatepost.runtime.hourly import Hourly
from gatepost.runtime.log import clean, log_event
from gatepost.runtime.metrics import Metrics
from gatepost.settings import Settings
from gatepost.settings.files import read_file, secrecy_problem
from gatepost.settings.problems import Rejected
from gatepost.snapshot import Snapshot
from gatepost.store.gmail import GmailDay
from gatepost.store.open import open_gmail

DAY_S = 86_400.0
HOUR_S = 3_600.0
TOTAL_S = 30.0
MAX_ANSWER = 1_048_576
MAX_PAGES = 50

_log = logging.getLogger("gatepost.postmaster")


class PostmasterUnavailable(Unavailable):
    """Postmaster Tools cannot be asked now.

    Attributes:
        after_s: Seconds before which it must not be tried again, or 0.
    """

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        self.after_s = after_s
        super().__init__(reason)


class PostmasterClient:
    """One visit to Postmaster Tools.

    Args:
        url: Where they are.
        token: The operator's token.
        context: How TLS is spoken; by default with the trusted roots of the system.
        total_s: Seconds for a request.
    """

    def __init__(
        self,
        url: str,
        token: OAuthToken,
        context: ssl.SSLContext | None = None,
        total_s: float = TOTAL_S,
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._context = context or ssl.create_default_context()
        self._total_s = total_s
        self._access = ""

    async def shares(
        self, domains: Sequence[str], sender_id: str, first: int, last: int
    ) -> dict[str, list[GmailDay]]:
        """Return what Gmail says of some domains, by domain.

        Args:
            domains: The domains.
            sender_id: The platform's SenderId.
            first: First day, since 1970-01-01.
            last: Last day, at most `MAX_DAYS` later.

        Raises:
            PostmasterUnavailable: If an answer does not come or is none.
        """
        timeout = aiohttp.ClientTimeout(total=self._total_s)
        connector = aiohttp.TCPConnector(ssl=self._context)
        async with aiohttp.ClientSession(
            timeout=timeout,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"Gatepost/{__version__}"},
        ) as session:
            document = await self._post(
                session, self._token.token_uri, data=refresh_form(self._token)
            )
            self._access = _checked(parse_access, document)
            return {
                domain: await self._of(session, domain, sender_id, first, last)
                for domain in domains
            }

    async def _of(
        self,
        session: aiohttp.ClientSession,
        domain: str,
        sender_id: str,
        first: int,
        last: int,
    ) -> list[GmailDay]:
        def ask_labels(after: str) -> dict[str, Any]:
            return labels_query(first, last, after)

        named = await self._query(session, domain, ask_labels)
        labels = usable((text for stat in named for text in stat.texts), sender_id)
        found = []
        for start in range(0, len(labels), LABELS_A_REQUEST):
            some = labels[start : start + LABELS_A_REQUEST]

            def ask_shares(after: str, some: Sequence[str] = some) -> dict[str, Any]:
                return shares_query(some, first, last, after)

            for stat in await self._query(session, domain, ask_shares):
                share = share_of(stat)
                if share is not None and stat.metric.isdecimal() and int(stat.metric) < len(some):
                    label = some[int(stat.metric)]
                    # All mail of the platform carries its SenderId.
                    label = "" if label == sender_id else label
                    found.append(GmailDay(stat.day, domain, label, share))
        return found

    async def _query(
        self,
        session: aiohttp.ClientSession,
        domain: str,
        body: Callable[[str], dict[str, Any]],
    ) -> list[Stat]:
        """Return all pages of a query."""
        url = f"{self._url}/v2/domains/{quote(domain, safe='')}/domainStats:query"
        headers = {"Authorization": f"Bearer {self._access}"}
        found: list[Stat] = []
        after = ""
        for _ in range(MAX_PAGES):
            page = _checked(
                parse_page, await self._post(session, url, json=body(after), headers=headers)
            )
            found += page.stats
            after = page.after
            if not after:
                return found
        raise PostmasterUnavailable(f"{domain}: more than {MAX_PAGES} pages")

    async def _post(self, session: aiohttp.ClientSession, url: str, **request: Any) -> object:
        try:
            async with session.post(url, allow_redirects=False, **request) as answer:
                octets = await answer.content.read(MAX_ANSWER + 1)
                while len(octets) <= MAX_ANSWER and not answer.content.at_eof():
                    octets += await answer.content.read(MAX_ANSWER + 1)
                status, wait = answer.status, answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PostmasterUnavailable(
                clean(f"{url}: {str(error) or type(error).__name__}")
            ) from error
        if status != 200:
            after_s = float(wait) if wait.isdecimal() and len(wait) < 7 else 0.0
            raise PostmasterUnavailable(f"{url} answered {status}{_reason(octets)}", after_s)
        if len(octets) > MAX_ANSWER:
            raise PostmasterUnavailable(f"{url} answered more than {MAX_ANSWER} octets")
        try:
            return json.loads(octets)
        except (ValueError, RecursionError) as error:
            raise PostmasterUnavailable(f"{url} did not answer in JSON") from error


def read_token(path: Path, user: str) -> OAuthToken:
    """Return what a token file says.

    Raises:
        PostmasterUnavailable: If it cannot be read, others may read it, or it is none.
    """
    try:
        source = read_file(path)
        if (problem := secrecy_problem(source, user)) is not None:
            raise problem
        return parse_token(source.octets.decode("utf-8", "replace"))
    except (Rejected, MalformedMessage) as error:
        reason = f"{error.problem}; {error.remedy}" if isinstance(error, Rejected) else error
        raise PostmasterUnavailable(f"{path} {reason}") from error


class PostmasterWatch(Hourly):
    """Asks once a day, on a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        current: Callable[[], Snapshot],
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        first_s: float = 60.0,
        every_s: float = 600.0,
    ) -> None:
        """Start the thread.

        Args:
            settings: Where the token is, and which domains to ask for.
            current: Returns the snapshot in force.
            metrics: Where failures are counted.
            clock: Unix time in seconds.
            first_s: Seconds until the first look whether it is time.
            every_s: Seconds between two looks.
        """
        self._settings = settings
        self._current = current
        self._counts = metrics
        self._clock = clock
        self._next_at = 0.0
        self._retry_s = 0.0
        super().__init__("postmaster", self._visit, metrics, first_s=first_s, every_s=every_s)

    def _visit(self) -> None:
        now = self._clock()
        if now < self._next_at:
            return
        # Also if the store fails: Google shall not be asked again for that at once.
        self._next_at = now + HOUR_S
        try:
            self._ask(now)
        except PostmasterUnavailable as error:
            self._retry_s = min(self._retry_s * 2 or HOUR_S, DAY_S)
            wait_s = max(self._retry_s, min(error.after_s, 7 * DAY_S))
            self._next_at = now + wait_s
            self._counts.error("postmaster")
            log_event(_log, logging.WARNING, "postmaster-failed", reason=str(error), retry_s=wait_s)
        else:
            self._retry_s = 0.0
            self._next_at = now + DAY_S

    def _ask(self, now: float) -> None:
        settings = self._settings
        assert settings.postmaster_token is not None
        if not is_protected(settings.postmaster_url):
            raise PostmasterUnavailable("feedback.postmaster_url is not https")
        token = read_token(settings.postmaster_token, settings.user)
        # Today is not over, so nothing is known of it.
        last = int(now // DAY_S) - 1
        client = PostmasterClient(settings.postmaster_url, token)
        found = asyncio.run(
            client.shares(
                settings.postmaster_domains,
                self._current().platform.sender_id,
                last - MAX_DAYS + 1,
                last,
            )
        )
        with closing(open_gmail(settings.state)) as store:
            store.add(day for days in found.values() for day in days)
            store.prune(now)
        for domain, days in found.items():
            log_event(
                _log,
                logging.INFO,
                "postmaster",
                domain=domain,
                days=len({day.day for day in days}),
                labels=len({day.label for day in days}),
                shares=len(days),
            )


def postmaster_watch(
    settings: Settings, current: Callable[[], Snapshot], metrics: Metrics
) -> PostmasterWatch | None:
    """Return the watch, or None where nothing is to be asked."""
    if settings.postmaster_token is None or not settings.postmaster_domains:
        return None
    return PostmasterWatch(settings, current, metrics)


def _checked(parse: Callable[[object], Any], document: object) -> Any:
    try:
        return parse(document)
    except MalformedMessage as error:
        raise PostmasterUnavailable(f"Postmaster Tools sent {error}") from error


def _reason(octets: bytes) -> str:
    """Return what an error says of itself, in its ``error`` field, or nothing."""
    try:
        found = json.loads(octets[:MAX_ANSWER])
    except (ValueError, RecursionError):
        return ""
    error = found.get("error") if isinstance(found, dict) else None
    # Google's own API has an object there, OAuth a word.
    word = error.get("status") if isinstance(error, dict) else error
    return f" {clean(word, 60)}" if isinstance(word, str) else ""
