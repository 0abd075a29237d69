"""What a lane's own instance takes over from the main one, and what it never does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix import main_cf, master_cf
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.files import Sources, instance_files
from gatepost.postfix.instances.place import MARK, is_ours, lane_of, place_of, registered
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.spec import AttachSpec, Hook, InstanceSpec, ServiceSpec
from gatepost.postfix_version import OLDEST_SUPPORTED
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure
from gatepost.traffic.lanes import hand_over

FACTS = PostfixFacts(
    OLDEST_SUPPORTED,
    Path("/etc/postfix"),
    Path("/var/spool/postfix"),
    values={
        "default_transport": "smtp",
        "syslog_name": "postfix",
        "data_directory": "/var/lib/postfix",
    },
    defaults={"transport_maps": "", "smtp_generic_maps": "", "proxy_read_maps": ""},
)
MASTER = (
    "smtp      unix  -       -       y       -       50       smtp\n"
    "  -o smtp_sasl_password_maps=hash:$config_directory/passwords\n"
    "  -o smtp_helo_name=$our_name\n"
)
PRIVATE = ServiceSpec(
    "gp-burst-private", "burst", "private", Level.ENCRYPT, OnFailure.BOUNCE, concurrency=17
)
BURST = InstanceSpec("burst", (PRIVATE,))
SPEC = AttachSpec(frozenset({Hook.TRANSPORT}), instances=(BURST,))


def files(main: str = "", *, leaving: bool = False, spec: AttachSpec = SPEC) -> dict[str, str]:
    own = main_cf.settings(main)
    facts = replace(FACTS, values={**FACTS.values, **own})
    sources = Sources(facts, master_cf.services(MASTER), own, {**own, "enable_long_queue_ids": "y"})
    return instance_files(BURST, spec, sources, leaving=leaving)


def after(main: str = "", **options: bool) -> dict[str, str]:
    return main_cf.settings(files(main, **options)[MAIN_CF])


@pytest.mark.parametrize(
    ("main", "name", "value"),
    [
        ("myhostname = mail.example.net\n", "myhostname", "mail.example.net"),
        ("inet_interfaces = 192.0.2.1\n", "inet_interfaces", "192.0.2.1"),
        ("relayhost = [relay.example.net]\n", "relayhost", "[relay.example.net]"),
        ("smtp_tls_mandatory_protocols = >=TLSv1.2\n", None, ">=TLSv1.2"),
        ("smtp_destination_concurrency_limit = 7\n", None, "7"),
        ("bounce_queue_lifetime = 1d\n", None, "1d"),
        ("smtp_header_checks = pcre:${config_directory}/out\n", None, "pcre:/etc/postfix/out"),
        ("smtp_generic_maps = unix:$queue_directory/x\n", None, "unix:/var/spool/postfix/x"),
        (
            "smtp_tls_session_cache_database = btree:/var/lib/postfix/scache\n",
            None,
            "btree:/var/lib/postfix-gp-burst/scache",
        ),
        (
            "smtp_tls_session_cache_database = btree:${data_directory}/scache\n",
            None,
            "btree:${data_directory}/scache",
        ),
        ("our_name = m.example\nour_other = x\n", "our_name", "m.example"),
        ("mydestination = a.example\nsmtp_x = $mydestination b\n", "smtp_x", "a.example b"),
        ("our_relay = r.example\nrelayhost = $our_relay\n", "our_relay", "r.example"),
        (
            "transport_maps = hash:/t\nsmtp_generic_maps = $transport_maps\n",
            "smtp_generic_maps",
            "hash:/t",
        ),
        (
            "transport_maps = hash:/t\nproxy_read_maps = ${transport_maps} x\n",
            "proxy_read_maps",
            "hash:/t x",
        ),
    ],
)
def test_what_a_delivery_depends_on_is_taken_over(main: str, name: str | None, value: str) -> None:
    assert after(main)[name or main.partition(" ")[0]] == value


@pytest.mark.parametrize(
    "line",
    [
        "transport_maps = hash:/t\nproxy_read_maps = $transport_maps",
        "our_other = x",
        "always_bcc = a@b.example",
        "content_filter = smtp:[127.0.0.1]:10024",
        "smtpd_milters = inet:localhost:1",
        "transport_maps = hash:/etc/postfix/transport",
        "virtual_alias_maps = hash:/etc/postfix/virtual",
        "header_checks = regexp:/x",
        "unrelated = 1",
        "multi_instance_wrapper = x",
        "gatepost_milter = x",
    ],
)
def test_what_the_main_instance_has_done_is_not_done_again(line: str) -> None:
    assert line.partition(" ")[0] not in after(line + "\n")


@pytest.mark.parametrize(
    ("main", "name", "value"),
    [
        ("message_size_limit = 1000\n", "message_size_limit", "0"),
        ("in_flow_delay = 9s\n", "in_flow_delay", "0"),
        # Else a message that the main instance has taken would be bounced, or changed, here.
        ("hopcount_limit = 100\n", "hopcount_limit", "1000000"),
        ("append_dot_mydomain = no\n", "append_dot_mydomain", "no"),
        ("message_drop_headers = bcc\n", "message_drop_headers", ""),
        ("mydestination = example.net\n", "mydestination", ""),
        ("master_service_disable =\n", "master_service_disable", "inet"),
        ("authorized_submit_users = static:anyone\n", "authorized_submit_users", ""),
        (
            "default_transport = smtp\n",
            "default_transport",
            "gp-back:unix:/var/spool/postfix/private/gatepost-return",
        ),
        (
            "sender_dependent_default_transport_maps = hash:/x\n",
            "sender_dependent_default_transport_maps",
            "socketmap:unix:/var/spool/postfix/gatepost/maps.sock:transport@burst",
        ),
    ],
)
def test_what_it_sets_itself(main: str, name: str, value: str) -> None:
    assert after(main)[name] == value


def test_a_unix_socket_is_let_in_whichever_protocol_it_is_taken_for() -> None:
    values = after("inet_protocols = ipv6\n")
    for name in ("mynetworks", "smtpd_authorized_xforward_hosts"):
        assert values[name] == "127.0.0.0/8, [::1]/128"


def test_its_services_are_those_of_the_main_instance_without_a_chroot() -> None:
    found = {entry.name: entry for entry in master_cf.services(files()[MASTER_CF])}
    clone = found["gp-burst-private"]
    assert clone.columns == ("-", "-", "n", "-", "50")
    assert clone.value("smtp_sasl_password_maps") == "hash:/etc/postfix/passwords"
    assert clone.value("smtp_tls_security_level") == "encrypt"
    maps = clone.value("smtp_tls_policy_maps")
    assert maps == "socketmap:unix:/var/spool/postfix/gatepost/maps.sock:tls-private"
    assert clone.value("syslog_name") == "postfix-gp-burst/gp-burst-private"
    assert after()["gp-burst-private_destination_concurrency_limit"] == "17"
    assert all(entry.columns[2] == "n" for entry in found.values())
    assert not [entry for entry in found.values() if entry.type == "inet"]


def test_one_that_is_to_go_asks_nobody_and_gives_everything_back() -> None:
    values = after(leaving=True)
    assert "sender_dependent_default_transport_maps" not in values
    assert values["default_transport"].startswith("gp-back:")
    names = {entry.name for entry in master_cf.services(files(leaving=True)[MASTER_CF])}
    assert "gp-burst-private" not in names
    assert "gp-back" in names


def test_no_parameter_is_set_twice() -> None:
    text = files("myhostname = a.example\ncompatibility_level = 3.6\n")[MAIN_CF]
    names = [parameter.name for parameter in main_cf.parameters(text)]
    assert len(names) == len(set(names))


def test_a_queue_behind_a_symbolic_link_has_the_other_beside_it(tmp_path: Path) -> None:
    (tmp_path / "disk" / "mail").mkdir(parents=True)
    (tmp_path / "postfix").symlink_to(tmp_path / "disk" / "mail")
    facts = replace(FACTS, queue_directory=tmp_path / "postfix")
    place = place_of("burst", facts)
    # What the transport map answers is looked up from within the queue directory.
    _, _, path = hand_over("burst", "mail").split(":", 2)
    from_within = (facts.queue_directory.resolve() / path).resolve()
    assert place.socket == from_within
    assert place.queue_directory == tmp_path / "disk" / "mail-gp-burst"


def test_where_it_stands(tmp_path: Path) -> None:
    place = place_of("burst", FACTS)
    assert place.config_dir == Path("/etc/postfix-gp-burst")
    assert place.socket == Path("/var/spool/postfix-gp-burst/private/gatepost")
    assert place.data_directory == Path("/var/lib/postfix-gp-burst")
    assert place.name == "postfix-gp-burst"
    assert (lane_of("/etc/postfix-gp-burst"), lane_of("/etc/postfix-out")) == ("burst", None)
    value = "/etc/postfix-out, /etc/postfix-gp-burst /srv/other-gp-burst"
    assert registered(value, Path("/etc/postfix")) == ("burst",)
    assert not is_ours(tmp_path)
    (tmp_path / MAIN_CF).write_text(f"{MARK}, for a lane\n")
    assert is_ours(tmp_path)
