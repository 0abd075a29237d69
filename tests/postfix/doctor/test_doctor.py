"""Doctor: an instance in order has nothing to say, and each thing out of order is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.modes import Mode
from gatepost.postfix.doctor import hooks, identity, logs, routing, tls, versions
from gatepost.postfix.doctor.findings import Finding, Severity
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix_version import PostfixVersion
from gatepost.tenants.model import PlatformLogin, ReturnPath
from gatepost.tls.levels import Level, Requirement
from gatepost.traffic.quota import Limit, QuotaRules, TenantQuota
from tests.world import OFF, snapshot, tenant

MakeScene = Callable[..., Scene]

PURE = (hooks.check, identity.check, routing.check, tls.check, logs.check, versions.check)
PRIVATE = {"senders": ("acme.example",), "profile": "private"}
ACME = tenant("acme", logins=("acme",), **PRIVATE)


def told(found: Iterable[Finding]) -> dict[str, Severity]:
    found = list(found)
    for each in found:
        assert each.what.endswith(".")
        assert each.why.endswith(".")
    return {each.what: each.severity for each in found}


def problem(found: Iterable[Finding], text: str) -> None:
    matching = [severity for what, severity in told(found).items() if text in what]
    assert matching == [Severity.PROBLEM], (text, told(found))


def warned(found: Iterable[Finding], text: str) -> None:
    matching = [severity for what, severity in told(found).items() if text in what]
    assert matching == [Severity.WARNING], (text, told(found))


@pytest.mark.parametrize("check", PURE, ids=lambda check: check.__module__.rpartition(".")[2])
def test_an_instance_in_order_has_nothing_to_say(check: object, scene: MakeScene) -> None:
    assert told(check(scene())) == {}


@pytest.mark.parametrize("check", PURE, ids=lambda check: check.__module__.rpartition(".")[2])
def test_a_configuration_with_mistakes_is_no_reason_to_fail(
    check: object, scene: MakeScene
) -> None:
    list(check(replace(scene(), snapshot=None)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("a, b,c  d", ["a", "b", "c", "d"]),
        (
            "check_policy_service { unix:x, { default_action = a, b } }, permit",
            ["check_policy_service", "{ unix:x, { default_action = a, b } }", "permit"],
        ),
        ("{a}{b} c{d}e", ["{a}{b}", "c{d}e"]),
    ],
)
def test_elements_of_a_list(value: str, expected: list[str]) -> None:
    assert elements(value) == expected


# Hooks


def swap(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        return text.replace(old, new)

    return edit


def test_a_listener_whose_override_leaves_the_milter_out(scene: MakeScene) -> None:
    master = "smtps inet n - y - - smtpd -o smtpd_milters=\nsmtp unix - - y - - smtp\n"
    found = list(hooks.check(scene(master=master)))
    problem(found, "smtps/inet: smtpd_milters does not name Gatepost's milter")
    (finding,) = [each for each in found if "smtpd_milters" in each.what]
    assert "-PX smtps/inet/smtpd_milters" in finding.mend[0]


@pytest.mark.parametrize("value", ["", "inet:other"])
def test_a_listener_for_logins_that_is_switched_off(value: str, scene: MakeScene) -> None:
    edited = scene(edit=swap("-o smtpd_sasl", f"-o gatepost_milter={value} -o smtpd_sasl"))
    warned(hooks.check(edited), "submission/inet: gatepost_milter switched off.")


def test_a_listener_whose_override_leaves_the_policy_service_out(scene: MakeScene) -> None:
    edited = scene(
        edit=swap("-o smtpd_sasl", "-o smtpd_recipient_restrictions=reject -o smtpd_sasl")
    )
    problem(hooks.check(edited), "submission/inet: smtpd_recipient_restrictions does not ask")


def test_a_listener_whose_override_leaves_the_counting_out(scene: MakeScene) -> None:
    rules = QuotaRules({"acme": TenantQuota((Limit(100, 60),))})
    config = replace(snapshot(ACME), quotas=rules)
    assert told(hooks.check(scene(config=config))) == {}
    edit = swap("-o smtpd_sasl", "-o smtpd_end_of_data_restrictions=permit -o smtpd_sasl")
    problem(
        hooks.check(scene(config=config, edit=edit)),
        "submission/inet: smtpd_end_of_data_restrictions does not ask",
    )
    assert not told(hooks.check(scene(edit=edit)))


@pytest.mark.parametrize(
    ("ahead", "skips"),
    [
        ("permit_mynetworks,", True),
        ("check_client_access hash:/friends,", True),
        ("reject_unknown_recipient_domain,", False),
        ("check_policy_service permit_me,", False),
        ("reject_rbl_client permit.example,", False),
    ],
)
def test_what_permits_in_front_of_us_skips_us(ahead: str, *, skips: bool, scene: MakeScene) -> None:
    edited = scene(
        edit=swap("smtpd_recipient_restrictions = $", f"smtpd_recipient_restrictions = {ahead} $")
    )
    found = [each for each in hooks.check(edited) if "stands in front" in each.what]
    assert len(found) == (2 if skips else 0)


@pytest.mark.parametrize(
    ("milter", "severity"),
    [("inet:localhost:8891", Severity.PROBLEM), ("unix:clamav/milter.ctl", Severity.WARNING)],
)
def test_a_milter_in_front_of_ours(milter: str, severity: Severity, scene: MakeScene) -> None:
    edited = scene(edit=swap("\nsmtpd_milters = $", f"\nsmtpd_milters = {milter}, $"))
    found = told(hooks.check(edited))
    assert found[f"smtp/inet: in front of Gatepost's milter stands {milter}."] is severity


def test_milters_behind_ours_are_as_they_should_be(scene: MakeScene) -> None:
    assert told(hooks.check(scene("smtpd_milters = inet:localhost:8891\n"))) == {}


def test_an_action_that_loses_mail_or_lets_it_pass_untagged(scene: MakeScene) -> None:
    edited = scene(edit=swap("default_action=tempfail", "default_action=accept"))
    found = told(hooks.check(edited))
    assert "smtp/inet: the default_action of Gatepost's milter is accept." in found


def test_an_absolute_path_and_a_chroot(scene: MakeScene) -> None:
    edited = scene(edit=swap("unix:gatepost/", "unix:/var/spool/postfix/gatepost/"))
    assert all("absolute path" in what for what in told(hooks.check(edited)))
    assert told(hooks.check(edited))
    assert told(hooks.check(replace(edited, entries=tuple(unchrooted(edited))))) == {}


def unchrooted(scene: Scene) -> Iterable[object]:
    for entry in scene.entries:
        columns = (*entry.columns[:2], "n", *entry.columns[3:])
        yield replace(entry, columns=columns)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"milter_protocol": "2"}, "milter_protocol = 2"),
        ({"receive_override_options": "no_milters"}, "smtp/inet: receive_override_options"),
    ],
)
def test_parameters_that_keep_the_milter_from_working(
    values: dict[str, str], what: str, scene: MakeScene
) -> None:
    problem(hooks.check(scene(**values)), what)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"smtpd_milter_maps": "cidr:/m"}, "smtpd_milter_maps"),
        ({"smtpd_proxy_filter": "127.0.0.1:1"}, "smtp/inet: smtpd_proxy_filter"),
        ({"non_smtpd_milters": ""}, "non_smtpd_milters"),
    ],
)
def test_parameters_that_go_past_the_milter(
    values: dict[str, str], what: str, scene: MakeScene
) -> None:
    warned(hooks.check(scene(**values)), what)


def test_where_a_filter_gives_mail_back_is_told_and_nothing_is_missed(scene: MakeScene) -> None:
    back = "127.0.0.1:10025 inet n - n - - smtpd -o content_filter=\nsmtp unix - - y - - smtp\n"
    (finding,) = hooks.check(scene(master=back))
    warned([finding], "127.0.0.1:10025/inet: Gatepost is not asked here")
    assert "give them a listener of their own" in finding.mend[0]


def test_a_hook_that_the_configuration_does_not_need_is_not_missed(scene: MakeScene) -> None:
    off = replace(snapshot(replace(ACME, modes=OFF)), modes=OFF)
    assert told(hooks.check(scene(config=off))) == {}


# Identity


@pytest.mark.parametrize(
    ("fields", "values", "what"),
    [
        ({"logins": ("acme",)}, {}, "no listener offers AUTH"),
        ({"certificates": ("aa:bb",)}, {}, "no listener asks for one"),
        (
            {"certificates": (":".join(["aa"] * 16),)},
            {"smtpd_tls_ask_ccert": "yes", "smtpd_tls_fingerprint_digest": "sha256"},
            "fingerprints of tenants are of another length",
        ),
        ({"listeners": ("acme-in",)}, {}, "no smtpd service has that name"),
    ],
)
def test_what_tenants_are_known_by_and_postfix_does_not_tell(
    fields: dict, values: dict[str, str], what: str, scene: MakeScene
) -> None:
    config = snapshot(tenant("acme", **PRIVATE, **fields))
    master = "smtp inet n - y - - smtpd\nsmtp unix - - y - - smtp\n"
    problem(identity.check(scene(master=master, config=config, **values)), what)


def test_a_listener_that_has_the_name_of_a_tenant(scene: MakeScene) -> None:
    config = snapshot(tenant("acme", **PRIVATE, listeners=("acme-in",)))
    master = (
        "2525 inet n - y - - smtpd -o milter_macro_daemon_name=acme-in\nsmtp unix - - y - - smtp\n"
    )
    assert told(identity.check(scene(master=master, config=config))) == {}


def test_international_domains_without_smtputf8(scene: MakeScene) -> None:
    config = snapshot(tenant("acme", senders=("xn--bcher-kva.example",), profile="private"))
    warned(identity.check(scene(config=config, smtputf8_enable="no")), "smtputf8_enable is not yes")


# Routing


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"default_transport": "smtp:[r.example]"}, "names a next-hop"),
        ({"default_transport": "uucp"}, "is no smtp(8) service"),
        ({"transport_maps": "inline:{*=smtp:[x.example]}"}, "an entry for every destination"),
        ({"sender_dependent_default_transport_maps": "hash:/x"}, "does not ask Gatepost"),
        (
            {
                "sender_dependent_default_transport_maps": "hash:/x, "
                "socketmap:unix:gatepost/maps.sock:transport"
            },
            "hash:/x stands in front of Gatepost",
        ),
    ],
)
def test_what_wins_over_the_lanes(values: dict[str, str], what: str, scene: MakeScene) -> None:
    problem(routing.check(scene(**values)), what)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"relayhost": "[r.example]"}, "relayhost = [r.example]"),
        ({"smtp_fallback_relay": "f.example"}, "smtp_fallback_relay"),
        ({"sender_dependent_relayhost_maps": "hash:/s"}, "sender_dependent_relayhost_maps"),
        ({"content_filter": "scan:[127.0.0.1]:10024"}, "content_filter"),
        ({"sender_canonical_maps": "tcp:localhost:10001"}, "sender_canonical_maps"),
        ({"smtp_generic_maps": "hash:/g"}, "smtp_generic_maps"),
        ({"soft_bounce": "yes"}, "soft_bounce = yes"),
        (
            {"transport_maps": "unionmap:{inline:{a.example=smtp:b}}"},
            "whose entries cannot be listed",
        ),
        ({"transport_maps": "inline:{a.example=smtp:b}"}, "routes by itself: a.example smtp:b"),
        ({"defer_transports": "smtp"}, "defer_transports = smtp forgets gp-normal-private"),
        ({"transport_maps": "hash:/nonexistent/x"}, "cannot be read"),
    ],
)
def test_what_goes_past_the_lanes(values: dict[str, str], what: str, scene: MakeScene) -> None:
    warned(routing.check(scene(**values)), what)


def test_our_services_that_are_deferred_too(scene: MakeScene) -> None:
    services = "smtp, gp-normal-private, gp-normal-standard"
    assert told(routing.check(scene(defer_transports=services))) == {}
    assert told(routing.check(scene(defer_transports="relay"))) == {}


def test_rewriting_of_header_addresses_alone_is_no_matter(scene: MakeScene) -> None:
    values = {"sender_canonical_maps": "hash:/x", "sender_canonical_classes": "header_sender"}
    assert told(routing.check(scene(**values))) == {}


def test_the_bounce_domain_is_named_where_senders_are_rewritten(scene: MakeScene) -> None:
    config = snapshot(replace(ACME, return_path=ReturnPath.TOKEN))
    values = {"sender_canonical_maps": "tcp:localhost:10001"}
    (finding,) = routing.check(scene(config=config, **values))
    assert "bounces.example" in finding.mend[0]


def test_without_lanes_nothing_can_win_over_them(scene: MakeScene) -> None:
    off = replace(snapshot(replace(ACME, modes=OFF)), modes=OFF)
    assert told(routing.check(scene(config=off, relayhost="x"))) == {}


# TLS


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"tls_required_enable": "yes"}, "tls_required_enable = yes"),
        (
            {"smtp_tls_security_level": "dane", "smtp_dns_support_level": "enabled"},
            "smtp_dns_support_level is not dnssec",
        ),
    ],
)
def test_what_makes_tls_weaker_than_promised(
    values: dict[str, str], what: str, scene: MakeScene
) -> None:
    problem(tls.check(scene(**values)), what)


@pytest.mark.parametrize("level", ["", "none"])
def test_mail_without_a_profile_in_plaintext(level: str, scene: MakeScene) -> None:
    warned(tls.check(scene(smtp_tls_security_level=level)), "smtp_tls_security_level is")


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"smtp_tls_CAfile": ""}, "smtp_tls_CAfile and smtp_tls_CApath are empty"),
        ({"smtp_tls_CAfile": "/nonexistent.pem"}, "cannot be read"),
    ],
)
def test_a_host_that_can_verify_nobody(values: dict[str, str], what: str, scene: MakeScene) -> None:
    config = snapshot(tenant("b", senders=("b.example",), profile="bank"))
    problem(tls.check(scene(config=config, **values)), what)


def test_tls_required_is_no_matter_where_nothing_is_demanded(scene: MakeScene) -> None:
    off = replace(ACME, modes=replace(OFF, tag=Mode.ENFORCE))
    config = replace(snapshot(off), modes=OFF)
    assert told(tls.check(scene(config=config, tls_required_enable="yes"))) == {}


def test_another_policy_in_front_of_ours(scene: MakeScene) -> None:
    edited = scene(edit=swap("_policy_maps=socketmap", "_policy_maps=hash:/x,socketmap"))
    problem(tls.check(edited), "gp-normal-private/unix: in smtp_tls_policy_maps, hash:/x stands")


@pytest.mark.parametrize(
    ("added", "what"),
    [
        ("smtp_tls_security_level = verify\n", "smtp_tls_security_level is encrypt, and verify is"),
        ("smtp_tls_policy_maps = $gatepost_tls, hash:/y\n", "smtp_tls_policy_maps lacks hash:/y"),
    ],
)
def test_a_change_of_main_cf_that_our_services_do_not_know(
    added: str, what: str, scene: MakeScene
) -> None:
    changed = scene(edit=lambda text: text if "smtpd" in text.split("\n")[0] else text + added)
    problem(tls.check(changed), f"gp-normal-private/unix: {what}")


def own_policies(tmp_path: Path, *lines: str) -> str:
    table = tmp_path / "tls_policy"
    table.write_text("".join(f"{line}\n" for line in lines))
    # Postfix waits until a text file is old enough not to be half-written.
    os.utime(table, (0, 0))
    return f"smtp_tls_policy_maps = texthash:{table}\n"


@pytest.mark.parametrize(
    ("entry", "remedy"),
    [
        ("bank.example verify", "stricter: bank.example: {level: verify}"),
        ("[mx.bank.example]:25 verify", "stricter: mx.bank.example: {level: verify}"),
        ("bank.example secure match=nexthop", "stricter: bank.example: {level: verify}"),
        ("bank.example dane-only", "cannot say dane-only of bank.example"),
        ("bank.example dane", "cannot say dane of bank.example"),
        ("bank.example fingerprint match=aa", "cannot say fingerprint of bank.example"),
        ("[192.0.2.1] verify", "cannot say verify of [192.0.2.1]"),
        (".bank.example VERIFY", "stricter: .bank.example: {level: verify}"),
        ("bank.example encrypt match=mx.bank.example", "stricter: bank.example: {level: encrypt}"),
        ("bank.example encrypt", ""),
        ("bank.example may", ""),
        ("bank.example none", ""),
        ("bank.example nonsense", ""),
        # tls.domains asks for as much.
        ("known.example verify", ""),
    ],
)
def test_an_entry_of_the_operators_that_asks_for_more(
    entry: str, remedy: str, scene: MakeScene, tmp_path: Path
) -> None:
    config = snapshot(ACME, everyone={"known.example": Requirement(Level.VERIFY)})
    main = own_policies(tmp_path, "other.example may", entry)
    found = list(tls.check(scene(main, config=config)))
    if remedy:
        problem(
            found, f"asks for more than Gatepost's map tls-private, which answers first: {entry}"
        )
        (finding,) = [each for each in found if "asks for more" in each.what]
        assert remedy in finding.mend[0]
    else:
        assert told(found) == {}


def test_an_entry_that_asks_for_no_more_than_the_operators_level_is_joined_already(
    scene: MakeScene, tmp_path: Path
) -> None:
    main = own_policies(tmp_path, "bank.example verify")
    problem(tls.check(scene(main)), "asks for more than Gatepost's map tls-private")
    assert told(tls.check(scene(main + "smtp_tls_security_level = verify\n"))) == {}


def test_where_ours_has_no_answer_the_operators_entry_counts(
    scene: MakeScene, tmp_path: Path
) -> None:
    # The rules for everyone hold in the services of no profile, too.
    everyone = {"known.example": Requirement(Level.ENCRYPT)}
    config = snapshot(tenant("b", senders=("b.example",)), everyone=everyone)
    main = own_policies(tmp_path, "bank.example verify", "known.example verify")
    found = list(tls.check(scene(main, config=config)))
    problem(found, "map tls, which answers first: known.example verify.")


def test_of_many_entries_some_are_shown(scene: MakeScene, tmp_path: Path) -> None:
    main = own_policies(tmp_path, *(f"d{n}.example verify" for n in range(5)))
    problem(tls.check(scene(main)), "; and 2 more.")


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("pcre:/etc/x", "cannot be listed"),
        ("hash:/nonexistent/x", "cannot be read"),
    ],
)
def test_a_policy_table_that_cannot_be_looked_into(table: str, what: str, scene: MakeScene) -> None:
    warned(tls.check(scene(f"smtp_tls_policy_maps = {table}\n")), what)


# Versions


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 7, 10), False),
        ((3, 7, 11), True),
        ((3, 8, 5), False),
        ((3, 8, 6), True),
        ((3, 9, 0), True),
        ((3, 11, 0), True),
        ((3, 6, 99), False),
    ],
)
def test_which_version_has_a_fix(version: tuple[int, int, int], *, fixed: bool) -> None:
    first = (PostfixVersion(3, 7, 11), PostfixVersion(3, 8, 6), PostfixVersion(3, 9))
    assert versions.has_fix(PostfixVersion(*version), *first) is fixed


def test_prepended_headers_matter_for_certificates_only(scene: MakeScene) -> None:
    old = PostfixVersion(3, 7, 10)
    assert not any("prepended" in what for what in told(versions.check(scene(version=old))))
    config = snapshot(tenant("acme", **PRIVATE, certificates=("aa",)))
    problem(versions.check(scene(version=old, config=config)), "prepended")


def test_an_old_connection_after_a_stricter_rule(scene: MakeScene) -> None:
    warned(versions.check(scene(version=PostfixVersion(3, 7, 11))), "plaintext connection again")
    values = {"smtp_connection_cache_on_demand": "no"}
    assert told(versions.check(scene(version=PostfixVersion(3, 7, 11), **values))) == {}


def test_smuggling_out(scene: MakeScene) -> None:
    problem(versions.check(scene(cleanup_replace_stray_cr_lf="no")), "stray CR and LF")


def test_smuggling_in_matters_for_platform_logins(scene: MakeScene) -> None:
    values = {"smtpd_forbid_bare_newline": "no"}
    assert told(versions.check(scene(**values))) == {}
    config = snapshot(ACME, logins=[PlatformLogin("app", None)])
    warned(versions.check(scene(config=config, **values)), "smtpd_forbid_bare_newline")
