"""What of the operator's own set-up holds for our services too, and what attach warns of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.modes import Mode
from gatepost.postfix import main_cf
from gatepost.postfix.parameters import TRANSPORT_PARAMETERS
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.planning import bare, plan_detach
from gatepost.postfix.services import attach_spec
from gatepost.postfix.spec import AttachSpec
from gatepost.tenants.model import ReturnPath
from tests.postfix.test_rules import ALL, NOTHING, PRIVATE, attach, main_after, said
from tests.world import ENFORCE, snapshot, tenant


@pytest.mark.parametrize(
    ("suffix", "default"),
    [
        ("initial_destination_concurrency", "initial_destination_concurrency"),
        *(
            (suffix, f"default_{suffix}")
            for suffix in (
                "delivery_slot_cost",
                "delivery_slot_discount",
                "delivery_slot_loan",
                "destination_concurrency_failed_cohort_limit",
                "destination_concurrency_limit",
                "destination_concurrency_negative_feedback",
                "destination_concurrency_positive_feedback",
                "destination_rate_delay",
                "destination_recipient_limit",
                "extra_recipient_limit",
                "minimum_delivery_slots",
                "recipient_limit",
                "recipient_refill_delay",
                "recipient_refill_limit",
                "transport_rate_delay",
            )
        ),
    ],
)
def test_a_limit_of_the_operators_own_service_holds_for_ours(suffix: str, default: str) -> None:
    name = f"gp-normal-private_{suffix}"
    assert name not in main_after()
    plan = attach(f"smtp_{suffix} = 7\n")
    # A mere reference would stop qmgr(8) as soon as the operator takes the parameter out.
    follows = f"${{smtp_{suffix}?{{$smtp_{suffix}}}:{{${default}}}}}"
    assert main_cf.settings(plan.new[MAIN_CF])[name] == follows
    assert any(name in change.line and "smtp_" in change.reason for change in plan.changes)


def test_a_limit_of_the_lane_stands_in_the_place_of_the_operators() -> None:
    own = (
        "smtp_destination_concurrency_limit = 3\n"
        "smtp_destination_rate_delay = 9s\n"
        "smtp_destination_recipient_limit = 1\n"
    )
    lane = replace(PRIVATE, concurrency=5, rate_delay_s=2)
    found = main_after(own, spec=replace(ALL, services=(lane,)))
    assert found["gp-normal-private_destination_concurrency_limit"] == "5"
    assert found["gp-normal-private_destination_rate_delay"] == "2s"
    assert "smtp_" in found["gp-normal-private_destination_recipient_limit"]


def test_a_limit_of_a_service_that_no_reference_can_name_is_written_down() -> None:
    main = (
        "default_transport = smtp-out\n"
        "smtp-out_destination_rate_delay = 2s\n"
        "smtp_destination_recipient_limit = 1\n"
    )
    found = main_after(main, master="smtp-out unix - - y - - smtp\n")
    assert found["gp-normal-private_destination_rate_delay"] == "2s"
    assert "gp-normal-private_destination_recipient_limit" not in found


def test_all_limits_of_our_services_come_and_go_with_them() -> None:
    own = "".join(f"smtp{suffix} = 7\n" for suffix in TRANSPORT_PARAMETERS)
    plan = attach(own)
    assert plan.new[MAIN_CF].count("gp-normal-private_") == len(TRANSPORT_PARAMETERS)
    assert attach(plan.new[MAIN_CF], plan.new[MASTER_CF]).new == plan.new
    assert plan_detach(plan.new, bare(plan.new)).new == plan.old
    # A limit that the operator has taken out since is followed no more.
    less = plan.new[MAIN_CF].replace("smtp_recipient_limit = 7\n", "", 1)
    assert "private_recipient_limit" not in attach(less, plan.new[MASTER_CF]).new[MAIN_CF]


@pytest.mark.parametrize("value", ["smtp", "relay, smtp"])
def test_deferring_that_our_services_would_escape_is_warned_of(value: str) -> None:
    assert "defer_transports holds smtp back" in said(attach(f"defer_transports = {value}\n"))
    assert "defer_transports" not in said(attach("defer_transports = smtp-slow\n"))
    assert "defer_transports" not in said(attach("defer_transports = smtp gp-normal-private\n"))
    assert "defer_transports" not in said(attach(f"defer_transports = {value}\n", spec=NOTHING))


TOKENS = replace(NOTHING, tokens=True)


@pytest.mark.parametrize(
    "main",
    [
        "sender_dependent_relayhost_maps = hash:/r\n",
        "sender_dependent_default_transport_maps = hash:/t\n",
        "smtp_sender_dependent_authentication = yes\nsmtp_sasl_password_maps = hash:/p\n",
    ],
)
def test_tables_that_token_senders_are_not_found_in_are_warned_of(main: str) -> None:
    name, _, value = main.splitlines()[-1].partition(" = ")
    assert f"{name} ({value}) is asked with the token address" in said(attach(main, spec=TOKENS))
    assert "token address" not in said(attach(main, spec=NOTHING))


def test_passwords_that_are_not_looked_up_by_sender_are_no_matter() -> None:
    assert "token" not in said(attach("smtp_sasl_password_maps = hash:/p\n", spec=TOKENS))


@pytest.mark.parametrize(
    ("return_path", "feedback", "bounce_domain", "tokens"),
    [
        (ReturnPath.TOKEN, Mode.ENFORCE, "bounces.example", True),
        (ReturnPath.TOKEN, Mode.OBSERVE, "bounces.example", True),
        (ReturnPath.TOKEN, Mode.OFF, "bounces.example", False),
        (ReturnPath.KEEP, Mode.ENFORCE, "bounces.example", False),
        (ReturnPath.TOKEN, Mode.ENFORCE, None, False),
    ],
)
def test_when_senders_become_tokens(
    return_path: ReturnPath, feedback: Mode, bounce_domain: str | None, *, tokens: bool
) -> None:
    modes = replace(ENFORCE, feedback=feedback)
    config = snapshot(
        tenant("acme", modes, senders=("acme.example",), return_path=return_path),
        tenant("beta", senders=("beta.example",)),
    )
    platform = replace(config.platform, bounce_domain=bounce_domain)
    assert attach_spec(replace(config, platform=platform)).tokens is tokens


@pytest.mark.parametrize("spec", [ALL, TOKENS])
def test_masquerading_of_senders_is_warned_of(spec: AttachSpec) -> None:
    main = "masquerade_domains = acme.example\nmasquerade_classes = "
    text = "masquerade_domains = acme.example rewrites envelope senders"
    assert text in said(attach(f"{main}envelope_sender\n", spec=spec))
    assert text not in said(attach(f"{main}header_sender\n", spec=spec))
    assert text not in said(attach(f"{main}envelope_sender\n", spec=NOTHING))


def test_a_fallback_relay_is_warned_of() -> None:
    main = "smtp_fallback_relay = [f.example]\n"
    assert "smtp_fallback_relay = [f.example]: TLS rules are looked up" in said(attach(main))
    assert "smtp_fallback_relay" not in said(attach(main, spec=NOTHING))


@pytest.mark.parametrize("name", ["sender_canonical_maps", "canonical_maps"])
def test_canonical_maps_for_senders_are_warned_of(name: str) -> None:
    main = f"{name} = hash:/c\n{name.removesuffix('_maps')}_classes = "
    text = f"{name} = hash:/c rewrites envelope senders too"
    assert text in said(attach(f"{main}envelope_sender\n"))
    assert text not in said(attach(f"{main}header_sender\n"))
    assert text not in said(attach(f"{main}envelope_sender\n", spec=NOTHING))
