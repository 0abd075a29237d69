"""What survey and deliveries know of one destination, in one short look.

Purpose: the check at RCPT time asks while a client waits, so this reads by keys only: the survey's
rows of a domain, and the counts of deliveries by day, which lag behind by up to two hours.
Errors, security: see `sqlite_file`.
"""

from __future__ import annotations

from gatepost.maillog.evidence import SECONDS_A_DAY
from gatepost.maillog.model import TlsClass
from gatepost.store.sqlite_survey import SqliteSurvey
from gatepost.tls.reachability import FORGOTTEN_S, Sights, sights_of

_DAYS = int(FORGOTTEN_S // SECONDS_A_DAY) + 1
# A list of days, so that the key (day, domain, …) finds the rows.
_LAST_SEEN = f"""
select tls, max(last_at) from delivery_relays
where day in ({", ".join("?" * _DAYS)}) and domain = ? group by tls
"""  # noqa: S608  # question marks, and nothing else
_GOOD = {TlsClass.ENCRYPTED, TlsClass.AUTHENTICATED}
_BAD = {TlsClass.PLAINTEXT, TlsClass.REFUSED}


class SqliteSights(SqliteSurvey):
    """Implements `gatepost.runtime.tls.sight_book.SightStore`."""

    def look(self, domain: str, now: float) -> Sights:
        """Return what is known of a normalised domain; ``now`` is Unix time."""
        today = int(now // SECONDS_A_DAY)
        days = [today - back for back in range(_DAYS)]
        with self._database() as db:
            rows = db.conn.execute(_LAST_SEEN, (*days, domain)).fetchall()
        last = {TlsClass(name): at for name, at in rows}
        good_at = max((last.get(each, 0.0) for each in _GOOD), default=0.0)
        bad_at = max((last.get(each, 0.0) for each in _BAD), default=0.0)
        return sights_of(self.domain(domain), good_at, bad_at)
