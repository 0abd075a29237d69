"""A scene for doctor, made from the text of main.cf and master.cf as attach leaves them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix import main_cf, master_cf
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.planning import bare, plan_attach
from gatepost.postfix.referee import write_scratch
from gatepost.postfix.services import attach_spec
from gatepost.postfix_version import PostfixVersion
from gatepost.snapshot import Snapshot
from tests.world import snapshot, tenant

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
    "tls_required_enable": "yes",
    "default_transport": "smtp",
    "syslog_name": "postfix",
    "milter_protocol": "6",
    "milter_default_action": "tempfail",
    "milter_macro_daemon_name": "mail.example",
    "myhostname": "mail.example",
    "inet_interfaces": "all",
    "maillog_file": "/var/log/mail.log",
    "cleanup_replace_stray_cr_lf": "yes",
    "smtpd_forbid_bare_newline": "normalize",
    "smtpd_sasl_auth_enable": "no",
    "smtputf8_enable": "yes",
    "smtp_connection_cache_on_demand": "yes",
    "sender_canonical_classes": "envelope_sender, header_sender",
    "canonical_classes": "envelope_sender, envelope_recipient, header_sender, header_recipient",
    "masquerade_classes": "envelope_sender, header_sender, header_recipient",
    "mail_owner": "postfix",
}
MASTER = """\
smtp      inet  n       -       y       -       -       smtpd
submission inet n       -       y       -       -       smtpd
  -o smtpd_sasl_auth_enable=yes
cleanup   unix  n       -       y       -       0       cleanup
rewrite   unix  -       -       y       -       -       trivial-rewrite
smtp      unix  -       -       y       -       -       smtp
"""
NEWEST = PostfixVersion(3, 11, 6)
ACME = tenant("acme", senders=("acme.example",), logins=("acme",), profile="private")

MakeScene = Callable[..., Scene]


def expanded(value: str, values: dict[str, str]) -> str:
    return re.sub(r"\$(\w+)", lambda m: expanded(values.get(m[1], ""), values), value)


def facts(main: str, version: PostfixVersion, directory: Path) -> PostfixFacts:
    raw = {**DEFAULTS, **main_cf.settings(main)}
    return PostfixFacts(
        version,
        directory,
        directory,
        values={name: expanded(value, raw) for name, value in raw.items()},
        defaults=DEFAULTS,
        running=True,
        ca_file=Path(__file__),
    )


def attached(files: dict[str, str], config: Snapshot, version: PostfixVersion) -> dict[str, str]:
    without = bare(files)
    found = facts(without.main.text, version, Path("/etc/postfix"))
    return dict(plan_attach(files, without, attach_spec(config), found).new)


@pytest.fixture
def scene(tmp_path: Path) -> MakeScene:
    """Return a function that makes a scene; `edit` changes both files after attach."""

    def make(
        main: str = "",
        master: str = MASTER,
        *,
        config: Snapshot | None = None,
        edit: Callable[[str], str] = lambda text: text,
        version: PostfixVersion = NEWEST,
        attach: bool = True,
        **values: str,
    ) -> Scene:
        config = config or snapshot(ACME)
        files = {MAIN_CF: main, MASTER_CF: master}
        if attach:
            files = attached(files, config, version)
        files = {name: edit(text) for name, text in files.items()}
        write_scratch(files, tmp_path)
        found = facts(files[MAIN_CF], version, tmp_path)
        raw = {**DEFAULTS, **main_cf.settings(files[MAIN_CF])}
        entries = tuple(master_cf.services(files[MASTER_CF]))
        overrides = {
            f"{entry.key}/{option.name}": expanded(option.value, raw)
            for entry in entries
            for option in entry.options
        }
        found = replace(found, values={**found.values, **values})
        return Scene(found, files, entries, overrides, config)

    return make
