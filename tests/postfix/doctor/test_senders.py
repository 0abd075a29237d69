"""Doctor on the envelope sender: what no longer finds it, and what rewrites it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.modes import Mode, Modes
from gatepost.postfix.doctor import rewriting, routing
from gatepost.postfix.doctor.findings import Finding, Severity
from gatepost.postfix.doctor.scene import Scene
from gatepost.snapshot import Snapshot
from gatepost.tenants.model import ReturnPath, Tenant
from tests.settled import write_settled
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
        write_settled(path, text)
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
        ("unionmap:{inline:{@beta.example=x}}", "cannot be listed, with token senders too"),
        ("texthash:/nonexistent/x", "cannot be read"),
    ],
)
def test_a_table_of_senders_that_cannot_be_looked_into(value: str, what: str, found: Found) -> None:
    findings = found(RELAY, snapshot(PRIVATE, token(PLAIN)), **{RELAY: value})
    findings = [each for each in findings if what in each.what]
    assert severities(findings) == [Severity.WARNING]


def test_a_table_that_cannot_be_listed_and_knows_the_bounce_domain(found: Found) -> None:
    value = "unionmap:{inline:{@bounces.example=x}}"
    findings = found(RELAY, snapshot(PRIVATE, token(PLAIN)), **{RELAY: value})
    assert [each for each in findings if "token" in each.what] == []


def test_token_senders_matter_without_lanes_too(found: Found, table: MakeTable) -> None:
    findings = found(RELAY, snapshot(token(PLAIN)), **{RELAY: table("@beta.example x\n")})
    assert severities(findings) == [Severity.PROBLEM]


# Rewriting

MASQUERADE = "masquerade_domains"
DEEP = tenant("acme", senders=("mail.acme.example",), profile="private")
SUFFIX = tenant("acme", senders=(".acme.example",), profile="private")
OTHER = tenant("beta", senders=("acme.example",))
BULK = tenant("acme", senders=("mail.acme.example",), lane="bulk")


@pytest.mark.parametrize(
    ("domain", "entries", "expected"),
    [
        ("a.b.example", ["b.example"], "b.example"),
        ("b.example", ["b.example", "example"], "b.example"),
        ("a.b.example", ["example", "b.example"], "example"),
        ("a.b.example", ["!b.example", "example"], "a.b.example"),
        ("b.example", ["!b.example", "example"], "b.example"),
        ("a.b.example", ["!!b.example"], "b.example"),
        ("ab.example", ["b.example", "!", ""], "ab.example"),
    ],
)
def test_what_masquerading_makes_of_a_domain(
    domain: str, entries: list[str], expected: str
) -> None:
    assert rewriting.masquerade(domain, entries) == expected


@pytest.mark.parametrize(
    ("tenants", "value", "what"),
    [
        ((DEEP,), "acme.example", "mail.acme.example becomes acme.example (from tenant acme to no"),
        ((DEEP,), "ACME.example", "mail.acme.example becomes acme.example"),
        ((DEEP, OTHER), "acme.example", "(from tenant acme to tenant beta)"),
        ((BULK,), "acme.example", "mail.acme.example becomes acme.example"),
        ((SUFFIX,), "acme.example", "*.acme.example becomes acme.example"),
        ((SUFFIX, OTHER), "acme.example", "(from tenant acme to tenant beta)"),
        ((DEEP, token(PLAIN)), "example", "bounces.example becomes example (token return paths)"),
        ((token(PLAIN),), "example", "bounces.example becomes example (token return paths)"),
    ],
)
def test_senders_that_masquerading_takes_from_their_tenant(
    tenants: tuple[Tenant, ...], value: str, what: str, found: Found
) -> None:
    findings = found(MASQUERADE, snapshot(*tenants), masquerade_domains=value)
    assert severities(findings) == [Severity.PROBLEM]
    assert what in findings[0].what


@pytest.mark.parametrize(
    ("tenants", "values"),
    [
        ((DEEP,), {MASQUERADE: "!mail.acme.example, acme.example"}),
        ((DEEP,), {MASQUERADE: "acme.example", "masquerade_classes": "header_sender"}),
        ((DEEP,), {MASQUERADE: "other.example"}),
        (
            (replace(DEEP, senders=("mail.acme.example", "acme.example")),),
            {MASQUERADE: "acme.example"},
        ),
        ((replace(DEEP, modes=Modes()),), {MASQUERADE: "acme.example"}),
        ((replace(DEEP, profile="standard"),), {MASQUERADE: "acme.example"}),
        ((SUFFIX,), {MASQUERADE: "mail.acme.example"}),
        ((token(DEEP),), {MASQUERADE: "acme.example"}),
    ],
)
def test_masquerading_that_takes_nobodys_senders(
    tenants: tuple[Tenant, ...], values: dict[str, str], found: Found
) -> None:
    assert found(MASQUERADE, snapshot(*tenants), **values) == []


@pytest.mark.parametrize("name", ["sender_canonical_maps", "canonical_maps"])
@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("u@acme.example u@other.example", "becomes other.example (from tenant acme to no tenant)"),
        ("@acme.example @beta.example", "becomes beta.example (from tenant acme to tenant beta)"),
        ("u@acme.example u", "becomes an address without a domain"),
        ("u@x.sub.example u@sub.example", "x.sub.example becomes sub.example"),
    ],
)
def test_entries_that_take_senders_from_their_tenant(
    name: str, entry: str, what: str, found: Found, table: MakeTable
) -> None:
    findings = found(name, snapshot(PRIVATE, PLAIN), **{name: table(entry + "\n")})
    assert severities(findings) == [Severity.PROBLEM]
    assert what in findings[0].what


def test_an_entry_that_rewrites_tokens(found: Found, table: MakeTable) -> None:
    name = "sender_canonical_maps"
    value = table("@bounces.example x@other.example\n")
    findings = found(name, snapshot(token(PLAIN)), **{name: value})
    assert severities(findings) == [Severity.PROBLEM]


@pytest.mark.parametrize(
    "entry",
    [
        "u@acme.example v@acme.example",
        "u@acme.example u@x.sub.example",
        "u@beta.example u@other.example",
        "u@other.example u@acme.example",
        "u v@other.example",
        "@bounces.example x@other.example",
    ],
)
@pytest.mark.parametrize("name", ["sender_canonical_maps", "canonical_maps"])
def test_entries_that_take_no_senders_may_be_changed(
    name: str, entry: str, found: Found, table: MakeTable
) -> None:
    findings = found(name, snapshot(PRIVATE, PLAIN), **{name: table(entry + "\n")})
    assert severities(findings) == [Severity.WARNING]


def test_canonical_addresses_of_recipients_alone(found: Found, table: MakeTable) -> None:
    values = {
        "canonical_maps": table("@acme.example @x\n"),
        "canonical_classes": "header_recipient",
    }
    assert found("canonical_maps", snapshot(PRIVATE), **values) == []
