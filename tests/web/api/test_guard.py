"""What stands before the routes: tokens, sizes, times, failures, and a line for each call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gatepost.errors import StoreUnavailable
from gatepost.runtime.api_token import Caller, digest_of, new_token, token_in
from gatepost.store.open import open_api_tokens, open_statuses
from gatepost.web.api import guard
from gatepost.web.api.guard import Failures, Guard
from tests.web.api.place import Api, secret_of

GOOD = secret_of("platform")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"Bearer {GOOD}", GOOD),
        (f"bearer  {GOOD} ", GOOD),
        # Without regard to case, which hexadecimal digits have none of.
        (f"Bearer {GOOD.upper()}", GOOD),
        (f"Bearer {GOOD}0", None),
        (f"Bearer {GOOD[:-1]}", None),
        (f"Basic {GOOD}", None),
        (GOOD, None),
        ("", None),
        ("Bearer", None),
    ],
)
def test_what_is_a_token(header: str, found: str | None) -> None:
    assert token_in(header.encode()) == found


def test_tokens_are_random_and_kept_as_a_hash() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token_in(f"Bearer {each}".encode()) == each for each in tokens)
    assert len({digest_of(each) for each in tokens}) == 100
    assert all(len(each) == 9 + 64 for each in tokens)


def test_two_headers_with_tokens_are_none(api: Api) -> None:
    headers = [("Authorization", f"Bearer {GOOD}"), ("Authorization", f"Bearer {GOOD}")]
    assert api.client.get("/v1/tenants", headers=headers).status_code == 401


def test_a_token_in_the_address_is_none(api: Api) -> None:
    answer = api.client.get(f"/v1/tenants?access_token={GOOD}")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'


def test_a_token_that_is_revoked_ends_at_once(api: Api) -> None:
    assert api.get("/v1/tenants").status_code == 200
    with closing(open_api_tokens(api.settings.state)) as store:
        store.revoke("platform")
    assert api.get("/v1/tenants").status_code == 401


def test_failures_are_bounded_and_do_not_shut_out_who_has_a_token(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gatepost.api")
    found = [api.get("/v1/tenants", token=None).status_code for _ in range(guard.FAILURES + 5)]
    assert found == [401] * guard.FAILURES + [429] * 5
    told = [each for each in caplog.messages if each.startswith("api token=-")]
    assert len(told) == guard.FAILURES + 1
    assert api.get("/v1/tenants").status_code == 200


def test_many_addresses_have_no_more_than_ten(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = iter(range(10**6))
    monkeypatch.setattr(guard._Call, "client", property(lambda _call: f"192.0.2.{next(addresses)}"))
    wanted = 10 * guard.FAILURES
    found = [api.get("/v1/tenants", token=None).status_code for _ in range(wanted + 5)]
    assert found == [401] * wanted + [429] * 5


def test_who_has_no_token_cannot_fill_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gatepost.api")
    for _ in range(5):
        assert api.get("/v1/docs", token=None).status_code == 200
        assert api.post("/v1/explain", content=b"x" * 70_000, token=None).status_code == 413
    assert [each for each in caplog.messages if each.startswith("api ")] == []


def test_failures_are_forgotten_after_a_minute_and_kept_for_few_addresses() -> None:
    now = 0.0
    failures = Failures(lambda: now)
    assert [failures.add("a") for _ in range(3)] == [1, 2, 3]
    now = 60.0
    assert failures.add("a") == 1
    for number in range(2 * guard.MAX_ADDRESSES):
        failures.add(f"b{number}")
    assert len(failures._counts) == guard.MAX_ADDRESSES
    assert failures.add("a") == 1


def test_each_call_is_a_line_with_the_token_and_the_pattern_of_the_route(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gatepost.api")
    api.post("/v1/tenants/acme/suppressions", {"address": "ann@example.org"}, token="acme")
    api.get("/v1/tenants/globex", token="acme")
    api.get("/v1/none")
    lines = [each for each in caplog.messages if each.startswith("api token=")]
    assert [each.split(" seconds=")[0] for each in lines] == [
        "api token=acme method=POST route=/v1/tenants/{tenant}/suppressions status=200",
        "api token=acme method=GET route=/v1/tenants/{tenant} status=404",
        "api token=platform method=GET route=- status=404",
    ]
    assert "ann@" not in caplog.text
    assert GOOD not in caplog.text
    assert api.statuses == [200, 404, 404]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"recipient": "u@example.org", "recipient": "v@example.org"}', 400),
        (b'{"recipient": NaN}', 400),
        (b'{"recipient": "\\ud800@example.org"}', 400),
        (b'{"recipient": "\xff"}', 400),
        (b"{" * 60_000, 400),
        (b"[" * 60_000, 400),
        (b"", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b"1" * 70_000, 413),
    ],
)
def test_hostile_bodies(api: Api, body: bytes, status: int) -> None:
    answer = api.post("/v1/explain", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_type(api: Api, kind: str) -> None:
    answer = api.post("/v1/explain", content=b'{"recipient": "u@example.org"}', kind=kind)
    assert answer.status_code == 415


def test_a_body_whose_length_is_not_told_is_counted(api: Api) -> None:
    def parts() -> Any:
        for _ in range(100):
            yield b" " * 1_000

    answer = api.client.post(
        "/v1/explain",
        content=parts(),
        headers={"Authorization": f"Bearer {GOOD}", "Content-Type": "application/json"},
    )
    assert answer.status_code == 413


def test_without_a_token_a_body_is_not_parsed(api: Api) -> None:
    assert api.post("/v1/explain", content=b"{" * 60_000, token=None).status_code == 401


def test_while_the_store_is_away_it_says_so(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("secret path")

    monkeypatch.setattr("gatepost.web.api.site.caller_of", away)
    answer = api.get("/v1/tenants")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "secret" not in answer.text


def test_a_route_whose_store_is_away_says_so(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = api.site.open(open_statuses)

    def away(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(store, "pause", away)
    answer = api.post("/v1/tenants/acme/pause", {"reason": "x"})
    assert answer.status_code == 503
    assert "the disk is full" not in answer.text
    assert "the disk is full" in caplog.text


def test_a_bug_is_an_answer_and_a_line(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(api.site, "status", lambda: 1 / 0)
    answer = api.get("/v1/status")
    assert (answer.status_code, answer.json()["detail"]) == (500, "the log tells more")
    assert "api-failed" in caplog.text
    assert "division" not in answer.text


def application(
    answer: Callable[[Any, Any], Any],
) -> Callable[[Any, Any, Any], Any]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope
        await answer(receive, send)

    return app


def guarded(answer: Callable[[Any, Any], Any]) -> TestClient:
    found = Caller("x", "", read_only=False)
    return TestClient(Guard(application(answer), lambda _token: found, lambda _status: None))


def test_what_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CALL_S", 0.05)

    async def never(receive: Any, send: Any) -> None:
        del receive, send
        await asyncio.Event().wait()

    answer = guarded(never).get("/v1/x", headers={"Authorization": f"Bearer {GOOD}"})
    assert answer.status_code == 503
    assert "longer than 0.05 s" in answer.json()["detail"]


def test_no_more_requests_at_once_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_BUSY", 0)
    answer = guarded(lambda *_: None).get("/v1/x", headers={"Authorization": f"Bearer {GOOD}"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_a_tenant_of_the_name_of_an_import_may_have_no_larger_body(api: Api) -> None:
    for method, path in (("PUT", "/v1/tenants/import"), ("POST", "/v1/import")):
        answer = api.call(method, path, content=b" " * 70_000, token="acme-watcher")
        assert answer.status_code == 413
    answer = api.post(
        "/v1/tenants/acme/suppressions/import", content=b"\n" * 70_000, kind="text/csv"
    )
    assert answer.status_code == 200


def test_the_tokens_of_one_tenant_leave_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MAX_OF_TENANT", 1)
    callers = {GOOD: Caller("platform", "", False), secret_of("acme"): Caller("a", "acme", False)}
    found: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        if scope["path"] == "/v1/outer":
            found.extend([await status_of(token, "/v1/inner") for token in callers])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guarded_app = Guard(app, callers.get, lambda _status: None)

    async def status_of(token: str, path: str) -> int:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", f"Bearer {token}".encode())]
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
        await guarded_app(scope, receive, send)
        return int(sent[0]["status"])

    acme = secret_of("acme")
    for _ in range(2):
        assert asyncio.run(status_of(acme, "/v1/outer")) == 200
    assert found == [200, 503] * 2
