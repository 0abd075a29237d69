"""Who may do what: each scope against each route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.runtime import explaining
from gatepost.tls.operator import ASKS_NOTHING
from tests.web.api.place import Api

SCOPES = ("platform", "watcher", "acme", "acme-watcher", None, "ended")
OWN, OTHER, NONE = "acme", "globex", "nobody"

# What a good request gets, by scope in the order of SCOPES. 404 is the answer for another tenant.
PLATFORM_READS = (200, 200, 403, 403, 401, 401)
READS = (200, 200, 200, 200, 401, 401)
OF_OTHERS = (200, 200, 404, 404, 401, 401)
CHANGES = (200, 403, 200, 403, 401, 401)
CHANGES_OTHERS = (200, 403, 404, 403, 401, 401)
PLATFORM_CHANGES = (200, 403, 403, 403, 401, 401)
NOBODYS = (404, 404, 404, 404, 401, 401)
NOBODYS_CHANGES = (404, 403, 404, 403, 401, 401)
# The tenants of the fixture stand in a file.
OF_A_FILE = (409, 403, 403, 403, 401, 401)
NOT_THERE = (404, 403, 403, 403, 401, 401)

ADDRESS = {"address": "ann@example.org"}
ADDRESSES = {"addresses": ["ann@example.org"]}
MAIL = {"recipient": "u@example.org", "sender": "a@acme.example", "login": "acme"}

ROUTES: tuple[tuple[str, str, Any, tuple[int, ...]], ...] = (
    ("GET", "/v1/status", None, PLATFORM_READS),
    ("GET", "/v1/quotas", None, PLATFORM_READS),
    ("GET", "/v1/events", None, PLATFORM_READS),
    ("GET", "/v1/suppressions", None, PLATFORM_READS),
    ("POST", "/v1/suppressions", ADDRESS, PLATFORM_CHANGES),
    ("POST", "/v1/suppressions/remove", ADDRESS, PLATFORM_CHANGES),
    ("POST", "/v1/suppressions/check", ADDRESSES, PLATFORM_READS),
    ("POST", "/v1/suppressions/import", b"", PLATFORM_CHANGES),
    ("GET", "/v1/tenants", None, READS),
    ("POST", "/v1/tenants", {"id": OWN}, OF_A_FILE),
    ("POST", "/v1/explain", MAIL, READS),
    ("POST", "/v1/explain", {**MAIL, "login": "globex"}, OF_OTHERS),
    ("POST", "/v1/explain", {**MAIL, "login": "nobody"}, OF_OTHERS),
    ("GET", "/v1/tenants/{}", None, READS),
    ("PUT", "/v1/tenants/{}", {}, OF_A_FILE),
    ("PATCH", "/v1/tenants/{}", {}, OF_A_FILE),
    ("DELETE", "/v1/tenants/{}", None, OF_A_FILE),
    ("POST", "/v1/tenants/{}/pause", {"reason": "x", "confirm": True}, PLATFORM_CHANGES),
    ("POST", "/v1/tenants/{}/resume", {}, PLATFORM_CHANGES),
    ("GET", "/v1/tenants/{}/quotas", None, READS),
    ("GET", "/v1/tenants/{}/events", None, READS),
    ("GET", "/v1/tenants/{}/suppressions", None, READS),
    ("POST", "/v1/tenants/{}/suppressions", ADDRESS, CHANGES),
    ("POST", "/v1/tenants/{}/suppressions/remove", ADDRESS, CHANGES),
    ("POST", "/v1/tenants/{}/suppressions/check", ADDRESSES, READS),
    ("POST", "/v1/tenants/{}/suppressions/import", b"", CHANGES),
)
FOR_OTHERS = {READS: OF_OTHERS, CHANGES: CHANGES_OTHERS}
FOR_NOBODY = {
    READS: NOBODYS,
    CHANGES: NOBODYS_CHANGES,
    OF_A_FILE: NOT_THERE,
    PLATFORM_CHANGES: NOT_THERE,
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    directory: Path = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        # To ask a Postfix each time takes most of the time.
        patch.setattr(
            explaining,
            "look_at_postfix",
            lambda _loaded: (OLDEST_SUPPORTED, ASKS_NOTHING, ["Postfix is not attached"]),
        )
        yield Api(directory, failures=1_000)


def ask(api: Api, method: str, path: str, body: Any, token: str | None) -> Any:
    if isinstance(body, bytes):
        return api.call(method, path, token=token, content=body, kind="text/csv")
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    return api.call(method, path, body, token=token, kind=kind)


def found(api: Api, method: str, path: str, body: Any) -> tuple[int, ...]:
    return tuple(ask(api, method, path, body, token).status_code for token in SCOPES)


@pytest.mark.parametrize(("method", "path", "body", "wanted"), ROUTES)
def test_each_scope_at_each_route(
    api: Api, method: str, path: str, body: Any, wanted: tuple[int, ...]
) -> None:
    assert found(api, method, path.format(OWN), body) == wanted


@pytest.mark.parametrize(
    ("method", "path", "body", "wanted"), [each for each in ROUTES if "{}" in each[1]]
)
def test_another_tenant_and_one_that_does_not_exist(
    api: Api, method: str, path: str, body: Any, wanted: tuple[int, ...]
) -> None:
    assert found(api, method, path.format(OTHER), body) == FOR_OTHERS.get(wanted, wanted)
    if method != "PUT":
        assert found(api, method, path.format(NONE), body) == FOR_NOBODY[wanted]
    for token in ("acme", "acme-watcher"):
        # Nothing of the answer tells the one from the other.
        said = [ask(api, method, path.format(name), body, token) for name in (OTHER, NONE)]
        texts = [
            (each.status_code, sorted(each.headers), each.text.replace(name, "NAME"))
            for each, name in zip(said, (OTHER, NONE), strict=True)
        ]
        assert texts[0] == texts[1]


def test_all_routes_are_in_the_table(api: Api) -> None:
    schema = api.get("/v1/openapi.json", token=None).json()
    there = {
        (method.upper(), path.replace("{tenant}", "{}"))
        for path, operations in schema["paths"].items()
        for method in operations
    }
    assert there == {(method, path) for method, path, _, _ in ROUTES}


def test_a_list_of_a_tenants_token_holds_that_tenant_alone(api: Api) -> None:
    for token in ("acme", "acme-watcher"):
        assert [each["id"] for each in api.get("/v1/tenants", token=token).json()["tenants"]] == [
            "acme"
        ]


def test_a_tenants_token_sees_no_quota_that_others_use_too(api: Api) -> None:
    def names(token: str) -> list[str]:
        quotas = api.get("/v1/tenants/acme/quotas", token=token).json()["quotas"]
        return [each["of"] for each in quotas]

    assert names("platform") == ["tenant acme", "group resellers", "platform"]
    assert names("acme") == ["tenant acme"]
    told = ask(api, "POST", "/v1/explain", MAIL, "acme").json()
    assert [each["of"] for each in told["quotas"]] == ["tenant acme"]
    assert told["postfix_problems"] == []
    assert ask(api, "POST", "/v1/explain", MAIL, "watcher").json()["postfix_problems"]


@pytest.mark.parametrize("sender", ["a@globex.example", "a@nobody.example", ""])
def test_a_sender_of_somebody_else_tells_a_tenants_token_nothing_of_the_delivery(
    api: Api, sender: str
) -> None:
    api.post("/v1/tenants/globex/pause", {"reason": "secret", "confirm": True})
    mail = {**MAIL, "sender": sender}
    told = ask(api, "POST", "/v1/explain", mail, "acme")
    assert told.status_code == 200
    assert "secret" not in told.text
    assert told.json()["rcpt"]["tenant"] == "acme"
    hidden = ("route", "map_name", "tls", "policy", "waits", "lane", "slowed")
    assert [told.json()[name] for name in hidden] == [None, "", None, None, None, None, []]
    assert ask(api, "POST", "/v1/explain", MAIL, "acme").json()["route"]["tenant"] == "acme"
    whole = ask(api, "POST", "/v1/explain", mail, "watcher")
    assert whole.json()["route"] is not None
    assert ("secret" in whole.text) == (sender == "a@globex.example")
    api.post("/v1/tenants/globex/resume", {})
