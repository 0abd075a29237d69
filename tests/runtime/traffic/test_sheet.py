"""A sheet is whole or not there, tells whether its writer lives, and raises nowhere."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from gatepost.runtime.traffic.sheet import BEAT_S, FRESH_S, MAX_OCTETS, SheetWatch, TrafficSheet


class Clock:
    """Seconds since the boot."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sheet(tmp_path: Path, clock: Clock):
    made = TrafficSheet(tmp_path / "traffic.json", every_s=3600, clock=clock)
    # The thread writes once, and then sleeps.
    made.write()
    yield made
    made.stop()


@pytest.fixture
def watch(tmp_path: Path, clock: Clock) -> SheetWatch:
    return SheetWatch(tmp_path / "traffic.json", clock=clock)


def test_what_is_put_is_read(sheet, watch) -> None:
    sheet.put("backlog", {"acme": [1, 2]})
    sheet.write()
    assert watch.look()
    assert watch.section("backlog") == {"acme": [1, 2]}
    assert watch.section("other") is None
    assert not watch.look()


def test_each_section_is_of_its_own(sheet, watch) -> None:
    sheet.put("one", 1)
    sheet.put("two", 2)
    sheet.write()
    sheet.put("one", 3)
    sheet.remove("two")
    sheet.write()
    watch.look()
    assert (watch.section("one"), watch.section("two")) == (3, None)


def test_nothing_is_written_while_nothing_changes_but_for_the_beat(sheet, tmp_path, clock) -> None:
    sheet.put("one", 1)
    sheet.write()
    before = (tmp_path / "traffic.json").stat().st_ino, (tmp_path / "traffic.json").read_text()
    sheet.put("one", 1)
    clock.now += BEAT_S / 2
    sheet.write()
    assert (tmp_path / "traffic.json").read_text() == before[1]
    clock.now += BEAT_S
    sheet.write()
    assert json.loads((tmp_path / "traffic.json").read_text())["at"] == clock.now


def test_a_writer_that_has_died_is_known_no_more(sheet, watch, clock) -> None:
    sheet.put("one", 1)
    sheet.write()
    watch.look()
    clock.now += FRESH_S
    assert watch.section("one") == 1
    clock.now += 0.1
    assert watch.section("one") is None
    assert watch.last("one") == 1


def test_a_sheet_of_before_the_last_boot_is_none(sheet, watch, clock) -> None:
    sheet.put("one", 1)
    sheet.write()
    clock.now = 5.0
    watch.look()
    assert watch.section("one") is None


def test_a_sheet_that_is_gone_is_noticed(sheet, watch, tmp_path) -> None:
    sheet.put("one", 1)
    sheet.write()
    watch.look()
    (tmp_path / "traffic.json").unlink()
    assert watch.look()
    assert watch.section("one") is None
    assert not watch.look()


def test_one_that_is_too_large_is_not_read(watch, tmp_path) -> None:
    with (tmp_path / "traffic.json").open("wb") as file:
        file.truncate(MAX_OCTETS + 1)
    assert not watch.look()


def test_a_directory_that_takes_nothing_is_told_once(tmp_path, clock, caplog) -> None:
    caplog.set_level("INFO", logger="gatepost.traffic")
    missing = tmp_path / "gone"
    made = TrafficSheet(missing / "traffic.json", every_s=3600, clock=clock)
    for n in range(3):
        made.put("one", n)
        made.write()
    assert caplog.text.count("sheet-unwritten") == 1
    missing.mkdir()
    made.write()
    assert caplog.text.count("sheet-written") == 1
    assert json.loads((missing / "traffic.json").read_text())["sections"] == {"one": 2}
    made.stop()


def test_a_reader_never_sees_half_a_sheet(tmp_path, clock) -> None:
    made = TrafficSheet(tmp_path / "traffic.json", every_s=0.001, clock=clock)
    seen = SheetWatch(tmp_path / "traffic.json", clock=clock)
    stop = threading.Event()

    def put() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            made.put("one", [n] * 1000)

    writer = threading.Thread(target=put)
    writer.start()
    try:
        found = 0
        for _ in range(5000):
            if seen.look():
                row = seen.section("one")
                assert row is None or (len(row) == 1000 and len(set(row)) == 1)
                found += row is not None
            if found > 20:
                break
    finally:
        stop.set()
        writer.join()
        made.stop()
    assert found


def test_it_is_not_for_everybody(sheet, tmp_path) -> None:
    sheet.put("one", 1)
    sheet.write()
    assert (tmp_path / "traffic.json").stat().st_mode & 0o007 == 0
    assert [each.name for each in tmp_path.iterdir()] == ["traffic.json"]
