"""What attach writes, leaves alone, warns of and refuses, one rule at a time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import AttachError
from gatepost.postfix import main_cf, master_cf
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Plan, Weight
from gatepost.postfix.planning import bare, plan_attach, plan_detach
from gatepost.postfix.spec import AttachSpec, Hook, ServiceSpec
from gatepost.postfix_version import OLDEST_SUPPORTED, PostfixVersion
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure

CA = Path("/etc/ssl/certs/ca-certificates.crt")
CLIENT = "smtp      unix  -       -       y       -       -       smtp\n"
DEFAULTS = {
    "smtpd_milters": "",
    "non_smtpd_milters": "",
    "smtpd_recipient_restrictions": "",
    "smtpd_end_of_data_restrictions": "",
    "sender_dependent_default_transport_maps": "",
    "smtp_tls_policy_maps": "",
    "smtp_tls_security_level": "",
    "smtp_tls_loglevel": "0",
    "smtp_tls_CAfile": "",
    "enable_long_queue_ids": "no",
    "smtp_tls_dane_insecure_mx_policy": "${{$smtp_tls_security_level} == {dane} ? {dane} : {may}}",
    "smtp_dns_support_level": "",
    "disable_dns_lookups": "no",
    "ignore_mx_lookup_error": "no",
    "default_transport": "smtp",
    "syslog_name": "postfix",
}
PRIVATE = ServiceSpec("gp-normal-private", "normal", "private", Level.ENCRYPT, OnFailure.BOUNCE)
NOTHING = AttachSpec(frozenset())
ALL = AttachSpec(frozenset(Hook), services=(PRIVATE,))


def facts(main: str, version: PostfixVersion = OLDEST_SUPPORTED) -> PostfixFacts:
    defaults = dict(DEFAULTS)
    if version >= PostfixVersion(3, 10):
        defaults["tls_required_enable"] = "yes"
    return PostfixFacts(
        version,
        Path("/etc/postfix"),
        Path("/var/spool/postfix"),
        values={**defaults, **main_cf.settings(main)},
        defaults=defaults,
        ca_file=CA,
    )


def attach(
    main: str = "",
    master: str = CLIENT,
    spec: AttachSpec = ALL,
    *,
    keep: frozenset[str] = frozenset(),
    **changes: object,
) -> Plan:
    files = {MAIN_CF: main, MASTER_CF: master}
    without = bare(files)
    return plan_attach(files, without, spec, replace(facts(without.main.text), **changes), keep)


def main_after(main: str = "", **arguments: object) -> dict[str, str]:
    return main_cf.settings(attach(main, **arguments).new[MAIN_CF])


def service(plan: Plan, name: str) -> master_cf.Service:
    return next(s for s in master_cf.services(plan.new[MASTER_CF]) if s.name == name)


def said(plan: Plan, weight: Weight = Weight.WARNING) -> str:
    return "\n".join(note.text for note in plan.notes if note.weight is weight)


# Parameters of Postfix itself


@pytest.mark.parametrize(
    ("main", "name", "value"),
    [
        ("", "smtp_tls_security_level", "may"),
        ("smtp_tls_security_level =\n", "smtp_tls_security_level", "may"),
        ("smtp_tls_security_level = none\n", "smtp_tls_security_level", "none"),
        ("smtp_tls_security_level = dane\n", "smtp_tls_security_level", "dane"),
        ("smtp_enforce_tls = yes\n", "smtp_tls_security_level", None),
        ("", "smtp_tls_loglevel", "1"),
        ("smtp_tls_loglevel = 2\n", "smtp_tls_loglevel", "2"),
        ("", "smtp_tls_CAfile", str(CA)),
        ("smtp_tls_CApath = /etc/ssl/certs\n", "smtp_tls_CAfile", None),
        ("smtp_tls_CAfile = /own.pem\n", "smtp_tls_CAfile", "/own.pem"),
        ("tls_append_default_CA = yes\n", "smtp_tls_CAfile", None),
        ("enable_long_queue_ids = no\n", "enable_long_queue_ids", "yes"),
        ("", "tls_required_enable", None),
        ("", "smtp_tls_dane_insecure_mx_policy", "dane"),
        ("smtp_tls_dane_insecure_mx_policy = may\n", "smtp_tls_dane_insecure_mx_policy", "may"),
    ],
)
def test_a_parameter_of_postfix_gets_a_value_only_where_it_lacks_one(
    main: str, name: str, value: str | None
) -> None:
    assert main_after(main, spec=NOTHING).get(name) == value


def test_tls_required_is_switched_off_where_postfix_has_it() -> None:
    files = {MAIN_CF: "", MASTER_CF: CLIENT}
    plan = plan_attach(files, bare(files), ALL, facts("", PostfixVersion(3, 10, 3)))
    assert main_cf.settings(plan.new[MAIN_CF])["tls_required_enable"] == "no"


def test_a_host_without_certificate_authorities_is_warned() -> None:
    plan = attach(ca_file=None)
    assert "smtp_tls_CAfile" not in main_cf.settings(plan.new[MAIN_CF])
    assert "No file of certificate authorities" in said(plan)


def test_keep_leaves_a_parameter_now_and_later() -> None:
    main = "smtp_tls_loglevel = 0\n"
    first = attach(main, keep=frozenset({"smtp_tls_loglevel"}))
    assert main_cf.settings(first.new[MAIN_CF])["smtp_tls_loglevel"] == "0"
    again = attach(first.new[MAIN_CF], first.new[MASTER_CF])
    assert again.new == first.new


def test_keep_of_a_parameter_that_attach_never_sets_is_refused() -> None:
    with pytest.raises(AttachError, match="--keep relayhost: attach sets only"):
        attach(keep=frozenset({"relayhost"}))


def test_every_line_that_attach_adds_has_a_reason_above_it() -> None:
    plan = attach(
        spec=replace(ALL, services=(replace(PRIVATE, concurrency=5, address4="192.0.2.1"),))
    )
    for name in plan.changed:
        block = plan.new[name].removeprefix(plan.old[name]).splitlines()
        for above, line in itertools.pairwise(block):
            assert line.startswith("#") or above.startswith("#: "), line


def test_what_attach_writes_is_ascii() -> None:
    plan = attach()
    assert plan.new[MAIN_CF].isascii()
    assert plan.new[MASTER_CF].isascii()


# Lists in main.cf


def test_ours_stands_first_in_a_list_that_keeps_its_text() -> None:
    new = attach("smtpd_milters = inet:a,\n  # signer\n  inet:b\n").new[MAIN_CF]
    assert new.startswith("smtpd_milters = $gatepost_milter, inet:a,\n  # signer\n  inet:b\n")


def test_of_a_list_that_is_set_twice_the_one_in_force_gets_ours() -> None:
    new = attach("smtpd_milters = inet:a\nsmtpd_milters = inet:b\n").new[MAIN_CF]
    assert new.startswith("smtpd_milters = inet:a\nsmtpd_milters = $gatepost_milter, inet:b\n")


def test_a_list_that_follows_another_gets_ours_once() -> None:
    found = main_after("smtpd_milters = inet:a\nnon_smtpd_milters = ${smtpd_milters}\n")
    assert found["non_smtpd_milters"] == "${smtpd_milters}"


def test_a_list_that_is_set_to_nothing_is_set_in_the_block() -> None:
    plan = attach("non_smtpd_milters =\n")
    assert plan.new[MAIN_CF].startswith("#gatepost# non_smtpd_milters =\n")
    assert main_cf.settings(plan.new[MAIN_CF])["non_smtpd_milters"] == "$gatepost_milter"


def test_a_concurrency_that_the_operator_has_set_for_a_service_stays() -> None:
    own = "gp-normal-private_destination_concurrency_limit = 3\n"
    plan = attach(own, spec=replace(ALL, services=(replace(PRIVATE, concurrency=5),)))
    assert main_cf.settings(plan.new[MAIN_CF]).items() >= main_cf.settings(own).items()
    assert plan_detach(plan.new, bare(plan.new)).new[MAIN_CF] == own


@pytest.mark.parametrize(
    ("main", "warning"),
    [
        ("smtp_tls_security_level = none\n", "smtp_tls_security_level = none stays"),
        ("smtp_tls_policy_maps = hash:/t\n", "Postfix takes the first answer and merges none"),
        ("smtpd_milter_maps = cidr:/m\n", "smtpd_milter_maps replaces smtpd_milters"),
        ("receive_override_options = no_milters\n", "switches all milters off"),
    ],
)
def test_what_stands_in_our_way_is_warned_of(main: str, warning: str) -> None:
    assert warning in said(attach(main))


@pytest.mark.parametrize(
    ("main", "note"),
    [
        ("transport_maps = hash:/t\n", "transport_maps (hash:/t) wins over lanes"),
        ("content_filter = scan:[127.0.0.1]:10024\n", "content_filter is set"),
        ("sender_dependent_default_transport_maps = hash:/t\n", "its answer replaces yours"),
    ],
)
def test_what_goes_past_us_is_noted(main: str, note: str) -> None:
    assert note in said(attach(main), Weight.NOTE)


@pytest.mark.parametrize(
    ("main", "master", "refusal"),
    [
        ("smtp_tls_per_site = hash:/s\n", CLIENT, "smtp_tls_per_site"),
        ("default_transport = smtp:[r.example]\n", CLIENT, "names a next-hop"),
        ("default_transport = uucp\n", CLIENT, "is not an smtp\\(8\\) service"),
        ("", "", "is not an smtp\\(8\\) service"),
        ("", CLIENT + "gp-normal-private unix - - n - - pipe\n", "did not write"),
    ],
)
def test_a_set_up_without_a_place_for_ours_is_refused(main: str, master: str, refusal: str) -> None:
    with pytest.raises(AttachError, match=refusal):
        attach(main, master)


# Listeners in master.cf

SUBMISSION = "submission inet n - y - - smtpd\n"


def listener(options: str, main: str = "", head: str = SUBMISSION) -> tuple[Plan, str]:
    """Return the plan, and the text of the listener after it."""
    plan = attach(main, CLIENT + head + options)
    return plan, plan.new[MASTER_CF].removeprefix(CLIENT).partition("# gatepost begin")[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "  -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject\n",
            "  -o smtpd_recipient_restrictions=$gatepost_policy,permit_sasl_authenticated,reject\n",
        ),
        (
            "  -o smtpd_recipient_restrictions=\n",
            "  -o smtpd_recipient_restrictions=$gatepost_policy\n",
        ),
        (
            "  -o smtpd_end_of_data_restrictions=permit_mynetworks\n",
            "  -o smtpd_end_of_data_restrictions=$gatepost_quota,permit_mynetworks\n",
        ),
        (
            "  -o { smtpd_milters = inet:a, inet:b }\n",
            "  -o { smtpd_milters = $gatepost_milter, inet:a, inet:b }\n",
        ),
        ("  -osmtpd_milters=inet:a\n", "  -osmtpd_milters=$gatepost_milter,inet:a\n"),
        ("  -o smtpd_milters=$non_smtpd_milters\n", "  -o smtpd_milters=$non_smtpd_milters\n"),
        (
            "  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n",
            "  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n",
        ),
        ("#  -o smtpd_milters=inet:a\n", "#  -o smtpd_milters=inet:a\n"),
    ],
)
def test_an_override_that_would_skip_us_gets_ours(before: str, after: str) -> None:
    plan, text = listener(before)
    assert text == SUBMISSION + after
    assert plan_detach(plan.new, bare(plan.new)).new == plan.old


@pytest.mark.parametrize("name", ["smtpd_milters", "smtpd_recipient_restrictions"])
def test_an_override_of_another_daemon_is_left_alone(name: str) -> None:
    master = CLIENT + f"relay unix - - y - - smtp -o {name}=x\n"
    assert attach("", master).new[MASTER_CF].startswith(master)


def test_milters_that_are_switched_off_stay_off_with_a_warning() -> None:
    plan, text = listener("  -o smtpd_milters=\n")
    assert text == SUBMISSION + "  -o smtpd_milters=\n"
    assert "switches milters off here and stays" in said(plan)


def test_a_listener_without_milters_is_warned_of() -> None:
    assert "not tagged" in said(listener(" -o receive_override_options=no_milters\n")[0])


def test_a_listener_with_a_proxy_filter_is_warned_of() -> None:
    plan, _ = listener(" -o smtpd_proxy_filter=127.0.0.1:10025\n")
    assert "smtpd_proxy_filter sends mail through a filter" in said(plan)


# Delivery services in master.cf


@pytest.mark.parametrize(
    ("main", "client", "wanted", "level"),
    [
        ("", "", Level.ENCRYPT, "encrypt"),
        ("", "", Level.MAY, "may"),
        ("", "", Level.NONE, None),
        # main.cf's own is not written down, so that a later change of it counts.
        ("smtp_tls_security_level = encrypt\n", "", Level.MAY, None),
        ("smtp_tls_security_level = dane\n", "", Level.MAY, None),
        ("smtp_tls_security_level = dane\n", "", Level.ENCRYPT, "encrypt"),
        ("smtp_tls_security_level = secure\n", "", Level.VERIFY, None),
        (
            "smtp_tls_security_level = may\n",
            " -o smtp_tls_security_level=verify",
            Level.MAY,
            "verify",
        ),
        ("smtp_enforce_tls = yes\n", "", Level.MAY, None),
        ("smtp_tls_security_level = $own\nown = encrypt\n", "", Level.MAY, None),
        ("smtp_tls_security_level = $own\nown = may\n", "", Level.ENCRYPT, "encrypt"),
    ],
)
def test_a_service_is_never_weaker_than_the_profile_nor_than_the_operator(
    main: str, client: str, wanted: Level, level: str | None
) -> None:
    spec = replace(ALL, services=(replace(PRIVATE, level=wanted),))
    plan = attach(main, CLIENT.rstrip() + client + "\n", spec)
    option = service(plan, PRIVATE.name).option("smtp_tls_security_level")
    assert (None if option is None else option.value) == level


ANSWERS = replace(ALL, answers=True)


@pytest.mark.parametrize("level", ["dane", "dane-only", "fingerprint"])
@pytest.mark.parametrize("where", ["main.cf", "master.cf"])
def test_a_level_that_our_answers_cannot_be_joined_with(level: str, where: str) -> None:
    setting = f"smtp_tls_security_level={level}"
    files = (f"{setting}\n", CLIENT) if where == "main.cf" else ("", f"{CLIENT}  -o {setting}\n")
    with pytest.raises(AttachError, match=f"{level} cannot be joined.*tls.without_dane: yes"):
        attach(*files, ANSWERS)
    attach(*files, replace(ANSWERS, without_dane=True))
    # A lane without rules has no answers.
    attach(*files, ALL)


@pytest.mark.parametrize("level", ["dane", "dane-only"])
def test_with_tlsa_lookups_of_our_own_dane_is_joined(level: str) -> None:
    attach(f"smtp_tls_security_level = {level}\n", CLIENT, replace(ANSWERS, dane=True))
    with pytest.raises(AttachError, match="fingerprint cannot be joined"):
        attach("smtp_tls_security_level = fingerprint\n", CLIENT, replace(ANSWERS, dane=True))


@pytest.mark.parametrize(
    ("main", "dane", "option"),
    [
        ("", False, None),
        ("", True, "dnssec"),
        ("smtp_dns_support_level = enabled\n", True, "dnssec"),
        # Without DNS, smtp(8) could carry out no DANE, and would defer instead.
        ("smtp_dns_support_level = disabled\n", True, None),
        ("disable_dns_lookups = yes\n", True, None),
        ("ignore_mx_lookup_error = yes\n", True, None),
    ],
)
def test_services_ask_for_dnssec_where_dane_joins(
    main: str,
    dane: bool,  # noqa: FBT001
    option: str | None,
) -> None:
    made = service(attach(main, CLIENT, replace(ANSWERS, dane=dane)), PRIVATE.name)
    found = made.option("smtp_dns_support_level")
    assert (None if found is None else found.value) == option


@pytest.mark.parametrize("level", ["", "may", "encrypt", "verify", "secure"])
def test_a_level_that_our_answers_are_joined_with(level: str) -> None:
    attach(f"smtp_tls_security_level = {level}\n", CLIENT, ANSWERS)


def test_a_service_works_as_the_operators_own_does() -> None:
    master = (
        "smtp unix - - n - 40 smtp -v\n"
        "  -o smtp_helo_name=out.example\n"
        "  -o { smtp_bind_address = 192.0.2.7 }\n"
    )
    made = service(attach("", master), PRIVATE.name)
    assert made.columns == ("-", "-", "n", "-", "40")
    assert made.flags == ("-v",)
    assert made.value("smtp_helo_name") == "out.example"
    assert made.value("smtp_bind_address") == "192.0.2.7"


def test_the_address_of_a_lane_replaces_the_operators() -> None:
    spec = replace(ALL, services=(replace(PRIVATE, address4="192.0.2.9"),))
    master = CLIENT.rstrip() + " -o smtp_bind_address=192.0.2.7\n"
    made = service(attach("", master, spec), PRIVATE.name)
    assert [o.value for o in made.options if o.name == "smtp_bind_address"] == ["192.0.2.9"]


def test_a_service_asks_our_map_first_and_then_the_operators() -> None:
    made = service(attach("smtp_tls_policy_maps = hash:/a,\n   hash:/b\n"), PRIVATE.name)
    assert made.value("smtp_tls_policy_maps") == (
        "socketmap:unix:gatepost/maps.sock:tls-private, hash:/a, hash:/b"
    )


def test_the_operators_own_status_filter_is_asked_after_ours() -> None:
    made = service(attach("default_delivery_status_filter = pcre:/f\n"), PRIVATE.name)
    assert made.value("smtp_delivery_status_filter") == (
        "regexp:$config_directory/gatepost-tls-bounce.regexp, $default_delivery_status_filter"
    )


def test_only_a_profile_that_bounces_has_the_status_filter() -> None:
    plan = attach(spec=replace(ALL, services=(replace(PRIVATE, on_failure=OnFailure.DEFER),)))
    assert service(plan, PRIVATE.name).option("smtp_delivery_status_filter") is None
    assert plan.filter_file is False


def test_a_service_that_goes_or_comes_tells_when_to_reload() -> None:
    first = attach()
    assert "reload" not in said(first) + said(first, Weight.NOTE)
    other = replace(PRIVATE, name="gp-bulk-private", lane="bulk")
    plan = attach(first.new[MAIN_CF], first.new[MASTER_CF], replace(ALL, services=(other,)))
    assert "gp-normal-private goes" in said(plan)
    assert "gp-bulk-private is new" in said(plan, Weight.NOTE)


# Detach


def test_a_parameter_that_the_operator_has_changed_in_our_block_is_theirs() -> None:
    new = attach().new
    edited = new[MAIN_CF].replace("smtp_tls_loglevel = 1", "smtp_tls_loglevel = 2")
    plan = plan_detach({**new, MAIN_CF: edited}, bare({**new, MAIN_CF: edited}))
    assert plan.new[MAIN_CF] == "smtp_tls_loglevel = 2\n"
    assert "smtp_tls_loglevel stands in the gatepost block but is not ours" in said(
        plan, Weight.NOTE
    )


def test_a_setting_made_anew_wins_over_the_one_that_we_replaced() -> None:
    new = attach("smtp_tls_loglevel = 0\n").new
    edited = new[MAIN_CF] + "smtp_tls_loglevel = 3\n"
    plan = plan_detach({**new, MAIN_CF: edited}, bare({**new, MAIN_CF: edited}))
    assert plan.new[MAIN_CF] == "smtp_tls_loglevel = 3\n"


def test_a_list_that_the_operator_has_rewritten_keeps_all_but_ours() -> None:
    new = attach("smtpd_milters = inet:a\n").new
    edited = new[MAIN_CF].replace(
        "smtpd_milters = $gatepost_milter, inet:a",
        "smtpd_milters = inet:z inet:a, ${gatepost_milter}",
    )
    plan = plan_detach({**new, MAIN_CF: edited}, bare({**new, MAIN_CF: edited}))
    assert plan.new[MAIN_CF] == "smtpd_milters = inet:z inet:a\n"


def test_a_service_that_postconf_has_rewritten_is_still_known_as_ours() -> None:
    new = attach().new
    moved = new[MASTER_CF].replace("gp-normal-private unix", "gp-normal-private  unix")
    lines = [line for line in moved.splitlines(keepends=True) if not line.startswith("#: ")]
    plan = plan_detach(new, bare({**new, MASTER_CF: "".join(lines)}))
    assert plan.new[MASTER_CF] == CLIENT


def test_what_still_names_ours_is_pointed_out() -> None:
    new = attach().new
    edited = "# see gatepost_milter below\n" + new[MAIN_CF]
    plan = plan_detach({**new, MAIN_CF: edited}, bare({**new, MAIN_CF: edited}))
    assert "main.cf line 1, a comment, still names ours" in said(plan, Weight.NOTE)


@pytest.mark.parametrize(
    "text",
    [
        "# gatepost begin: x\n",
        "# gatepost end\n",
        "# gatepost end\n# gatepost begin\n",
        "# gatepost begin\n# gatepost begin\n# gatepost end\n",
    ],
)
def test_damaged_marker_lines_are_refused(text: str) -> None:
    with pytest.raises(AttachError, match=r"main\.cf: the marker lines"):
        bare({MAIN_CF: text, MASTER_CF: ""})
