r"""Make a fixture: run mail of every TLS kind through Postfix in the lab, and keep what it logged.

Run it in the lab, on a host with the version that the fixture is for::

    sudo env PYTHONPATH=. .venv/bin/python -m lab.enter -- .venv/bin/python \
        tests/maillog/record.py DIRECTORY

It writes ``<version>.log``, and ``<version>.json`` with what the mail servers themselves recorded:
for each message that arrived its recipients, host and TLS version or null.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lab.postfix import PrivatePostfix
from lab.send import Mail, send
from lab.world import ADDRESS, World

PROFILES = {
    "private": {"level": "encrypt", "on_failure": "bounce"},
    "bank": {"level": "verify", "on_failure": "defer"},
}
CONFIGURATION = {
    "modes": {"default": "enforce", "feedback": "off"},
    "tls": {"profiles": PROFILES},
    "tenants": {
        "private": {"logins": ["private"], "senders": ["private.example"], "profile": "private"},
        "bank": {"logins": ["bank"], "senders": ["bank.example"], "profile": "bank"},
        "acme": {"logins": ["acme"], "senders": ["acme.example"]},
    },
}
DOMAINS = [
    f"{kind}.example"
    for kind in (
        *("good", "plain", "selfsigned", "wrongname", "expired", "oldtls", "brokentls"),
        *("refusestls", "refuses", "busy", "closes", "dead"),
    )
]
HOSTILE = '"x>, relay=mx.lie[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (ok)"'


def record(directory: Path) -> None:
    """Write the fixture of the Postfix that is installed."""
    with World() as world:
        main = {
            # A handshake that fails is tried in plaintext only after the first backoff.
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "1000s",
            "smtp_connection_cache_destinations": "plain.example, good.example",
        }
        users = tuple(CONFIGURATION["tenants"])
        services = ["tlsproxy unix - - n - 0 tlsproxy"]
        with world.postfix(main=main, users=users, services=services) as postfix:
            with world.gatepost(postfix, CONFIGURATION) as gatepost:
                gatepost.attach()
                _round(postfix)
                postfix.configure({"smtp_tls_connection_reuse": "yes"})
                postfix.reload()
                _reuse(postfix)
            version = postfix.postconf("mail_version")
            (directory / f"{version}.log").write_bytes(postfix.maillog.read_bytes())
            arrived = [
                {
                    "recipients": message.recipients,
                    "host": message.host,
                    "tls": message.tls and message.tls["version"],
                    "subject": message.headers("subject")[0],
                }
                for message in world.fleet.messages()
            ]
            (directory / f"{version}.json").write_text(
                json.dumps(arrived, indent=1) + "\n", encoding="ascii"
            )


def _round(postfix: PrivatePostfix) -> None:
    for login in CONFIGURATION["tenants"]:
        for domain in DOMAINS:
            _send(login, f"u@{domain}")
    many = [f"u{number}@good.example" for number in range(3)]
    _send("acme", many[0], many[1:])
    _send("acme", f"{HOSTILE}@plain.example")
    _send("acme", "B@GOOD.Example")
    postfix.wait_log(r"to=<B@GOOD.Example>.*status=sent", 60)
    # What is older than the first backoff goes out in plaintext when its handshake fails again.
    time.sleep(1.5)
    postfix.flush()
    postfix.wait_log(r" postfix/smtp.*to=<u@brokentls.example>.*status=sent", 60)


def _reuse(postfix: PrivatePostfix) -> None:
    for number in range(4):
        for domain in ("good.example", "plain.example", "selfsigned.example"):
            _send("acme", f"r{number}@{domain}")
            postfix.wait_log(rf"to=<r{number}@{domain}>.*status=sent", 60)


def _send(login: str, recipient: str, more: list[str] | None = None) -> None:
    send(
        ADDRESS,
        Mail(f"news@{login}.example", recipient, f"{login} {recipient}"[:60], login=login,
             more_recipients=tuple(more or ())),
    )  # fmt: skip


if __name__ == "__main__":
    record(Path(sys.argv[1]))
