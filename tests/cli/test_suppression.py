"""``gatepost suppression`` as an administrator types it."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner, Result

from gatepost.cli.app import build as command_line
from gatepost.feedback.events import Event, EventKind
from gatepost.feedback.suppression import Reason, Suppressed
from gatepost.settings import Loader
from gatepost.store.open import open_events, open_suppression

Gatepost = Callable[..., Result]
TODAY = time.strftime("%Y-%m-%dT", time.gmtime())


class Place:
    """A configuration and a store of its own, and commands upon them."""

    def __init__(self, directory: Path, more: str = "") -> None:
        self.config = directory / "gatepost.yaml"
        self.url = f"sqlite:///{directory}/gatepost.db"
        keys = directory / "keys.yaml"
        keys.write_text(f'current: 1\nkeys: {{1: {{secret: "{"ab" * 32}"}}}}\n')
        keys.chmod(0o600)
        self.config.write_text(
            f"postfix: {{config_dir: {directory}}}\nstate: {self.url}\n{more}"
            "tenants:\n"
            "  acme: {logins: [acme], senders: [acme.example]}\n"
            "  zeta: {logins: [zeta], senders: [zeta.example]}\n"
        )

    def run(self, *arguments: str, status: int = 0, stdin: str | bytes = "") -> Result:
        command = ["suppression", *arguments, "--config", str(self.config)]
        result = CliRunner().invoke(command_line(), command, input=stdin)
        assert result.exit_code == status, result.output
        return result

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", status=status).stdout)

    def events(self) -> list[Event]:
        with contextlib.closing(open_events(self.url)) as store:
            return [each.event for each in store.after(0, 100)]

    def find(self, tenant: str, address: str) -> Suppressed | None:
        rules = Loader(self.config).load().snapshot.suppression
        with contextlib.closing(open_suppression(self.url)) as store:
            return store.find(tenant, address, time.time(), rules)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    open_suppression(made.url).close()
    return made


def test_without_a_store_nothing_is_made_to_look_at(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for arguments in (
        ("list",),
        ("export",),
        ("check", "a@b.example"),
        ("remove", "a@b.example", "--tenant", "acme"),
    ):
        assert "nothing was recorded yet" in place.run(*arguments, status=2).stderr
    assert not (tmp_path / "gatepost.db").exists()
    place.run("add", "a@b.example", "--tenant", "acme")
    assert len(place.json("list")["entries"]) == 1


def test_add_check_remove(place: Place) -> None:
    added = place.run("add", "Ann@Example.ORG", "--tenant", "acme", "--note", "on leave")
    assert added.stdout.startswith(f"ann@example.org: suppressed, acme: manual since {TODAY}")
    again = place.run("add", "ann@example.org", "--tenant", "acme")
    assert "was there already" in again.stdout
    found = place.find("acme", "ann@example.org")
    assert found is not None
    assert (found.reason, found.expires, found.note) == (Reason.MANUAL, None, "on leave")
    checked = place.run("check", "ANN@example.org", "bob@example.org", status=1)
    assert checked.stdout.splitlines()[0].startswith(
        f"ANN@example.org: suppressed for acme as ann@example.org: manual since {TODAY}"
    )
    assert checked.stdout.splitlines()[1] == "bob@example.org: not suppressed"
    place.run("check", "ann@example.org", "--tenant", "zeta")
    removed = place.run("remove", "ann@example.org", "--tenant", "acme")
    assert removed.stdout.startswith("ann@example.org: removed from acme: manual since ")
    assert place.run("remove", "ann@example.org", "--tenant", "acme", status=1).stdout == (
        "ann@example.org: is not on the list of acme\n"
    )
    place.run("check", "ann@example.org")


def test_every_change_is_an_event(place: Place) -> None:
    place.run("add", "ann@example.org", "--tenant", "acme", "--reason", "complaint")
    place.run("add", "ann@example.org", "--tenant", "acme", "--reason", "complaint")
    place.run("add", "bob@example.org", "--global")
    place.run("remove", "ann@example.org", "--tenant", "acme")
    place.run("import", "-", "--tenant", "zeta", stdin="a@b.example\nc@d.example\n")
    events = place.events()
    assert {event.kind for event in events} == {EventKind.SUPPRESSION_CHANGED}
    assert [(e.tenant, e.details["action"], e.recipient) for e in events] == [
        ("acme", "add", "ann@example.org"),
        ("", "add", "bob@example.org"),
        ("acme", "remove", "ann@example.org"),
        ("zeta", "import", ""),
    ]
    assert [event.details["list"] for event in events] == ["acme", "global", "acme", "zeta"]
    assert all(event.details["by"] for event in events)
    assert events[3].details["entries"] == 2


def test_hashed_no_event_and_no_list_holds_an_address(tmp_path: Path) -> None:
    place = Place(tmp_path, "feedback: {privacy: hashed}\n")
    place.run("add", "ann@example.org", "--tenant", "acme")
    assert [event.recipient for event in place.events()] == [""]
    assert place.json("list")["entries"][0]["address"] is None
    assert "(hashed)" in place.run("list").stdout
    exported = place.run("export", status=1)
    assert exported.stderr == "1 entries hold a hash and no address: left out\n"
    checked = place.json("check", "ann@example.org", status=1)
    assert checked[0]["suppressed"] is True
    removed = place.run("remove", "ann@example.org", "--tenant", "acme").stdout
    assert removed.startswith("ann@example.org: removed from acme")


def test_the_global_list_is_for_addresses_that_do_not_exist(place: Place) -> None:
    place.run("add", "no@example.org", "--global")
    assert (
        place.json("check", "no@example.org", "--tenant", "acme", status=1)[0]["entries"][0][
            "reason"
        ]
        == "invalid"
    )
    for arguments in (
        ("add", "x@example.org", "--global", "--reason", "complaint"),
        ("import", "-", "--global", "--reason", "manual"),
    ):
        refused = place.run(*arguments, status=2)
        assert "the global list takes addresses with the reason invalid alone" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("add", "a@b.example"), "name the list: --tenant ID or --global"),
        (("add", "a@b.example", "--tenant", "acme", "--global"), "name the list"),
        (("add", "a@b.example", "--tenant", "acm"), "there is no tenant acm; did you mean acme?"),
        (("add", "nonsense", "--tenant", "acme"), "is not an address"),
        (
            ("add", "a@b.example", "--tenant", "acme", "--reason", "complaint", "--expires", "1d"),
            "holds for good",
        ),
        (("add", "a@b.example", "--tenant", "acme", "--expires", "soon"), "takes a period"),
        (("add", "a@b.example", "--tenant", "acme", "--expires", "2020-01-01"), "is past"),
        (("add", "a@b.example", "--tenant", "acme", "--note", "x" * 201), "at most 200 characters"),
        (("remove", "nonsense", "--tenant", "acme"), "is not an address"),
        (("check", "nonsense"), "is not an address"),
        (("list", "--after", "here"), "is no place"),
        (("import", "/nonexistent/x.csv", "--tenant", "acme"), "No such file"),
    ],
)
def test_usage_errors_change_nothing(
    place: Place, arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in place.run(*arguments, status=2).stderr
    assert place.json("list")["entries"] == []
    assert place.events() == []


def test_an_entry_by_hand_ends_when_told(place: Place) -> None:
    place.run("add", "a@b.example", "--tenant", "acme", "--expires", "30d")
    place.run("add", "c@d.example", "--tenant", "acme", "--expires", "2099-01-31")
    first = place.find("acme", "a@b.example")
    second = place.find("acme", "c@d.example")
    assert first is not None
    assert first.expires is not None
    assert abs(first.expires - first.at - 30 * 86_400) < 2
    assert second is not None
    assert second.expires == 4_073_500_800.0


def test_a_list_comes_in_pages(place: Place) -> None:
    place.run(
        "import", "-", "--tenant", "acme", stdin="".join(f"u{n}@b.example\n" for n in range(5))
    )
    place.run("add", "z@b.example", "--tenant", "zeta", "--reason", "unsubscribe")
    seen = []
    after = ""
    while True:
        page = place.json("list", "--tenant", "acme", "--limit", "2", "--after", after)
        seen += [entry["address"] for entry in page["entries"]]
        if page["after"] is None:
            break
        after = page["after"]
    assert sorted(seen) == [f"u{number}@b.example" for number in range(5)]
    shown = place.run("list", "--limit", "2")
    assert shown.stderr.startswith("there may be more: --after ")
    assert len(shown.stdout.splitlines()) == 2
    (only,) = place.json("list", "--reason", "unsubscribe")["entries"]
    assert (only["tenant"], only["address"]) == ("zeta", "z@b.example")


def test_import_names_bad_lines_and_stores_the_others(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("email,reason\nann@example.org,spam\nnonsense,spam\nbob@example.org,anger\n")
    result = place.run("import", str(file), "--tenant", "acme", status=1)
    assert f"{file}:3: 'nonsense' is not an address" in result.stderr
    assert f"{file}:4: anger is no reason" in result.stderr
    assert result.stdout.startswith("1 entries, 1 of them new or changed, in ")
    assert result.stdout.rstrip().endswith("2 bad lines left out")
    found = place.find("acme", "ann@example.org")
    assert found is not None
    assert (found.reason, found.source) == (Reason.COMPLAINT, "import of x.csv")
    again = place.run("import", str(file), "--tenant", "acme", status=1)
    assert again.stdout.startswith("1 entries, 0 of them new or changed, in ")


def test_strictly_nothing_is_stored_if_any_line_is_bad(place: Place) -> None:
    text = "ann@example.org\nnonsense\n"
    result = place.run("import", "-", "--tenant", "acme", "--strict", status=2, stdin=text)
    assert "standard input: nothing was stored; line 2: 'nonsense' is not" in result.stderr
    assert place.json("list")["entries"] == []
    assert place.events() == []


def test_a_dry_run_stores_nothing(place: Place) -> None:
    text = "ann@example.org\nnonsense\n"
    result = place.run("import", "-", "--tenant", "acme", "--dry-run", status=1, stdin=text)
    assert result.stdout == "1 entries would be stored; 1 bad lines left out\n"
    assert place.json("list")["entries"] == []
    assert place.events() == []


def test_bounces_that_have_ended_are_left_out(place: Place) -> None:
    text = (
        "address,reason,since\nann@example.org,bounce,2020-01-01\nbob@example.org,spam,2020-01-01\n"
    )
    result = place.run("import", "-", "--tenant", "acme", stdin=text)
    assert result.stdout.startswith("1 entries, 1 of them new")
    assert result.stdout.rstrip().endswith("; 1 had ended")


def test_octets_that_are_no_text_are_bad_lines(place: Place) -> None:
    octets = "\ufeffann@example.org\n".encode() + b"b\xffb@example.org\nx\0@example.org\n"
    result = place.run("import", "-", "--tenant", "acme", status=1, stdin=octets)
    assert result.stdout.startswith("1 entries, 1 of them new")
    assert "standard input:2:" in result.stderr
    assert "standard input:3:" in result.stderr


def test_what_is_exported_can_be_imported_elsewhere(place: Place, tmp_path: Path) -> None:
    place.run(
        "add", "ann@example.org", "--tenant", "acme", "--reason", "complaint", "--note", "a,b"
    )
    place.run("add", '"a b"@example.org', "--tenant", "zeta", "--expires", "2099-01-31")
    place.run("add", "no@example.org", "--global")
    file = tmp_path / "all.csv"
    place.run("export", "--output", str(file))
    assert "is there already" in place.run("export", "--output", str(file), status=2).stderr
    assert file.stat().st_mode & 0o777 == 0o640
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    other.run("import", str(file))
    assert _rows(other.run("export").stdout) == _rows(file.read_text())
    assert other.json("list")["entries"] != []
    only = place.run("export", "--tenant", "zeta").stdout
    assert [row[1] for row in _rows(only)] == ["address", '"a b"@example.org']
    known = [event.details["list"] for event in other.events()]
    assert sorted(map(str, known)) == ["acme", "global", "zeta"]


def test_no_part_of_a_list_is_left_on_a_disk_that_is_full(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.run("add", "ann@example.org", "--tenant", "acme")
    file = tmp_path / "all.csv"

    def full(_: Suppressed) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gatepost.cli.suppression.export.row_of", full)
    result = place.run("export", "--output", str(file), status=2)
    assert f"{file}: No space left on device" in result.stderr
    assert not file.exists()


def _rows(text: str) -> list[list[str]]:
    return sorted(csv.reader(io.StringIO(text)))


def test_the_report_of_an_import_is_json(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("ann@example.org\nnonsense\n")
    found = place.json("import", str(file), "--tenant", "acme", status=1)
    seconds = found.pop("seconds")
    assert seconds >= 0
    assert found == {
        "file": str(file),
        "dry_run": False,
        "entries": 1,
        "changed": 1,
        "ended": 0,
        "bad": 1,
        "bad_lines": [{"line": 2, "problem": "'nonsense' is not an address (RFC 5321 §4.1.2)"}],
    }
