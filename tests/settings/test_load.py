"""From files to what decisions read."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from gatepost.errors import ConfigErrors
from gatepost.feedback.reporting import Loop
from gatepost.feedback.rules import FeedbackRules, LadderRules, Step, SuppressionRules, Webhook
from gatepost.feedback.rules import OnFailure as IfDown
from gatepost.modes import Mode, Modes
from gatepost.settings import Address, Loader, Settings
from gatepost.snapshot import Platform, Unknown
from gatepost.tenants.client import Client
from gatepost.tenants.identity import identify
from gatepost.tenants.model import PlatformLogin, ReturnPath, Tenant, tenant_number
from gatepost.tls.levels import Level, Requirement, TlsVersion
from gatepost.tls.rules import DomainRules, OnFailure, Profile
from gatepost.traffic.lanes import Lane, Source

WHOLE = """
postfix: {config_dir: /etc/postfix-out, group: postdrop, socket_dir: gp}
service: {user: nobody, run_dir: /run/gp, grace: 1m, watchdog: 30s, policy_timeout: 5s}
log: {to: stderr, level: debug}
state: sqlite:////var/lib/gp/gp.db
metrics: "[::1]:9465"
platform:
  sender_id: examplesp
  tenant_header: X-Account
  token_header: X-Ref
  bounce_domain: Bounces.Example.NET.
  unknown: reject
  inbound: [example.net, bücher.example]
  null_sender_profile: private
  logins:
    webapp: {may_act_as: "*"}
    crm: {may_act_as: [acme]}
modes: {default: enforce, lane: off}
tls:
  profiles:
    standard: {level: may}
    private: {level: encrypt, min_version: TLSv1.2, on_failure: bounce}
    bank:
      level: verify
      domains:
        partner.example: {level: verify, match: [mx.partner.example, .partner.example]}
        .old.example: {level: none}
  domains:
    example.org: {level: encrypt}
    .gov.example: {level: verify, min_version: TLSv1.3}
lanes:
  normal: {}
  bulk: {concurrency: 1, rate_delay: 2m, addresses: ["2001:DB8::10", 192.0.2.10]}
tenants:
  acme:
    logins: [acme, "007", "no"]
    certificates: [B1:2F:6E:40:9A:D7:58:C3:0E:71:24:FB:95:3D:A8:66:1C:E2:4F:07]
    clients: [192.0.2.128/28, "2001:db8:7::/48"]
    listeners: [port2525]
    senders: [ACME.example, .acme.example]
    check_from: yes
    profile: private
    lane: bulk
    return_path: token
    feedback:
      {campaign: X-Campaign, mail_type: X-Mail-Type, cfbl: no, unsubscribe: [News, ads]}
    modes: {default: off, sender: enforce, tls: enforce}
  globex: {logins: [globex], modes: {lane: observe}}
