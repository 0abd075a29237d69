"""What every store must do with observations."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatepost.modes import Feature, Observation
from gatepost.store import ObservationStore, WhatIf, open_store

NOON = 1_800_000_000 // 86_400 * 86_400 + 12 * 3600.0
HOUR = 3600.0

Seen = Callable[..., Observation]


def counts(found: Iterable[WhatIf]) -> dict[tuple[str, str, str], int]:
    return {(each.tenant, each.feature.value, each.action): each.count for each in found}


def test_an_empty_store_has_nothing_to_say(store: ObservationStore) -> None:
    store.add([])
    assert store.what_if(0) == []
    assert store.roll_up(NOON) == 0
    assert store.prune(NOON) == 0


def test_sums_by_tenant_feature_and_action_most_frequent_first(
    store: ObservationStore, seen: Seen
) -> None:
    store.add([seen(), seen(tenant="beta"), seen(), seen(action="remove-header")])
    store.add([seen(feature="tls", action="route"), seen(), seen(tenant="beta")])
    found = store.what_if(0)
    assert [each.count for each in found] == [3, 2, 1, 1]
    assert counts(found) == {
        ("acme", "tag", "add-header"): 3,
        ("beta", "tag", "add-header"): 2,
        ("acme", "tag", "remove-header"): 1,
        ("acme", "tls", "route"): 1,
    }


def test_an_observation_comes_back_as_it_was(store: ObservationStore, seen: Seen) -> None:
    whole = seen(
        NOON + 0.25,
        detail="X-Tenant-ID: acme",
        queue_id="4XyZ12345",
        sender="a=b@acme.example",
        recipient="u@example.org",
    )
    store.add([whole])
    [found] = store.what_if(0)
    assert found.examples == (whole,)
    assert (found.first_at, found.last_at) == (whole.at, whole.at)


def test_octets_that_are_no_text_are_stored_readably(store: ObservationStore, seen: Seen) -> None:
    store.add([seen(sender="caf\udce9@acme.example", detail="\0 \n \U0001f600")])
    [found] = store.what_if(0)
    assert found.examples[0].sender == "caf\\udce9@acme.example"
    assert found.examples[0].detail == "\\x00 \n \U0001f600"


def test_examples_are_the_five_newest(store: ObservationStore, seen: Seen) -> None:
    store.add([seen(NOON + n, queue_id=str(n)) for n in (3, 1, 7, 0, 6, 2, 5)])
    [found] = store.what_if(0)
    assert [each.queue_id for each in found.examples] == ["7", "6", "5", "3", "2"]
    assert (found.first_at, found.last_at) == (NOON, NOON + 7)


def test_filters(store: ObservationStore, seen: Seen) -> None:
    store.add([seen(), seen(tenant=""), seen(tenant="beta", feature="tls"), seen(feature="tls")])
    assert len(counts(store.what_if(0))) == 4
    assert set(counts(store.what_if(0, "acme"))) == {
        ("acme", "tag", "add-header"),
        ("acme", "tls", "add-header"),
    }
    assert set(counts(store.what_if(0, ""))) == {("", "tag", "add-header")}
    assert set(counts(store.what_if(0, None, Feature.TLS))) == {
        ("acme", "tls", "add-header"),
        ("beta", "tls", "add-header"),
    }
    assert counts(store.what_if(0, "acme", Feature.TAG)) == {("acme", "tag", "add-header"): 1}
    assert store.what_if(0, "nobody") == []


def test_since_is_exact_while_rows_are_there(store: ObservationStore, seen: Seen) -> None:
    store.add([seen(NOON), seen(NOON + 1), seen(NOON + 2)])
    [found] = store.what_if(NOON + 1)
    assert (found.count, found.first_at, len(found.examples)) == (2, NOON + 1, 2)
    assert store.what_if(NOON + 3) == []


def test_rolled_up_only_counts_and_examples_are_left(store: ObservationStore, seen: Seen) -> None:
    store.add([seen(NOON + n, queue_id=str(n)) for n in range(10)])
    store.add([seen(NOON + HOUR, queue_id="later")])
    assert store.roll_up(NOON + HOUR) == 10
    [found] = store.what_if(NOON)
    assert found.count == 11
    assert found.first_at == NOON
    assert found.last_at == NOON + HOUR
    assert [each.queue_id for each in found.examples] == ["later", "9", "8", "7", "6"]
    # Where only counts are left, the hour that holds the start counts whole.
    assert counts(store.what_if(NOON + HOUR / 2)) == {("acme", "tag", "add-header"): 11}


def test_an_hour_that_has_not_ended_is_not_rolled_up(store: ObservationStore, seen: Seen) -> None:
    store.add([seen(NOON)])
    assert store.roll_up(NOON + HOUR - 1) == 0
    assert store.roll_up(NOON + HOUR) == 1
    assert store.roll_up(NOON + HOUR) == 0


def test_what_comes_late_joins_the_hour_that_was_rolled_up(
    store: ObservationStore, seen: Seen
) -> None:
    store.add([seen(NOON, queue_id="early")])
    store.roll_up(NOON + HOUR)
    store.add([seen(NOON + 1, queue_id="late")])
    assert store.roll_up(NOON + HOUR) == 1
    [found] = store.what_if(NOON)
    assert found.count == 2
    assert [each.queue_id for each in found.examples] == ["late", "early"]


def test_pruning_forgets_hours_that_have_ended(store: ObservationStore, seen: Seen) -> None:
    store.add([seen(NOON), seen(NOON + HOUR), seen(NOON + HOUR, tenant="beta")])
    store.roll_up(NOON + 2 * HOUR)
    assert store.prune(NOON + HOUR) == 1
    assert counts(store.what_if(0)) == {
        ("acme", "tag", "add-header"): 1,
        ("beta", "tag", "add-header"): 1,
    }
    assert [len(each.examples) for each in store.what_if(0)] == [1, 1]
    assert store.prune(NOON + 2 * HOUR) == 2
    assert store.what_if(0) == []


def test_two_that_have_it_open_see_each_other(url: str, seen: Seen) -> None:
    with (
        contextlib.closing(open_store(url)) as one,
        contextlib.closing(open_store(url)) as other,
    ):
        one.add([seen()])
        other.add([seen()])
        assert counts(one.what_if(0)) == counts(other.what_if(0))
        assert counts(one.what_if(0)) == {("acme", "tag", "add-header"): 2}


def test_many_threads_write_and_one_rolls_up_and_nothing_is_lost(
    store: ObservationStore, seen: Seen
) -> None:
    batch = [seen(NOON + n) for n in range(50)]
    failures: list[Exception] = []

    def work(times: int, action: Callable[[], object]) -> None:
        try:
            for _ in range(times):
                action()
        except Exception as error:  # shown below
            failures.append(error)
        finally:
            store.close()

    writers = [threading.Thread(target=work, args=(20, lambda: store.add(batch))) for _ in range(4)]
    roller = threading.Thread(target=work, args=(20, lambda: store.roll_up(NOON + HOUR)))
    reader = threading.Thread(target=work, args=(20, lambda: store.what_if(0)))
    threads = [*writers, roller, reader]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counts(store.what_if(0)) == {("acme", "tag", "add-header"): 4 * 20 * 50}


def test_closed_it_opens_again_by_itself(store: ObservationStore, seen: Seen) -> None:
    store.add([seen()])
    store.close()
    store.close()
    assert len(store.what_if(0)) == 1


observations = st.lists(
    st.builds(
        Observation,
        at=st.integers(0, 20_000).map(lambda n: NOON + n),
        tenant=st.sampled_from(["", "acme", "beta"]),
        feature=st.sampled_from(Feature),
        action=st.sampled_from(["reject", "route"]),
        detail=st.text(max_size=5),
    ),
    max_size=40,
)


@given(batches=st.lists(observations, max_size=4), cut=st.integers(0, 6))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rolling_up_changes_no_sum(url: str, batches: list[list[Observation]], cut: int) -> None:
    with contextlib.closing(open_store(url)) as store:
        store.roll_up(NOON * 2)
        store.prune(NOON * 2)
        for batch in batches:
            store.add(batch)
        before = store.what_if(NOON)
        store.roll_up(NOON + cut * HOUR)
        after = store.what_if(NOON)
        assert counts(after) == counts(before)
        # Newest first; those of the same time may change places.
        assert [times(each) for each in after] == [times(each) for each in before]
        assert [bare(each) for each in after] == [bare(each) for each in before]


def times(found: WhatIf) -> list[float]:
    return [each.at for each in found.examples]


def bare(found: WhatIf) -> WhatIf:
    return replace(found, examples=(), first_at=0, last_at=0)
