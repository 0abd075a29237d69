"""What attach writes into the main instance for lanes' own, and that detach takes it out again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.postfix import main_cf, master_cf
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Plan
from gatepost.postfix.planning import bare, plan_attach, plan_detach, plan_leaving
from gatepost.postfix.spec import AttachSpec, Hook, InstanceSpec, ServiceSpec
from gatepost.postfix_version import OLDEST_SUPPORTED

DIRECTORIES, ENABLE = "multi_instance_directories", "multi_instance_enable"
MASTER = "smtp      unix  -       -       y       -       -       smtp\n"
BURST = InstanceSpec("burst", (ServiceSpec("gp-burst-standard", "burst", "standard"),))
SPEC = AttachSpec(frozenset({Hook.TRANSPORT}), instances=(BURST,))


def facts(main: str) -> PostfixFacts:
    defaults = {"default_transport": "smtp", "syslog_name": "postfix"}
    return PostfixFacts(
        OLDEST_SUPPORTED,
        Path("/etc/postfix"),
        Path("/var/spool/postfix"),
        values={
            **defaults,
            "data_directory": "/var/lib/postfix",
            "smtp_tls_security_level": "may",
            **main_cf.settings(main),
        },
        defaults=defaults,
    )


def attach(main: str = "", master: str = MASTER, spec: AttachSpec = SPEC) -> Plan:
    files = {MAIN_CF: main, MASTER_CF: master}
    without = bare(files)
    return plan_attach(files, without, spec, facts(without.main.text))


def detached(files: dict[str, str]) -> dict[str, str]:
    return dict(plan_detach(files, bare(files)).new)


@pytest.mark.parametrize(
    ("own", "value"),
    [
        ("", "/etc/postfix-gp-burst"),
        (f"{DIRECTORIES} = /etc/postfix-out\n", "/etc/postfix-out /etc/postfix-gp-burst"),
        (f"{DIRECTORIES} = /a,\n /b\n", "/a /b /etc/postfix-gp-burst"),
        (f"{DIRECTORIES} =\n{ENABLE} = no\n", "/etc/postfix-gp-burst"),
        (f"{ENABLE} = yes\nmulti_instance_wrapper = /own\n", "/etc/postfix-gp-burst"),
    ],
)
def test_the_operator_s_instances_stay_registered(own: str, value: str) -> None:
    plan = attach(own)
    after = main_cf.settings(plan.new[MAIN_CF])
    assert after[DIRECTORIES] == value
    assert after[ENABLE] == "yes"
    wrapper = "/own" if "/own" in own else "${command_directory}/postmulti -p --"
    assert after["multi_instance_wrapper"] == wrapper
    assert attach(plan.new[MAIN_CF], plan.new[MASTER_CF]).new == plan.new
    assert detached(plan.new) == {MAIN_CF: own, MASTER_CF: MASTER}


def test_an_instance_that_the_operator_adds_meanwhile_stays() -> None:
    """As ``postmulti -e create`` does, in the line that attach has written."""
    plan = attach(f"{DIRECTORIES} = /etc/postfix-out\n")
    text = plan.new[MAIN_CF].replace(
        "postfix-out /etc/postfix-gp-burst", "postfix-out /etc/postfix-gp-burst /etc/postfix-new"
    )
    left = main_cf.settings(detached({**plan.new, MAIN_CF: text})[MAIN_CF])
    assert left[DIRECTORIES] == "/etc/postfix-out /etc/postfix-new"


def test_mail_is_handed_over_by_a_service_that_nothing_of_the_operator_s_disturbs() -> None:
    own = "lmtp_tls_policy_maps = hash:/x\ndefault_destination_rate_delay = 5s\n"
    plan = attach(own)
    entries = {entry.name: entry for entry in master_cf.services(plan.new[MASTER_CF])}
    assert "gp-burst-standard" not in entries
    service = entries["gp-burst"]
    assert (service.command, service.columns[2]) == ("lmtp", "n")
    assert service.value("lmtp_tls_policy_maps", "missing") == ""
    after = main_cf.settings(plan.new[MAIN_CF])
    assert after["gp-burst_destination_recipient_limit"] == "1"
    assert after["gp-burst_destination_rate_delay"] == "0s"
    assert detached(plan.new) == {MAIN_CF: own, MASTER_CF: MASTER}


def test_what_comes_back_meets_no_restriction_milter_or_copy_a_second_time() -> None:
    own = (
        "smtpd_recipient_restrictions = reject\nsmtpd_milters = inet:localhost:1\n"
        "always_bcc = a@b.example\nheader_checks = regexp:/x\n"
    )
    entries = master_cf.services(attach(own).new[MASTER_CF])
    door = next(entry for entry in entries if entry.name == "gatepost-return")
    assert door.value("smtpd_recipient_restrictions", "missing") == ""
    assert door.value("smtpd_milters", "missing") == ""
    assert door.value("smtpd_relay_restrictions") == "permit_mynetworks, reject"
    # ::1 is what smtpd(8) takes a UNIX socket for with inet_protocols = ipv6.
    assert door.value("mynetworks") == "127.0.0.0/8, [::1]/128"
    cleanup = next(entry for entry in entries if entry.name == door.value("cleanup_service_name"))
    assert cleanup.value("always_bcc", "missing") == ""
    assert cleanup.value("header_checks", "missing") == ""


def test_what_comes_back_asks_gatepost_nothing_where_only_attach_has_set_the_lists() -> None:
    """Given back, mail has no login: it would be nobody's, and its tag be taken off."""
    every = replace(SPEC, hooks=frozenset({Hook.TRANSPORT, Hook.MILTER, Hook.POLICY, Hook.QUOTA}))
    plan = attach(spec=every)
    assert main_cf.settings(plan.new[MAIN_CF])["smtpd_milters"] == "$gatepost_milter"
    entries = {entry.name: entry for entry in master_cf.services(plan.new[MASTER_CF])}
    door, cleanup = entries["gatepost-return"], entries["gatepost-cleanup"]
    for name in (
        "smtpd_milters",
        "smtpd_recipient_restrictions",
        "smtpd_end_of_data_restrictions",
    ):
        assert door.value(name, "missing") == ""
    assert cleanup.value("non_smtpd_milters", "missing") == ""


