"""Hold the snapshot in force, and replace it whole or not at all.

Purpose: a decision reads `SnapshotHolder.current` once and works with that object to its end, so a
reload never shows anybody half of a configuration. A configuration that does not pass is refused
with every reason, and the old one stays in force.
Errors: `SnapshotHolder` raises `ConfigErrors` when the first load fails, as there is nothing to
keep; `reload` never raises.
Security: reasons name settings and files, never keys.
Not handled: `Settings` (sockets, paths) is what only a restart can change; a reload that finds a
difference there says so in a note.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gatepost.errors import ConfigErrors, GatepostError
from gatepost.runtime.log import log_event
from gatepost.runtime.memory import uncollected
from gatepost.settings import Loaded, Loader, Settings
from gatepost.snapshot import Snapshot

_log = logging.getLogger(__name__)

Validator = Callable[[Snapshot], list[str]]


class Source(Protocol):
    """Where configurations come from; `gatepost.settings.Loader` is the one in use."""

    def load(self) -> Loaded:
        """Return what the files say now.

        Raises:
            ConfigErrors: With every problem found.
        """


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """What became of a reload.

    Attributes:
        ok: Whether the configuration in the files is now in force.
        digest: Digest of the snapshot in force, new or old.
        changed: Whether it differs from the one before.
        errors: Why it was refused, each as ``file:line: path: problem; remedy``.
        notes: What else the operator should know, such as settings that need a restart.
        duration_s: How long it took, in seconds.
    """

    ok: bool
    digest: str
    changed: bool
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    duration_s: float = 0.0


class SnapshotHolder:
    """The one place that a role reads its configuration from.

    Attributes:
        current: The snapshot in force; reading it takes no lock.
        settings: The settings with which the role started.
        loaded_at: Unix time in seconds at which `current` came into force.
        last_reload: The result of the last reload, or None before the first.
        notes: Warnings of the configuration in force.
    """

    def __init__(
        self,
        path: Path,
        *,
        source: Source | None = None,
        validators: Sequence[Validator] = (),
    ) -> None:
        """Load the configuration.

        Args:
            path: The configuration file.
            source: Where to load from instead of `path`, for tests.
            validators: Checks of a new snapshot against the world outside, each returning what is
                wrong as sentences. At a reload a complaint refuses the new snapshot; at the first
                load it becomes a note, since there is no older snapshot to keep.

        Raises:
            ConfigErrors: If the configuration is not valid.
        """
        self.path = path
        self._source = source or _loader(path)
        self._validators = tuple(validators)
        self._advisers: tuple[Validator, ...] = ()
        self._lock = threading.Lock()
        with uncollected():
            loaded = self._source.load()
        self.settings: Settings = loaded.settings
        self.current: Snapshot = loaded.snapshot
        self.loaded_at = time.time()
        self.last_reload: ReloadResult | None = None
        self.notes = (
            *map(str, loaded.warnings),
            *self._complaints(loaded.snapshot, self._validators),
        )

    def add_validator(self, validator: Validator) -> None:
        """Add a check; what it says of the snapshot in force becomes notes."""
        self._validators += (validator,)
        self.notes += self._complaints(self.current, [validator])

    def add_adviser(self, adviser: Validator) -> None:
        """Add a look at the world outside whose sentences are notes, at a reload too."""
        self._advisers += (adviser,)
        self.notes += self._complaints(self.current, [adviser])

    def reload(self) -> ReloadResult:
        """Load again and put the result in force, or keep the old one and say why.

        Two reloads at once are done one after the other.
        """
        with self._lock:
            began = time.monotonic()
            result = self._attempt()
            result = dataclasses.replace(result, duration_s=time.monotonic() - began)
            self.last_reload = result
        _tell(result)
        return result

    def _attempt(self) -> ReloadResult:
        before = self.current
        try:
            with uncollected():
                loaded = self._source.load()
        except ConfigErrors as error:
            return self._refuse(tuple(str(each) for each in error.errors))
        except GatepostError as error:
            return self._refuse((str(error),))
        except Exception as error:
            # The old snapshot must stay in force whatever goes wrong here.
            _log.exception("reload-failed")
            return self._refuse((f"{type(error).__name__}: {error}",))
        complaints = self._complaints(loaded.snapshot, self._validators)
        if complaints:
            return self._refuse(complaints)
        notes = (
            *map(str, loaded.warnings),
            *_restart_notes(self.settings, loaded.settings),
            *self._complaints(loaded.snapshot, self._advisers),
        )
        self.notes = notes
        self.loaded_at = time.time()
        self.current = loaded.snapshot
        changed = before.digest != loaded.snapshot.digest
        return ReloadResult(True, loaded.snapshot.digest, changed, notes=notes)

    def _refuse(self, errors: tuple[str, ...]) -> ReloadResult:
        return ReloadResult(False, self.current.digest, changed=False, errors=errors)

    def _complaints(self, snapshot: Snapshot, validators: Iterable[Validator]) -> tuple[str, ...]:
        found: list[str] = []
        for validator in validators:
            try:
                found += validator(snapshot)
            except GatepostError as error:
                found.append(str(error))
        return tuple(found)


def _restart_notes(old: Settings, new: Settings) -> tuple[str, ...]:
    names = [
        each.name
        for each in dataclasses.fields(old)
        if getattr(old, each.name) != getattr(new, each.name)
    ]
    return tuple(f"{name}: changed, and takes effect only after a restart" for name in names)


def _tell(result: ReloadResult) -> None:
    if result.ok:
        log_event(
            _log,
            logging.INFO,
            "reload",
            result="ok",
            digest=result.digest,
            changed=result.changed,
            seconds=result.duration_s,
        )
    for note in result.notes:
        log_event(_log, logging.WARNING, "reload-note", text=note)
    for error in result.errors:
        log_event(_log, logging.ERROR, "reload-error", text=error)
    if not result.ok:
        log_event(
            _log,
            logging.ERROR,
            "reload",
            result="refused",
            errors=len(result.errors),
            in_force=result.digest,
        )


def load_settings(path: Path) -> Settings:
    """Return the settings alone.

    Raises:
        ConfigErrors: With every problem of the whole configuration.
    """
    return _loader(path).load().settings


def _loader(path: Path) -> Source:
    return Loader(path)
