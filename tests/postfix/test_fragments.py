"""postfix-conf/ shows what attach writes, to the letter.

After a change of what attach writes, run this file with GATEPOST_WRITE=1 in the environment.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.postfix import bounce_filter, main_cf
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.files import instance_files, sources_of
from gatepost.postfix.parameters import LIST_HOOKS, SCALARS
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.planning import bare, plan_attach
from gatepost.postfix.spec import AttachSpec, Hook, InstanceSpec, ServiceSpec
from gatepost.postfix_version import PostfixVersion
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure

FOLDER = Path(__file__).resolve().parents[2] / "postfix-conf"

MAIN_HEAD = """\
# What `gatepost attach` writes into the main.cf of a Postfix 3.10 as it was installed, but for one
# list, relay_recipient_maps, which is left alone where it is empty. Nothing of it is to be copied
# by hand: `gatepost attach --dry-run` shows the same for your own files.
#
# Where main.cf sets one of these lists already, the list stays where it is and gets a reference to
# ours in front, such as "smtpd_milters = $gatepost_milter, inet:localhost:8891"; the line here is
# then missing. A setting that ours replaces is commented out with "#gatepost# " where it stands.
# `gatepost detach` takes back all of it. Lines that start with "#: " are part of what is written.

"""
MAIN_BEFORE = """\
# A list of the operator's own: who exists in relay_domains.
relay_recipient_maps = hash:/etc/postfix/relay_recipients

"""
MASTER_HEAD = """\
# What `gatepost attach` writes into master.cf: one smtp(8) service for each pair of lane and TLS
# profile that tenants use. Here: a profile "private" (level encrypt, on_failure bounce) on a lane
# "bulk" with a source address of its own, and a profile "bank" (level verify) on the lane "normal".
# Each service takes over the columns and the -o overrides of your own smtp service. The lane
# "burst" is a Postfix instance of its own: its services stand in its own master.cf, which
# instance-master.cf shows, and one service here hands mail to it.
#
# Where a listener overrides a list that we stand in, as submission services often do, the override
# gets a reference to ours in front, such as
#   -o smtpd_recipient_restrictions=$gatepost_policy,permit_sasl_authenticated,reject
# A listener on loopback where a content filter gives mail back gets
#   -o gatepost_milter=
#   -o gatepost_policy=
# so that mail is not checked and tagged a second time.

"""


INSTANCE_HEAD = """\
# What `gatepost attach` writes as /etc/postfix-gp-burst/{name}, for a lane "burst" that is a
# Postfix instance of its own, where main.cf of the main instance sets what stands at the end of
# instance-main.cf. Lines that start with "#: " are part of what is written.

"""
OPERATORS = """\
myhostname = mail.example.net
smtp_tls_session_cache_database = btree:${data_directory}/smtp_scache
maximal_queue_lifetime = 3d
"""


def written() -> dict[str, str]:
    """Return what attach writes for a set-up that shows all of it."""
    defaults = {
        **dict.fromkeys((hook.parameter for hook in LIST_HOOKS), ""),
        **dict.fromkeys(SCALARS, ""),
        "smtp_tls_loglevel": "0",
        "default_transport": "smtp",
        "syslog_name": "postfix",
        "data_directory": "/var/lib/postfix",
    }
    facts = PostfixFacts(
        PostfixVersion(3, 10),
        Path("/etc/postfix"),
        Path("/var/spool/postfix"),
        values=defaults,
        defaults=defaults,
        ca_file=Path("/etc/ssl/certs/ca-certificates.crt"),
    )
    spec = AttachSpec(
        frozenset(Hook),
        services=(
            ServiceSpec(
                "gp-bulk-private",
                "bulk",
                "private",
                Level.ENCRYPT,
                OnFailure.BOUNCE,
                concurrency=10,
                rate_delay_s=1,
                address4="192.0.2.10",
                address6="2001:db8::10",
            ),
            ServiceSpec("gp-normal-bank", "normal", "bank", Level.VERIFY),
        ),
        returns=("bounces.example.net", "fbl.example.net"),
        instances=(
            InstanceSpec(
                "burst",
                (
                    ServiceSpec(
                        "gp-burst-private",
                        "burst",
                        "private",
                        Level.ENCRYPT,
                        OnFailure.BOUNCE,
                        concurrency=17,
                    ),
                ),
            ),
        ),
    )
    files = {
        MAIN_CF: MAIN_BEFORE,
        MASTER_CF: "smtp      unix  -       -       y       -       -       smtp\n",
    }
    plan = plan_attach(files, bare(files), spec, facts)
    sources = sources_of(plan, bare(files), facts)
    sources = replace(sources, before={**sources.before, **main_cf.settings(OPERATORS)})
    there = instance_files(spec.instances[0], spec, sources)
    return {
        MAIN_CF: MAIN_HEAD + plan.new[MAIN_CF],
        MASTER_CF: MASTER_HEAD + plan.new[MASTER_CF].removeprefix(files[MASTER_CF]),
        bounce_filter.FILE_NAME: bounce_filter.TEXT,
        **{
            f"instance-{name}": INSTANCE_HEAD.replace("{name}", name) + there[name]
            for name in (MAIN_CF, MASTER_CF)
        },
    }


@pytest.mark.parametrize(
    "name",
    [
        *(MAIN_CF, MASTER_CF, bounce_filter.FILE_NAME),
        *(f"instance-{MAIN_CF}", f"instance-{MASTER_CF}"),
    ],
)
def test_the_fragment_is_what_attach_writes(name: str) -> None:
    path, text = FOLDER / name, written()[name]
    if os.environ.get("GATEPOST_WRITE"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