def test_who_is_not_the_default_instance_is_told_that_nobody_starts_them() -> None:
    files = {MAIN_CF: "", MASTER_CF: MASTER}
    there = facts("")
    for default, said in (("/etc/postfix", 0), ("/etc/other", 1)):
        defaults = {**there.defaults, "config_directory": default}
        plan = plan_attach(files, bare(files), SPEC, replace(there, defaults=defaults))
        told = [each.text for each in plan.notes if "default instance" in each.text]
        assert len(told) == said


def test_what_is_left_while_one_still_has_mail() -> None:
    plan = attach()
    without = bare(plan.new)
    left = plan_leaving(plan.new, without, ["burst"], facts(without.main.text))
    after = main_cf.settings(left.new[MAIN_CF])
    assert after[DIRECTORIES] == "/etc/postfix-gp-burst"
    assert not [name for name in after if name.startswith(("gatepost_", "gp-"))]
    names = {entry.name for entry in master_cf.services(left.new[MASTER_CF])}
    assert names == {"smtp", "gatepost-return", "gatepost-cleanup"}
    assert detached(dict(left.new)) == {MAIN_CF: "", MASTER_CF: MASTER}


OWN_LINES = st.lists(
    st.sampled_from(
        [
            f"{DIRECTORIES} = /etc/postfix-out",
            f"{DIRECTORIES} = /a,\n  /b  /c",
            f"{DIRECTORIES} =",
            f"{ENABLE} = no",
            f"{ENABLE} = yes",
            "multi_instance_wrapper = /own",
            "default_transport_rate_delay = 1s",
            "# gp-burst is a lane",
            "smtpd_milters = inet:localhost:1",
        ]
    ),
    unique_by=lambda line: line.partition(" ")[0],
)


@given(OWN_LINES, st.booleans())
@settings(max_examples=40, deadline=None)
def test_detach_gives_every_octet_back(lines: list[str], unfinished: bool) -> None:  # noqa: FBT001
    own = "\n".join(lines) + ("" if unfinished or not lines else "\n")
    assert detached(attach(own).new) == {MAIN_CF: own, MASTER_CF: MASTER}


def test_attach_warns_of_transport_maps_beside_a_hand_over() -> None:
    def warnings(spec: AttachSpec) -> list[str]:
        return [each.text for each in attach("transport_maps = hash:/t\n", spec=spec).notes]

    text = "transport_maps (hash:/t) must name a service in each entry"
    assert any(each.startswith(text) for each in warnings(SPEC))
    assert not any(each.startswith(text) for each in warnings(replace(SPEC, instances=())))
