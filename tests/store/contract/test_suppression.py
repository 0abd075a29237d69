"""What every suppression store must do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.errors import MalformedMessage, StoreUnavailable
from gatepost.feedback.rules import SuppressionRules
from gatepost.feedback.suppression import GLOBAL, Reason, Suppressed, expiry_of, merged
from gatepost.store.open import open_suppression, sqlite_path
from gatepost.store.suppression import Delivered, SuppressionStore

NOW = 1_800_000_000.0
DAY = 86_400
RULES = SuppressionRules()
FOLD = SuppressionRules(fold_sub_addresses=True)
HASHED = SuppressionRules(hashed=True)


@pytest.fixture
def suppressions(url: str, local: str) -> Iterator[SuppressionStore]:
    """Return an empty list, closed at the end."""
    with contextlib.closing(open_suppression(url, local=local)) as opened:
        yield opened


def _entry(
    address: str = "ann@example.org", reason: Reason = Reason.COMPLAINT, **fields: object
) -> Suppressed:
    values = {"tenant": "acme", "at": NOW, "expires": expiry_of(reason, NOW, RULES), **fields}
    return Suppressed(address=address, reason=reason, **values)  # type: ignore[arg-type]


def test_an_address_is_found_in_any_spelling_and_for_its_tenant_only(
    suppressions: SuppressionStore,
) -> None:
    entry = _entry("Ann@EXAMPLE.org", source="ev1", note="by phone")
    assert suppressions.add([entry], RULES) == 1
    found = suppressions.find("acme", '"aNN"@example.ORG.', NOW, RULES)
    assert found == _entry("ann@example.org", source="ev1", note="by phone")
    assert suppressions.find("zeta", "ann@example.org", NOW, RULES) is None
    assert suppressions.find("acme", "anna@example.org", NOW, RULES) is None
    assert suppressions.find("acme", "no address", NOW, RULES) is None


def test_the_global_list_takes_invalid_addresses_alone_and_holds_for_all(
    suppressions: SuppressionStore,
) -> None:
    assert suppressions.add([_entry(tenant=GLOBAL)], RULES) == 0
    assert suppressions.add([_entry(tenant=GLOBAL, reason=Reason.INVALID)], RULES) == 1
    for tenant in ("acme", "zeta", GLOBAL):
        found = suppressions.find(tenant, "ann@example.org", NOW, RULES)
        assert found is not None
        assert (found.tenant, found.reason) == (GLOBAL, Reason.INVALID)


def test_the_tenants_own_entry_comes_before_the_global_one(
    suppressions: SuppressionStore,
) -> None:
    suppressions.add(
        [_entry(reason=Reason.MANUAL), _entry(tenant=GLOBAL, reason=Reason.INVALID)], RULES
    )
    found = suppressions.find("acme", "ann@example.org", NOW, RULES)
    assert found is not None
    assert (found.tenant, found.reason) == ("acme", Reason.MANUAL)


def test_of_several_reasons_the_strongest_in_force_is_shown(
    suppressions: SuppressionStore,
) -> None:
    suppressions.add([_entry(reason=reason) for reason in reversed(Reason)], RULES)
    for reason in Reason:
        found = suppressions.find("acme", "ann@example.org", NOW, RULES)
        assert found is not None
        assert found.reason is reason
        removed = suppressions.remove("acme", "ANN@example.org", RULES, reason)
        assert removed == [_entry(reason=reason)]
    assert suppressions.find("acme", "ann@example.org", NOW, RULES) is None


def test_what_has_expired_is_not_found_and_is_pruned(suppressions: SuppressionStore) -> None:
    bounce = _entry(reason=Reason.HARD_BOUNCE)
    assert bounce.expires is not None
    suppressions.add([bounce, _entry("bob@example.org")], RULES)
    assert suppressions.find("acme", "ann@example.org", bounce.expires - 1, RULES) == bounce
    assert suppressions.find("acme", "ann@example.org", bounce.expires, RULES) is None
    assert suppressions.prune(bounce.expires, RULES) == 1
    assert suppressions.entries_of("acme", "ann@example.org", RULES) == []
    assert suppressions.entries_of("acme", "bob@example.org", RULES) == [_entry("bob@example.org")]


def test_many_that_have_ended_are_pruned_and_no_others(suppressions: SuppressionStore) -> None:
    ended = [
        _entry(f"user{number}@example.org", Reason.MANUAL, expires=NOW + number % 2)
        for number in range(9000)
    ]
    suppressions.load(ended, RULES)
    assert suppressions.prune(NOW, RULES) == 4500
    assert suppressions.prune(NOW, RULES) == 0
    assert len(suppressions.page(limit=9999).entries) == 4500


def test_soft_bounces_that_count_no_longer_are_pruned(suppressions: SuppressionStore) -> None:
    rules = SuppressionRules(soft_bounces=2, soft_window_s=DAY)
    suppressions.soft_bounce("acme", "ann@example.org", NOW, "a", rules)
    suppressions.prune(NOW + DAY - 1, rules)
    assert suppressions.soft_bounce("acme", "ann@example.org", NOW + 1, "b", rules) is not None
    suppressions.prune(NOW + 2 * DAY, rules)
    # Nothing is left of the window in which both were.
    assert suppressions.soft_bounce("acme", "ann@example.org", NOW + 2, "c", rules) is None


def test_adding_again_changes_nothing(suppressions: SuppressionStore) -> None:
    entries = [_entry(source="ev1"), _entry("bob@example.org", Reason.HARD_BOUNCE)]
    assert suppressions.add(entries, RULES) == 2
    assert suppressions.add(entries, RULES) == 0


def test_many_entries_are_loaded_as_if_added_one_by_one(suppressions: SuppressionStore) -> None:
    first = _entry("user0@example.org", Reason.MANUAL, at=NOW - 9 * DAY, expires=NOW + DAY)
    suppressions.add([first], RULES)
    entries = [
        _entry(f"user{number % 3000}@example.org", Reason.MANUAL, tenant=tenant, at=NOW - number)
        for number in range(3500)
        for tenant in ("acme", "zeta")
    ]
    bad = [_entry("no address", Reason.MANUAL), _entry("a@b.example", tenant=GLOBAL)]
    told: list[int] = []
    # An address that comes twice has an earlier date each time, but for the one that was there.
    assert suppressions.load([*entries, *bad], RULES, told.append) == 6999
    assert sum(told) == 7000
    assert max(told) < 5000
    assert suppressions.entries_of("acme", "user0@example.org", RULES) == [
        _entry("user0@example.org", Reason.MANUAL, at=NOW - 9 * DAY)
    ]
    assert len(suppressions.page("zeta", limit=9999).entries) == 3000
    assert suppressions.load(entries, RULES) == 0


def test_what_was_broken_off_is_simply_done_again(suppressions: SuppressionStore) -> None:
    entries = [_entry(f"user{number}@example.org") for number in range(5000)]

    def die(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        suppressions.load(entries, RULES, die)
    some = len(suppressions.page(limit=9999).entries)
    assert 0 < some < 5000
    assert suppressions.load(entries, RULES) == 5000 - some
    assert len(suppressions.page(limit=9999).entries) == 5000


_REASONS = st.sampled_from(Reason)
_TIMES = st.integers(0, 10).map(lambda days: NOW + days * DAY)
_TEXTS = st.sampled_from(["", "a", "b"])


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@settings(max_examples=50)
@given(reason=_REASONS, data=st.data())
def test_entries_of_one_reason_merge_as_the_rule_says(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    reason: Reason,
    data: st.DataObject,
) -> None:
    def draw() -> Suppressed:
        at = data.draw(_TIMES)
        lasts = data.draw(st.integers(1, 5))
        ends = reason.lifted_by_delivery or (reason.may_expire and data.draw(st.booleans()))
        return _entry(
            reason=reason,
            at=at,
            expires=at + lasts * DAY if ends else None,
            source=data.draw(_TEXTS),
            note=data.draw(_TEXTS),
        )

    entries = [draw() for _ in range(data.draw(st.integers(2, 4)))]
    expected = entries[0]
    for entry in entries[1:]:
        expected = merged(expected, entry)
    suppressions = _shared(kind, request, tmp_path_factory)
    suppressions.remove("acme", "ann@example.org", RULES)
    for entry in entries:
        suppressions.add([entry], RULES)
    assert suppressions.entries_of("acme", "ann@example.org", RULES) == [expected]


_opened: dict[str, SuppressionStore] = {}


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    for each in _opened.values():
        each.close()
    _opened.clear()


def _shared(
    kind: str, request: pytest.FixtureRequest, factory: pytest.TempPathFactory
) -> SuppressionStore:
    # One database for all examples, as to make one takes longer than all that is done in it.
    if kind not in _opened:
        local = f"sqlite:///{factory.mktemp('merged') / 'gatepost.db'}"
        url = local
        if kind == "postgresql":
            server = request.getfixturevalue("postgres")
            server.empty()
            url = server.url
        _opened[kind] = open_suppression(url, local=local)
    return _opened[kind]


def test_sub_addresses_are_folded_when_the_question_is_asked(
    suppressions: SuppressionStore,
) -> None:
    suppressions.add([_entry("ann+news@example.org"), _entry("bob@example.org")], RULES)
    assert suppressions.find("acme", "ann+news@example.org", NOW, RULES) is not None
    for other in ("ann@example.org", "ann+shop@example.org", "bob+shop@example.org"):
        assert suppressions.find("acme", other, NOW, RULES) is None
        found = suppressions.find("acme", other, NOW, FOLD)
        assert found is not None
        assert found.address in {"ann+news@example.org", "bob@example.org"}
    removed = suppressions.remove("acme", "ann@example.org", FOLD)
    assert [entry.address for entry in removed] == ["ann+news@example.org"]


def test_soft_bounces_suppress_after_so_many_in_the_window(
    suppressions: SuppressionStore,
) -> None:
    rules = SuppressionRules(soft_bounces=3, soft_window_s=DAY)
    found = [
        suppressions.soft_bounce("acme", "ann@example.org", NOW + at, event, rules)
        for at, event in ((0, "a"), (DAY, "b"), (DAY, "b"), (DAY + 60, "c"), (DAY + 120, "d"))
    ]
    # The first had left the window, and the second was seen twice.
    assert found[:4] == [None] * 4
    entry = _entry(
        reason=Reason.SOFT_BOUNCES, at=NOW + DAY + 120, expires=NOW + 2 * DAY + 120, source="d"
    )
    assert found[4] == entry
    assert suppressions.find("acme", "ann@example.org", NOW + DAY + 120, rules) == entry
    again = suppressions.soft_bounce("acme", "ann@example.org", NOW + DAY + 120, "d", rules)
    assert again == entry
    assert suppressions.entries_of("acme", "ann@example.org", rules) == [entry]
    assert suppressions.find("zeta", "ann@example.org", NOW + DAY + 120, rules) is None


def test_a_soft_bounce_that_comes_late_does_not_suppress(suppressions: SuppressionStore) -> None:
    rules = SuppressionRules(soft_bounces=2, soft_window_s=DAY)
    for at, event in ((2 * DAY, "a"), (0, "b"), (DAY, "c")):
        late = suppressions.soft_bounce("acme", "ann@example.org", NOW + at, event, rules)
        assert late is None
    assert suppressions.soft_bounce("acme", "ann@example.org", NOW + 2 * DAY - 1, "d", rules)
    # Nor does one that comes after that change anything.
    before = suppressions.entries_of("acme", "ann@example.org", rules)
    assert suppressions.soft_bounce("acme", "ann@example.org", NOW + 1, "e", rules) is None
    assert suppressions.entries_of("acme", "ann@example.org", rules) == before


def test_a_later_delivery_lifts_bounces_and_nothing_else(suppressions: SuppressionStore) -> None:
    suppressions.add([_entry(reason=reason) for reason in Reason], RULES)
    before = [
        Delivered("acme", "ann@example.org", NOW - 1),
        # Within the second of the bounce: the log knows no finer time, and what is accepted may
        # come back at once.
        Delivered("acme", "ann@example.org", NOW + 0.9),
        Delivered("zeta", "ann@example.org", NOW + 1),
    ]
    assert suppressions.delivered(before, RULES) == 0
    after = [
        Delivered("acme", "Ann@Example.org", NOW + 1),
        Delivered("acme", "no address", NOW + 1),
    ]
    assert suppressions.delivered(after, RULES) == 2
    left = suppressions.entries_of("acme", "ann@example.org", RULES)
    assert {entry.reason for entry in left} == {
        Reason.COMPLAINT,
        Reason.UNSUBSCRIBE,
        Reason.INVALID,
        Reason.MANUAL,
    }


def test_a_later_delivery_forgets_the_soft_bounces_before_it(
    suppressions: SuppressionStore,
) -> None:
    rules = SuppressionRules(soft_bounces=2)
    suppressions.soft_bounce("acme", "ann@example.org", NOW, "a", rules)
    suppressions.delivered([Delivered("acme", "ann@example.org", NOW + 1)], rules)
    assert suppressions.soft_bounce("acme", "ann@example.org", NOW + 2, "b", rules) is None
    suppressions.delivered([Delivered("acme", "ann@example.org", NOW + 1)], rules)
    assert suppressions.soft_bounce("acme", "ann@example.org", NOW + 3, "c", rules) is not None


def test_a_delivery_forgets_no_soft_bounce_of_its_own_message(
    suppressions: SuppressionStore,
) -> None:
    rules = SuppressionRules(soft_bounces=2)
    suppressions.soft_bounce("acme", "ann@example.org", NOW, "own", rules)
    suppressions.delivered([Delivered("acme", "ann@example.org", NOW + 1, "own")], rules)
    assert suppressions.soft_bounce("acme", "ann@example.org", NOW + 2, "b", rules) is not None


def test_a_bounce_after_a_delivery_stays_whatever_the_delivery_lifts(
    suppressions: SuppressionStore,
) -> None:
    suppressions.soft_bounce("acme", "ann@example.org", NOW, "a", RULES)
    suppressions.add([_entry(reason=Reason.HARD_BOUNCE, at=NOW + 5)], RULES)
    assert suppressions.delivered([Delivered("acme", "ann@example.org", NOW + 1)], RULES) == 0
    assert len(suppressions.entries_of("acme", "ann@example.org", RULES)) == 1


def test_pages_hold_every_entry_once(suppressions: SuppressionStore) -> None:
    entries = [
        _entry(f"user{number}@example.org", reason, tenant=tenant)
        for number in range(5)
        for tenant in ("acme", "zeta")
        for reason in (Reason.COMPLAINT, Reason.MANUAL)
    ]
    suppressions.add(entries, RULES)

    def everything(tenant: str | None, reason: Reason | None, limit: int) -> list[Suppressed]:
        found: list[Suppressed] = []
        after = ""
        while True:
            page = suppressions.page(tenant, reason, after, limit)
            assert len(page.entries) <= limit
            found += page.entries
            if not (after := page.after):
                return found

    order = lambda entry: (entry.tenant, entry.address, entry.reason)  # noqa: E731
    for limit in (1, 3, 20, 100):
        assert sorted(everything(None, None, limit), key=order) == sorted(entries, key=order)
        own = everything("zeta", Reason.MANUAL, limit)
        assert sorted(own, key=order) == [
            _entry(f"user{number}@example.org", Reason.MANUAL, tenant="zeta") for number in range(5)
        ]
    assert suppressions.page("nobody").entries == ()


def test_hashed_entries_are_found_and_removed_but_hold_no_address(
    suppressions: SuppressionStore, url: str, request: pytest.FixtureRequest
) -> None:
    suppressions.add([_entry("ann@example.org", source="ev1")], HASHED)
    suppressions.soft_bounce("acme", "bob@example.org", NOW, "ev2", HASHED)
    path = sqlite_path(url)
    if path is None:
        server = request.getfixturevalue("postgres")
        dump = server.sql("select * from suppression; select * from suppression_soft", "gatepost")
        assert dump.count("\n") == 2
    else:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            dump = "\n".join(connection.iterdump())
    assert "example.org" not in dump
    assert [entry.address for entry in suppressions.page().entries] == [""]
    found = suppressions.find("acme", "Ann@example.org", NOW, HASHED)
    assert found is not None
    assert found.reason is Reason.COMPLAINT
    # Whatever the setting says now, the old entry is the same one.
    assert suppressions.find("acme", "ann@example.org", NOW, RULES) == found.__class__(
        "acme", "ann@example.org", Reason.COMPLAINT, NOW, None, "ev1"
    )
    assert len(suppressions.remove("acme", "ann@example.org", RULES)) == 1


def test_without_its_key_file_the_list_is_unavailable_and_not_empty(url: str, local: str) -> None:
    database = sqlite_path(local)
    assert database is not None
    key = database.with_name("suppression.key")
    with contextlib.closing(open_suppression(url, local=local)) as opened:
        opened.add([_entry()], RULES)
    kept = key.read_text()
    assert key.stat().st_mode & 0o777 == 0o600
    for text, problem in (
        (None, "is missing"),
        ("0" * 64, "is not the file that"),
        ("short", "does not hold"),
    ):
        _put(key, text)
        with contextlib.closing(open_suppression(url, local=local)) as opened:
            with pytest.raises(StoreUnavailable, match=problem):
                opened.find("acme", "ann@example.org", NOW, RULES)
            with pytest.raises(StoreUnavailable, match=problem):
                opened.add([_entry()], RULES)
            # What needs no key can still be had, such as to make a list anew.
            assert len(opened.page().entries) == 1
    _put(key, kept)
    with contextlib.closing(open_suppression(url, local=local)) as opened:
        assert opened.find("acme", "ann@example.org", NOW, RULES) == _entry()


def _put(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


def test_a_place_in_the_list_of_one_is_none_in_that_of_another(
    suppressions: SuppressionStore,
) -> None:
    """Whoever asks for a page says where it begins, and may make that up."""
    suppressions.add(
        [
            _entry(f"{tenant}{number}@example.org", tenant=tenant)
            for tenant in ("acme", "zeta")
            for number in range(3)
        ],
        RULES,
    )
    after = suppressions.page("zeta", limit=1).after
    owner = after.partition(".")[0]
    assert len(suppressions.page("zeta", after=after).entries) == 2
    for made_up in (after, f"{owner}...0"):
        with pytest.raises(MalformedMessage):
            suppressions.page("acme", after=made_up)
