"""Listeners where a content filter gives mail back, and those that only look like it."""

from __future__ import annotations

import pytest

from gatepost.postfix.plan import MASTER_CF, Weight
from gatepost.postfix.planning import bare, plan_detach
from tests.postfix.test_rules import CLIENT, attach, listener, said

BACK = "127.0.0.1:10025 inet n - n - - smtpd\n"


@pytest.mark.parametrize(
    ("options", "added"),
    [
        ("  -o content_filter=\n", "  -o gatepost_milter=\n  -o gatepost_policy=\n"),
        ("  -o smtpd_milters=\n", "  -o gatepost_policy=\n"),
        ("  -o receive_override_options=no_milters\n", "  -o gatepost_policy=\n"),
        (
            "  -o content_filter=\n  -o smtpd_recipient_restrictions=permit_mynetworks,reject\n",
            "  -o gatepost_milter=\n  -o gatepost_quota=\n",
        ),
    ],
)
def test_where_a_filter_gives_mail_back_we_are_not_asked_again(options: str, added: str) -> None:
    plan, text = listener(options, head=BACK)
    assert text == BACK + options + added
    assert plan_detach(plan.new, bare(plan.new)).new == plan.old


@pytest.mark.parametrize(
    "entry",
    [
        "127.0.0.1:10025 inet n - n - - smtpd\n",
        "127.0.0.1:587 inet n - n - - smtpd -o content_filter= -o smtpd_sasl_auth_enable=yes\n",
        "192.0.2.1:10025 inet n - n - - smtpd -o content_filter=\n",
        "10025 inet n - n - - smtpd -o content_filter=\n",
    ],
)
def test_any_other_listener_asks_us(entry: str) -> None:
    assert "gatepost_milter=" not in attach("", CLIENT + entry).new[MASTER_CF]


def test_the_operator_can_say_that_a_filter_on_another_host_gives_mail_back() -> None:
    head, options = "192.0.2.1:10025 inet n - n - - smtpd\n", "  -o content_filter=\n"
    plan, _ = listener(options, head=head)
    own = "  -o smtpd_milters=\n  -o gatepost_policy=permit_mynetworks\n"
    assert "add -o smtpd_milters= and -o gatepost_policy=permit_mynetworks" in said(
        plan, Weight.NOTE
    )
    plan, text = listener(options + own, head=head)
    assert text == head + options + own
    assert "192.0.2.1" not in said(plan) + said(plan, Weight.NOTE)
    assert plan_detach(plan.new, bare(plan.new)).new == plan.old


def test_a_listener_for_logins_that_may_be_for_a_filter_is_warned_of() -> None:
    plan, _ = listener("  -o content_filter=\n", "smtpd_sasl_auth_enable = yes\n", BACK)
    assert '127.0.0.1:10025/inet has "-o content_filter=" and takes logins' in said(plan)


LOGINS = "smtpd_sasl_auth_enable = yes\n"


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ("", True),
        (" -o smtpd_relay_restrictions=permit_sasl_authenticated,reject", True),
        (" -o smtpd_client_restrictions=$mua_client_restrictions,reject", True),
        (" -o smtpd_recipient_restrictions=permit_mynetworks", True),
        (" -o smtpd_recipient_restrictions=permit_mynetworks,reject", False),
        (" -o { smtpd_relay_restrictions = permit_mynetworks, reject }", False),
        (" -o smtpd_sasl_auth_enable=no", False),
    ],
)
def test_a_listener_on_loopback_that_takes_logins_asks_us(options: str, *, asks: bool) -> None:
    entry = f"127.0.0.1:10587 inet n - n - - smtpd -o content_filter={options}\n"
    assert ("gatepost_milter=" in attach(LOGINS, CLIENT + entry).new[MASTER_CF]) is not asks
