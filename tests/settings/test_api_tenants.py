"""Tenants of the API in a configuration: as further files, with the same checks and words."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import ConfigErrors
from gatepost.settings import Loaded, Loader
from gatepost.settings.api_tenants import (
    COPY_NAME,
    ApiTenants,
    as_data,
    copy_text,
    read_copy,
    read_tenants,
)
from gatepost.settings.problems import Rejected
from gatepost.store.api_tenants import Mark


@pytest.fixture
def config(tmp_path: Path) -> Path:
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n")
    keys.chmod(0o600)
    path = tmp_path / "gatepost.yaml"
    path.write_text(
        f"state: sqlite:///{tmp_path}/gatepost.db\nplatform: {{sender_id: examplesp}}\n"
        "tenants:\n  acme: {logins: [acme], senders: [acme.example]}\n"
    )
    return path


def load(config: Path, nonce: str = "ab", **tenants: Any) -> Loaded:
    rows = tuple((name, json.dumps(settings)) for name, settings in tenants.items())
    return Loader(config, lambda _settings: ApiTenants(Mark(1, nonce), rows)).load()


def errors(config: Path, **tenants: Any) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        load(config, **tenants)
    return [str(each).replace(str(config), "FILE") for each in caught.value.errors]


def test_a_tenant_is_what_the_same_text_in_a_file_makes_it(config: Path) -> None:
    settings = {
        "logins": ["Shop"],
        "senders": ["shop.example", ".shop.example"],
        "check_from": True,
        "quota": ["100/minute", "50/day recipients"],
        "clients": ["192.0.2.0/28"],
        "feedback": {"campaign": "X-Campaign", "cfbl": False},
        "modes": {"default": "observe", "tag": "enforce"},
    }
    by_api = load(config, shop=settings).snapshot
    text = yaml.safe_dump({"shop": settings}, sort_keys=False)
    indented = "".join(f"  {line}\n" for line in text.splitlines())
    config.write_text(config.read_text() + indented)
    by_file = Loader(config).load().snapshot
    assert by_api.tenants == by_file.tenants
    assert by_api.quotas == by_file.quotas
    assert by_api.services == by_file.services


def test_what_both_claim_is_refused_with_both_places(config: Path) -> None:
    assert errors(config, shop={"logins": ["ACME"]}) == [
        (
            "store:tenants/shop: tenants.shop.logins[0]: ACME belongs to tenant acme, FILE:4; "
            "leave it to one of the two"
        )
    ]
    assert errors(config, acme={}) == [
        "store:tenants/acme: tenants.acme: is a tenant already, FILE:4; keep one of the two"
    ]
    assert errors(config, beta={"senders": ["x.example"]}, gamma={"senders": ["x.example"]}) == [
        (
            "store:tenants/gamma: tenants.gamma.senders[0]: x.example belongs to tenant beta, "
            "store:tenants/beta; leave it to one of the two"
        )
    ]


def test_what_is_wrong_with_one_is_told_behind_the_files_and_named_by_its_place(
    config: Path,
) -> None:
    config.write_text(config.read_text() + "  globex: {profile: none}\n")
    assert errors(config, shop={"logins": ["a"], "lane": "none", "nothing": "x"}) == [
        "FILE:5: tenants.globex.profile: there is no profile none; there is only standard",
        "store:tenants/shop: tenants.shop.nothing: is no setting here; there are "
        + errors(config, shop={"nothing": "x"})[-1].split("there are ")[1],
    ]


def test_the_digest_tells_each_state_of_the_store(config: Path) -> None:
    digests = {load(config, "").snapshot.digest, Loader(config).load().snapshot.digest}
    assert len(digests) == 1
    assert load(config, "ab").snapshot.digest != load(config, "ac").snapshot.digest


def test_a_platform_login_may_name_one(config: Path) -> None:
    config.write_text(
        config.read_text().replace("examplesp}", "examplesp, logins: {web: {may_act_as: [shop]}}}")
    )
    assert errors(config) == [
        (
            "FILE:2: platform.logins.web.may_act_as[0]: there is no tenant shop; add it, or remove "
            "it here"
        )
    ]
    assert load(config, shop={}).snapshot.tenants.platform["web"].may("shop")


def test_commands_read_the_copy(config: Path) -> None:
    copy = config.with_name(COPY_NAME)
    copy.write_text(copy_text(ApiTenants(Mark(3, "ff"), (("shop", '{"logins":["shop"]}'),))))
    assert "shop" in Loader(config).load().snapshot.tenants.by_id
    copy.write_text("nonsense\n")
    with pytest.raises(ConfigErrors) as caught:
        Loader(config).load()
    assert str(caught.value).startswith(
        f"store:tenants/: {copy} is no copy of the tenants of the API: "
    )


IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True)
ROWS = st.dictionaries(IDS, st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3))


@given(ROWS, st.integers(0, 10**9), st.sampled_from(["", "0123456789abcdef"]))
def test_a_copy_is_read_as_it_was_written(
    rows: dict[str, dict[str, str]], version: int, nonce: str
) -> None:

    tenants = ApiTenants(
        Mark(version, nonce), tuple((each, json.dumps(value)) for each, value in rows.items())
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / COPY_NAME
        assert read_copy(path) is None
        path.write_text(copy_text(tenants), encoding="utf-8")
        assert read_copy(path) == tenants
        cut = path.read_bytes()[:-1]
        path.write_bytes(cut)
        with pytest.raises(Rejected):
            read_copy(path)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (True, "yes"),
        (False, "no"),
        (12, "12"),
        (None, None),
        ({"a": [True, "x", 1.5]}, {"a": ["yes", "x", "1.5"]}),
    ],
)
def test_values_are_what_a_file_would_say(value: object, data: object) -> None:
    assert as_data(value) == data


def test_a_file_of_tenants_becomes_what_the_api_would_be_given(tmp_path: Path) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(
        "tenants:\n"
        "  shop: &shop {logins: [shop], check_from: on, modes: {tls: enforce}, quota: }\n"
        "  more:\n    <<: *shop\n    logins: [more]\n"
        "  bare:\n"
    )
    assert {name: json.loads(text) for name, text in read_tenants(path).items()} == {
        "shop": {"logins": ["shop"], "check_from": True, "modes": {"tls": "enforce"}},
        "more": {"logins": ["more"], "check_from": True, "modes": {"tls": "enforce"}},
        "bare": {},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no settings; write tenants: and tenants below"),
        ("tenants:\n  a: {quota: [x]}\n", ':2: tenants.a.quota[0]: "x" is not a quota'),
        ("tenants: [\n", "is not YAML"),
        ("lanes: {}\n", ":1: lanes: is no setting here"),
    ],
)
def test_a_file_of_tenants_with_mistakes(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tenants.yaml"
    path.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        read_tenants(path)
    assert said in str(caught.value)
