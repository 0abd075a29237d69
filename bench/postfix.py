"""Whole Postfix: attached and enforcing beside plain, with the share of each hook.

Purpose: what an administrator pays for Gatepost, and which hook the next saving is in.
Source: smtp-source(1), smtp-sink(1): 20 sessions, messages of 4 KiB, everything on one machine,
source and sink included in the processor time.
Format: each variant is a Postfix of its own with processes of its own; all wait, one works. A
variant without a hook shows by the difference what that hook costs.
Each message has a recipient of its own, as mail has: to one and the same, Postfix would remember
the route, and plain Postfix would look faster than it is. Of the rates the ratio is taken round by
round; the ratio of processor time beside it says the same with less noise.
Limits: the sink speaks no TLS, so that the cost of TLS itself, which is the same for both, does not
hide the difference; every hook is asked for every message all the same.
Errors: `LabError` or `LoadError` if something does not start.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.configurations import write_configuration
from bench.load import wait_for
from bench.processes import running, tree_cpu_seconds
from bench.report import Row
from bench.roles import Role, role, workplace
from lab.enter import CLIENT
from lab.postfix import PrivatePostfix
from lab.process import Daemon, wait_until
from lab.process import run as run_command

GOAL_RATIO = 0.80
TENANTS = 1_000
MESSAGES = 1_500
SESSIONS = 20
OCTETS = 4_096
ROUNDS = 5
SINK = "198.18.2.1"
SINK_PORT = 2525
_SENDER = "news@t0.example"
_SERVICE = "gp-normal-mixed"

_MAIN = {
    "relayhost": f"[{SINK}]:{SINK_PORT}",
    "disable_dns_lookups": "yes",
    "smtpd_peername_lookup": "no",
    # The block of attach sets these; without them here it would be they that are measured.
    "enable_long_queue_ids": "yes",
    "smtp_tls_loglevel": "1",
    "smtp_tls_security_level": "may",
    "smtpd_client_connection_count_limit": "0",
    "default_destination_concurrency_limit": "20",
}


@dataclass
class Variant:
    """One set-up to measure.

    Attributes:
        name: For the table.
        postfix: Its Postfix.
        roles: Its processes of Gatepost.
        rates: Messages a second, one value for each round.
        costs: Processor time of a message in milliseconds, one value for each round.
        shares: Of that, what each of `roles` took, one tuple for each round.
    """

    name: str
    postfix: PrivatePostfix
    roles: tuple[Role, ...] = ()
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    shares: list[tuple[float, ...]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return the median rate in messages a second."""
        return statistics.median(self.rates)

    def forget(self) -> None:
        """Drop what was measured."""
        self.rates.clear()
        self.costs.clear()
        self.shares.clear()

    def share(self, number: int) -> float:
        """Return the median processor time that one of `roles` took of a message, in ms."""
        return statistics.median(share[number] for share in self.shares)

    @property
    def cost(self) -> float:
        """Return the median processor time of a message in milliseconds."""
        return statistics.median(self.costs)


def _without_milter(postfix: PrivatePostfix) -> None:
    postfix.configure({"smtpd_milters": "", "non_smtpd_milters": ""})


def _without_check(postfix: PrivatePostfix) -> None:
    postfix.configure({"smtpd_recipient_restrictions": ""})


def _without_tls_map(postfix: PrivatePostfix) -> None:
    parameter = f"{_SERVICE}/unix/smtp_tls_policy_maps="
    run_command(["postconf", "-c", postfix.config_dir, "-P", parameter])


def _without_maps(postfix: PrivatePostfix) -> None:
    postfix.configure({"sender_dependent_default_transport_maps": ""})


_LEFT_OUT: dict[str, Callable[[PrivatePostfix], None]] = {
    "milter": _without_milter,
    "RCPT TO check": _without_check,
    "TLS map": _without_tls_map,
    "transport map, own service and TLS map": _without_maps,
}


