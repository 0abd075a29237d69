"""Whether the log says enough, and whether all of it arrives.

Purpose: delivery by delivery, the log is the proof of what went out encrypted. A line that a rate
limit drops is a delivery of which nothing is known. This module reads the configuration of loggers.
Source: MAILLOG_README; journald.conf(5) RateLimitIntervalSec, RateLimitBurst (10,000 messages in 30
seconds, for each service); systemd.exec(5) LogRateLimitIntervalSec; rsyslog's imjournal (20,000 in
600 seconds by default), imuxsock (no limit by default) and $RepeatedMsgReduction.
Errors: none are raised: a file that cannot be read says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix_version import PostfixVersion

# From here on the delivery line itself says how it was protected.
_TLS_IN_DELIVERY_LINE = PostfixVersion(3, 11)

_JOURNALD = "etc/systemd/journald.conf"
_JOURNALD_DIRECTORIES = ("usr/lib/systemd", "run/systemd", "etc/systemd")
_UNITS = "etc/systemd/system/postfix*.service.d/*.conf"
_RSYSLOG = ("etc/rsyslog.conf", "etc/rsyslog.d/*.conf")

_ASSIGNMENT = re.compile(r"^\s*([A-Za-z]+)\s*=\s*(\S*)\s*$", re.MULTILINE)
_ZERO = re.compile(r"0+(?:\.0*)?[a-z]*|infinity", re.IGNORECASE)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_MODULE = re.compile(r"\bmodule\s*\(([^)]*)\)", re.IGNORECASE | re.DOTALL)
_INTERVAL = re.compile(r"ratelimit\.interval\s*=\s*\"?(\d+)", re.IGNORECASE)
_OLD_INTERVAL = re.compile(r"^\s*\$SystemLogRateLimitInterval\s+([1-9]\d*)", re.MULTILINE)
_REPEATED = re.compile(r"^\s*\$RepeatedMsgReduction\s+on\b", re.IGNORECASE | re.MULTILINE)


def check(scene: Scene, root: Path = Path("/")) -> Iterator[Finding]:
    """Look at Postfix's log settings and at the loggers of the host.

    Args:
        scene: What was read of Postfix.
        root: Root of the file system, for tests.
    """
    yield from _postfix(scene)
    # With a log file of its own, Postfix uses no logger that could drop anything.
    if not scene.value("maillog_file"):
        yield from _journald(root)
        yield from _rsyslog(root)


def _postfix(scene: Scene) -> Iterator[Finding]:
    old = scene.facts.version < _TLS_IN_DELIVERY_LINE
    silent = [
        entry.key
        for entry in scene.entries
        if entry.command == "smtp" and scene.value("smtp_tls_loglevel", entry) == "0"
    ]
    if old and silent:
        yield problem(
            f"smtp_tls_loglevel = 0 for {', '.join(silent)}.",
            "The log does not tell which deliveries were encrypted, so nothing can be proved.",
            scene.set_main("smtp_tls_loglevel = 1"),
        )
    elif silent:
        yield warning(
            f"smtp_tls_loglevel = 0 for {', '.join(silent)}.",
            "The delivery line tells how a message was protected, but not the protocol version, "
            "and nothing of a message that went over a reused connection (tls=may?): a lowest "
            "version cannot be proved, and such messages count as unknown.",
            scene.set_main("smtp_tls_loglevel = 1"),
        )
    if scene.value("info_log_addr_form").lower() == "internal":
        yield warning(
            "info_log_addr_form = internal.",
            "An address with unusual characters then cannot be told from what follows it in the "
            "log: who chooses a recipient could make a delivery look encrypted.",
            scene.set_main("info_log_addr_form = external"),
        )
    if not scene.on("enable_long_queue_ids"):
        yield problem(
            "enable_long_queue_ids is not yes.",
            "Short queue ids repeat within hours: log lines of two messages cannot be told apart.",
            scene.set_main("enable_long_queue_ids = yes"),
        )


def _journald(root: Path) -> Iterator[Finding]:
    if not (root / "run/systemd/journal").is_dir():
        return
    found: dict[str, str] = {}
    names = {path.name: path for d in _JOURNALD_DIRECTORIES for path in _dropins(root / d)}
    # Later files win; a file of the same name in /etc hides that in /usr/lib.
    for path in [root / _JOURNALD, *(names[name] for name in sorted(names))]:
        found.update(_ASSIGNMENT.findall(_read(path)))
    if _off(found, "RateLimitIntervalSec") or _off(found, "RateLimitBurst"):
        return
    units = {k: v for path in root.glob(_UNITS) for k, v in _ASSIGNMENT.findall(_read(path))}
    if _off(units, "LogRateLimitIntervalSec") or _off(units, "LogRateLimitBurst"):
        return
    yield warning(
        "journald drops Postfix's log lines above a rate "
        f"({found.get('RateLimitBurst') or '10000'} lines in "
        f"{found.get('RateLimitIntervalSec') or '30s'}).",
        "A message takes six lines or more. On a busy host deliveries go missing from the log, and "
        "then nobody can tell whether they were encrypted.",
        "mkdir -p /etc/systemd/journald.conf.d",
        r"printf '[Journal]\nRateLimitIntervalSec=0\n' > /etc/systemd/journald.conf.d/mail.conf",
        "systemctl restart systemd-journald",
    )


def _rsyslog(root: Path) -> Iterator[Finding]:
    for path in (found for pattern in _RSYSLOG for found in sorted(root.glob(pattern))):
        text = _COMMENT.sub("", _read(path))
        shown = f"/{path.relative_to(root)}"
        for limited in _limits(text):
            yield warning(
                f"{shown}: rsyslog drops log lines above a rate ({limited}).",
                "On a busy host deliveries go missing from the log, and then nobody can tell "
                "whether they were encrypted.",
                f'set RateLimit.Interval="0" (imuxsock: SysSock.RateLimit.Interval) in {shown}',
                "systemctl restart rsyslog",
            )
        if _REPEATED.search(text):
            yield warning(
                f'{shown}: rsyslog writes "message repeated N times" for equal lines.',
                "What the repeated line said is then missing where it is looked for.",
                rf"sed -i 's/^\$RepeatedMsgReduction on/$RepeatedMsgReduction off/' {shown}",
                "systemctl restart rsyslog",
            )


def _limits(text: str) -> Iterator[str]:
    for arguments in _MODULE.findall(text):
        interval = _INTERVAL.search(arguments)
        if "imjournal" in arguments and (interval is None or interval[1] != "0"):
            yield "imjournal"
        elif "imuxsock" in arguments and interval is not None and interval[1] != "0":
            yield "imuxsock"
    if _OLD_INTERVAL.search(text):
        yield "$SystemLogRateLimitInterval"


def _dropins(directory: Path) -> list[Path]:
    return sorted(directory.glob("journald.conf.d/*.conf"))


def _off(settings: dict[str, str], name: str) -> bool:
    return name in settings and _ZERO.fullmatch(settings[name]) is not None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
