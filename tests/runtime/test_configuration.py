"""The snapshot in force: replaced whole, or kept with every reason."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from gatepost.errors import ConfigError, ConfigErrors, StoreUnavailable
from gatepost.runtime.configuration import SnapshotHolder, load_settings
from gatepost.settings import Loaded, Settings
from gatepost.snapshot import Snapshot
from tests.world import snapshot

PATH = Path("gatepost.yaml")
ERRORS = [
    ConfigError("gatepost.yaml", 3, "tenants.a", "is wrong", "write b"),
    ConfigError("gatepost.yaml", 0, "", "is odd", "mend it"),
]


def made(digest: str) -> Snapshot:
    return replace(snapshot(), digest=digest)


class Files:
    """What the files say; raises what `error` is."""

    def __init__(self) -> None:
        self.loaded = Loaded(Settings(PATH), made("one"))
        self.error: Exception | None = None

    def load(self) -> Loaded:
        if self.error is not None:
            raise self.error
        return self.loaded


@pytest.fixture
def files() -> Files:
    return Files()


def test_a_first_load_that_fails_raises_everything(files: Files) -> None:
    files.error = ConfigErrors(ERRORS)
    with pytest.raises(ConfigErrors) as caught:
        SnapshotHolder(PATH, source=files)
    assert len(caught.value.errors) == 2
    assert gc.isenabled()


def test_a_reload_puts_the_new_one_in_force(files: Files) -> None:
    holder = SnapshotHolder(PATH, source=files)
    old, since = holder.current, holder.loaded_at
    files.loaded = Loaded(Settings(PATH), made("two"), (ERRORS[0],))
    result = holder.reload()
    assert (result.ok, result.digest, result.changed) == (True, "two", True)
    assert holder.current is files.loaded.snapshot
    assert holder.current is not old
    assert holder.loaded_at >= since
    assert holder.notes == (str(ERRORS[0]),)
    assert holder.last_reload == result
    assert gc.isenabled()


def test_a_reload_of_the_same_says_so(files: Files) -> None:
    holder = SnapshotHolder(PATH, source=files)
    files.loaded = Loaded(Settings(PATH), made("one"))
    assert not holder.reload().changed


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigErrors(ERRORS), [str(each) for each in ERRORS]),
        (StoreUnavailable("db: gone"), ["db: gone"]),
        (ZeroDivisionError("a bug"), ["ZeroDivisionError: a bug"]),
    ],
)
def test_a_reload_that_fails_keeps_the_old_one(
    files: Files, error: Exception, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    holder = SnapshotHolder(PATH, source=files)
    old = holder.current
    files.error = error
    result = holder.reload()
    assert not result.ok
    assert list(result.errors) == told
    assert result.digest == "one"
    assert holder.current is old
    assert "reload result=refused errors=" in caplog.text
    assert f"in_force={old.digest}" in caplog.text
    files.error = None
    assert holder.reload().ok


def test_a_complaint_refuses_a_reload_and_notes_a_start(files: Files) -> None:
    complaints = ["master.cf has no service gp-bulk-bank"]
    holder = SnapshotHolder(PATH, source=files, validators=[lambda _: complaints])
    assert holder.notes == tuple(complaints)
    result = holder.reload()
    assert (result.ok, result.errors) == (False, tuple(complaints))


def test_a_validator_that_is_added_later_counts_too(files: Files) -> None:
    holder = SnapshotHolder(PATH, source=files)
    said = ["no"]
    holder.add_validator(lambda _: list(said))
    assert holder.notes == ("no",)
    assert not holder.reload().ok
    said.clear()
    assert holder.reload().ok
    assert holder.notes == ()


def test_a_validator_that_cannot_tell_refuses(files: Files) -> None:
    def fail(_: Snapshot) -> list[str]:
        raise StoreUnavailable("cannot tell")

    holder = SnapshotHolder(PATH, source=files)
    holder.add_validator(fail)
    assert holder.reload().errors == ("cannot tell",)


def test_what_only_a_restart_can_change_is_noted(files: Files) -> None:
    holder = SnapshotHolder(PATH, source=files)
    files.loaded = Loaded(Settings(PATH, user="other", grace_s=1), made("two"))
    result = holder.reload()
    assert result.ok
    assert result.notes == (
        "user: changed, and takes effect only after a restart",
        "grace_s: changed, and takes effect only after a restart",
    )
    assert holder.settings.user == "gatepost"


def test_two_reloads_at_once_come_one_after_the_other(files: Files) -> None:
    holder = SnapshotHolder(PATH, source=files)
    inside = threading.Semaphore(0)
    go = threading.Event()
    at_once = []

    class Slow:
        busy = 0

        def load(self) -> Loaded:
            Slow.busy += 1
            at_once.append(Slow.busy)
            inside.release()
            assert go.wait(10)
            Slow.busy -= 1
            return files.loaded

    holder._source = Slow()
    threads = [threading.Thread(target=holder.reload) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert inside.acquire(timeout=10)
    go.set()
    for thread in threads:
        thread.join()
    assert at_once == [1, 1, 1]


def test_a_replaced_snapshot_is_freed_although_it_was_frozen(files: Files) -> None:
    class Tracked(list[int]):
        """A list that can be watched."""

    holder = SnapshotHolder(PATH, source=files)
    lanes = Tracked()
    watched = weakref.ref(lanes)
    files.loaded = Loaded(Settings(PATH), replace(made("two"), lanes=lanes))  # type: ignore[arg-type]
    del lanes
    holder.reload()
    assert watched() is not None
    files.loaded = Loaded(Settings(PATH), made("three"))
    holder.reload()
    assert watched() is None


def test_settings_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors):
        load_settings(tmp_path / "none.yaml")
