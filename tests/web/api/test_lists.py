"""Suppression lists over HTTP: the same lists as the commands', with events of each change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gatepost.store.open import open_events
from gatepost.web.api import guard, lists
from tests.web.api.place import CONFIGURATION, NOW, Api

ANN = {"address": "Ann@Example.org"}


def events(api: Api) -> list[tuple[str, str, Any]]:
    found = api.site.open(open_events).after(0, 100)
    return [
        (each.event.tenant, each.event.recipient, each.event.details["action"])
        for each in found
        if each.event.details["by"] == "api:acme"
    ]


def test_an_address_is_added_found_and_taken_off_and_each_is_an_event(api: Api) -> None:
    path = "/v1/tenants/acme/suppressions"
    added = api.post(path, {**ANN, "note": "on leave", "seconds": 60}, token="acme")
    entry = added.json()["entries"][0]
    assert entry == {
        "tenant": "acme",
        "address": "ann@example.org",
        "reason": "manual",
        "since": "2027-01-15T08:00:00Z",
        "expires": "2027-01-15T08:01:00Z",
        "source": "api",
        "note": "on leave",
    }
    # The same again changes nothing, and is no event.
    again = {**ANN, "note": "on leave", "seconds": 60}
    assert api.post(path, again, token="acme").json() == {"entries": []}
    checked = api.post(f"{path}/check", {"addresses": ["ann@EXAMPLE.org", "b@x.example"]})
    assert [each["suppressed"] for each in checked.json()["addresses"]] == [True, False]
    api.now = NOW + 61
    ended = api.post(f"{path}/check", {"addresses": ["ann@example.org"]}).json()
    assert ended["addresses"][0]["suppressed"] is False
    assert ended["addresses"][0]["entries"][0]["in_force"] is False
    assert api.get(path).json() == {"entries": [entry], "next": None}
    removed = api.post(f"{path}/remove", ANN, token="acme").json()
    assert removed == {"entries": [entry]}
    assert api.post(f"{path}/remove", ANN, token="acme").json() == {"entries": []}
    assert events(api) == [
        ("acme", "ann@example.org", "add"),
        ("acme", "ann@example.org", "remove"),
    ]


def test_pages_go_on_where_the_last_one_ended(api: Api) -> None:
    table = "".join(f"u{number}@example.org\n" for number in range(5)).encode()
    path = "/v1/tenants/acme/suppressions"
    api.post(f"{path}/import", content=table, kind="text/csv")
    seen: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"{path}?limit=2&cursor={cursor}").json()
        seen += [each["address"] for each in page["entries"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert sorted(seen) == [f"u{number}@example.org" for number in range(5)]
    assert api.get(f"{path}?cursor=...").status_code == 422
    assert api.get(f"{path}?cursor=1.zz.").status_code == 422


def test_no_cursor_leads_into_the_list_of_another(api: Api) -> None:
    for tenant in ("acme", "globex"):
        api.post(f"/v1/tenants/{tenant}/suppressions", {"address": f"{tenant}@example.org"})
    path = "/v1/tenants/acme/suppressions"
    found = [api.get(f"{path}?cursor={owner}...0", token="acme") for owner in range(20)]
    assert sorted(each.status_code for each in found) == [200] + [422] * 19
    (own,) = (each.json()["entries"] for each in found if each.status_code == 200)
    assert [each["address"] for each in own] == ["acme@example.org"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"address": "nonsense"}, 422, "'nonsense' is not an address"),
        ({**ANN, "reason": "complaint", "seconds": 5}, 422, "holds for good"),
        ({**ANN, "reason": "none"}, 422, "reason"),
        ({**ANN, "seconds": 0}, 422, "seconds"),
        ({**ANN, "note": "x" * 201}, 422, "note"),
        ({**ANN, "tenant": "globex"}, 422, "tenant"),
    ],
)
def test_what_is_no_entry(api: Api, body: dict[str, Any], status: int, said: str) -> None:
    answer = api.post("/v1/tenants/acme/suppressions", body)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_the_global_list_takes_invalid_addresses_alone_and_holds_for_all(api: Api) -> None:
    refused = api.post("/v1/suppressions", {**ANN, "reason": "manual"})
    assert refused.status_code == 422
    assert "with the reason invalid alone" in refused.json()["detail"]
    assert api.post("/v1/suppressions", ANN).json()["entries"][0]["reason"] == "invalid"
    checked = api.post("/v1/tenants/acme/suppressions/check", {"addresses": ["ann@example.org"]})
    assert checked.json()["addresses"][0]["suppressed"] is True
    everywhere = api.post("/v1/suppressions/check", {"addresses": ["ann@example.org"]}).json()
    assert [each["tenant"] for each in everywhere["addresses"][0]["entries"]] == [""]
    assert api.post("/v1/suppressions/remove", ANN).json()["entries"][0]["tenant"] == ""


def test_an_import_stores_what_is_good_and_tells_the_rest(api: Api) -> None:
    table = (
        b"email,reason,created\n"
        b"a@example.org,bounce,2026-01-01\n"
        b"nonsense,bounce,\n"
        b"b@example.org,spam,\n"
        b"c\xff@example.org,none,\n"
    )
    path = "/v1/tenants/acme/suppressions/import"
    dry = api.post(f"{path}?dry_run=true", content=table, kind="text/csv").json()
    assert (dry["entries"], dry["changed"], dry["dry_run"]) == (1, 0, True)
    answer = api.post(path, content=table, kind="text/csv; charset=utf-8", token="acme")
    found = answer.json()
    assert (found["entries"], found["changed"], found["bad"]) == (1, 1, 2)
    # An old bounce has ended by now.
    assert found["ended"] == 1
    assert [each["line"] for each in found["bad_lines"]] == [3, 5]
    assert found["bad_lines"][1]["problem"].isprintable()
    store = api.site.suppression()
    entries = store.page("acme").entries
    assert [(each.address, each.reason.value) for each in entries] == [
        ("b@example.org", "complaint")
    ]
    assert events(api) == [("acme", "", "import")]


@pytest.mark.parametrize(
    ("table", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"name,reason\nx,y\n", "text/csv", 422),
        (b"tenant,address\nglobex,a@example.org\n", "text/csv", 200),
    ],
)
def test_imports_that_store_nothing(api: Api, table: bytes, kind: str, status: int) -> None:
    answer = api.post("/v1/tenants/acme/suppressions/import", content=table, kind=kind)
    assert answer.status_code == status
    assert api.site.suppression().page(None).entries == ()


def test_a_tenants_import_goes_to_no_other_list(api: Api) -> None:
    table = b"tenant,address\nglobex,a@example.org\n,b@example.org\n"
    found = api.post(
        "/v1/tenants/acme/suppressions/import", content=table, kind="text/csv", token="acme"
    ).json()
    assert (found["changed"], found["bad"]) == (0, 2)


def test_an_import_may_be_larger_than_other_bodies_and_has_a_bound(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/v1/tenants/acme/suppressions/import"
    table = b"".join(b"user%06d@example.org\n" % number for number in range(5_000))
    assert len(table) > guard.MAX_BODY
    assert api.post(path, content=table, kind="text/csv").json()["changed"] == 5_000
    monkeypatch.setattr(guard, "MAX_IMPORT", 1_000)
    answer = api.post(path, content=table[:2_000], kind="text/csv")
    assert answer.status_code == 413
    assert answer.json()["detail"] == "a body may have 1000 octets"


def test_one_import_at_a_time(api: Api) -> None:
    with lists._importing:
        answer = api.post(
            "/v1/tenants/acme/suppressions/import", content=b"a@example.org\n", kind="text/csv"
        )
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")


def test_a_list_of_hashes_shows_no_addresses_and_says_so_in_no_event(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    api = Api(tmp_path_factory.mktemp("hashed"), CONFIGURATION + "feedback: {{privacy: hashed}}\n")
    api.post("/v1/tenants/acme/suppressions", ANN, token="acme")
    assert api.get("/v1/tenants/acme/suppressions").json()["entries"][0]["address"] is None
    assert events(api) == [("acme", "", "add")]
    assert "example.org" not in json.dumps(api.get("/v1/events").json())


def test_what_the_platform_noted_of_a_global_entry_is_not_for_tenants(api: Api) -> None:
    note = {"address": "ann@example.org", "note": "globex told us"}
    api.post("/v1/suppressions", note)
    api.post("/v1/tenants/acme/suppressions", {**note, "note": "our own"}, token="acme")
    asked = {"addresses": ["ann@example.org"]}

    def notes(token: str) -> list[tuple[str, str]]:
        told = api.post("/v1/tenants/acme/suppressions/check", asked, token=token).json()
        return [(each["tenant"], each["note"]) for each in told["addresses"][0]["entries"]]

    assert notes("acme") == [("acme", "our own"), ("", "")]
    assert notes("platform") == [("acme", "our own"), ("", "globex told us")]
