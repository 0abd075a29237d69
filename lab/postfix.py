"""A real Postfix of one's own, in a directory that is thrown away.

Purpose: tests attach to, feed and kill a Postfix that shares nothing with the host's: own
config, queue and data directories, own log file, own address, own SASL users. Any number run
side by side, in one lab or in several.
Source: postfix(1), master(5), postconf(5); SASL_README, "Cyrus SASL configuration"; compiled-in
paths are asked from the installed Postfix, so 3.7 and later, wherever Debian put them, work alike.
Format: `directory` gets ``etc/`` (config_directory), ``queue/``, ``data/``, ``mail/``
(mailboxes of local users) and ``maillog``. smtpd listens on port 25 of `address`; on 587 it offers
AUTH and relays for authenticated clients.
Limits: the queue directory's path must stay below 80 octets: Postfix puts UNIX sockets in it,
and a socket's path has 108.
Errors: `LabError`, with the last lines of the log.
Security: passwords pass in the clear on port 587, unless the test asks for TLS.
Not handled: chroot; a host's /etc/postfix/main.cf is neither read nor needed.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lab import postfix_files
from lab.ca import Certificate
from lab.process import LabError, add_address, find, kill_group, run, wait_for_exit, wait_until

MAX_QUEUE_PATH_OCTETS = 80
_STOP_S = 5.0
_BUSY_S = 1.0
_SETTLING_S = 0.05
_POSTFIX_MODES = {
    **dict.fromkeys(
        (
            "active",
            "bounce",
            "corrupt",
            "defer",
            "deferred",
            "flush",
            "hold",
            "incoming",
            "private",
            "saved",
            "trace",
        ),
        0o700,
    ),
    "maildrop": 0o730,
    "public": 0o710,
}


@dataclass(frozen=True, slots=True)
class Queued:
    """One recipient that is waiting in the queue.

    Attributes:
        queue: ``active``, ``deferred``, ``incoming``, ``hold`` or ``maildrop``.
        reason: Why it was not delivered at the last attempt; empty if there was none.
    """

    queue_id: str
    queue: str
    sender: str
    recipient: str
    reason: str


class PrivatePostfix:
    """One Postfix instance; a context manager that starts and stops it."""

    def __init__(
        self,
        directory: Path,
        *,
        address: str,
        hostname: str,
        main: Mapping[str, str] | None = None,
        services: Sequence[str] = (),
        submission: Sequence[str] = postfix_files.SUBMISSION_OPTIONS,
        users: Mapping[str, str] | None = None,
        ca_file: Path | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        """Describe an instance; nothing is made before `start`.

        Args:
            directory: An empty or missing directory for all of its files.
            address: IPv4 address in the lab's range; smtp(8) sends from it, too.
            main: main.cf parameters; they replace the defaults of `postfix_files.main_cf`.
            services: Whole master.cf entries to add, options on indented lines.
            submission: ``-o`` settings of the submission service.
            users: SASL user names and passwords.
            ca_file: What smtp(8) trusts.
            certificate: What smtpd(8) shows; without it there is no STARTTLS.
        """
        self.directory = directory
        self.address = address
        self.hostname = hostname
        self.config_dir = directory / "etc"
        self.queue_dir = directory / "queue"
        self.data_dir = directory / "data"
        self.mail_dir = directory / "mail"
        self.maillog = directory / "maillog"
        self._sasl_dir = self.config_dir / "sasl"
        self._users = dict(users or {})
        self._main_cf = postfix_files.main_cf(
            directory,
            address=address,
            hostname=hostname,
            ca_file=ca_file,
            certificate=certificate,
            changes=main or {},
        )
        self._master_cf = postfix_files.master_cf(services, submission)
        self._log_offset = 0

    # Running it

    def __enter__(self) -> PrivatePostfix:
        """Start the instance."""
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the instance."""
        self.stop()

    def start(self) -> None:
        """Start it and return when it accepts connections.

        Raises:
            LabError: If Postfix is not installed or does not start.
        """
        if not self.config_dir.exists():
            self._make_files()
        add_address(self.address)
        self._backdate()
        # The documented way to skip the checks of every file's owner, which take most of a start.
        (self.queue_dir / "quick-start").touch()
        try:
            self._postfix("start")
        except LabError as error:
            raise LabError(f"{error}\n{self._last_lines()}") from None

    def stop(self) -> None:
        """Stop it as ``postfix stop`` does, but without that command's pause; idempotent."""
        pid = self.master_pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        wait_for_exit(pid, _STOP_S)
        kill_group(pid)

    def kill(self) -> None:
        """Kill master and all of its children, as a power cut would; idempotent."""
        pid = self.master_pid()
        if pid is not None:
            kill_group(pid)
            wait_for_exit(pid, _STOP_S)

    def reload(self) -> None:
        """Make it read main.cf and master.cf anew, and return when it works by them.

        That is when the processes that read the old files have ended. One that is busy, with a
        client that stays connected, ends later; `reload` waits a second for it and no longer.
        """

        def reloads() -> int:
            return sum("/master[" in line and ": reload -- " in line for line in self.log_lines())

        self._backdate()
        before = reloads()
        old = self._daemons()
        self._postfix("reload")
        self._wait(lambda: reloads() > before, _STOP_S, "master to reload")
        # An idle smtpd(8) may take one more client before it notices the reload.
        deadline = time.monotonic() + _BUSY_S
        for pid in old:
            wait_for_exit(pid, max(0.0, deadline - time.monotonic()))

    def check(self) -> None:
        """Run ``postfix check``.

        Raises:
            LabError: If it finds a fatal problem.
        """
        self._backdate()
        self._postfix("check")

    def flush(self) -> None:
        """Ask for a delivery attempt of everything in the queue, now."""
        run(["postqueue", "-c", self.config_dir, "-f"])

    def flush_until(self, pattern: str, tries: int = 10) -> re.Match[str]:
        """Have what waits tried until the log has a line that matches, and return the match.

        qmgr(8) that takes a message up while its last attempt is not quite over ("skipped, still
        being delivered") lets it lie for longer than a test has.

        Raises:
            LabError: If there is none after so many tries of 2 s.
        """
        for _ in range(tries - 1):
            self.flush()
            with contextlib.suppress(LabError):
                return self.wait_log(pattern, 2)
        self.flush()
        return self.wait_log(pattern, 2)

    def master_pid(self) -> int | None:
        """Return the process id of the running master(8), or None."""
        try:
            text = (self.queue_dir / "pid" / "master.pid").read_text(encoding="ascii")
            pid = int(text)
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # The file outlives a killed master, and its number may be another process by now.
        return pid if b"MAIL_CONFIG=" + os.fsencode(self.config_dir) in environment else None

    @property
    def running(self) -> bool:
        """Return whether master(8) is running."""
        return self.master_pid() is not None

    # Its configuration

    def postconf(self, name: str) -> str:
        """Return the value of a main.cf parameter, expanded by nothing."""
        return run(["postconf", "-c", self.config_dir, "-h", name]).decode().rstrip("\n")

    def configure(self, changes: Mapping[str, str]) -> None:
        """Set main.cf parameters with ``postconf -e``; call `reload` afterwards."""
        self._backdate()
        run(
            ["postconf", "-c", self.config_dir, "-e", *(f"{k}={v}" for k, v in changes.items())],
        )
        self._backdate()

    @contextlib.contextmanager
    def settling(self) -> Iterator[None]:
        """Make what is written to main.cf and master.cf within a block look old at once."""
        over = threading.Event()

        def backdate() -> None:
            while not over.wait(_SETTLING_S):
                self._backdate()

        thread = threading.Thread(target=backdate)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def add_user(self, name: str, password: str) -> None:
        """Create a SASL user or change its password; works while it runs."""
        database = self._sasl_dir / "sasldb2"
        run(
            ["saslpasswd2", "-f", database, "-c", "-p", "-u", self.hostname, name],
            stdin=password.encode(),
        )
        owner = pwd.getpwnam(_compiled_in("mail_owner"))
        os.chown(database, owner.pw_uid, owner.pw_gid)

    # What it does

    def log_lines(self) -> list[str]:
        """Return the complete lines of its log since the start, or since `clear_log`."""
        try:
            with self.maillog.open("rb") as file:
                file.seek(self._log_offset)
                content = file.read()
        except FileNotFoundError:
            return []
        whole, _, _ = content.rpartition(b"\n")
        return whole.decode(errors="surrogateescape").split("\n") if whole else []

    def clear_log(self) -> None:
        """Make `log_lines` and `wait_log` forget the lines written so far."""
        self._log_offset += sum(
            len(line.encode(errors="surrogateescape")) + 1 for line in self.log_lines()
        )

    def wait_log(self, pattern: str, timeout: float = 20) -> re.Match[str]:
        """Wait for the first log line that `pattern` is found in; its text is ``match.string``.

        Args:
            timeout: Seconds.

        Raises:
            LabError: If there is none in time.
        """
        wanted = re.compile(pattern)
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found.extend(filter(None, map(wanted.search, self.log_lines())))
            return bool(found)

        self._wait(seen, timeout, f"a log line that matches {pattern!r}")
        return found[0]

    def queue(self) -> list[Queued]:
        """Return the queue, one entry per recipient, as ``postqueue -j`` tells it."""
        output = run(["postqueue", "-c", self.config_dir, "-j"]).decode(errors="surrogateescape")
        return [entry for line in output.splitlines() for entry in _queued(json.loads(line))]

    def wait_empty_queue(self, timeout: float = 20) -> None:
        """Wait until nothing is in the queue.

        Raises:
            LabError: If something still is after `timeout` seconds; tells what.
        """
        directories = [
            self.queue_dir / name for name in ("maildrop", "incoming", "active", "deferred", "hold")
        ]

        def empty() -> bool:
            return not any(_files_below(directory) for directory in directories)

        try:
            self._wait(empty, timeout, "the queue to become empty")
        except LabError as error:
            raise LabError(f"{error}\n{self.queue()[:10]}") from None

    # Inside

    def _daemons(self) -> list[int]:
        """Return the process ids of what master(8) runs now."""
        master = self.master_pid()
        if master is None:
            return []
        children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii")
        return [int(child) for child in children.split()]

    def _postfix(self, verb: str) -> None:
        run(["postfix", "-c", self.config_dir, verb])

    def _wait(self, condition: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            wait_until(condition, timeout, what)
        except LabError as error:
            raise LabError(f"{error}\n{self._last_lines()}") from None

    def _last_lines(self) -> str:
        return "\n".join(self.log_lines()[-25:]) or "the log is empty"

    def _backdate(self) -> None:
        """Make main.cf look a minute old.

        Postfix waits until a main.cf is some seconds old before it reads it, lest it read half
        of one that an editor is writing. Ours are complete, and the tests have no time for that.
        """
        for name in ("main.cf", "master.cf"):
            past = time.time() - 60
            os.utime(self.config_dir / name, (past, past))

    def _make_files(self) -> None:
        find("postfix")
        if len(os.fsencode(self.queue_dir)) > MAX_QUEUE_PATH_OCTETS:
            raise LabError(f"{self.queue_dir} is too long a path for Postfix's sockets")
        owner = pwd.getpwnam(_compiled_in("mail_owner")).pw_uid
        group = grp.getgrnam(_compiled_in("setgid_group")).gr_gid
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        _make_directory(self.config_dir, 0o755)
        _make_directory(self.queue_dir, 0o755)
        _make_directory(self.queue_dir / "pid", 0o755)
        _make_directory(self.data_dir, 0o700, owner)
        _make_directory(self._sasl_dir, 0o755)
        _make_directory(self.mail_dir, 0o1777)
        for name, mode in _POSTFIX_MODES.items():
            own_group = group if name in {"maildrop", "public"} else -1
            _make_directory(self.queue_dir / name, mode, owner, own_group)
        (self.config_dir / "main.cf").write_text(self._main_cf, encoding="utf-8")
        (self.config_dir / "master.cf").write_text(self._master_cf, encoding="utf-8")
        (self._sasl_dir / "smtpd.conf").write_text(
            postfix_files.sasl_conf(self._sasl_dir / "sasldb2"), encoding="utf-8"
        )
        for name, password in self._users.items():
            self.add_user(name, password)


def _make_directory(path: Path, mode: int, owner: int = -1, group: int = -1) -> None:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, owner, group)


def _files_below(directory: Path) -> bool:
    """Return whether there is any file; deferred mail lies in hashed subdirectories."""
    return any(files for _, _, files in os.walk(directory))


def _queued(entry: Mapping[str, object]) -> Iterable[Queued]:
    recipients = entry["recipients"]
    assert isinstance(recipients, list)
    for recipient in recipients:
        yield Queued(
            queue_id=str(entry["queue_id"]),
            queue=str(entry["queue_name"]),
            sender=str(entry["sender"]),
            recipient=str(recipient["address"]),
            reason=str(recipient.get("delay_reason", "")),
        )


@lru_cache
def _compiled_in(name: str) -> str:
    """Return the built-in default of a parameter, which no main.cf is needed for."""
    return run(["postconf", "-dh", name]).decode().strip()
