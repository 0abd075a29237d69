"""Whether Postfix can reach our sockets: somebody answers, and Postfix's own account may connect.

Purpose: "postmap -q works and smtp(8) fails" is the classic: the command runs as root, the daemon
as the account of `mail_owner`. So we connect as that account, and from the queue directory, which
the daemons have entered as root. This module does I/O.
Source: postconf(5) mail_owner; unix(7): connecting needs write permission on the socket and search
permission on each directory of the path.
Limits: a listen backlog below 128 fills up when a restart of Postfix connects all at once.
Errors: none are raised.
"""

from __future__ import annotations

import os
import pwd
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix.reach import unanswered

_SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
_SELINUX = Path("/sys/fs/selinux/enforce")
_LEAST_BACKLOG = 128
_PREPARE = "gatepost serve --prepare"

# Exit statuses of the child that tries; 1 and 2 are Python's own.
_REACHED, _DENIED, _OTHERWISE = 0, 10, 11


def check(scene: Scene) -> Iterator[Finding]:
    """Look at the sockets that Postfix uses."""
    spec = scene.spec
    if spec is None:
        return
    silent = unanswered(spec, scene.facts.queue_directory)
    for sentence in silent:
        yield problem(
            sentence + ".",
            "While nobody answers there, Postfix refuses mail with 4xx, or lets it wait.",
            "systemctl restart gatepost",
            "gatepost status",
        )
    directory = scene.facts.queue_directory / scene.socket_dir
    yield from _directory(directory)
    for name in spec.sockets:
        if (directory / name).is_socket():
            yield from _permission(scene, directory / name)
    yield from _host()


def _directory(directory: Path) -> Iterator[Finding]:
    try:
        mode = directory.stat().st_mode
    except OSError:
        return
    if stat.S_IMODE(mode) & stat.S_IWOTH:
        yield problem(
            f"{directory} can be written by everybody.",
            "Any account on this host could put its own socket in place of Gatepost's, and see or "
            "change all mail.",
            f"chmod 2750 {directory}",
        )


def _permission(scene: Scene, path: Path) -> Iterator[Finding]:
    owner = scene.facts.mail_owner
    try:
        account = pwd.getpwnam(owner)
    except KeyError:
        yield problem(
            f"mail_owner = {owner}: no such account.", "Postfix does not start without it."
        )
        return
    if os.geteuid() != 0:
        yield warning(
            f"Whether {owner} may connect to {path} was not tried.",
            "Only root can try as another account.",
            "sudo gatepost doctor",
        )
    elif _as_daemon(account, scene.facts.queue_directory, path) == _DENIED:
        yield problem(
            f"{owner}, as whom Postfix's daemons run, may not connect to {path}.",
            "Postfix refuses or defers all mail, although the same look-up works for root.",
            _PREPARE,
            "systemctl restart gatepost",
        )


def _host() -> Iterator[Finding]:
    backlog = _number(_SOMAXCONN)
    if backlog is not None and backlog < _LEAST_BACKLOG:
        yield warning(
            f"net.core.somaxconn = {backlog}.",
            "When Postfix opens many connections at once, those above it fail with a temporary "
            "error.",
            "sysctl -w net.core.somaxconn=4096",
            "echo net.core.somaxconn=4096 > /etc/sysctl.d/gatepost.conf",
        )
    if _number(_SELINUX) == 1:
        yield warning(
            "SELinux is enforcing.",
            "It may keep Postfix's daemons from Gatepost's sockets, whatever their permissions.",
            "ausearch -m avc -ts recent",
        )


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _connect(path: Path) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        # A full backlog is no question of permission; do not wait for it.
        connection.settimeout(0)
        try:
            connection.connect(str(path))
        except PermissionError:
            return _DENIED
        except OSError:
            return _OTHERWISE
    return _REACHED


def _as_daemon(account: pwd.struct_passwd, queue_directory: Path, path: Path) -> int:
    """Try to connect in a child process that has the place and the rights of a Postfix daemon."""
    child = os.fork()
    if child == 0:
        status = _OTHERWISE
        try:
            os.chdir(queue_directory)
            os.setgroups([account.pw_gid])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            status = _connect(path.relative_to(queue_directory))
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
