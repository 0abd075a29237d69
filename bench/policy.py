"""Policy request: our processor time beside a bare echo and beside peers, with 1,000 tenants.

Purpose: the RCPT TO check stands on the path of every recipient.
Format: requests as smtpd(8) sends them at RCPT TO; tenants, senders and recipients vary.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterator

from bench.configurations import write_configuration
from bench.load import Target, measure, wait_for
from bench.peers import policyd_rate_limit, postfwd
from bench.processes import running
from bench.report import Row
from bench.roles import role, workplace

TENANTS = 1_000
GOAL_US = 45.0
REQUESTS = 16_000
PEER_REQUESTS = 1_600
POSTFWD_PORT = 10045
_END = b"\n\n"

_REQUEST = """\
request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address=192.0.2.{number}
client_name=client{number}.example.net
client_port=40{number:03}
reverse_client_name=client{number}.example.net
server_address=192.0.2.1
server_port=587
helo_name=client{number}.example.net
sender=news-{message}@t{tenant}.example
recipient=reader{message}@dest{number}.example
recipient_count=0
queue_id=
instance=1a2b.5f{message:06x}.{number:05}.0
size=0
etrn_domain=
stress=
sasl_method=PLAIN
sasl_username=t{tenant}
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=submission
mail_version=3.7.11

"""


def requests(seed: int) -> Iterator[bytes]:
    """Return an endless run of RCPT TO requests."""
    draw = random.Random(seed)  # noqa: S311 - which tenant asks is no secret
    while True:
        yield _REQUEST.format(
            number=draw.randrange(250),
            message=draw.randrange(1_000_000),
            tenant=draw.randrange(TENANTS),
        ).encode("ascii")


def run() -> list[Row]:
    """Measure, and return the rows."""
    with workplace() as directory, contextlib.ExitStack() as stack:
        configuration = write_configuration(directory / "gatepost", TENANTS)
        ours = stack.enter_context(role("policy", configuration))
        targets = [Target("gatepost", ours.pid, ours.socket("policy"), requests, _END, REQUESTS)]
        for kind in ("asyncio", "uvloop"):
            path = f"{directory}/{kind}"
            command = [sys.executable, "-m", "bench.echo", path, kind]
            echo = stack.enter_context(running(command))
            wait_for(path)
            targets.append(Target(f"echo on {kind}", echo.pid, path, requests, _END, REQUESTS))
        missing = []
        for peer, found in (
            (
                "policyd-rate-limit",
                stack.enter_context(policyd_rate_limit(directory / "rate-limit")),
            ),
            ("postfwd", stack.enter_context(postfwd(directory / "postfwd", POSTFWD_PORT))),
        ):
            if found is None:
                missing.append(peer)
            else:
                targets.append(Target(peer, found[0], found[1], requests, _END, PEER_REQUESTS))
        spent = measure(targets)
    return _rows(spent, missing)


def _rows(spent: dict[str, float], missing: list[str]) -> list[Row]:
    ours = spent.pop("gatepost")
    rows = [
        Row(
            f"RCPT TO check, {TENANTS:,} tenants",
            f"{ours:.1f} µs of CPU",
            f"{ours / spent['echo on asyncio']:.1f} × the bare asyncio echo",
            f"≤ {GOAL_US:g} µs",
            ours <= GOAL_US,
        )
    ]
    rows += [
        Row(name, f"{value:.1f} µs of CPU", f"{value / ours:.1f} × ours")
        for name, value in spent.items()
    ]
    return rows + [Row(name, "not measured", "not installed, or did not start") for name in missing]
