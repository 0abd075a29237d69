"""Mail that comes back: what attach tells Postfix, what it leaves, and what doctor says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix import main_cf
from gatepost.postfix.detach import detach_main
from gatepost.postfix.doctor import returns as doctor
from gatepost.postfix.plan import MAIN_CF
from gatepost.postfix.services import attach_spec, drift, returning_domains
from gatepost.postfix.spec import AttachSpec, Hook
from tests.postfix.doctor.conftest import MakeScene
from tests.postfix.doctor.conftest import scene as scene  # noqa: PLC0414  # a fixture
from tests.postfix.doctor.test_doctor import problem, told
from tests.postfix.test_rules import CLIENT, attach, main_after, said
from tests.world import snapshot

LMTP = CLIENT + "lmtp      unix  -       -       y       -       -       lmtp\n"
SPEC = AttachSpec(frozenset({Hook.RETURNS}), returns=("b.example", "f.example"))
TABLE = (
    "inline:{ { b.example = lmtp:unix:gatepost/intake.sock },"
    " { @b.example = lmtp:unix:gatepost/intake.sock },"
    " { .b.example = error:5.1.2 no mail for this domain },"
    " { f.example = lmtp:unix:gatepost/intake.sock },"
    " { @f.example = lmtp:unix:gatepost/intake.sock },"
    " { .f.example = error:5.1.2 no mail for this domain } }"
)


def test_the_domains_are_handed_to_the_intake():
    after = main_after("", spec=SPEC, master=LMTP)
    assert after["gatepost_returns"] == TABLE
    assert after["transport_maps"] == after["relay_domains"] == "$gatepost_returns"
    assert "relay_recipient_maps" not in after


def test_the_operators_lists_stay_behind_ours():
    before = "transport_maps = hash:/t\nrelay_domains = r.example\nrelay_recipient_maps = hash:/r\n"
    after = main_after(before, spec=SPEC, master=LMTP)
    assert after["transport_maps"] == "$gatepost_returns, hash:/t"
    assert after["relay_domains"] == "$gatepost_returns, r.example"
    assert after["relay_recipient_maps"] == "$gatepost_returns, hash:/r"


def test_an_empty_list_of_recipients_stays_empty():
    assert main_after("relay_recipient_maps =\n", spec=SPEC)["relay_recipient_maps"] == ""


@pytest.mark.parametrize(
    "before",
    ["", "relay_domains = r.example\ntransport_maps = hash:/t\nrelay_recipient_maps = hash:/r\n"],
)
def test_detach_takes_out_what_attach_put_in(before):
    plan = attach(before, spec=SPEC, master=LMTP)
    assert detach_main(plan.new[MAIN_CF]).text == before


def test_a_default_of_relay_domains_that_counts_is_kept_and_taken_out_again():
    default = "${{$compatibility_level} <level {2} ? {$mydestination} : {}}"
    plan = attach(
        "", spec=SPEC, master=LMTP, values={"relay_domains": "x.example"},
        defaults={"relay_domains": default},
    )  # fmt: skip
    text = plan.new[MAIN_CF]
    assert main_cf.settings(text)["relay_domains"] == f"$gatepost_returns, {default}"
    assert detach_main(text).text == ""


@pytest.mark.parametrize(
    "name", ["mydestination", "virtual_alias_domains", "virtual_mailbox_domains"]
)
def test_a_domain_that_is_delivered_otherwise_stays_so(name):
    main = f"{name} = localhost, B.example\n"
    after = main_after(main, spec=SPEC, master=LMTP)
    assert "b.example" not in after["gatepost_returns"]
    assert "@f.example" in after["gatepost_returns"]
    assert f"b.example stands in {name}" in said(attach(main, spec=SPEC, master=LMTP))


def test_an_entry_of_the_operators_own_stays():
    routed = {"b.example": "smtp:[inner]", "f.example": "local:"}
    plan = attach("", spec=SPEC, master=LMTP, routed=routed)
    assert "gatepost_returns" not in main_cf.settings(plan.new[MAIN_CF])
    assert 'an entry of your own for b.example ("smtp:[inner]")' in said(plan)
    own = {"b.example": SPEC.intake, "f.example": SPEC.intake}
    assert "gatepost_returns" in main_after("", spec=SPEC, master=LMTP, routed=own)


def test_a_missing_lmtp_service_is_told():
    assert "master.cf has no service lmtp" in said(attach("", spec=SPEC))
    assert "lmtp" not in said(attach("", spec=SPEC, master=LMTP))


def test_only_a_configuration_with_such_a_domain_needs_it():
    both = snapshot(bounce_domain="b.example", feedback_domain="f.example")
    assert returning_domains(both) == ("b.example", "f.example")
    one = snapshot(bounce_domain="b.example", feedback_domain="b.example")
    assert returning_domains(one) == ("b.example",)
    none = snapshot(bounce_domain=None)
    assert Hook.RETURNS not in attach_spec(none).hooks
    assert "intake.sock" not in attach_spec(none).sockets


def test_a_new_domain_is_told_at_reload(tmp_path: Path):
    main = attach("", spec=SPEC, master=LMTP).new[MAIN_CF]
    (tmp_path / "main.cf").write_text(main)
    (tmp_path / "master.cf").write_text(LMTP)
    known = snapshot(bounce_domain="b.example", feedback_domain="f.example")
    assert drift(known, tmp_path) == []
    other = snapshot(bounce_domain="new.example", feedback_domain="f.example")
    (sentence,) = drift(other, tmp_path)
    assert "new.example" in sentence
    assert "f.example" not in sentence


def test_doctor_says_what_keeps_mail_from_coming_back(scene: MakeScene):
    made = scene()
    found = told(doctor.check(made))
    assert not any("Nothing in transport_maps" in each for each in found)
    problem(doctor.check(made), "master.cf has no service lmtp.")
    values = {**made.facts.values, "mydestination": "bounces.example"}
    other = replace(made, facts=replace(made.facts, values=values))
    problem(doctor.check(other), "bounces.example stands in mydestination.")
    values = {**made.facts.values, "transport_maps": ""}
    other = replace(made, facts=replace(made.facts, values=values))
    problem(doctor.check(other), "Nothing in transport_maps leads bounces.example to Gatepost.")
    table = "inline:{ { bounces.example = smtp:[inner] } }"
    values = {**made.facts.values, "transport_maps": f"{table}, $gatepost_returns"}
    other = replace(made, facts=replace(made.facts, values=values))
    assert any(
        'leads bounces.example to "smtp:[inner]"' in each for each in told(doctor.check(other))
    )
    assert list(doctor.check(replace(made, snapshot=None))) == []