def run() -> list[Row]:
    """Measure, and return the rows."""
    with workplace() as directory, contextlib.ExitStack() as stack:
        sink = Daemon(
            ["smtp-sink", "-u", "postfix", f"{SINK}:{SINK_PORT}", "512"], directory / "sink.log"
        )
        stack.callback(sink.stop)
        plain = Variant("plain", _postfix(directory, 0, stack))
        variants = [
            plain,
            _attached(directory, 1, stack, "attached"),
            _attached(directory, 2, stack, "token", first_tenant="return_path: token, "),
            _bare(directory, 3, stack),
        ]
        for number, (name, leave_out) in enumerate(_LEFT_OUT.items(), len(variants)):
            variants.append(_attached(directory, number, stack, name, leave_out))
        for each in variants:
            _measure(each, sink, MESSAGES // 5)
            each.forget()
        for _ in range(ROUNDS):
            for each in variants:
                _measure(each, sink, MESSAGES)
        rows = _rows(variants)
        for each in variants[:2]:
            each.forget()
        for _ in range(ROUNDS):
            for each in variants[:2]:
                _measure(each, sink, MESSAGES, anew=True)
    return [*rows, *_anew_rows(*variants[:2])]


def _postfix(directory: Path, number: int, stack: contextlib.ExitStack) -> PrivatePostfix:
    postfix = PrivatePostfix(
        directory / f"p{number}",
        address=f"198.18.2.{10 + number}",
        hostname=f"p{number}.sender.example",
        main=_MAIN,
    )
    return stack.enter_context(postfix)


def _attached(
    directory: Path,
    number: int,
    stack: contextlib.ExitStack,
    name: str,
    leave_out: Callable[[PrivatePostfix], None] | None = None,
    first_tenant: str = "",
) -> Variant:
    postfix = _postfix(directory, number, stack)
    configuration = write_configuration(
        directory / f"g{number}",
        TENANTS,
        postfix_dir=postfix.config_dir,
        tls_profiles="    mixed: {level: may, domains: {secure.example: {level: encrypt}}}",
        first_tenant=f"{first_tenant}profile: mixed, clients: [{CLIENT}/32]",
    )
    sockets = postfix.queue_dir / "gatepost"
    roles = tuple(
        stack.enter_context(role(each, configuration, sockets)) for each in ("policy", "milter")
    )
    # attach wants to see what takes bounces in.
    stack.enter_context(role("back", configuration, sockets))
    run_command(
        [sys.executable, "-m", "gatepost", "attach", "--no-reload", "--config", configuration],
        timeout_s=120,
    )
    if leave_out is not None:
        leave_out(postfix)
    postfix.reload()
    return Variant(name, postfix, roles)


def _bare(directory: Path, number: int, stack: contextlib.ExitStack) -> Variant:
    """Return a Postfix with nothing but a milter of pymilter that adds three headers."""
    postfix = _postfix(directory, number, stack)
    place = postfix.queue_dir / "bare"
    place.mkdir()
    path = place / "milter"
    command = [sys.executable, "-m", "bench.bare_milter", str(path), "callbacks"]
    process = stack.enter_context(running(command))
    wait_for(str(path))
    path.chmod(0o666)
    postfix.configure({"smtpd_milters": f"unix:{path}"})
    postfix.reload()
    return Variant("bare", postfix, (Role(process.pid, place),))


def _measure(variant: Variant, sink: Daemon, messages: int, *, anew: bool = False) -> None:
    """Send messages through a variant and add rate and cost of this round to it.

    Args:
        variant: The set-up.
        sink: Where the mail goes.
        messages: How many.
        anew: Whether the client connects anew for each message.
    """
    master = variant.postfix.master_pid()
    assert master is not None
    pids = [master, sink.pid, *(each.pid for each in variant.roles)]
    shares = [tree_cpu_seconds(each.pid) for each in variant.roles]
    before = sum(map(tree_cpu_seconds, pids)) + _children_cpu()
    began = time.monotonic()
    subprocess.run(
        [
            "smtp-source", "-N", *([] if anew else ["-d"]),
            "-s", str(SESSIONS), "-m", str(messages), "-l", str(OCTETS),
            "-f", _SENDER, "-t", "reader@dest.example", f"{variant.postfix.address}:25",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    active = variant.postfix.queue_dir
    wait_until(
        lambda: (
            not any(any((active / name).iterdir()) for name in ("incoming", "active", "maildrop"))
        ),
        120,
        "the queue to drain",
    )
    taken = time.monotonic() - began
    spent = sum(map(tree_cpu_seconds, pids)) + _children_cpu() - before
    variant.rates.append(messages / taken)
    variant.costs.append(spent / messages * 1e3)
    variant.shares.append(
        tuple(
            (tree_cpu_seconds(each.pid) - share) / messages * 1e3
            for each, share in zip(variant.roles, shares, strict=True)
        )
    )


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _ratio(plain: Variant, attached: Variant) -> float:
    """Return the median of the ratios of rates, round by round."""
    return statistics.median(
        ours / theirs for ours, theirs in zip(attached.rates, plain.rates, strict=True)
    )


def _anew_rows(plain: Variant, attached: Variant) -> list[Row]:
    way = "a connection for each message"
    return [_plain_row(f"{way}: plain", plain), _row(f"{way}: attached", plain, attached)]


def _plain_row(what: str, plain: Variant) -> Row:
    return Row(what, f"{plain.rate:.0f} messages/s", f"{plain.cost:.2f} ms of CPU each")


def _row(what: str, plain: Variant, other: Variant) -> Row:
    return Row(
        what,
        f"{other.rate:.0f} messages/s, {_ratio(plain, other):.2f} of plain",
        f"{other.cost:.2f} ms of CPU each, {plain.cost / other.cost:.2f} of plain",
    )


def _rows(variants: list[Variant]) -> list[Row]:
    plain, attached, token, bare, *without = variants
    ratio = _ratio(plain, attached)
    row = _row("attached and enforcing", plain, attached)
    return [
        _plain_row("plain Postfix", plain),
        replace(row, goal=f"≥ {GOAL_RATIO:.2f} of plain", met=ratio >= GOAL_RATIO),
        *(
            Row(f"of which {each.name}", f"{attached.cost - each.cost:.2f} ms of CPU")
            for each in without
        ),
        Row("of which END-OF-MESSAGE check", "0, it is not attached"),
        Row("of which our policy server itself", f"{attached.share(0):.2f} ms of CPU"),
        Row(
            "of which our milter itself",
            f"{attached.share(1):.2f} ms of CPU",
            f"{bare.share(0):.2f} ms for pymilter that only adds three headers",
        ),
        _row("pymilter that only adds three headers", plain, bare),
        _row("attached, with token return paths", plain, token),
    ]
