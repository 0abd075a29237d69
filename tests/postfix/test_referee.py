"""Postfix's own postconf agrees with what we read, and with what we mean to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.errors import AttachError, PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.main_cf import settings
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.planning import bare, plan_attach, plan_detach
from gatepost.postfix.referee import referee, write_scratch
from gatepost.postfix.session import facts_without_ours
from gatepost.postfix.spec import AttachSpec, Hook, ServiceSpec
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure

try:
    PostfixCommands(Path("/nonexistent")).postconf("-d", "mail_version")
except PostfixUnavailable:
    pytest.skip("Postfix is not installed", allow_module_level=True)

SPEC = AttachSpec(
    frozenset(Hook),
    services=(
        ServiceSpec("gp-bulk-private", "bulk", "private", Level.ENCRYPT, OnFailure.BOUNCE, 5, 1),
        ServiceSpec("gp-normal-bank", "normal", "bank", Level.VERIFY, address4="192.0.2.1"),
    ),
)

MASTER = """\
smtp      inet  n       -       y       -       -       smtpd
pickup    unix  n       -       y       60      1       pickup
cleanup   unix  n       -       y       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
rewrite   unix  -       -       y       -       -       trivial-rewrite
smtp      unix  -       -       y       -       -       smtp
relay     unix  -       -       y       -       -       smtp
"""

CASES = {
    "empty": ("", MASTER),
    "lists over several lines": (
        (
            "smtpd_recipient_restrictions =\n"
            "   permit_mynetworks,\n"
            "   # customers\n"
            "\n"
            "   permit_sasl_authenticated,\n"
            "   reject_unauth_destination\n"
            "smtpd_milters = inet:localhost:8891\n"
            "non_smtpd_milters = $smtpd_milters\n"
        ),
        MASTER,
    ),
    "submission as in Debian's sample": (
        (
            "mua_client_restrictions = permit_sasl_authenticated, reject\n"
            "smtpd_relay_restrictions = permit_mynetworks reject_unauth_destination\n"
        ),
        MASTER
        + "submission inet n       -       y       -       -       smtpd\n"
        + "  -o syslog_name=postfix/submission\n"
        + "  -o smtpd_tls_security_level=encrypt\n"
        + "  -o smtpd_sasl_auth_enable=yes\n"
        + "#  -o smtpd_reject_unlisted_recipient=no\n"
        + "  -o smtpd_recipient_restrictions=\n"
        + "  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n"
        + "  -o { smtpd_milters = inet:localhost:8891, inet:localhost:8892 }\n"
        + "  -o milter_macro_daemon_name=ORIGINATING\n",
    ),
    "a filter that gives mail back": (
        "content_filter = smtp-amavis:[127.0.0.1]:10024\n",
        MASTER
        + "smtp-amavis unix - - y - 2 smtp -o smtp_data_done_timeout=1200\n"
        + "127.0.0.1:10025 inet n - y - - smtpd -o content_filter= -o mynetworks=127.0.0.0/8\n",
    ),
    "a filter on another host, as the operator says": (
        "",
        MASTER
        + "192.0.2.1:10025 inet n - y - - smtpd -o content_filter= -o smtpd_milters=\n"
        + "  -o gatepost_policy=permit_mynetworks\n",
    ),
    "own TLS settings on smtp": (
        (
            "smtp_tls_policy_maps = hash:$config_directory/tls_policy\n"
            "smtp_tls_security_level = dane\n"
            "smtp_tls_loglevel = 2\n"
        ),
        MASTER.replace(
            "       smtp\nrelay", "       smtp -o { smtp_bind_address = 192.0.2.9 }\nrelay"
        ),
    ),
    "settings twice, and no end of line at the end": (
        "smtpd_milters = inet:a\nenable_long_queue_ids = no\nsmtpd_milters = inet:b",
        MASTER.rstrip(),
    ),
    "options without a blank": (
        "mua = permit_sasl_authenticated,reject\n",
        MASTER
        + "submission inet n - y - - smtpd -vosmtpd_recipient_restrictions=$mua\n"
        + "  -osmtpd_tls_security_level=encrypt -v\n"
        + "  -vo smtpd_milters=inet:localhost:8891 -osmtpd_forbid_bare_newline=no\n",
    ),
    "carriage returns": ("smtpd_milters = inet:a\r\nrelayhost = [r.example]\r\n", MASTER),
}


@pytest.fixture
def instance(tmp_path: Path) -> PostfixCommands:
    return PostfixCommands(tmp_path)


@pytest.mark.parametrize(("main", "master"), CASES.values(), ids=CASES.keys())
def test_postconf_confirms_attach_and_detach(
    main: str, master: str, instance: PostfixCommands
) -> None:
    files = {MAIN_CF: main, MASTER_CF: master}
    write_scratch(files, instance.config_dir)
    without = bare(files)
    plan = plan_attach(files, without, SPEC, facts_without_ours(instance, without))
    referee(instance, plan.old, plan.new)
    back = plan_detach(plan.new, bare(plan.new))
    referee(instance, back.old, back.new)
    assert back.new == files


def change(main: str) -> dict[str, str]:
    return {MAIN_CF: main, MASTER_CF: MASTER}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("", "relayhost = [x.example]\n", "relayhost changes, which is none of ours"),
        ("", "smtpd_milters = $gatepost_milter\n", "new warning: .*undefined parameter"),
        ("", "gatepost_policy = x\n", "meant nothing to become"),
    ],
)
def test_a_change_that_postconf_sees_otherwise_is_refused(
    old: str, new: str, complaint: str, instance: PostfixCommands
) -> None:
    with pytest.raises(AttachError, match=complaint):
        referee(instance, change(old), change(new))


def test_a_service_of_the_operators_that_goes_is_refused(instance: PostfixCommands) -> None:
    gone = {MAIN_CF: "", MASTER_CF: MASTER.replace("relay ", "#relay ")}
    with pytest.raises(AttachError, match="service relay/unix appears or goes"):
        referee(instance, change(""), gone)


def test_facts_are_those_of_the_instance_without_ours(instance: PostfixCommands) -> None:
    files = {
        MAIN_CF: "queue_directory = /var/spool/other\nsmtp_tls_CApath = $config_directory/ca\n",
        MASTER_CF: MASTER,
    }
    write_scratch(files, instance.config_dir)
    without = bare(files)
    plan = plan_attach(files, without, SPEC, facts_without_ours(instance, without))
    write_scratch(plan.new, instance.config_dir)
    facts = facts_without_ours(instance, bare(plan.new))
    assert facts.queue_directory == Path("/var/spool/other")
    assert facts.value("smtp_tls_CApath") == f"{instance.config_dir}/ca"
    assert facts.value("smtpd_milters") == ""
    assert not facts.running


def test_a_list_that_is_unset_is_set_and_one_that_is_set_keeps_its_text(
    instance: PostfixCommands,
) -> None:
    main, master = CASES["lists over several lines"]
    files = {MAIN_CF: main, MASTER_CF: master}
    write_scratch(files, instance.config_dir)
    without = bare(files)
    new = plan_attach(files, without, SPEC, facts_without_ours(instance, without)).new[MAIN_CF]
    assert "   $gatepost_policy, permit_mynetworks,\n   # customers\n\n   permit_sasl" in new
    assert "smtpd_milters = $gatepost_milter, inet:localhost:8891\n" in new
    # It follows smtpd_milters, and must not name ours twice.
    assert "non_smtpd_milters = $smtpd_milters\n" in new
    assert settings(new)["smtp_tls_policy_maps"] == "$gatepost_tls"
