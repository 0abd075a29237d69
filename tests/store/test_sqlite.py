"""The SQLite store where the world is not as it should be."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.modes import Observation
from gatepost.store import open_store, schema, sqlite_file
from gatepost.store.schema import MIGRATIONS
from gatepost.store.sqlite import SqliteStore

ROOT = Path(__file__).resolve().parents[2]

Seen = Callable[..., Observation]

WRITER = """
import sys
from pathlib import Path
from gatepost.modes import Feature, Observation
from gatepost.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
batch = [Observation(1.0 + n, "acme", Feature.TAG, "add-header", "d") for n in range(100)]
while True:
    store.add(batch)
    print("stored", flush=True)
"""


def total(store: SqliteStore) -> int:
    return sum(each.count for each in store.what_if(0))


def test_a_url_that_is_not_for_sqlite_is_refused() -> None:
    for url in ("mysql://x", "sqlite:///", "sqlite:", ""):
        with pytest.raises(StoreUnavailable, match="no store that is known"):
            open_store(url)


def test_a_missing_database_is_made_only_where_that_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.db"
    with pytest.raises(StoreUnavailable, match="does not exist; nothing was recorded yet"):
        open_store(f"sqlite:///{path}", create=False)
    assert not path.exists()
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    SqliteStore(path, create=False).close()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=str(tmp_path / "none")):
        SqliteStore(tmp_path / "none" / "gatepost.db")


def test_a_locked_database_is_unavailable_and_then_available_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.0)
    with contextlib.closing(SqliteStore(tmp_path / "gatepost.db")) as store:
        blocker = sqlite3.connect(store.path, isolation_level=None)
        blocker.execute("begin exclusive")
        with pytest.raises(StoreUnavailable, match=r"gatepost\.db: database is locked"):
            store.add([seen()])
        with pytest.raises(StoreUnavailable, match="locked"):
            store.roll_up(2e9)
        blocker.execute("rollback")
        blocker.close()
        store.add([seen()])
        assert total(store) == 1


def test_what_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.db"
    path.write_text("precious " * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        SqliteStore(path)
    assert path.read_text().startswith("precious")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.db"
    SqliteStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("insert into schema_version values (99, 0)")
        connection.commit()
    with pytest.raises(StoreUnavailable, match="schema 99 is newer"):
        SqliteStore(path)


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_that_was_removed_or_replaced_is_noticed(
    tmp_path: Path, how: str, seen: Seen
) -> None:
    path = tmp_path / "gatepost.db"
    with contextlib.closing(SqliteStore(path)) as store:
        store.add([seen(), seen()])
        for name in ("gatepost.db", "gatepost.db-wal", "gatepost.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        if how == "replaced":
            SqliteStore(path).close()
        store.add([seen()])
        assert total(store) == 1


def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path, seen: Seen) -> None:
    with contextlib.closing(SqliteStore(tmp_path / "gatepost.db")) as store:
        with contextlib.closing(sqlite3.connect(store.path)) as connection:
            connection.execute(
                "create trigger full before insert on observations when new.tenant = 'bad' "
                "begin select raise(abort, 'no room'); end"
            )
        with pytest.raises(StoreUnavailable, match="no room"):
            store.add([seen(), seen(tenant="bad"), seen()])
        assert total(store) == 0


def test_killed_while_writing_it_keeps_what_it_said_was_stored(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        stored = [writer.stdout.readline() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        stored += writer.stdout.readlines()
    promised = 100 * stored.count("stored\n")
    with contextlib.closing(SqliteStore(path)) as store:
        found = total(store)
        # The last batch may be stored although nobody was told any more; half a batch never is.
        assert found in {promised, promised + 100}
        assert store.roll_up(7200) == found
        assert total(store) == found


def test_several_processes_may_make_it_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.db"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for writer in writers:
        with writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "stored\n"
            writer.kill()


@pytest.mark.e2e
def test_on_a_full_disk_it_is_unavailable_and_recovers(tmp_path: Path, seen: Seen) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        check=True,
        capture_output=True,
    )
    try:
        with contextlib.closing(SqliteStore(disk / "gatepost.db")) as store:
            filler = disk / "filler"
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            with pytest.raises(StoreUnavailable, match=r"gatepost\.db: "):
                store.add([seen(detail="x" * 200)] * 2000)
            before = total(store)
            filler.unlink()
            store.add([seen()])
            assert total(store) == before + 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_file_goes_to_whom_the_directory_belongs(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 65534, 65534)
    SqliteStore(tmp_path / "gatepost.db").close()
    found = (tmp_path / "gatepost.db").stat()
    assert (found.st_uid, found.st_gid) == (65534, 65534)


@pytest.mark.parametrize("steps", range(1, len(MIGRATIONS)))
def test_an_older_database_is_brought_up_to_date(tmp_path: Path, seen: Seen, steps: int) -> None:
    path = tmp_path / "gatepost.db"
    with pytest.MonkeyPatch.context() as older:
        older.setattr(schema, "MIGRATIONS", MIGRATIONS[:steps])
        with contextlib.closing(SqliteStore(path)) as store:
            store.add([seen(), seen()])
    # Whoever is killed between two steps has made none of them.
    broken = (*MIGRATIONS[: len(MIGRATIONS) - 1], _killed)
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(StoreUnavailable, match="killed"):
            SqliteStore(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select max(version) from schema_version").fetchone() == (steps,)
    made, fresh = path, tmp_path / "fresh.db"
    SqliteStore(fresh).close()
    with contextlib.closing(SqliteStore(made)) as store:
        assert total(store) == 2
    assert _tables(made) == _tables(fresh)


def _killed(_: object) -> None:
    raise sqlite3.OperationalError("killed")


def _tables(path: Path) -> list[tuple[str]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = "select sql from sqlite_master where sql is not null order by name"
        return connection.execute(found).fetchall()
