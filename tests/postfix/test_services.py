"""From a configuration to hooks and delivery services, and what master.cf lacks of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.modes import Mode
from gatepost.postfix.services import attach_spec, drift, is_attached, shortfalls
from gatepost.postfix.spec import Hook
from gatepost.snapshot import Snapshot
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.rules import OnFailure
from gatepost.traffic.lanes import Lane
from gatepost.traffic.quota import Limit, QuotaRules, TenantQuota
from gatepost.traffic.shaping import ShapingRules
from tests.world import ENFORCE, LANES, OBSERVE, OFF, index, snapshot, tenant

ACME = tenant("acme", senders=frozenset({"acme.example"}), profile="private")


@pytest.fixture
def private() -> Snapshot:
    return snapshot(ACME)


def test_a_tenant_with_a_profile_needs_its_service(private: Snapshot) -> None:
    spec = attach_spec(private)
    (service,) = spec.services
    assert service.name == "gp-normal-private"
    assert service.level is Level.ENCRYPT
    assert service.on_failure is OnFailure.BOUNCE
    assert {Hook.MILTER, Hook.POLICY, Hook.TRANSPORT} <= spec.hooks
    assert spec.sockets == ("milter.sock", "policy.sock", "maps.sock", "intake.sock")


def test_observe_needs_the_same_as_enforce(private: Snapshot) -> None:
    observed = snapshot(replace(ACME, modes=OBSERVE))
    assert attach_spec(observed) == attach_spec(private)


def test_a_hook_that_nothing_can_need_is_left_out_with_the_reason() -> None:
    world = snapshot(replace(ACME, modes=OFF), bounce_domain=None)
    spec = attach_spec(replace(world, modes=OFF))
    assert spec.hooks == frozenset()
    assert spec.services == ()
    assert spec.sockets == ()
    assert dict(spec.left_out)[Hook.MILTER] == "the features tag and feedback are off for everybody"


LIMIT = Limit(100, 60)
QUOTAS = QuotaRules({"acme": TenantQuota((LIMIT,))})


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        (QuotaRules(), False),
        (QUOTAS, True),
        (QuotaRules(platform=(LIMIT,)), True),
        (QuotaRules({"acme": TenantQuota(per_login=(LIMIT,))}), True),
        (QuotaRules({"acme": TenantQuota(group="g")}, groups={"g": (LIMIT,)}), True),
        # Of these the milter asks.
        (QuotaRules({"acme": TenantQuota(per_campaign=(LIMIT,))}), False),
        (QuotaRules({"acme": TenantQuota((LIMIT,), exempt=True)}, (LIMIT,)), False),
    ],
)
def test_nobody_is_asked_at_the_end_of_a_message_without_a_quota(
    rules: QuotaRules, *, asked: bool, tmp_path: Path
) -> None:
    config = replace(snapshot(ACME), quotas=rules)
    spec = attach_spec(config)
    assert (Hook.QUOTA in spec.hooks) == asked
    write(tmp_path, ATTACHED)
    found = shortfalls(config, tmp_path)
    assert bool(found) == asked
    if asked:
        assert "gatepost_quota (smtpd_end_of_data_restrictions)" in found[0]
        off = replace(
            config, tenants=index([replace(ACME, modes=replace(ENFORCE, quota=Mode.OFF))])
        )
        assert Hook.QUOTA not in attach_spec(off).hooks


def test_a_quota_alone_needs_the_check_of_each_recipient_too() -> None:
    only = replace(OFF, quota=Mode.OBSERVE)
    config = replace(snapshot(replace(ACME, modes=only)), modes=OFF, quotas=QUOTAS)
    assert attach_spec(config).hooks - {Hook.RETURNS} == {Hook.POLICY, Hook.QUOTA}
    campaigns = QuotaRules({"acme": TenantQuota(per_campaign=(LIMIT,))})
    hooks = attach_spec(replace(config, quotas=campaigns)).hooks
    assert hooks - {Hook.RETURNS} == {Hook.MILTER}


def test_one_tenant_that_needs_a_hook_is_enough() -> None:
    tagging = replace(OFF, tag=Mode.OBSERVE)
    world = snapshot(replace(ACME, modes=tagging), bounce_domain=None)
    spec = attach_spec(replace(world, modes=OFF))
    assert spec.hooks == {Hook.MILTER}


@pytest.mark.parametrize("feature", ["sender", "tls", "lane", "suppression", "ladder"])
def test_whatever_is_decided_at_rcpt_needs_the_check_there(feature: str) -> None:
    modes = replace(OFF, **{feature: Mode.OBSERVE})
    world = snapshot(replace(ACME, modes=modes), bounce_domain=None)
    assert Hook.POLICY in attach_spec(replace(world, modes=OFF)).hooks


def test_marketing_that_may_wait_needs_the_milter() -> None:
    modes = replace(OFF, ladder=Mode.ENFORCE)
    for types, needed in (((), False), (("news",), True)):
        acme = replace(ACME, modes=modes, marketing_types=types)
        world = replace(snapshot(acme, bounce_domain=None), modes=OFF)
        assert (Hook.MILTER in attach_spec(world).hooks) is needed


def test_a_lane_for_those_who_are_slowed_down_needs_the_map() -> None:
    acme = replace(ACME, modes=replace(OFF, ladder=Mode.ENFORCE))
    world = replace(snapshot(acme, bounce_domain=None), modes=OFF)
    assert world.services
    assert Hook.TRANSPORT in attach_spec(world).hooks


def test_without_rules_for_everyone_the_general_tls_map_is_left_out(private: Snapshot) -> None:
    assert not private.tls.everyone.table
    assert Hook.TLS in dict(attach_spec(private).left_out)


def discovering(config: Snapshot, *, dane: bool = True, mta_sts: bool = True) -> Snapshot:
    return replace(config, tls=replace(config.tls, dane=dane, mta_sts=mta_sts))


def test_what_destinations_publish_concerns_the_mail_of_everybody(private: Snapshot) -> None:
    for config in (discovering(private, dane=False), discovering(private, mta_sts=False)):
        spec = attach_spec(config)
        assert Hook.TLS in spec.hooks
        assert spec.answers
    assert attach_spec(discovering(private)).dane
    off = replace(discovering(private), modes=OFF)
    assert "the map tls follows the default" in dict(attach_spec(off).left_out)[Hook.TLS]


ATTACHED = """\
# gatepost begin: and so on
gatepost_milter = { unix:gatepost/milter.sock, default_action=tempfail }
smtpd_milters = $gatepost_milter
gatepost_policy = check_policy_service { unix:gatepost/policy.sock }
smtpd_recipient_restrictions = $gatepost_policy
gatepost_transport = socketmap:unix:gatepost/maps.sock:transport
sender_dependent_default_transport_maps = $gatepost_transport, hash:/x
# gatepost end
"""
SERVICE = "gp-normal-private unix - - y - - smtp\n"
BOUNCES = "  -o smtp_delivery_status_filter=regexp:/etc/postfix/gatepost-tls-bounce.regexp\n"


def write(directory: Path, main: str, master: str = SERVICE + BOUNCES) -> Path:
    (directory / "main.cf").write_text(main)
    (directory / "master.cf").write_text(master)
    return directory


SHAPED = ShapingRules(on=True)
TELLS_ITS_LANE = (
    BOUNCES + "  -o smtp_tls_policy_maps=socketmap:unix:gatepost/maps.sock:tls-private@normal,x\n"
)


def test_shaping_needs_to_be_asked_before_each_delivery(private: Snapshot) -> None:
    shaped = replace(private, shaping=SHAPED)
    spec = attach_spec(shaped)
    assert spec.shaping
    # Mail of nobody, too, by the lane of everybody; and no answer of ours will ever be strict.
    assert Hook.TLS in spec.hooks
    assert spec.tls_map(spec.services[0]).endswith(":tls-private@normal")
    for config in (private, replace(shaped, modes=replace(shaped.modes, lane=Mode.OFF))):
        assert not attach_spec(config).shaping
        assert Hook.TLS not in attach_spec(config).hooks


def test_shaping_that_only_attach_brings_into_force(private: Snapshot, tmp_path: Path) -> None:
    shaped = replace(private, shaping=SHAPED)
    write(tmp_path, ATTACHED)
    assert "shaping in Postfix's files is not what" in drift(shaped, tmp_path)[0]
    write(tmp_path, ATTACHED, SERVICE + TELLS_ITS_LANE)
    assert drift(shaped, tmp_path) == []
    assert "shaping in Postfix's files is not what" in drift(private, tmp_path)[0]


def test_a_service_that_master_cf_lacks_is_named(private: Snapshot, tmp_path: Path) -> None:
    write(tmp_path, ATTACHED, "smtp unix - - y - - smtp\n# gp-normal-private unix - - y - - smtp\n")
    (sentence,) = shortfalls(private, tmp_path)
    assert "master.cf has no service gp-normal-private (lane normal, profile private)" in sentence
    assert "run gatepost attach" in sentence


def test_nothing_is_missing_where_everything_is_there(private: Snapshot, tmp_path: Path) -> None:
    write(tmp_path, ATTACHED)
    assert is_attached(tmp_path)
    assert shortfalls(private, tmp_path) == []
    assert drift(private, tmp_path) == []


@pytest.mark.parametrize(
    ("hook", "parameter"),
    [
        ("gatepost_milter", "smtpd_milters"),
        ("gatepost_policy", "smtpd_recipient_restrictions"),
        ("gatepost_transport", "sender_dependent_default_transport_maps"),
    ],
)
@pytest.mark.parametrize("gone", ["definition", "reference"])
def test_a_hook_that_main_cf_lacks_is_named(
    hook: str, parameter: str, gone: str, private: Snapshot, tmp_path: Path
) -> None:
    name = hook if gone == "definition" else parameter
    lines = [line for line in ATTACHED.splitlines() if not line.startswith(f"{name} =")]
    write(tmp_path, "\n".join(lines))
    (sentence,) = shortfalls(private, tmp_path)
    assert sentence.startswith(f"main.cf does not ask Gatepost by {hook} ({parameter})")
    assert sentence.endswith("run gatepost attach, then gatepost reload")


def test_rules_for_everyone_need_the_hook_of_all_services(tmp_path: Path) -> None:
    write(tmp_path, ATTACHED)
    config = snapshot(ACME, everyone={"bank.example": Requirement(Level.VERIFY)})
    (sentence,) = shortfalls(config, tmp_path)
    assert "gatepost_tls (smtp_tls_policy_maps)" in sentence


def test_a_service_that_does_not_ask_for_dnssec_is_named(private: Snapshot, tmp_path: Path) -> None:
    tls = (
        "gatepost_tls = socketmap:unix:gatepost/maps.sock:tls\n"
        "smtp_tls_policy_maps = $gatepost_tls\n"
    )
    config = discovering(private)
    write(tmp_path, ATTACHED + tls)
    (sentence,) = shortfalls(config, tmp_path)
    assert sentence == (
        "gp-normal-private in master.cf does not ask for DNSSEC (smtp_dns_support_level), and "
        "tls.dane needs it; run gatepost attach, then gatepost reload"
    )
    write(tmp_path, ATTACHED + tls, SERVICE + "  -o smtp_dns_support_level=dnssec\n" + BOUNCES)
    assert shortfalls(config, tmp_path) == []
    write(tmp_path, ATTACHED + tls + "smtp_dns_support_level = dnssec\n")
    assert shortfalls(config, tmp_path) == []
    # A Postfix that looks up no DNS has no DANE, and none is answered for it.
    write(tmp_path, ATTACHED + tls + "disable_dns_lookups = yes\n")
    assert shortfalls(config, tmp_path) == []


def test_what_was_attached_for_nothing_is_missed_when_it_is_needed(
    private: Snapshot, tmp_path: Path
) -> None:
    write(tmp_path, "# gatepost begin: and so on\nsmtp_tls_loglevel = 1\n# gatepost end\n")
    nothing = replace(snapshot(replace(ACME, modes=OFF)), modes=OFF)
    assert shortfalls(nothing, tmp_path) == []
    assert len(shortfalls(private, tmp_path)) == 3


def test_a_hook_that_the_operator_has_moved_to_a_listener_is_there(
    private: Snapshot, tmp_path: Path
) -> None:
    main = ATTACHED.replace("smtpd_milters = $gatepost_milter\n", "smtpd_milters =\n")
    master = "submission inet n - y - - smtpd\n  -o smtpd_milters=${gatepost_milter}\n"
    write(tmp_path, main, SERVICE + BOUNCES + master)
    assert shortfalls(private, tmp_path) == []


@pytest.mark.parametrize("main", ["", "# gatepost_transport\n", "transport_maps = hash:/x\n"])
def test_nothing_is_missing_where_nothing_is_attached(
    main: str, private: Snapshot, tmp_path: Path
) -> None:
    write(tmp_path, main, "")
    assert not is_attached(tmp_path)
    assert shortfalls(private, tmp_path) == []
    assert drift(private, tmp_path) == []


def test_files_that_cannot_be_read_say_nothing(private: Snapshot, tmp_path: Path) -> None:
    assert is_attached(tmp_path / "nowhere")
    assert shortfalls(private, tmp_path / "nowhere") == []
    assert drift(private, tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("options", "limits", "what"),
    [
        ("", "", ["on_failure"]),
        (BOUNCES + "  -o smtp_bind_address=192.0.2.1\n", "", ["addresses"]),
        (BOUNCES, "gp-normal-private_destination_concurrency_limit = 5\n", ["concurrency"]),
        (BOUNCES, "gp-normal-private_destination_rate_delay = 5s\n", ["rate_delay"]),
        (BOUNCES, "gp-normal-private_destination_rate_delay = $smtp_destination_rate_delay\n", []),
        (
            BOUNCES,
            (
                "default_transport = smtp-out\nsmtp-out_destination_rate_delay = 5s\n"
                "gp-normal-private_destination_rate_delay = 5s\n"
            ),
            [],
        ),
    ],
)
def test_what_only_attach_brings_into_force_is_told(
    options: str, limits: str, what: list[str], private: Snapshot, tmp_path: Path
) -> None:
    write(tmp_path, ATTACHED + limits, SERVICE + options)
    assert shortfalls(private, tmp_path) == []
    assert [each.partition(" in Postfix")[0] for each in drift(private, tmp_path)] == [
        f"gp-normal-private: {each}" for each in what
    ]


@pytest.mark.parametrize(
    ("profile", "everyone", "answers"),
    [
        ("standard", {}, False),
        ("private", {}, True),
        ("standard", {"x.example": Requirement(Level.MAY)}, True),
    ],
)
def test_whether_a_map_may_ever_answer(
    profile: str, everyone: dict[str, Requirement], *, answers: bool
) -> None:
    bulk = tenant("b", senders=frozenset({"b.example"}), profile=profile, lane="bulk")
    assert attach_spec(snapshot(bulk, everyone=everyone)).answers is answers


def test_rules_for_everyone_that_nothing_asks_for_never_answer() -> None:
    rules = {"x.example": Requirement(Level.ENCRYPT)}
    config = snapshot(tenant("b", replace(ENFORCE, tls=Mode.OFF)), everyone=rules)
    assert attach_spec(config).answers is True
    assert attach_spec(replace(config, modes=replace(ENFORCE, tls=Mode.OFF))).answers is False


def test_modes_do_not_change_which_services_are_needed() -> None:
    both = tenant("b", ENFORCE, senders=frozenset({"b.example"}), profile="bank", lane="bulk")
    names = [service.name for service in attach_spec(snapshot(both)).services]
    assert names == ["gp-bulk-bank", "gp-bulk-standard", "gp-normal-bank"]


def test_an_instance_that_lacks_a_service_is_told_and_one_that_differs(tmp_path: Path) -> None:
    both = {**LANES, "burst": Lane("burst", instance=True)}
    config = snapshot(
        tenant("acme", senders=("acme.example",), lane="burst", profile="private"), lanes=both
    )
    main, master = tmp_path / "etc", tmp_path / "etc-gp-burst"
    for directory in (main, master):
        directory.mkdir()
        (directory / "main.cf").write_text("gatepost_transport = x\na = $gatepost_transport\n")
        (directory / "master.cf").write_text("")
    (missing,) = [each for each in shortfalls(config, main) if "burst" in each]
    assert missing == (
        "master.cf has no service gp-burst, by which mail of lane burst is handed to its own "
        "instance, and mail for it would wait; run gatepost attach, then gatepost reload"
    )
    (main / "master.cf").write_text("gp-burst unix - - n - 20 lmtp\n")
    (missing_there,) = [each for each in shortfalls(config, main) if "burst" in each]
    assert "the instance of lane burst has no service gp-burst-private or" in missing_there
    service = "gp-burst-private unix - - n - - smtp\n"
    (master / "master.cf").write_text(service)
    (told,) = [each for each in drift(config, main) if "burst" in each]
    assert told == (
        "gp-burst-private: on_failure in Postfix's files is not what the configuration says; it "
        "comes into force with gatepost attach"
    )
