"""What every role does at its start and at its end, in one place.

Purpose: a role is an adapter between Postfix and decisions; all that is not its own business is
here: arguments, logging, configuration, account, lock, metrics, recorder, control socket, exit.
Format: ``python -m MODULE --config FILE``. Exit status 0 after a stop that was asked for, 1 if the
role cannot start or fails, 2 for a configuration error, each problem on a line of standard error.
Limits: SIGHUP waits from the start until the role can take it; it would kill otherwise.
Errors: `run` is where `GatepostError` becomes an exit status.
Security: a role that root starts reads the configuration twice, the second time as the user of
Gatepost: what this user cannot read should fail the start and not the first reload.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from gatepost import __version__
from gatepost.errors import ConfigErrors, GatepostError
from gatepost.modes import Feature, Mode
from gatepost.postfix_version import PostfixVersion
from gatepost.runtime import installation
from gatepost.runtime.api_tenants import ApiTenantKeeper, ApiTenantWatch
from gatepost.runtime.configuration import ReloadResult, SnapshotHolder, load_settings
from gatepost.runtime.control import ControlServer
from gatepost.runtime.lock import RoleLock
from gatepost.runtime.log import RecentTrouble, log_event, log_fatal, set_up
from gatepost.runtime.metrics import Metrics
from gatepost.runtime.notify import notify_ready, notify_reloading, notify_stopping
from gatepost.runtime.parent import ParentWatch
from gatepost.runtime.paths import control_path, lock_path
from gatepost.runtime.recorder import QueueRecorder
from gatepost.runtime.signals import Reloader
from gatepost.settings import Loader
from gatepost.snapshot import Snapshot
from gatepost.store import ObservationStore, open_store
from gatepost.tls.operator import OperatorTls

OK = 0
FAILED = 1
CONFIGURATION = 2

_log = logging.getLogger("gatepost.role")

ReloadHook = Callable[[Snapshot], None]


class Role:
    """One running role.

    Attributes:
        name: ``milter``, ``policy`` or ``back``.
        holder: The configuration.
        settings: The settings that the role started with.
        place: Where Postfix is and where the sockets are.
        metrics: What the role counts.
        api_tenants: What is known of tenants that were made through the API.
        recorder: Takes observations; None in a role that makes none.
        reloader: Runs reloads on a thread of its own.
        on_reload: Called after each reload that was taken, on the reload's thread.
        details: Called for ``gatepost status``; returns what only this role can tell.
    """

    def __init__(self, name: str, config: Path, *, records: bool = True) -> None:
        """Start what does not touch mail.

        Args:
            name: The role.
            config: The configuration file.
            records: Whether the role makes observations.

        Raises:
            ConfigErrors: If the configuration is not valid.
            StartError: If account, directories or sockets are not as they must be.
            PostfixUnavailable: If Postfix cannot tell where its queue is.
        """
        self.name = name
        self.started_at = time.time()
        _leave_root(config)
        self.api_tenants = ApiTenantKeeper()
        self.holder = SnapshotHolder(config, source=Loader(config, self.api_tenants.load))
        self.settings = settings = self.holder.settings
        self._recent: RecentTrouble = set_up(name, settings.log_to, settings.log_level)
        self.place = installation.settle(settings)
        self.holder.add_validator(installation.validator(settings))
        self.holder.add_adviser(installation.adviser(settings))
        self.holder.add_adviser(self.api_tenants.complaints)
        self._lock = RoleLock(lock_path(settings.run_dir, name))
        self.metrics = Metrics(name)
        self.recorder = QueueRecorder(self.metrics, self._open_store) if records else None
        self.on_reload: list[ReloadHook] = []
        self.details: Callable[[], dict[str, Any]] = dict
        self._in_force()
        self.reloader = Reloader(self.reload)
        self._watch: ApiTenantWatch | None = None
        self._parent = ParentWatch()
        self._control = ControlServer(
            control_path(settings.run_dir, name),
            {"status": self.status, "reload": self._answer_reload, "metrics": self._answer_metrics},
        )

    @property
    def version(self) -> PostfixVersion:
        """The Postfix that asks, as of the start or the last reload."""
        return self.place.version

    @property
    def operator(self) -> OperatorTls:
        """What Postfix itself asks of every delivery, as of the start or the last reload."""
        return self.place.operator

    def current(self) -> Snapshot:
        """Return the snapshot in force."""
        return self.holder.current

    def ready(self) -> None:
        """Say that mail can come."""
        for note in self.holder.notes:
            log_event(_log, logging.WARNING, "config-note", text=note)
        log_event(
            _log,
            logging.INFO,
            "ready",
            version=__version__,
            postfix=str(self.version),
            config=str(self.holder.path),
            digest=self.current().digest,
            tenants=len(self.current().tenants.by_id),
            seconds=time.time() - self.started_at,
        )
        notify_ready()
        self._watch = ApiTenantWatch(
            self.api_tenants, self.settings, self.reloader.request, took=self._took
        )

    def reload(self) -> ReloadResult:
        """Reload the configuration; see `SnapshotHolder.reload`."""
        notify_reloading()
        result = self.holder.reload()
        self.metrics.reloads["ok" if result.ok else "refused"]()
        if result.ok:
            self._in_force()
            self.place = installation.look_again(self.settings, self.place)
            for hook in self.on_reload:
                hook(self.holder.current)
        notify_ready()
        return result

    def status(self) -> dict[str, Any]:
        """Return what ``gatepost status`` shows of this role."""
        snapshot = self.holder.current
        last = self.holder.last_reload
        return {
            "role": self.name,
            "pid": os.getpid(),
            "version": __version__,
            "started_at": self.started_at,
            "supervisor": self._parent.state(),
            "config": str(self.holder.path),
            "digest": snapshot.digest,
            "loaded_at": self.holder.loaded_at,
            "tenants": len(snapshot.tenants.by_id),
            "api_tenants": self.api_tenants.count,
            "modes": modes_summary(snapshot),
            "postfix_version": str(self.version),
            "postfix_tls_level": self.operator.level,
            "last_reload": asdict(last) if last is not None else None,
            "notes": list(self.holder.notes),
            "waiting_rows": self.recorder.waiting() if self.recorder is not None else 0,
            "counts": self.metrics.counts(),
            "troubles": [asdict(trouble) for trouble in self._recent.latest()],
            **self.details(),
        }

    def stopping(self) -> None:
        """Say that no more mail is taken."""
        log_event(_log, logging.INFO, "stopping")
        notify_stopping()

    def finish(self) -> None:
        """Write what waits, and end."""
        if self._watch is not None:
            self._watch.stop()
        if self.recorder is not None:
            self.recorder.stop()
        self._control.close()
        self._lock.release()
        log_event(_log, logging.INFO, "stopped", seconds=time.time() - self.started_at)

    def _open_store(self) -> ObservationStore:
        return open_store(self.settings.state)

    def _took(self) -> float:
        last = self.holder.last_reload
        return 0.0 if last is None else last.duration_s

    def _in_force(self) -> None:
        self.metrics.snapshot_in_force(self.holder.current.digest, self.holder.loaded_at)

    def _answer_reload(self) -> dict[str, Any]:
        return asdict(self.reload())

    def _answer_metrics(self) -> dict[str, Any]:
        return {"families": self.metrics.families()}


Serve = Callable[[Role], int]


def modes_summary(snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """Return how many tenants have each feature in each mode."""
    summary = {feature.value: dict.fromkeys(map(str, Mode), 0) for feature in Feature}
    # Tenants of equal modes share one object, so that a hundred thousand are soon counted.
    sets = {id(tenant.modes): tenant.modes for tenant in snapshot.tenants.by_id.values()}
    tenants = Counter(id(tenant.modes) for tenant in snapshot.tenants.by_id.values())
    for key, count in tenants.items():
        for feature in Feature:
            summary[feature.value][sets[key].of(feature).value] += count
    return summary


def run(name: str, serve: Serve, *, records: bool = True) -> NoReturn:
    """Be a role: start, serve until told to stop, end.

    The process ends here, by `os._exit`: libmilter's threads, which may be in the middle of
    anything, must not see the interpreter being taken apart under them.

    Args:
        name: The role.
        serve: Serves; returns the exit status when told to stop.
        records: Whether the role makes observations.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    status = _run(name, _config(name, sys.argv[1:]), serve, records=records)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _leave_root(config: Path) -> None:
    if os.geteuid() == 0:
        installation.settle(load_settings(config))


def _run(name: str, config: Path, serve: Serve, *, records: bool) -> int:
    threading.current_thread().name = name
    set_up(name)
    try:
        role = Role(name, config, records=records)
        status = serve(role)
        role.finish()
    except ConfigErrors as error:
        for each in error.errors:
            log_fatal(_log, "config-error", text=str(each))
        return CONFIGURATION
    except GatepostError as error:
        log_fatal(_log, "cannot-start", reason=str(error))
        return FAILED
    except Exception:
        _log.critical("failed", exc_info=True)
        return FAILED
    return status


def _config(name: str, arguments: Sequence[str]) -> Path:
    parser = argparse.ArgumentParser(prog=f"gatepost serve {name}")
    parser.add_argument("--config", "-c", type=Path, required=True, metavar="FILE")
    config: Path = parser.parse_args(arguments).config
    return config
