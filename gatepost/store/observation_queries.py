"""How observations are rolled up, deleted and shown, alike in both databases; see `interface`."""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from gatepost.modes import Feature
from gatepost.store.engine import Engine
from gatepost.store.interface import SECONDS_AN_HOUR, WhatIf
from gatepost.store.observation_rows import hour_of, what_if_of


class ObservationQueries(Engine):
    """The methods of `gatepost.store.interface.ObservationStore` but `add`.

    Attributes:
        SUMS: Finds sums as of `what_if_of`, for the values of `what_if`.
        EXAMPLES: Likewise examples.
    """

    SUMS: ClassVar[str]
    EXAMPLES: ClassVar[str]

    def roll_up(self, before: float) -> int:
        """See `ObservationStore.roll_up`."""
        before = self._by_server(before)
        folded = 0
        while step := self._roll_up_some(hour_of(before) * SECONDS_AN_HOUR):
            folded += step
        return folded

    def prune(self, before: float) -> int:
        """See `ObservationStore.prune`."""
        hour = hour_of(self._by_server(before))
        examples = f"delete from observation_examples where at < {self.MARK}"
        hours = f"delete from observation_hours where hour < {self.MARK}"
        with self._writing() as db:
            db.execute(examples, [hour * SECONDS_AN_HOUR])
            return db.execute(hours, [hour]).rowcount

    def what_if(
        self, since: float, tenant: str | None = None, feature: Feature | None = None
    ) -> list[WhatIf]:
        """See `ObservationStore.what_if`."""
        values = {
            "since": since,
            "since_hour": hour_of(since),
            "since_hour_at": hour_of(since) * SECONDS_AN_HOUR,
            "tenant": tenant,
            "feature": None if feature is None else feature.value,
        }
        # One view of the data, so that a roll-up between the two queries cannot show.
        with self._reading() as db:
            sums = db.execute(self.SUMS, values).fetchall()
            rows = db.execute(self.EXAMPLES, values).fetchall()
        return what_if_of(sums, rows)

    @abstractmethod
    def _roll_up_some(self, before: int) -> int:
        """Roll up some of what happened before a time, in a transaction; return how many."""
