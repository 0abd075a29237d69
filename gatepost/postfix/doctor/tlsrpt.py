"""Whether Postfix reports the TLS failures that it meets, to those who asked for reports.

Purpose: from 3.10 on Postfix hands each TLS outcome to a library, whose collector makes the daily
reports of RFC 8460. Half a set-up reports nothing and delivers all mail, so nobody notices. This
module looks at the socket.
Source: Postfix TLSRPT_README; postconf(5) smtp_tlsrpt_enable, smtp_tlsrpt_socket_name;
src/smtp/smtp_tlsrpt.c (what switches it off with one warning); tlsrpt-collectd(1).
Errors: none are raised.
Not handled: whether this Postfix was built with the library, which no command of Postfix tells.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from gatepost.postfix.doctor.findings import Finding, note, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix.master_cf import Service

ENABLE = "smtp_tlsrpt_enable"
SOCKET = "smtp_tlsrpt_socket_name"

_CHROOT = 2
_ADVISED = "run/tlsrpt/tlsrpt.sock"
_LIBRARY = "ldd $(postconf -h daemon_directory)/smtp | grep tlsrpt"
_LOST = "Mail is delivered all the same, and no report is sent, so nobody notices."


def check(scene: Scene) -> Iterator[Finding]:
    """Look at the parameters of TLS reporting and at the socket that they name."""
    if not scene.facts.has(ENABLE):
        return
    name = scene.value(SOCKET)
    if not scene.on(ENABLE):
        yield _half_named(scene, name) if name else _not_set_up(scene)
        return
    if not name:
        yield warning(
            f"{ENABLE} = yes, but {SOCKET} is empty.",
            f"Postfix then switches reporting off, with one warning in the log. {_LOST}",
            scene.set_main(f"{SOCKET} = {_ADVISED}"),
        )
        return
    yield from _dns(scene)
    yield from _chroot(scene, name)
    yield from _socket(scene, name)
    yield from _switched_off(scene)


def _not_set_up(scene: Scene) -> Finding:
    directory = scene.facts.queue_directory / _ADVISED
    return note(
        "Postfix sends no TLS reports (RFC 8460).",
        "Domains that publish _smtp._tls ask senders to tell them daily which TLS sessions failed. "
        "Postfix 3.10 and later can: it hands each outcome to libtlsrpt, tlsrpt-collectd takes "
        "them, and tlsrpt-reportd sends the reports (both from sys4's tlsrpt-reporter).",
        f"see whether Postfix was built with libtlsrpt, as Debian's is: {_LIBRARY}",
        f"install tlsrpt-reporter (a package or PyPI), with socketname = {directory} and "
        f"socketgroup = {scene.facts.mail_owner} in collectd.cfg",
        scene.set_main(f"{SOCKET} = {_ADVISED}"),
        scene.set_main(f"{ENABLE} = yes"),
    )


def _half_named(scene: Scene, name: str) -> Finding:
    return warning(
        f"{SOCKET} = {name}, but {ENABLE} is no.",
        _LOST,
        scene.set_main(f"{ENABLE} = yes"),
    )


def _dns(scene: Scene) -> Iterator[Finding]:
    disabled = scene.value("smtp_dns_support_level") == "disabled"
    if disabled or scene.on("disable_dns_lookups"):
        yield warning(
            f"{ENABLE} = yes, but the SMTP client makes no DNS lookups.",
            f"Without them Postfix does not find out who wants reports. {_LOST}",
            scene.set_main("smtp_dns_support_level = enabled"),
            scene.set_main("disable_dns_lookups = no"),
        )


def _chroot(scene: Scene, name: str) -> Iterator[Finding]:
    jailed = [entry.key for entry in scene.entries if entry.command == "smtp" and _chrooted(entry)]
    if name.startswith("/") and jailed:
        yield warning(
            f"{SOCKET} = {name} is an absolute path, and {', '.join(jailed[:3])} runs chrooted.",
            f"The path then begins at {scene.facts.queue_directory}, where no collector listens. "
            "A path relative to the queue directory is the same with and without chroot.",
            scene.set_main(f"{SOCKET} = {_ADVISED}"),
            f"have tlsrpt-collectd listen at {scene.facts.queue_directory / _ADVISED}",
        )


def _socket(scene: Scene, name: str) -> Iterator[Finding]:
    path = scene.facts.queue_directory / name
    try:
        status = path.stat()
    except OSError as error:
        yield warning(
            f"{SOCKET}: {path}: {error.strerror}.",
            f"tlsrpt-collectd does not run, or listens elsewhere. {_LOST}",
            "systemctl status tlsrpt-collectd",
            f"set socketname = {path} in collectd.cfg",
        )
        return
    if not stat.S_ISSOCK(status.st_mode):
        yield warning(
            f"{SOCKET}: {path} is no socket.",
            f"tlsrpt-collectd listens elsewhere. {_LOST}",
            f"set socketname = {path} in collectd.cfg",
        )
    elif not _may_write(status, scene.facts.mail_owner):
        yield warning(
            f"{SOCKET}: {scene.facts.mail_owner} may not write to {path}.",
            f"Postfix's daemons run as {scene.facts.mail_owner}. {_LOST}",
            f"set socketgroup = {scene.facts.mail_owner} and socketmode = 0220 in collectd.cfg",
        )
    if Path(name).parts[0] in {"private", "public"}:
        yield warning(
            f"{SOCKET} = {name} lies in a directory of Postfix's own.",
            "Only Postfix's programs should make sockets there, and postfix check may change what "
            "others make.",
            scene.set_main(f"{SOCKET} = {_ADVISED}"),
        )


def _switched_off(scene: Scene) -> Iterator[Finding]:
    silent = [
        entry
        for entry in scene.entries
        if entry.command == "smtp" and scene.value(ENABLE, entry) != "yes"
    ]
    if silent:
        yield warning(
            f"{', '.join(entry.key for entry in silent)}: {ENABLE} is not yes.",
            "What these services deliver is missing in the reports.",
            *(scene.unset_override(entry, ENABLE) for entry in silent),
        )


def _chrooted(entry: Service) -> bool:
    # "-" means no since Postfix 3.0.
    return entry.columns[_CHROOT] == "y"


def _may_write(status: os.stat_result, owner: str) -> bool:
    try:
        account = pwd.getpwnam(owner)
    except KeyError:
        # Another finding tells that the account is missing.
        return True
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & stat.S_IWUSR)
    if status.st_gid in os.getgrouplist(owner, account.pw_gid):
        return bool(status.st_mode & stat.S_IWGRP)
    return bool(status.st_mode & stat.S_IWOTH)
