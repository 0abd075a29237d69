"""Tenants made, changed and deleted: what is stored, what is refused, and what is not lost."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.runtime.api_token import digest_of
from gatepost.store.api_tokens import ApiToken
from gatepost.store.open import open_api_tokens
from gatepost.web.api import tenants
from tests.web.api.place import CONFIGURATION, Api, secret_of

NEW = {"logins": ["shop"], "senders": ["shop.example"], "check_from": True}


def make(api: Api, name: str = "shop", **settings: Any) -> Any:
    answer = api.post("/v1/tenants", {"id": name, "settings": settings or NEW})
    assert answer.status_code == 201, answer.text
    return answer


def word(answer: Any) -> str:
    kind = answer.headers["content-type"]
    assert kind == "application/problem+json", answer.text
    return str(answer.json()["type"].removeprefix("urn:gatepost:problem:"))


def test_one_that_is_made_is_in_force_and_shown_as_it_was_given(api: Api) -> None:
    answer = make(api)
    assert answer.headers["Location"] == "/v1/tenants/shop"
    assert answer.headers["ETag"] == '"1"'
    assert api.get("/v1/tenants/shop").json() == answer.json()
    shown = answer.json()
    assert shown["settings"] == NEW
    assert (shown["source"], shown["in_force"], shown["changed_by"]) == (
        "api",
        True,
        "api:platform",
    )
    assert shown["effective"]["check_from"] is True
    assert shown["effective"]["profile"] == "standard"
    tenant = api.holder.current.tenants.by_login["shop"]
    assert (tenant.id, tenant.senders, tenant.check_from) == ("shop", ("shop.example",), True)


def test_one_of_a_file_is_shown_with_what_is_in_force_and_has_no_version(api: Api) -> None:
    answer = api.get("/v1/tenants/acme")
    shown = answer.json()
    assert (shown["source"], shown["settings"], shown["version"]) == ("file", None, None)
    assert shown["effective"]["senders"] == ["acme.example"]
    assert "ETag" not in answer.headers


def test_the_list_goes_on_where_a_page_ended(api: Api) -> None:
    make(api, "beta", logins=["beta"])
    first = api.get("/v1/tenants?limit=2").json()
    assert [(each["id"], each["source"]) for each in first["tenants"]] == [
        ("acme", "file"),
        ("beta", "api"),
    ]
    last = api.get(f"/v1/tenants?limit=2&cursor={first['next']}").json()
    assert [each["id"] for each in last["tenants"]] == ["globex"]
    assert last["next"] is None


@pytest.mark.parametrize(
    ("settings", "said", "remedy"),
    [
        (
            {"logins": ["ACME"]},
            "ACME belongs to tenant acme, {directory}/gatepost.yaml:13",
            "leave it to one of the two",
        ),
        (
            {"senders": ["mail.acme.example", ".acme.example", "globex.example"]},
            "globex.example belongs to tenant globex, {directory}/gatepost.yaml:17",
            "leave it to one of the two",
        ),
        ({"profile": "privat"}, "there is no profile privat", "there is only standard"),
        ({"lane": "bluk"}, "there is no lane bluk", "did you mean bulk?"),
        ({"quota": ["a/minute"]}, '"a/minute" is not a quota', "write a number per window"),
        ({"group": "none"}, "there is no group none", "there is only resellers"),
    ],
)
def test_what_check_refuses_is_refused_in_its_words(
    api: Api, settings: dict[str, Any], said: str, remedy: str
) -> None:
    answer = api.post("/v1/tenants", {"id": "shop", "settings": settings})
    assert answer.status_code == 422
    assert word(answer) == "not-possible"
    error = answer.json()["errors"][0]
    assert error["problem"] == said.format(directory=api.directory)
    assert error["remedy"].startswith(remedy)
    assert error["file"] == "store:tenants/shop"
    assert error["path"].startswith("tenants.shop")
    assert api.get("/v1/tenants/shop").status_code == 404


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"id": "shop", "settings": {"logins": "shop"}}, "settings.logins"),
        ({"id": "shop", "settings": {"check_from": "yes"}}, "settings.check_from"),
        ({"id": "shop", "settings": {"modes": {"tls": "of"}}}, "settings.modes.tls"),
        ({"id": "shop", "settings": {"unknown": 1}}, "settings.unknown"),
        ({"id": "shop", "settings": {"logins": ["a" * 501]}}, "settings.logins.0"),
        ({"id": "shop", "more": 1}, "more"),
        ({"id": "Shop"}, "id"),
        ({"id": "../../etc"}, "id"),
        ({"settings": {}}, "id"),
        ([], ""),
        (None, ""),
    ],
)
def test_what_has_another_form_is_refused_before(api: Api, body: Any, path: str) -> None:
    answer = api.call("POST", "/v1/tenants", content=json.dumps(body).encode())
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path
    assert answer.json()["errors"][0]["file"] == "body"


def test_one_that_is_there_is_not_made_again(api: Api) -> None:
    make(api)
    assert word(api.post("/v1/tenants", {"id": "shop"})) == "exists"
    answer = api.post("/v1/tenants", {"id": "acme"})
    assert (answer.status_code, word(answer)) == (409, "of-a-file")
    assert answer.json()["detail"] == f"the tenant stands in {api.config}:12"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_one_of_a_file_is_not_changed_and_the_answer_says_where_it_stands(
    api: Api, method: str
) -> None:
    body = None if method == "DELETE" else {"logins": ["other"]}
    answer = api.call(method, "/v1/tenants/acme", body)
    assert (answer.status_code, word(answer)) == (409, "of-a-file")
    assert answer.json()["detail"] == f"the tenant stands in {api.config}:12"


def test_a_put_makes_one_and_the_same_again_changes_nothing(api: Api) -> None:
    assert api.put("/v1/tenants/shop", NEW).status_code == 201
    again = api.put("/v1/tenants/shop", NEW)
    assert (again.status_code, again.headers["ETag"]) == (200, '"1"')


def test_no_update_is_lost(api: Api) -> None:
    make(api)
    other = {"logins": ["shop"], "lane": "bulk"}
    missing = api.put("/v1/tenants/shop", other)
    assert (missing.status_code, word(missing)) == (428, "condition-missing")
    first = api.put("/v1/tenants/shop", other, headers={"If-Match": '"1"'})
    assert (first.status_code, first.headers["ETag"]) == (200, '"2"')
    late = api.put("/v1/tenants/shop", {"logins": []}, headers={"If-Match": '"1"'})
    assert (late.status_code, word(late)) == (412, "changed-meanwhile")
    assert late.json()["detail"] == 'its ETag is "2" now'
    # The answer to the first was lost, and it is sent again.
    assert api.put("/v1/tenants/shop", other, headers={"If-Match": '"1"'}).status_code == 200
    for method in ("PATCH", "DELETE"):
        body = {"lane": None} if method == "PATCH" else None
        answer = api.call(method, "/v1/tenants/shop", body, headers={"If-Match": '"1"'})
        assert word(answer) == "changed-meanwhile"
    assert api.get("/v1/tenants/shop").json()["settings"] == other


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "*"}, 412),
        ({"If-None-Match": '"1"'}, 412),
        ({"If-Match": "*"}, 200),
        ({"If-Match": 'W/"1"'}, 412),
        ({"If-Match": '"7", "1"'}, 200),
        ({"If-Match": "nonsense"}, 412),
        ({"If-Match": "1"}, 412),
    ],
)
def test_conditions(api: Api, headers: dict[str, str], status: int) -> None:
    make(api)
    assert api.put("/v1/tenants/shop", {}, headers=headers).status_code == status


def test_a_put_with_a_condition_makes_none_that_was_deleted(api: Api) -> None:
    answer = api.put("/v1/tenants/shop", NEW, headers={"If-Match": "*"})
    assert word(answer) == "changed-meanwhile"
    assert api.put("/v1/tenants/shop", NEW, headers={"If-None-Match": "*"}).status_code == 201


def test_one_that_was_deleted_and_made_again_has_another_version(api: Api) -> None:
    make(api)
    assert api.call("DELETE", "/v1/tenants/shop").status_code == 204
    assert api.get("/v1/tenants/shop").status_code == 404
    assert word(api.call("DELETE", "/v1/tenants/shop")) == "not-found"
    assert make(api).headers["ETag"] == '"3"'


def test_the_tokens_of_one_that_is_deleted_end_with_it(api: Api) -> None:
    make(api)
    with closing(open_api_tokens(api.settings.state)) as store:
        store.add(ApiToken("shop", "shop", False, 0.0, "x"), digest_of(secret_of("shop")))
    assert api.get("/v1/tenants/shop", token="shop").status_code == 200
    assert api.call("DELETE", "/v1/tenants/shop").status_code == 204
    assert api.get("/v1/tenants", token="shop").status_code == 401
    make(api)
    assert api.get("/v1/tenants/shop", token="shop").status_code == 401
    assert api.get("/v1/tenants/acme", token="acme").status_code == 200


def test_tokens_that_a_broken_off_deletion_left_end_with_the_next(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(api)
    with closing(open_api_tokens(api.settings.state)) as store:
        store.add(ApiToken("shop", "shop", False, 0.0, "x"), digest_of(secret_of("shop")))

    def away(*_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(tenants, "revoke_of", away)
        assert api.call("DELETE", "/v1/tenants/shop").status_code == 503
    assert api.call("DELETE", "/v1/tenants/shop").status_code == 404
    make(api)
    assert api.get("/v1/tenants/shop", token="shop").status_code == 401


def test_a_patch_changes_what_it_names_and_null_takes_away(api: Api) -> None:
    make(api, "shop", logins=["shop"], lane="bulk", modes={"tls": "enforce", "tag": "off"})
    answer = api.call(
        "PATCH",
        "/v1/tenants/shop",
        {"lane": None, "senders": ["shop.example"], "modes": {"tag": None, "quota": "off"}},
        kind="application/merge-patch+json",
    )
    assert answer.json()["settings"] == {
        "logins": ["shop"],
        "modes": {"tls": "enforce", "quota": "off"},
        "senders": ["shop.example"],
    }


def test_one_that_is_named_elsewhere_is_not_deleted(tmp_path: Path) -> None:
    api = Api(
        tmp_path,
        CONFIGURATION.replace(
            "sender_id: examplesp",
            "sender_id: examplesp, logins: {{web: {{may_act_as: [acme, LATER]}}}}",
        ).replace(", LATER", ""),
    )
    make(api)
    text = api.config.read_text().replace("[acme]}}", "[acme, shop]}}", 1)
    api.config.write_text(text)
    answer = api.call("DELETE", "/v1/tenants/shop")
    assert word(answer) == "not-possible"
    assert answer.json()["errors"][0]["problem"] == "there is no tenant shop"
    assert answer.json()["errors"][0]["line"] == 6
    assert api.get("/v1/tenants/shop").status_code == 200


def test_what_needs_attach_is_refused_with_what_is_missing(api: Api) -> None:
    api.lacking = ["master.cf has no gp-bulk-standard; run gatepost attach"]
    # What is missing already is no reason.
    make(api)
    before = list(api.lacking)
    asked: list[object] = []

    def complain(snapshot: Any) -> list[str]:
        asked.append(snapshot)
        new = any(tenant.lane == "bulk" for tenant in snapshot.tenants.by_id.values())
        return [*before, "master.cf has no gp-bulk-private; run gatepost attach"][: 1 + new]

    api.site.writer._complaints = complain
    answer = api.call("PATCH", "/v1/tenants/shop", {"lane": "bulk"})
    assert (answer.status_code, word(answer)) == (409, "needs-attach")
    assert answer.json()["detail"] == "master.cf has no gp-bulk-private; run gatepost attach"
    assert "gatepost attach" in answer.json()["remedy"]
    assert api.get("/v1/tenants/shop").json()["settings"] == NEW
    assert len(asked) == 2


def test_while_the_files_have_errors_nothing_is_changed_and_both_are_told_apart(api: Api) -> None:
    make(api)
    api.config.write_text(api.config.read_text() + "  broken: {lane: none}\n")
    answer = api.call("PATCH", "/v1/tenants/shop", {"lane": "bulk"})
    assert (answer.status_code, word(answer)) == (409, "files-broken")
    assert answer.json()["errors"][0]["path"] == "tenants.broken.lane"
    assert api.call("PATCH", "/v1/tenants/shop", {"lane": "x"}).status_code == 422
    assert api.get("/v1/tenants/shop").json()["settings"] == NEW


def test_of_changes_at_the_same_time_none_is_lost_and_none_takes_anothers_login(api: Api) -> None:
    answers: list[int] = []
    at_once = threading.Barrier(4)

    def write(number: int) -> None:
        at_once.wait(30)
        settings = {"logins": ["same"] if number < 2 else [f"own{number}"]}
        answer = api.post("/v1/tenants", {"id": f"t{number}", "settings": settings})
        answers.append(answer.status_code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 201, 201, 422]
    assert len(api.get("/v1/tenants").json()["tenants"]) == 5


def test_settings_that_are_too_large_are_refused(api: Api) -> None:
    listeners = [f"{number:0120}" for number in range(300)]
    assert api.put("/v1/tenants/shop", {"listeners": listeners}).status_code == 201
    logins = [f"{number:0250}" for number in range(150)]
    more = api.call("PATCH", "/v1/tenants/shop", {"logins": logins})
    assert (more.status_code, word(more)) == (413, "too-large")
    assert "logins" not in api.get("/v1/tenants/shop").json()["settings"]


def test_what_a_change_would_break_elsewhere_is_no_fault_of_the_files(api: Api) -> None:
    answer = api.post("/v1/tenants", {"id": "shop", "settings": {"senders": [".example"]}})
    assert (answer.status_code, word(answer)) == (422, "not-possible")
    assert answer.json()["errors"][0]["problem"].startswith("acme.example lies within .example of")
