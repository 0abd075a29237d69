"""``gatepost serve``: run the three roles, and start again the one that dies or hangs.

Purpose: the default for one host, with or without systemd.
Format: ``<run_dir>/supervisor.json`` tells the state of each role: ``pid`` or null, ``ready``,
``started_at``, ``restarts`` and ``last_exit``. Signals: SIGHUP is handed on, SIGTERM and SIGINT
stop the roles and then the supervisor.
Limits: a role that dies is started again after 0.2 s, then after twice as long each time, up to
30 s; one that ran for 60 s starts from 0.2 s again. At a stop, roles get the grace period and 5 s
more before they are killed. A role that is ready and then silent for the time of the watchdog is
killed; what counts is thirds of that time in which the supervisor itself was awake, so that a
machine which was suspended does not lose all its roles when it wakes.
Errors: `StartError` at the start; afterwards none.
Security: runs as the user of Gatepost, not as root, and so do the roles.
Not handled: a supervisor that is killed leaves the roles serving, see `gatepost.runtime.parent`;
under systemd its whole control group ends and is started again. The next supervisor ends what is
left over from the last one, role by role, before it starts its own. A role that was started by
itself is nobody's left-over, and then the supervisor does not start.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatepost.errors import StartError
from gatepost.runtime import watchdog
from gatepost.runtime.command import role_command, role_environment
from gatepost.runtime.control import ask
from gatepost.runtime.lock import RoleLock, holder_of
from gatepost.runtime.log import log_event
from gatepost.runtime.notify import NotifyListener, notify_ready, notify_stopping
from gatepost.runtime.parent import SUPERVISOR_VARIABLE
from gatepost.runtime.paths import API, ROLES, control_path, lock_path, supervisor_state_path
from gatepost.runtime.signals import STOP_SIGNALS, Signals, blocked

FIRST_DELAY_S = 0.2
MAX_DELAY_S = 30.0
STEADY_S = 60.0
THIRDS = 3
EXTRA_GRACE_S = 5.0

_log = logging.getLogger("gatepost.supervisor")


@dataclass(slots=True)
class Child:
    """One role as the supervisor sees it.

    Attributes:
        name: The role.
        process: The running process, or None.
        descriptor: Becomes readable when the process ends; -1 without one.
        ready: Whether it said so.
        started_at: Monotonic time of the last start, in seconds.
        since: The same as Unix time.
        start_at: Monotonic time at which to start it again, in seconds.
        delay_s: How long it waited last before it was started again.
        restarts: How often it was started again.
        last_exit: How it ended last; empty before that.
        silent: For how many thirds of the watchdog's time nothing was heard of it.
        leaving: Whether it said that it stops; it has the grace period then, and need not speak.
        hung: Whether it was killed for its silence.
    """

    name: str
    process: subprocess.Popen[bytes] | None = None
    descriptor: int = -1
    ready: bool = False
    started_at: float = 0.0
    since: float = 0.0
    start_at: float = 0.0
    delay_s: float = 0.0
    restarts: int = 0
    last_exit: str = ""
    silent: int = 0
    leaving: bool = False
    hung: bool = False


@dataclass(slots=True)
class Supervisor:
    """Runs roles until told to stop.

    Attributes:
        run_dir: Where its files are.
        config: The configuration file, handed to the roles.
        grace_s: Seconds that a role may take to stop.
        watchdog_s: Seconds that a role may be silent before it is killed.
        roles: Which roles to run.
    """

    run_dir: Path
    config: Path
    grace_s: float
    watchdog_s: float
    roles: Sequence[str] = ROLES
    _children: dict[str, Child] = field(default_factory=dict)
    _notify: NotifyListener | None = None
    _announced: bool = False
    _check_at: float = 0.0
    _written: str = ""

    def run(self, signals: Signals) -> None:
        """Run until SIGTERM or SIGINT.

        Args:
            signals: Catches SIGHUP, SIGTERM and SIGINT.

        Raises:
            StartError: If another supervisor runs, or a role runs that belongs to nobody's
                supervisor and does not end.
        """
        lock = RoleLock(lock_path(self.run_dir, "supervisor"))
        self._take_over()
        try:
            self._notify = NotifyListener(self.run_dir / "notify.sock")
        except OSError as error:
            raise StartError(f"{self.run_dir / 'notify.sock'}: {error.strerror}") from error
        self._children = {name: Child(name) for name in self.roles}
        try:
            while not self._turn(signals):
                pass
        finally:
            self._stop()
            self._notify.close()
            lock.release()

    def _turn(self, signals: Signals) -> bool:
        """Start what is due, wait for something to happen, see to it; tell whether to stop."""
        now = time.monotonic()
        for child in self._children.values():
            if child.process is None and child.start_at <= now:
                self._start(child)
        self._write_state()
        assert self._notify is not None
        watchdog.beat()
        poll = select.poll()
        by_descriptor = {c.descriptor: c for c in self._children.values() if c.process}
        for descriptor in (signals.fileno(), self._notify.fileno(), *by_descriptor):
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(self._wait_ms()):
            if descriptor in by_descriptor:
                self._ended(by_descriptor[descriptor])
        self._hear()
        self._check()
        return self._obey(signals.pending())

    def _wait_ms(self) -> float:
        due = [child.start_at for child in self._children.values() if child.process is None]
        wait_s = min([*due, self._check_at]) - time.monotonic()
        # We ourselves may have to show signs of life, too.
        wait_s = min(wait_s, watchdog.interval_s() or wait_s)
        return max(0.0, wait_s) * 1000 + 1

    def _check(self) -> None:
        """Kill what has been silent for too long."""
        now = time.monotonic()
        if now < self._check_at:
            return
        self._check_at = now + self.watchdog_s / THIRDS
        for child in self._children.values():
            if child.process is None or not child.ready or child.leaving or child.hung:
                continue
            child.silent += 1
            if child.silent > THIRDS:
                child.hung = True
                log_event(
                    _log,
                    logging.ERROR,
                    "hangs",
                    role=child.name,
                    pid=child.process.pid,
                    silent_s=self.watchdog_s,
                )
                child.process.kill()

    def _start(self, child: Child) -> None:
        assert self._notify is not None
        environment = role_environment() | {
            "NOTIFY_SOCKET": str(self._notify.path),
            SUPERVISOR_VARIABLE: str(os.getpid()),
            **watchdog.environment(self.watchdog_s),
        }
        child.started_at, child.since = time.monotonic(), time.time()
        child.ready = child.leaving = child.hung = False
        child.silent = 0
        try:
            # Inherited: a SIGHUP before the role can take it would kill it.
            with blocked(signal.SIGHUP):
                child.process = subprocess.Popen(
                    role_command(child.name, self.config), stdin=subprocess.DEVNULL, env=environment
                )
            child.descriptor = os.pidfd_open(child.process.pid)
        except OSError as error:
            # No memory or no processes left: try again like after any other death.
            self._postpone(child, f"cannot start: {error.strerror}")
            return
        log_event(_log, logging.INFO, "started", role=child.name, pid=child.process.pid)

    def _ended(self, child: Child) -> None:
        assert child.process is not None
        status = child.process.wait()
        os.close(child.descriptor)
        pid, child.process, child.descriptor = child.process.pid, None, -1
        how = describe_exit(status)
        self._postpone(child, f"hung, {how}" if child.hung else how, pid)

    def _postpone(self, child: Child, how: str, pid: int | None = None) -> None:
        steady = child.ready and time.monotonic() - child.started_at >= STEADY_S
        child.delay_s = FIRST_DELAY_S if steady else next_delay(child.delay_s)
        child.start_at = time.monotonic() + child.delay_s
        child.last_exit = how
        child.restarts += 1
        child.ready = False
        log_event(
            _log,
            logging.ERROR,
            "died",
            role=child.name,
            pid=pid,
            how=how,
            restart_in_s=child.delay_s,
        )

    def _hear(self) -> None:
        assert self._notify is not None
        while (heard := self._notify.receive()) is not None:
            pid, fields = heard
            for child in self._children.values():
                if child.process is not None and child.process.pid == pid:
                    child.ready = child.ready or fields.get("READY") == "1"
                    child.leaving = child.leaving or fields.get("STOPPING") == "1"
                    child.silent = 0
        # Of an API that cannot listen, no mail and no start must know.
        needed = (child for child in self._children.values() if child.name != API)
        if not self._announced and all(child.ready for child in needed):
            self._announced = True
            ready = [child.name for child in self._children.values() if child.ready]
            log_event(_log, logging.INFO, "ready", roles=",".join(ready))
            notify_ready()

    def _obey(self, numbers: Sequence[signal.Signals]) -> bool:
        for number in numbers:
            if number in STOP_SIGNALS:
                log_event(_log, logging.INFO, "stopping", signal=number.name)
                return True
            if number == signal.SIGHUP:
                log_event(_log, logging.INFO, "reload", roles=",".join(self._children))
                self._signal(signal.SIGHUP)
        return False

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children.values():
            # A role that is starting reads the configuration anyway; SIGHUP waits until it can.
            if child.process is not None:
                child.process.send_signal(number)

    def _stop(self) -> None:
        notify_stopping()
        # Mail first asks the milter and then the others, so all may stop at the same time.
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + self.grace_s + EXTRA_GRACE_S
        for child in self._children.values():
            if child.process is None:
                continue
            try:
                status = child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                status = child.process.wait()
            os.close(child.descriptor)
            log_event(_log, logging.INFO, "stopped", role=child.name, how=describe_exit(status))
            child.process, child.descriptor, child.last_exit = None, -1, describe_exit(status)
        supervisor_state_path(self.run_dir).unlink(missing_ok=True)

    def _take_over(self) -> None:
        """End the roles that a supervisor which was killed has left behind."""
        for name in self.roles:
            pid = holder_of(lock_path(self.run_dir, name))
            if pid is None:
                continue
            if self._alone(name):
                raise StartError(f"{name} runs already, by itself, as process {pid}; stop it first")
            log_event(_log, logging.WARNING, "left-over", role=name, pid=pid)
            self._end_left_over(name, pid)

    def _alone(self, name: str) -> bool:
        try:
            status = ask(control_path(self.run_dir, name), "status")
        except StartError:
            # It hangs, or is about to start or to end.
            return False
        return status.get("supervisor") == "none"

    def _end_left_over(self, name: str, pid: int) -> None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            wait_ms = (self.grace_s + EXTRA_GRACE_S) * 1000
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            if not poll.poll(wait_ms):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                poll.poll(wait_ms)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            raise StartError(
                f"{name} runs already, as process {pid}, and is not ours to stop"
            ) from error
        finally:
            os.close(descriptor)

    def _write_state(self) -> None:
        """Write supervisor.json, unless it says so already: most turns are a sign of life."""
        text = json.dumps(self.state()) + "\n"
        if text == self._written:
            return
        path = supervisor_state_path(self.run_dir)
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            # A full disk must not stop the supervisor; `gatepost status` then shows old numbers.
            temporary.write_text(text, encoding="ascii")
            temporary.rename(path)
            self._written = text

    def state(self) -> dict[str, Any]:
        """Return what supervisor.json holds."""
        return {
            "pid": os.getpid(),
            "roles": {
                child.name: {
                    "pid": child.process.pid if child.process is not None else None,
                    "ready": child.ready,
                    "started_at": round(child.since, 3),
                    "restarts": child.restarts,
                    "last_exit": child.last_exit,
                }
                for child in self._children.values()
            },
        }


def next_delay(delay_s: float) -> float:
    """Return how long to wait after a wait of `delay_s` seconds was not enough."""
    return min(delay_s * 2, MAX_DELAY_S) if delay_s else FIRST_DELAY_S


def describe_exit(status: int) -> str:
    """Return how a process ended, in words, from a status as `subprocess` gives it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
