"""Postmaster Tools, asked for: against a server that speaks the published schema."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import logging
import re
import threading
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gatepost.feedback.postmaster import parse_token
from gatepost.runtime.feedback import postmaster as module
from gatepost.runtime.feedback.postmaster import (
    PostmasterClient,
    PostmasterUnavailable,
    PostmasterWatch,
    postmaster_watch,
    read_token,
)
from gatepost.runtime.metrics import Metrics
from gatepost.settings.model import Settings
from gatepost.store.open import open_gmail
from lab.process import wait_until
from tests.world import snapshot

NOW = 1_800_000_000.0
TODAY = int(NOW // 86_400)
FILTER = re.compile(r'(?:feedback_loop_id = "([^"]*)" AND )?aggregation_key_type = "ALL_DKIM"')


class Google:
    """Answers as the discovery document says, page by page, and as wrongly as it is told to."""

    def __init__(self) -> None:
        self.shares = {"tacme": 0.002, "cspring": 0.01, "examplesp": 0.001, "192.0.2.1": 0.5}
        self.page_size = 3
        self.requests: list[tuple[str, dict[str, Any]]] = []
        # Instead of an answer: status, headers and body.
        self.wrong: deque[tuple[int, dict[str, str], bytes]] = deque()
        self.never = False
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.url = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_post("/v2/domains/{domain}/{method}", self._stats)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    def stop(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    async def _token(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        self.requests.append(("token", form))
        if self.wrong:
            return self._fail()
        return web.json_response(
            {"access_token": "abc", "expires_in": 3599, "token_type": "Bearer"}
        )

    def _fail(self) -> web.StreamResponse:
        status, headers, body = self.wrong.popleft()
        return web.Response(status=status, headers=headers, body=body)

    async def _stats(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append((request.match_info["domain"], body))
        assert request.match_info["method"] == "domainStats:query"
        if request.headers.get("Authorization") != "Bearer abc":
            return web.json_response(
                {"error": {"code": 401, "status": "UNAUTHENTICATED"}}, status=401
            )
        if self.wrong:
            return self._fail()
        rows = list(self._rows(body))
        start = int(body.get("pageToken", "0"))
        page = rows[start : start + min(body["pageSize"], self.page_size)]
        more = start + len(page)
        after = {"nextPageToken": str(more)} if more < len(rows) or self.never else {}
        return web.json_response({"domainStats": page, **after})

    def _rows(self, body: dict[str, Any]):
        (days,) = body["timeQuery"]["dateRanges"]["dateRanges"]
        first, last = (dt.date(**days[end]).toordinal() for end in ("start", "end"))
        for day in range(first, last + 1):
            date = dt.date.fromordinal(day)
            for metric in body["metricDefinitions"]:
                found = FILTER.fullmatch(metric["filter"])
                if found[1] is None:
                    assert metric["baseMetric"] == {"standardMetric": "FEEDBACK_LOOP_ID"}
                    value = {"stringList": {"values": list(self.shares)}}
                else:
                    assert metric["baseMetric"] == {"standardMetric": "FEEDBACK_LOOP_SPAM_RATE"}
                    value = {"floatValue": self.shares[found[1]]}
                yield {
                    "name": "domains/x/domainStats/opaque",
                    "metric": metric["name"],
                    "date": {"year": date.year, "month": date.month, "day": date.day},
                    "value": value,
                }


@pytest.fixture
def google():
    server = Google()
    yield server
    server.stop()


@pytest.fixture
def token(tmp_path: Path, google: Google) -> Path:
    path = tmp_path / "postmaster.json"
    path.write_text(
        json.dumps(
            {
                "client_id": "id",
                "client_secret": "s3cret",
                "refresh_token": "r3fresh",
                "token_uri": f"{google.url}/token",
            }
        )
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def settings(tmp_path: Path, google: Google, token: Path) -> Settings:
    return replace(
        Settings(Path("gatepost.yaml")),
        state=f"sqlite:///{tmp_path}/gatepost.db",
        user="root",
        postmaster_token=token,
        postmaster_url=google.url,
        postmaster_domains=("a.example", "b.example"),
    )


def ask(google: Google, token: Path, domains=("a.example",), **options):
    client = PostmasterClient(google.url, parse_token(token.read_text()), **options)
    return asyncio.run(client.shares(domains, "examplesp", TODAY - 2, TODAY - 1))


def test_shares_of_our_own_labels(google, token):
    found = ask(google, token)["a.example"]
    assert [(each.day, each.label, each.share) for each in found] == [
        (TODAY - 2, "", 0.001),
        (TODAY - 2, "tacme", 0.002),
        (TODAY - 2, "cspring", 0.01),
        (TODAY - 1, "", 0.001),
        (TODAY - 1, "tacme", 0.002),
        (TODAY - 1, "cspring", 0.01),
    ]
    assert google.requests[0] == (
        "token",
        {
            "client_id": "id",
            "client_secret": "s3cret",
            "refresh_token": "r3fresh",
            "grant_type": "refresh_token",
        },
    )


def test_many_labels_take_several_requests(google, token):
    google.page_size = 200
    google.shares = {f"t{number}": number / 1000 for number in range(50)}
    found = ask(google, token)["a.example"]
    assert len(found) == 100
    assert {each.label: each.share for each in found} == google.shares
    assert [len(body["metricDefinitions"]) for _, body in google.requests[1:]] == [1, 20, 20, 10]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ((400, {}, b'{"error": "invalid_grant"}'), "/token answered 400 invalid_grant"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "answered 302"),
        ((200, {}, b"<html>"), "did not answer in JSON"),
        ((200, {}, b"[" * 100_000), "did not answer in JSON"),
        ((200, {}, b"{}"), "an answer without access_token"),
        ((200, {}, b" " * 2_000_000), "answered more than 1048576 octets"),
    ],
)
def test_what_may_come_instead_of_a_token(google, token, wrong, reason):
    google.wrong.append(wrong)
    with pytest.raises(PostmasterUnavailable, match=reason) as caught:
        ask(google, token)
    assert "s3cret" not in str(caught.value)
    assert len(google.requests) == 1


def test_pages_without_end(google, token, monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGES", 4)
    google.never = True
    with pytest.raises(PostmasterUnavailable, match=r"a\.example: more than 4 pages"):
        ask(google, token)


def test_nobody_there(google, token):
    google.stop()
    with pytest.raises(PostmasterUnavailable, match="Cannot connect"):
        ask(google, token)


def test_a_token_file_that_others_may_read_is_not_used(token):
    read_token(token, "root")
    token.chmod(0o644)
    with pytest.raises(PostmasterUnavailable, match=r"postmaster\.json"):
        read_token(token, "root")
    with pytest.raises(PostmasterUnavailable, match="cannot be read"):
        read_token(token.with_name("missing"), "root")
    token.chmod(0o600)
    token.write_text("{}")
    with pytest.raises(PostmasterUnavailable, match="has no client_id"):
        read_token(token, "root")


class Clock:
    def __init__(self) -> None:
        self.now = NOW
        self.looks = threading.Semaphore(0)

    def __call__(self) -> float:
        self.looks.release()
        return self.now

    def wait_looks(self) -> None:
        """Wait until a look that began after this call has ended."""
        while self.looks.acquire(blocking=False):
            pass
        for _ in range(2):
            assert self.looks.acquire(timeout=10)


@contextlib.contextmanager
def watch(settings, clock, metrics):
    running = PostmasterWatch(
        settings,
        lambda: snapshot(sender_id="examplesp"),
        metrics,
        clock=clock,
        first_s=0.01,
        every_s=0.01,
    )
    try:
        yield running
    finally:
        running.stop()


def tokens_asked(google):
    return [each for each in google.requests if each[0] == "token"]


def test_once_a_day_and_later_after_a_failure(google, settings, caplog):
    caplog.set_level(logging.INFO)
    google.page_size = 200
    clock, metrics = Clock(), Metrics("back")
    with (
        watch(settings, clock, metrics),
        contextlib.closing(open_gmail(settings.state)) as store,
    ):
        wait_until(lambda: caplog.text.count("postmaster domain=") == 2, 10, "the first visit")
        assert {each.label for each in store.shares(0, NOW)} == {"", "tacme", "cspring"}
        assert store.last_day("b.example") == TODAY - 1
        clock.wait_looks()
        assert len(tokens_asked(google)) == 1
        google.wrong += [(429, {"Retry-After": "7200"}, b""), (503, {}, b"")]
        clock.now += 86_400
        wait_until(lambda: "answered 429 retry_s=7200" in caplog.text.replace('"', ""), 10, "429")
        clock.now += 7199
        clock.wait_looks()
        assert len(tokens_asked(google)) == 2
        clock.now += 1
        wait_until(lambda: "answered 503 retry_s=7200" in caplog.text.replace('"', ""), 10, "503")
        clock.now += 7200
        wait_until(lambda: caplog.text.count("postmaster domain=") == 4, 10, "the next visit")
    assert len(tokens_asked(google)) == 4
    assert metrics.counts()["errors"] == {"postmaster": 2.0}
    assert "s3cret" not in caplog.text
    assert "r3fresh" not in caplog.text
    assert "abc" not in caplog.text


def test_a_plaintext_address_is_not_asked(google, settings, caplog):
    plain = replace(settings, postmaster_url="http://198.51.100.1/")
    with watch(plain, Clock(), Metrics("back")):
        wait_until(lambda: "postmaster_url is not https" in caplog.text, 10, "the failure")
    assert google.requests == []


def test_without_a_token_or_a_domain_nothing_runs(settings):
    for changed in ({"postmaster_token": None}, {"postmaster_domains": ()}):
        assert postmaster_watch(replace(settings, **changed), snapshot, Metrics("back")) is None
