"""Pauses, events, explanations, the description and what is no address."""

from __future__ import annotations

from typing import Any

import pytest

from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.status import Pause, Queued, Scope
from gatepost.store.open import open_events, open_statuses
from tests.web.api.place import NOW, Api


def test_a_pause_is_that_of_the_command_and_names_the_token(api: Api) -> None:
    asked = {"reason": "ticket 4711", "seconds": 60, "queued": "retry"}
    status = api.post("/v1/tenants/acme/pause", asked).json()
    assert status["active"] is False
    pause = api.site.open(open_statuses).find("acme").pause
    assert pause is not None
    assert (pause.scope, pause.reason, pause.since, pause.until) == (
        Scope.ALL, "ticket 4711", NOW, NOW + 60,
    )  # fmt: skip
    assert (pause.by, pause.queued) == ("api:platform", Queued.RETRY)
    assert api.get("/v1/tenants/acme", token="acme").json()["status"] == status
    api.now += 1
    part = {"reason": "spring", "domain": "Example.ORG."}
    status = api.post("/v1/tenants/acme/pause", part).json()
    assert [(each["scope"], each["domain"]) for each in status["pauses"]] == [
        ("all", ""),
        ("domain", "example.org"),
    ]
    api.now += 1
    status = api.post("/v1/tenants/acme/resume", {"domain": "example.org"}).json()
    assert [each["scope"] for each in status["pauses"]] == ["all"]
    api.now += 1
    assert api.post("/v1/tenants/acme/resume", {}).json()["active"] is True
    changes = api.get("/v1/tenants/acme/events?type=tenant.status_changed").json()["events"]
    assert len(changes) == 4
    assert {each["data"]["details"]["by"] for each in changes} == {"api:platform"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "grün"}, "reason"),
        ({"reason": "x" * 101}, "reason"),
        ({"reason": "a\r\nb"}, "reason"),
        ({"reason": "x", "seconds": 1.5}, "seconds"),
        ({"reason": "x", "scope": "some"}, "scope"),
        ({"reason": "x", "scope": "marketing", "domain": "example.org"}, "as a whole"),
        ({"reason": "x", "domain": "no domain"}, "domain"),
        ({"reason": "x", "domain": "example.org", "queued": "retry"}, "is for a whole tenant"),
        ({"reason": "x", "campaign": " "}, "campaign: it is blank"),
        ({"reason": "x", "campaign": "\u2007", "domain": "example.org"}, "it is blank"),
        ({"reason": "x", "campaign": "spring"}, "acme has no header that names campaigns"),
    ],
)
def test_what_is_no_pause(api: Api, body: dict[str, Any], said: str) -> None:
    answer = api.post("/v1/tenants/acme/pause", body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert api.site.open(open_statuses).all() == {}


def test_a_resume_of_a_blank_campaign_is_none_of_all(api: Api) -> None:
    api.post("/v1/tenants/acme/pause", {"reason": "x"})
    answer = api.post("/v1/tenants/acme/resume", {"campaign": " "})
    assert (answer.status_code, answer.json()["detail"]) == (422, "campaign: it is blank")
    assert api.site.open(open_statuses).find("acme").pause is not None


def test_a_campaign_is_the_same_in_a_pause_and_in_a_resume(api: Api) -> None:
    store = api.site.open(open_statuses)
    store.pause("acme", Pause(Scope.CAMPAIGN, "x", NOW, campaign="spring"))
    api.post("/v1/tenants/acme/resume", {"campaign": " spring "})
    assert store.find("acme").parts == ()


def test_a_pause_that_stops_all_has_to_be_confirmed_and_defers_queued_mail(api: Api) -> None:
    status = api.post("/v1/tenants/acme/pause", {"reason": "x"}).json()
    assert status["pauses"][0]["queued"] == "retry"
    refused = api.post("/v1/tenants/globex/pause", {"reason": "x"})
    assert refused.status_code == 422
    assert "the last tenant that is not paused" in refused.json()["detail"]
    confirmed = api.post("/v1/tenants/globex/pause", {"reason": "x", "confirm": True})
    assert confirmed.status_code == 200


def test_events_are_read_from_a_place_on(api: Api) -> None:
    store = api.site.open(open_events)
    names = ["acme", "globex", "acme", "acme"]
    store.add(
        [
            Event(f"e{number}", EventKind.DELIVERED, NOW + number, tenant, recipient="u@x.example")
            for number, tenant in enumerate(names)
        ]
    )
    everything = api.get("/v1/events?limit=3").json()
    assert [each["id"] for each in everything["events"]] == ["e0", "e1", "e2"]
    rest = api.get(f"/v1/events?cursor={everything['next']}").json()
    assert [each["id"] for each in rest["events"]] == ["e3"]
    assert api.get(f"/v1/events?cursor={rest['next']}").json()["events"] == []
    own = api.get("/v1/tenants/acme/events?limit=2", token="acme").json()
    assert [each["id"] for each in own["events"]] == ["e0", "e2"]
    assert own["events"][0] == {
        "id": "e0",
        "type": "message.delivered",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "data": {"tenant": "acme", "recipient": "u@x.example"},
    }
    assert api.get("/v1/events?type=message.bounced").json()["events"] == []
    assert api.get("/v1/events?type=nothing").status_code == 422
    assert api.get("/v1/events?cursor=-1").status_code == 422


def test_an_explanation_is_that_of_the_command(api: Api) -> None:
    found = api.post(
        "/v1/explain",
        {
            "sender": "news@other.example",
            "recipient": "u@example.org",
            "client_address": "192.0.2.1",
            "login": "acme",
            "headers": [{"name": "From", "value": "news@acme.example"}],
        },
    ).json()
    assert found["tenant"] == "acme"
    assert found["refused"] is False
    assert "sender news@other.example: " in found["rcpt"]["reasons"][1]
    assert found["postfix_problems"]
    assert found["quotas"][0]["of"] == "tenant acme"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"recipient": "u@example.org", "client_address": "x"}, "client_address is no IP address"),
        ({"recipient": "u@example.org", "certificate": "zz"}, 'certificate: "zz" is not'),
        ({"recipient": ""}, "recipient"),
        ({"recipient": "u@example.org", "headers": [{"name": "a b"}]}, "headers.0.name"),
        ({"recipient": "u@example.org", "headers": [{"name": "a"}] * 101}, "headers"),
    ],
)
def test_what_cannot_be_explained(api: Api, body: dict[str, Any], said: str) -> None:
    answer = api.post("/v1/explain", body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_the_description_and_its_page_need_no_token_and_nothing_from_elsewhere(api: Api) -> None:
    schema = api.get("/v1/openapi.json", token=None).json()
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert all(
        operation["security"] == [{"token": []}]
        for operations in schema["paths"].values()
        for operation in operations.values()
    )
    # What a file may say, the description says, in the same words.
    quota = schema["components"]["schemas"]["TenantSettings"]["properties"]["quota"]
    assert quota["description"].startswith("How many messages may pass")
    page = api.get("/v1/docs", token=None)
    assert "<script" not in page.text
    assert page.text.count("http") == 0
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<code>PATCH /v1/tenants/{tenant}</code>" in page.text


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PURGE", "/v1/tenants", 405, "GET, POST"),
        ("PUT", "/v1/tenants/acme/pause", 405, "POST"),
        ("POST", "/v1/tenants/acme", 405, "DELETE, GET, PATCH, PUT"),
        ("GET", "/v1/tenants/", 404, None),
        ("GET", "/v2/tenants", 404, None),
        ("GET", "/", 404, None),
        ("GET", "/v1/tenants/acme/../globex", 404, None),
    ],
)
def test_what_is_no_address(
    api: Api, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = api.call(method, path)
    if "/../" not in path:
        assert (answer.status_code, answer.headers.get("Allow")) == (status, allow)
    assert answer.headers["content-type"].startswith("application/")
    assert api.call(method, path, token=None).status_code == 401
