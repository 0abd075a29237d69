"""Directories that cannot be Gatepost's own, because all hosts use them for something else.

Purpose: root gives Gatepost's directories to Gatepost's user. A slip such as ``/var/lib`` for
``/var/lib/gatepost`` is told by ``gatepost check``, before anybody is root.
Source: Filesystem Hierarchy Standard 3.0; Postfix postfix-files (below ``$queue_directory``); what
Debian's Postfix copies there for chrooted services.
Errors: none.
Not handled: links are not resolved, since check may run on another host than the one that is meant.
"""

from __future__ import annotations

import posixpath

# Below queue_directory.
OF_POSTFIX = frozenset(
    {
        *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming"),
        *("maildrop", "pid", "private", "public", "saved", "trace"),
        *("bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "tmp"),
        *("usr", "var"),
    }
)

_OF_THE_SYSTEM = frozenset(
    {
        *("/", "/bin", "/boot", "/dev", "/dev/shm", "/etc", "/etc/postfix", "/home", "/lib"),  # noqa: S108
        *("/lib32", "/lib64", "/libx32", "/media", "/mnt", "/opt", "/proc", "/root", "/run"),
        *("/run/lock", "/run/shm", "/run/systemd", "/run/user", "/sbin", "/srv", "/sys", "/tmp"),  # noqa: S108
        *("/usr", "/usr/bin", "/usr/lib", "/usr/libexec", "/usr/local", "/usr/local/bin"),
        *("/usr/local/etc", "/usr/local/lib", "/usr/local/sbin", "/usr/local/share", "/usr/sbin"),
        *("/usr/share", "/var", "/var/backups", "/var/cache", "/var/db", "/var/lib"),
        *("/var/lib/postfix", "/var/local", "/var/lock", "/var/log", "/var/mail", "/var/opt"),
        *("/var/run", "/var/spool", "/var/spool/mail", "/var/spool/postfix", "/var/tmp"),  # noqa: S108
    }
)


def is_of_the_system(path: str) -> bool:
    """Tell whether an absolute path is a directory that every host has for other things."""
    return _normal(path) in _OF_THE_SYSTEM


def parent_of(path: str) -> str:
    """Return the directory in which an absolute path lies, in normal form."""
    return posixpath.dirname(_normal(path))


def _normal(path: str) -> str:
    # normpath() keeps two slashes at the beginning, which mean no more than one on Linux.
    return posixpath.normpath("/" + path.lstrip("/"))