"""


def test_whole_configuration(load, config):
    loaded = load(WHOLE)
    assert loaded.settings == Settings(
        config,
        postfix_config_dir=Path("/etc/postfix-out"),
        postfix_group="postdrop",
        socket_dir="gp",
        user="nobody",
        run_dir=Path("/run/gp"),
        grace_s=60,
        watchdog_s=30,
        policy_timeout_s=5,
        state="sqlite:////var/lib/gp/gp.db",
        metrics=Address("::1", 9465),
        log_to="stderr",
        log_level="debug",
        intake_dir=Path("/var/lib/gatepost/intake"),
    )
    snapshot = loaded.snapshot
    assert snapshot.platform == Platform(
        "examplesp",
        "X-Account",
        "X-Ref",
        "bounces.example.net",
        Unknown.REJECT,
        frozenset({"example.net", "xn--bcher-kva.example", "bounces.example.net"}),
        "private",
    )
    enforce = Mode.ENFORCE
    assert snapshot.modes == Modes(*([enforce] * 4), Mode.OFF, *([enforce] * 3))
    acme = Tenant(
        "acme",
        tenant_number("acme"),
        ("acme.example", ".acme.example"),
        ("acme", "007", "no"),
        ("b1:2f:6e:40:9a:d7:58:c3:0e:71:24:fb:95:3d:a8:66:1c:e2:4f:07",),
        ("192.0.2.128/28", "2001:db8:7::/48"),
        ("port2525",),
        "private",
        "bulk",
        ReturnPath.TOKEN,
        True,
        "x-campaign",
        "x-mail-type",
        Modes(Mode.OFF, enforce, enforce, *([Mode.OFF] * 5)),
        False,
        ("news", "ads"),
        ("news", "ads"),
    )
    index = snapshot.tenants
    assert index.by_id["acme"] == acme
    assert index.by_number == {t.number: t for t in index.by_id.values()}
    assert index.by_login == {
        "acme": acme,
        "007": acme,
        "no": acme,
        "globex": index.by_id["globex"],
    }
    assert set(index.by_certificate) == set(acme.certificates)
    assert index.by_listener == {"port2525": acme}
    assert index.by_sender == {"acme.example": acme, ".acme.example": acme}
    assert index.has_suffixes
    assert index.platform == {
        "webapp": PlatformLogin("webapp", None),
        "crm": PlatformLogin("crm", frozenset({"acme"})),
    }
    globex = index.by_id["globex"]
    assert globex.modes == Modes(*([enforce] * 4), Mode.OBSERVE, *([enforce] * 3))
    assert snapshot.lanes == {
        "normal": Lane("normal"),
        "bulk": Lane("bulk", 1, 120, (Source("192.0.2.10", "2001:db8::10"),)),
    }
    private = Requirement(Level.ENCRYPT, TlsVersion.TLSv1_2)
    assert snapshot.tls.profiles == {
        "standard": Profile("standard", Requirement(Level.MAY)),
        "private": Profile("private", private, on_failure=OnFailure.BOUNCE),
        "bank": Profile(
            "bank",
            Requirement(Level.VERIFY),
            DomainRules(
                {
                    "partner.example": Requirement(
                        Level.VERIFY, match=frozenset({"mx.partner.example", ".partner.example"})
                    ),
                    ".old.example": Requirement(Level.NONE),
                }
            ),
        ),
    }
    assert snapshot.tls.everyone == DomainRules(
        {
            "example.org": Requirement(Level.ENCRYPT),
            ".gov.example": Requirement(Level.VERIFY, TlsVersion.TLSv1_3),
        }
    )
    assert snapshot.keyring.current == 1
    assert snapshot.keyring.keys == {1: bytes(range(32))}
    # A mode is a reload and never a change of master.cf, so every pair in reach has its service.
    assert snapshot.services == {
        "gp-bulk-private": ("bulk", "private"),
        "gp-bulk-standard": ("bulk", "standard"),
        "gp-normal-private": ("normal", "private"),
    }
    paths = [warning.path for warning in loaded.warnings]
    assert paths == [
        *("tenants.acme.return_path", "tenants.acme.feedback.unsubscribe"),
        "tenants.globex",
    ]


def test_the_least_configuration_has_the_defaults(load, config):
    loaded = load("{}")
    assert loaded.settings == Settings(config)
    assert loaded.snapshot.platform == Platform()
    assert loaded.snapshot.modes == Modes()
    assert loaded.snapshot.services == {}
    assert loaded.snapshot.lanes == {"normal": Lane("normal")}
    assert list(loaded.snapshot.tls.profiles) == ["standard"]


def test_sections_may_be_left_empty(load):
    text = "".join(f"{name}:\n" for name in ("postfix", "platform", "modes", "tls", "tenants"))
    loaded = load(text)
    assert loaded.snapshot.modes == Modes()
    assert loaded.snapshot.platform == Platform()
    assert loaded.snapshot.tenants.by_id == {}


@pytest.mark.parametrize(("word", "address"), [("off", None), ("127.0.0.1:1", ("127.0.0.1", 1))])
def test_metrics(load, word, address):
    wanted = address and Address(*address)
    assert load(f"metrics: {word}").settings.metrics == wanted


def test_the_narrowest_network_decides(load):
    snapshot = load(
        "platform: {sender_id: examplesp}\n"
        "tenants:\n"
        "  acme: {clients: [192.0.2.0/24, 192.0.2.7, '2001:db8::/32', '2001:db8::1']}\n"
        "  globex: {clients: [198.51.100.0/31]}\n"
    ).snapshot
    lengths = list(snapshot.tenants.networks)
    assert lengths == sorted(lengths, key=lambda key: (key[0], -key[1]))
    found = {
        address: getattr(identify(Client(address=address), snapshot.tenants).tenant, "id", None)
        for address in ("192.0.2.1", "::ffff:192.0.2.7", "198.51.100.1", "198.51.100.2")
    }
    assert found == {
        "192.0.2.1": "acme",
        "::ffff:192.0.2.7": "acme",
        "198.51.100.1": "globex",
        "198.51.100.2": None,
    }


def test_equal_modes_are_one_object(load):
    snapshot = load(
        "tenants:\n"
        "  a: {logins: [a]}\n  b: {logins: [b]}\n"
        "  c: {logins: [c], modes: {tls: off}}\n  d: {logins: [d], modes: {tls: off}}\n"
    ).snapshot
    a, b, c, d = (snapshot.tenants.by_id[name].modes for name in "abcd")
    assert a is b is snapshot.modes
    assert c is d
    assert c.tls is Mode.OFF


def test_tenants_come_from_all_files_of_the_directory(load):
    loaded = load(
        "platform: {sender_id: examplesp}\ntenants_dir: tenants.d\n"
        "tenants: {acme: {logins: [a]}}\n",
        **{
            "tenants.d__b": "tenants: {globex: {logins: [b]}, initech: {logins: [c]}}\n",
            "tenants.d__a": "tenants:\n",
        },
    )
    assert list(loaded.snapshot.tenants.by_id) == ["acme", "globex", "initech"]
    assert loaded.warnings == ()


def test_paths_are_relative_to_the_file(load, config, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load("keys: keys.yaml").snapshot.keyring.keys
    assert load(f"keys: {config.parent}/keys.yaml").snapshot.keyring.keys


def test_the_digest_tells_whether_any_file_changed(load):
    def digest(comment: str, tenants: str = "tenants:\n") -> str:
        text = f"tenants_dir: tenants.d\n# {comment}\n"
        return load(text, **{"tenants.d__a": tenants}).snapshot.digest

    assert digest("one") == digest("one")
    assert digest("one") != digest("two")
    assert digest("one") != digest("one", "tenants: {acme: {logins: [acme]}}\n")
    assert len(digest("one")) == 12


def test_anchors_aliases_and_merge_keys(load):
    snapshot = load(
        "modes: &observed {default: observe}\n"
        "tenants:\n"
        "  acme: &common\n    check_from: yes\n    senders: [acme.example]\n    logins: [a]\n"
        "    modes: *observed\n"
        "  globex:\n    <<: *common\n    senders: [globex.example]\n    logins: [b]\n"
    ).snapshot
    assert snapshot.tenants.by_id["globex"].check_from
    assert snapshot.tenants.by_id["globex"].senders == ("globex.example",)


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_a_profile_that_is_not_enforced_needs_no_evidence_at_delivery(load, mode):
    load(
        "tls: {profiles: {private: {level: encrypt}}}\n"
        f"tenants: {{acme: {{logins: [acme], profile: private, modes: {{tls: {mode}}}}}}}\n"
    )


@pytest.mark.parametrize(
    "evidence",
    [
        "return_path: token, modes: {tls: enforce, feedback: enforce}",
        "senders: [acme.example], modes: {tls: enforce, sender: enforce}",
    ],
)
def test_what_tells_the_tenant_at_delivery(load, evidence):
    loaded = load(
        "platform: {sender_id: examplesp, bounce_domain: bounces.example.net,\n"
        "  null_sender_profile: private}\n"
        "modes: {tls: enforce}\n"
        "tls: {profiles: {private: {level: encrypt}}}\n"
        f"tenants: {{acme: {{logins: [acme], profile: private, {evidence}}}}}\n"
    )
    assert loaded.warnings == ()


def test_a_profile_that_asks_for_nothing_needs_no_evidence(load):
    loaded = load(
        "platform: {sender_id: examplesp}\nmodes: {tls: enforce}\n"
        "tls: {profiles: {plain: {level: may}}}\n"
        "tenants: {acme: {logins: [acme], profile: plain}}\n"
    )
    assert loaded.warnings == ()
    assert loaded.snapshot.services == {}


def test_a_platform_login_is_evidence_for_the_tenants_it_may_name(load):
    text = (
        "platform: {{sender_id: examplesp, logins: {{webapp: {{may_act_as: {whom}}}}}}}\n"
        "tenants:\n  acme: {{}}\n"
    )
    assert load(text.format(whom="[acme]")).warnings == ()
    assert load(text.format(whom='"*"')).warnings == ()


def test_the_collector_is_as_it_was(load):
    assert gc.isenabled()
    load("{}")
    with pytest.raises(ConfigErrors):
        load("nonsense: 1")
    assert gc.isenabled()
    gc.disable()
    try:
        load("{}")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_each_load_reads_the_files_again(load, config):
    loader = Loader(config)
    load("log: {level: info}")
    config.write_text("log: {level: debug}")
    assert loader.load().settings.log_level == "debug"


def test_a_file_that_is_too_large(config):
    with config.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(ConfigErrors, match="larger than 64 MiB; spread the tenants"):
        Loader(config).load()


def test_a_configuration_that_is_not_there(tmp_path):
    with pytest.raises(ConfigErrors, match="cannot be read: No such file or directory; correct"):
        Loader(tmp_path / "gatepost.yaml").load()


def test_too_many_files(load, monkeypatch):
    monkeypatch.setattr("gatepost.settings.files.MAX_FILES", 1)
    with pytest.raises(ConfigErrors, match=r"tenants_dir: .*tenants.d holds more than 1 files"):
        load("tenants_dir: tenants.d\n", **{"tenants.d__a": "", "tenants.d__b": ""})


def test_logins_are_found_in_any_case(load):
    index = load(
        "platform: {sender_id: examplesp, logins: {WebApp: {may_act_as: [acme]}}}\n"
        "tenants: {acme: {logins: [Acme, M\u00dcLLER], senders: [acme.example]}}\n"
    ).snapshot.tenants
    for login in ("acme", "ACME", "Acme", "m\u00fcller"):
        assert identify(Client(login), index).tenant is index.by_id["acme"]
    for login in ("webapp", "WEBAPP"):
        assert identify(Client(login), index).platform == PlatformLogin(
            "WebApp", frozenset({"acme"})
        )


def test_a_path_that_no_system_takes():
    with pytest.raises(ConfigErrors, match=r"cannot be read: .*embedded null"):
        Loader(Path("gatepost\0.yaml")).load()


def test_settings_are_found_whatever_else_is_wrong(load, config):
    with pytest.raises(ConfigErrors):
        load("service: {run_dir: /run/here, grace: soon}\ntenants: 7\n")
    assert Loader(config).settings().run_dir == Path("/run/here")
    assert Loader(config).settings().grace_s == Settings(config).grace_s
    config.write_text("[")
    assert Loader(config).settings() == Settings(config)


def test_thousands_of_like_mistakes_are_all_told(load):
    tenants = "".join(f"  t{n}: {{logins: [same]}}\n" for n in range(2000))
    with pytest.raises(ConfigErrors) as caught:
        load(f"tenants:\n{tenants}")
    errors = caught.value.errors
    assert len(errors) == 1999
    assert [error.line for error in errors] == list(range(3, 2002))


def test_like_warnings_are_told_once(load):
    tenants = "".join(f"  t{n}: {{}}\n" for n in range(2000))
    warnings = load(f"platform: {{sender_id: examplesp}}\ntenants:\n{tenants}").warnings
    assert [warning.path for warning in warnings] == ["tenants.t0"]
    assert "and so in 1999 more places" in warnings[0].problem


POSTMASTER = (
    '{"client_id": "x", "client_secret": "s", "refresh_token": "y", '
    '"token_uri": "https://oauth2.example/"}'
)
FLOW = """
platform: {sender_id: examplesp, feedback_domain: fbl.example.net,
  unsubscribe_url: "https://mail.example.net/u/"}
