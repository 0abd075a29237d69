"""Carrying out a plan: backup, replace, ``postfix check``, reload; or everything back as it was.

Purpose: Postfix never runs with half of a change. Each file is replaced in one step, in an order in
which the state between two steps is harmless. If ``postfix check`` objects, the old files come
back. After a kill at any point both files are whole, and the next run finishes the rest.
Source: postfix(1), ``check`` and ``reload``.
Errors: `AttachError` after a rollback, with the reason; `PostfixUnavailable` if the reload failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatepost.errors import AttachError, GatepostError, PostfixUnavailable
from gatepost.postfix.bounce_filter import FILE_NAME, TEXT
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.journal import Journal
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Plan
from gatepost.postfix.replace import create, discard_tmp, replace

# master.cf first on the way in: services that nobody names yet do nothing, while a map that names
# services which master(8) does not know defers mail. On the way out the other way round.
ATTACH_ORDER = (MASTER_CF, MAIN_CF)
DETACH_ORDER = (MAIN_CF, MASTER_CF)

_FILTER_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done.

    Attributes:
        changed: Names of the files that were written or removed.
        backup: Directory with the files as they were before, or None if nothing was changed.
        resumed: Whether an earlier run had been interrupted and was finished by this one.
        reloaded: Whether Postfix has read the new files.
        warnings: What ``postfix check`` printed.
    """

    changed: tuple[str, ...] = ()
    backup: Path | None = None
    resumed: bool = False
    reloaded: bool = False
    warnings: str = ""


def apply(postfix: PostfixCommands, plan: Plan, order: Sequence[str], *, reload: bool) -> Applied:
    """Carry out a plan.

    Args:
        postfix: The instance.
        plan: What to do.
        order: In which order to replace the files.
        reload: Whether to tell Postfix; false as well where it does not run.

    Raises:
        AttachError: If it could not be done; all files are then as they were, unless the message
            says otherwise.
        PostfixUnavailable: If all was done but the reload failed.
    """
    transaction = _Transaction(postfix, plan, order)
    if not transaction.needed:
        return Applied()
    transaction.begin()
    try:
        warnings = transaction.replace_and_check()
    except GatepostError as error:
        raise AttachError(transaction.roll_back(error)) from error
    except BaseException as error:
        transaction.roll_back(error)
        raise
    if reload:
        _reload(postfix)
    return transaction.finish(reloaded=reload, warnings=warnings)


def filter_differs(config_dir: Path, plan: Plan) -> bool:
    """Tell whether the bounce table has to be written or removed.

    Raises:
        AttachError: If it cannot be read.
    """
    wanted = plan.filter_file
    path = config_dir / FILE_NAME
    try:
        present = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        present = None
    except OSError as error:
        raise AttachError(f"cannot read {path}: {error.strerror}") from error
    return wanted is not None and present != (TEXT if wanted else None)


def _reload(postfix: PostfixCommands) -> None:
    try:
        postfix.reload()
    except PostfixUnavailable as error:
        raise PostfixUnavailable(
            f"the files are in place and postfix check accepts them, but the reload failed: {error}"
        ) from error


class _Transaction:
    """One change on its way."""

    def __init__(self, postfix: PostfixCommands, plan: Plan, order: Sequence[str]) -> None:
        self._postfix = postfix
        self._directory = postfix.config_dir
        self._journal = Journal(self._directory)
        self._unfinished = self._journal.unfinished()
        self._present = _encoded(plan.old)
        self._new = _encoded(plan.new)
        self._changed = [name for name in order if self._new[name] != self._present[name]]
        self._filter = plan.filter_file if filter_differs(self._directory, plan) else None
        self._backup: Path | None = None
        # What a rollback restores: of an interrupted run, what was there before that run.
        self._before = (
            self._unfinished.before(self._present) if self._unfinished else dict(self._present)
        )

    @property
    def needed(self) -> bool:
        return bool(self._changed) or self._filter is not None or self._unfinished is not None

    def begin(self) -> None:
        for name in self._new:
            discard_tmp(self._directory / name)
        self._backup = self._journal.begin(self._before, self._new)

    def replace_and_check(self) -> str:
        if self._filter:
            create(self._directory / FILE_NAME, TEXT.encode("utf-8"), _FILTER_MODE)
        for name in self._changed:
            replace(self._directory / name, self._present[name], self._new[name])
        return self._postfix.check()

    def roll_back(self, cause: BaseException) -> str:
        """Restore the files and return what to tell the operator.

        Raises:
            AttachError: If the files cannot be restored; says what to do by hand.
        """
        try:
            restored = [name for name in self._new if self._restore(name)]
            if FILE_NAME not in (self._directory / MASTER_CF).read_text(errors="replace"):
                (self._directory / FILE_NAME).unlink(missing_ok=True)
            self._journal.finish()
        except (GatepostError, OSError) as error:
            raise AttachError(
                f"{cause}; then the old files could not be put back: {error}. They are in "
                f"{self._backup}: copy them to {self._directory} by hand"
            ) from error
        if not restored:
            return f"{cause}; nothing was changed"
        return f"{cause}; {' and '.join(restored)} are again as they were before{self._excuse()}"

    def finish(self, *, reloaded: bool, warnings: str) -> Applied:
        changed = list(self._changed)
        if self._filter is not None:
            changed.append(FILE_NAME)
        if self._filter is False:
            (self._directory / FILE_NAME).unlink(missing_ok=True)
        self._journal.finish()
        return Applied(
            tuple(changed), self._backup, self._unfinished is not None, reloaded, warnings
        )

    def _restore(self, name: str) -> bool:
        path = self._directory / name
        before = self._before[name]
        present = path.read_bytes()
        # Somebody else's text stays: it is not ours to take back.
        if present == before or present != self._new[name]:
            return False
        replace(path, present, before)
        return True

    def _excuse(self) -> str:
        try:
            self._postfix.check()
        except PostfixUnavailable:
            return ". postfix check fails without our change, too: mend that first"
        return ""


def _encoded(texts: Mapping[str, str]) -> dict[str, bytes]:
    return {name: text.encode("utf-8", "surrogateescape") for name, text in texts.items()}
