"""Doctor on the envelope sender: what no longer finds it, and what rewrites it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.modes import Mode
from gatepost.postfix.doctor import routing
from gatepost.postfix.doctor.findings import Finding, Severity
from gatepost.postfix.doctor.scene import Scene
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import ReturnPath, Tenant
from tests.world import ENFORCE, snapshot, tenant

MakeScene = Callable[..., Scene]
Found = Callable[..., list[Finding]]
MakeTable = Callable[[str], str]

RELAY = "sender_dependent_relayhost_maps"
TRANSPORT = "sender_dependent_default_transport_maps"
OURS = "socketmap:unix:gatepost/maps.sock:transport"
AUTH = {"smtp_sender_dependent_authentication": "yes"}

PRIVATE = tenant("acme", senders=("acme.example", ".sub.example"), profile="private")
PLAIN = tenant("beta", senders=("beta.example",), lane="normal")


def token(who: Tenant, feedback: Mode = Mode.ENFORCE) -> Tenant:
    modes = replace(ENFORCE, feedback=feedback)
    return replace(who, return_path=ReturnPath.TOKEN, modes=modes)


@pytest.fixture
def found(scene: MakeScene) -> Found:
    """Return a function that gives what the side routing finds about one parameter."""

    def find(name: str, config: Snapshot, **values: str) -> list[Finding]:
        about = list(routing.check(scene(config=config, **values)))
        return [each for each in about if each.what.startswith(f"{name} ")]

    return find


@pytest.fixture
def table(tmp_path: Path) -> MakeTable:
    """Return a function that writes a table that can be listed."""

    def write(text: str) -> str:
        path = tmp_path / "table"
        path.write_text(text, encoding="utf-8")
        return f"texthash:{path}"

    return write


def severities(found: list[Finding]) -> list[Severity]:
    for each in found:
        assert each.what.endswith(".")
        assert each.why.endswith(".")
        assert each.mend
    return [each.severity for each in found]


# Token return paths


@pytest.mark.parametrize(
    ("name", "more"), [(RELAY, {}), ("smtp_sasl_password_maps", AUTH), (TRANSPORT, {})]
)
@pytest.mark.parametrize("key", ["u@beta.example", "@beta.example", "@BETA.example"])
@pytest.mark.parametrize("feedback", [Mode.OBSERVE, Mode.ENFORCE])
def test_an_entry_that_a_token_sender_does_not_find(
    name: str, more: dict[str, str], key: str, feedback: Mode, found: Found, table: MakeTable
) -> None:
    config = snapshot(PRIVATE, token(PLAIN, feedback))
    text = f"{key} u:secret\n@other.example x\n[mx.beta.example] x\n"
    findings = found(name, config, **{name: f"{OURS}, {table(text)}"}, **more)
    findings = [each for each in findings if "become tokens" in each.what]
    assert severities(findings) == [Severity.PROBLEM]
    assert f"{key.lower()} (tenant beta)." in findings[0].what.lower()
    assert "secret" not in str(findings)
    assert "@bounces.example" in findings[0].mend[0]


@pytest.mark.parametrize(
    "config",
    [
        snapshot(PRIVATE, PLAIN),
        snapshot(PRIVATE, token(PLAIN, Mode.OFF)),
        snapshot(token(PRIVATE), PLAIN),
    ],
)
def test_an_entry_that_is_still_found(config: Snapshot, found: Found, table: MakeTable) -> None:
    findings = found(RELAY, config, **{RELAY: table("@beta.example x\n")})
    assert [each for each in findings if "token" in each.what] == []


def test_an_entry_for_the_bounce_domain_is_found(found: Found, table: MakeTable) -> None:
    value = table("@beta.example x\n@bounces.example x\n")
    findings = found(RELAY, snapshot(PRIVATE, token(PLAIN)), **{RELAY: value})
    assert [each for each in findings if "token" in each.what] == []


def test_passwords_that_are_not_looked_up_by_sender(found: Found, table: MakeTable) -> None:
    name = "smtp_sasl_password_maps"
    config = snapshot(PRIVATE, token(PLAIN))
    assert found(name, config, **{name: table("@beta.example x\n")}) == []


def test_a_transport_of_a_tenant_that_is_ours_to_route(found: Found, table: MakeTable) -> None:
    value = f"{OURS}, {table('@acme.example x')}"
    assert found(TRANSPORT, snapshot(token(PRIVATE)), **{TRANSPORT: value}) == []


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("inline:{@beta.example=x}", "cannot be listed, with token senders too"),
        ("texthash:/nonexistent/x", "cannot be read"),
    ],
)
def test_a_table_of_senders_that_cannot_be_looked_into(value: str, what: str, found: Found) -> None:
    findings = found(RELAY, snapshot(PRIVATE, token(PLAIN)), **{RELAY: value})
    findings = [each for each in findings if what in each.what]
    assert severities(findings) == [Severity.WARNING]


def test_a_table_that_cannot_be_listed_and_knows_the_bounce_domain(found: Found) -> None:
    value = "inline:{@bounces.example=x}"
    findings = found(RELAY, snapshot(PRIVATE, token(PLAIN)), **{RELAY: value})
    assert [each for each in findings if "token" in each.what] == []


def test_token_senders_matter_without_lanes_too(found: Found, table: MakeTable) -> None:
    findings = found(RELAY, snapshot(token(PLAIN)), **{RELAY: table("@beta.example x\n")})
    assert severities(findings) == [Severity.PROBLEM]