feedback:
  intake_dir: /var/lib/gp/intake
  reporters: [arf.example.org]
  keep_messages: 30d
  keep_reports: 1d
  keep_events: 14d
  events_file: /var/log/gp/events.jsonl
  unsubscribe: 127.0.0.1:9465
  privacy: hashed
  loops: [yahoo]
  postmaster_token: pm.json
  postmaster_url: http://127.0.0.1:8080
  postmaster_domains: [example.net]
suppression:
  {hard_bounce: 30d, soft_bounces: 3, soft_window: 2d, sub_addresses: fold, on_failure: defer}
lanes: {bulk: {concurrency: 5}}
ladder:
  window: 1d
  min_delivered: 1000
  min_complaints: 10
  complaints: {slow: off, pause_all: 1%}
  lane: bulk
webhooks:
  acme: {url: "http://192.0.2.1/", secret_file: s, tenant: acme, events: [message.bounced],
    allow_private: yes}
tenants:
  acme: {logins: [acme], senders: [acme.example]}
"""


def test_what_comes_back(load, config):
    token = config.parent / "pm.json"
    token.write_text(POSTMASTER)
    token.chmod(0o600)
    secret = config.parent / "s"
    secret.write_text("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")
    secret.chmod(0o600)
    loaded = load(FLOW)
    settings, snapshot = loaded.settings, loaded.snapshot
    assert settings.intake_dir == Path("/var/lib/gp/intake")
    assert settings.events_file == Path("/var/log/gp/events.jsonl")
    assert settings.unsubscribe == Address("127.0.0.1", 9465)
    assert settings.postmaster_token == config.parent / "pm.json"
    assert settings.postmaster_url == "http://127.0.0.1:8080"
    assert settings.postmaster_domains == ("example.net",)
    assert snapshot.platform.feedback_domain == "fbl.example.net"
    assert snapshot.platform.unsubscribe_url == "https://mail.example.net/u"
    assert loaded.settings.feedback_loops == (Loop.YAHOO,)
    assert snapshot.platform.inbound == {"fbl.example.net"}
    day = 86400
    assert snapshot.feedback == FeedbackRules(
        frozenset({"arf.example.org"}), 30 * day, day, 14 * day, True
    )
    assert snapshot.suppression == SuppressionRules(30 * day, 3, 2 * day, True, IfDown.DEFER, True)
    assert snapshot.ladder == LadderRules(
        day,
        1000,
        10,
        {Step.WARN: 0.001, Step.PAUSE_MARKETING: 0.003, Step.PAUSE_ALL: 0.01},
        {Step.WARN: 0.04, Step.SLOW: 0.06, Step.PAUSE_MARKETING: 0.08, Step.PAUSE_ALL: 0.1},
        "bulk",
    )
    octets = b"01234567890123456789012345678901"
    assert snapshot.webhooks == (
        Webhook("acme", "http://192.0.2.1/", octets, "acme", frozenset({"message.bounced"}), True),
    )
    assert "0123456789" not in repr(snapshot.webhooks)
    # A tenant that is slowed down needs a service for its profile in that lane.
    assert snapshot.services == {"gp-bulk-standard": ("bulk", "standard")}


def test_what_comes_back_has_the_defaults_of_its_rules(load):
    snapshot = load("{}").snapshot
    assert snapshot.feedback == FeedbackRules()
    assert snapshot.suppression == SuppressionRules()
    assert snapshot.ladder == LadderRules()
