"""How what came back is stored and found, which is the same in every database; see `received`.

Not handled: `prune`, since each database finds what is old by another way.
"""

# ruff: noqa: S608
# All that is put together into SQL are constants of this package; values are bound.

from __future__ import annotations

from typing import ClassVar

from gatepost.store.engine import Engine
from gatepost.store.received import Received
from gatepost.store.received_rows import COLUMNS, received_of, received_row
from gatepost.store.text import storable

_COUNT = """
select count(*) from received_reports
where reporter = {} and tenant = {} and at >= {} and events <> ''
"""


class ReceivedQueries(Engine):
    """The methods of `gatepost.store.received.ReceivedStore` but `prune`.

    Attributes:
        ADD: Stores `COLUMNS`, behind all others, instead of those of the same id.
        ACTED: Finds a report about a message, of another id, that led to an event.
    """

    ADD: ClassVar[str]
    ACTED: ClassVar[str]

    def add(self, report: Received) -> None:
        """See `ReceivedStore.add`."""
        self._change(self.ADD, list(received_row(report)))

    def acted_on(self, message: str, event_id: str, but: str) -> bool:
        """See `ReceivedStore.acted_on`."""
        return self._first(self.ACTED, [message, but, event_id]) is not None

    def count(self, reporter: str, tenant: str, since: float) -> int:
        """See `ReceivedStore.count`."""
        return int(self._first(self._marked(_COUNT), [storable(reporter), tenant, since])[0])

    def latest(
        self, limit: int, kind: str | None = None, result: str | None = None
    ) -> list[Received]:
        """See `ReceivedStore.latest`."""
        asked = {"kind": kind, "result": result}
        values = {name: value for name, value in asked.items() if value is not None}
        where = " and ".join(["true", *(f"{name} = :{name}" for name in values)])
        query = f"select {COLUMNS} from received_reports where {where} order by number desc"
        rows = self._all(self._named(f"{query} limit :limit"), {**values, "limit": limit})
        return [received_of(row) for row in rows]
