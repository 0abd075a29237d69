"""``gatepost log``: read Postfix's logs of the past."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    number,
    print_json,
)
from gatepost.errors import LogUnavailable, PostfixUnavailable
from gatepost.maillog.evidence import Batch, DeliveryStore, LogPosition, Record, Scope
from gatepost.maillog.follow import Chunk, LogFile, find_position, first_line
from gatepost.maillog.join import Joiner
from gatepost.maillog.lines import stamp_of
from gatepost.maillog.stamps import Clock
from gatepost.postfix.log_facts import LogFacts, log_facts
from gatepost.runtime.deliveries import History, record_of
from gatepost.runtime.observer import tidy_deliveries
from gatepost.settings import Loader
from gatepost.store.open import open_deliveries

# The key of the joiner's memory under which stands up to where the log was read with it.
_AT = "at"

app = typer.Typer(no_args_is_help=True, help="Read Postfix's logs of the past.")


@dataclass(slots=True)
class Read:
    """What came of one file.

    Attributes:
        file: Its path.
        lines: Lines that were read now.
        deliveries: Message-recipients in them that were sent or refused.
        unreadable: Lines of deliveries that could not be taken apart.
        known: Whether some or all of it had been read before.
    """

    file: str
    lines: int = 0
    deliveries: int = 0
    unreadable: int = 0
    known: bool = False


@app.callback()
def _logs() -> None:
    """Read Postfix's logs of the past."""


@app.command("ingest")
def ingest(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Logs, also packed by gzip, xz or bzip2."),
    ],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Read logs that were written before, for tls share and whatever builds upon it.

    Files are read in the order of their first lines, so that a message whose lines are in two of
    them is put together. A file is known by its first 4 KiB, whatever it is called: what was read
    of it, by this command or by the running service, is not read again, also after it was renamed,
    compressed or has grown. So the same command twice, or after a kill, counts nothing twice.

    Senders are attributed to tenants by the configuration as it is now. Whether a delivery had less
    TLS than asked is judged by the profile in the name of the service that delivered, as that
    profile is now. In a log without years the year is that in which the file was written last.

    Exit status: 0 fine, also if all was read before; 2 usage error, or a file that cannot be read.

    Example: gatepost log ingest /var/log/mail.log.*
    """
    with errors_to_exit(as_json=as_json):
        loaded = Loader(config).load()
        history = History(loaded.snapshot, time.time())
        facts = _facts(loaded.settings.postfix_config_dir)
        with closing(open_deliveries(loaded.settings.local_state)) as store:
            reader = _Ingest(store, history, facts)
            ordered = _ordered(files)
            with _progress(ordered) as (progress, task):
                found = [reader.read(path, progress, task) for path in ordered]
            store.forget(Scope.INGEST)
            tidy_deliveries(store, time.time())
    if as_json:
        print_json({"files": [asdict(each) for each in found]})
    else:
        for each in found:
            print(f"{each.file}: {_words(each)}")


class _Ingest:
    """Reads one file after the other into the store."""

    def __init__(self, store: DeliveryStore, history: History, facts: LogFacts) -> None:
        self._store = store
        self._history = history
        self._facts = facts
        self._clock = Clock(time.time())
        state = store.state(Scope.INGEST)
        # Where the run stopped whose memory this is.
        self._stopped_at = state.pop(_AT, "")
        self._done = 0
        self._joiner = Joiner(self._clock, tls_logged=facts.tls_logged, state=state)

    def read(self, path: Path, progress: Progress, task: TaskID) -> Read:
        """Read what is new in a file.

        Raises:
            LogUnavailable: If it cannot be read, or somebody else reads it now.
            StoreUnavailable: If the store is.
        """
        position = find_position(path, self._store.positions())
        result = Read(str(path), known=position is not None)
        self._clock.move(path.stat().st_mtime)
        goes_on = position is not None and _mark(position) == self._stopped_at
        before = self._joiner.tally.unreadable
        with closing(LogFile(path, str(path.absolute()), position)) as file:
            while (chunk := file.read(last=file.compressed)) is not None:
                if not goes_on:
                    # Nobody knows what was logged just before this line.
                    self._joiner.gap()
                goes_on = True
                self._take(path, chunk, result)
                progress.update(task, completed=self._done + file.raw.tell(), description=path.name)
        self._done += path.stat().st_size
        result.unreadable = self._joiner.tally.unreadable - before
        return result

    def _take(self, path: Path, chunk: Chunk, result: Read) -> None:
        records = list(self._records(chunk))
        changes = {**self._joiner.changes(), _AT: _mark(chunk.position)}
        batch = Batch(records, chunk.position, chunk.previous, changes, Scope.INGEST)
        if not self._store.add(batch):
            raise LogUnavailable(
                f"{path}: another process reads this file now, so nothing more of it was counted; "
                "run this again when it has finished"
            )
        result.lines += len(chunk.lines)
        result.deliveries += sum(each.deliveries for each in records)

    def _records(self, chunk: Chunk) -> Iterator[Record]:
        for delivery in filter(None, map(self._joiner.read, chunk.lines)):
            record = record_of(delivery, self._history, self._facts.relayhost)
            if record is not None:
                yield record


def _mark(position: LogPosition) -> str:
    return f"{position.source} {position.offset}"


def _facts(config_dir: Path) -> LogFacts:
    try:
        relayhost = log_facts(config_dir).relayhost
    except PostfixUnavailable:
        relayhost = ""
    # How Postfix logged in the past its log has to tell.
    return LogFacts(tls_logged=False, relayhost=relayhost)


def _ordered(files: Iterable[Path]) -> list[Path]:
    """Return the files by the time of their first lines.

    Raises:
        LogUnavailable: If one cannot be read.
    """

    def begins(path: Path) -> float:
        line = first_line(path)
        at = stamp_of(line, Clock(path.stat().st_mtime))
        return float("inf") if at is None else at

    return sorted(dict.fromkeys(files), key=begins)


@contextmanager
def _progress(files: Iterable[Path]) -> Iterator[tuple[Progress, TaskID]]:
    total = sum(path.stat().st_size for path in files)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, disable=not sys.stderr.isatty(), transient=True
    ) as progress:
        yield progress, progress.add_task("", total=total)


def _words(read: Read) -> str:
    if not read.lines:
        return "read before, nothing new" if read.known else "empty"
    rest = f", {number(read.unreadable, 'line')} not understood" if read.unreadable else ""
    new = "new " if read.known else ""
    lines, deliveries = number(read.lines, f"{new}line"), read.deliveries
    return f"{lines}, {deliveries} {'delivery' if deliveries == 1 else 'deliveries'}{rest}"
