"""The survey's knowledge in SQLite.

Limits, errors, security: see `sqlite_file`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from sqlite_utils import Database

from gatepost.store.sqlite_file import SqliteFile, storable
from gatepost.store.survey import KEEP_CHANGES_S, Change, Run
from gatepost.tls.dane import TlsaState
from gatepost.tls.dns_answer import Outcome, Tlsa
from gatepost.tls.survey.certificates import judge, judge_for_another
from gatepost.tls.survey.knowledge import (
    AddressKnowledge,
    DomainKnowledge,
    HostKnowledge,
    MxOutcome,
    ResolvedDomain,
    ResolvedHost,
    Sts,
)
from gatepost.tls.survey.model import (
    CertificateVerdict,
    ChainStatus,
    DaneVerdict,
    Probed,
    Target,
    Verdict,
)

PAGE = 500
# What was written down for a time so far ahead was written while the clock was wrong. Less than
# that may have been a small step of it, and nobody is visited again because of one.
AHEAD_S = 86_400.0

_BEGIN = """
insert into survey_addresses (address, host, started_at) values (?, ?, ?)
on conflict (address) do update set host = excluded.host, started_at = excluded.started_at
where started_at <= ? or started_at > ?
"""

_NOTE_CHANGE = """
insert into survey_changes (at, kind, address, host, was, now)
select :at, 'tls', address, :host, settled, :verdict from survey_addresses
where address = :address and settled is not null and settled <> :verdict
"""

# Right-hand sides see the row as it was before.
_FINISH = """
update survey_addresses set
    first_at = case probes when 0 then :at else first_at end,
    last_at = :at, probes = probes + 1, seconds = :seconds, verdict = :verdict, reason = :reason,
    previous = case when :decisive and settled <> :verdict then settled else previous end,
    changed_at = case when :decisive and settled is not :verdict then :at else changed_at end,
    settled = case when :decisive then :verdict else settled end,
    tls_at = case when :tls then :at else tls_at end,
    tls_since = case when :tls and tls_streak = 0 then :at when :other then 0 else tls_since end,
    tls_streak = case when :tls then tls_streak + 1 when :other then 0 else tls_streak end,
    other_at = case when :other then :at else other_at end,
    reached_at = case when :reached then :at else reached_at end,
    greeting = :greeting, ehlo = :ehlo, ehlo_tls = :ehlo_tls
where address = :address
"""

_FINISH_TLS = """
update survey_addresses set
    version = :version, cipher = :cipher, cert_sha256 = :cert_sha256, cert_spki = :cert_spki,
    cert_names = :cert_names, cert_issuer = :cert_issuer, cert_not_before = :cert_not_before,
    cert_not_after = :cert_not_after, cert_key = :cert_key, cert_bits = :cert_bits,
    cert_self = :cert_self, chain_length = :chain_length, chain_code = :chain_code,
    chain_text = :chain_text
where address = :address
"""

_NOTE_CERTIFICATE = """
insert into survey_changes (at, kind, address, host, was, now)
select :at, 'certificate', address, host, certificate, :certificate from survey_host_addresses
where host = :host and address = :address and certificate is not null
    and certificate <> :certificate
"""

_CERTIFICATE = """
insert into survey_host_addresses (host, address, first_at, last_at, asked_at, certificate,
    certificate_since, certificate_streak, certificate_bad_at, dane)
values (:host, :address, :at, 0, :at, :certificate, iif(:valid, :at, 0), iif(:valid, 1, 0),
    iif(:valid, 0, :at), :dane)
on conflict (host, address) do update set
    asked_at = :at, certificate = :certificate, dane = :dane,
    certificate_since =
        case when :valid and certificate_streak = 0 then :at when :valid then certificate_since
        else 0 end,
    certificate_streak = case when :valid then certificate_streak + 1 else 0 end,
    certificate_bad_at = case when :valid then certificate_bad_at else :at end
"""

# A lookup that failed says nothing about what was found before.
_DOMAIN = """
insert into survey_domains (domain, first_at, resolved_at, tried_at, outcome, secure, sts)
values (:domain, :at, :at, :at, :outcome, :secure, :sts)
on conflict (domain) do update set tried_at = :at,
    resolved_at = iif(:failed, resolved_at, :at), outcome = iif(:failed, outcome, :outcome),
    secure = iif(:failed, secure, :secure), sts = iif(:failed, sts, :sts)
"""

_DOMAIN_HOST = """
insert into survey_domain_hosts (domain, host, preference, first_at, last_at)
values (?, ?, ?, ?, ?)
on conflict (domain, host) do update set
    preference = excluded.preference, last_at = excluded.last_at
"""

_HOST = """
insert into survey_hosts (host, first_at, resolved_at, tried_at, outcome, secure, tlsa, records)
values (:host, :at, :at, :at, :outcome, :secure, :tlsa, :records)
on conflict (host) do update set tried_at = :at,
    resolved_at = iif(:failed, resolved_at, :at), outcome = iif(:failed, outcome, :outcome),
    secure = iif(:failed, secure, :secure), tlsa = iif(:failed, tlsa, :tlsa),
    records = iif(:failed, records, :records)
"""

_HOST_ADDRESS = """
insert into survey_host_addresses (host, address, first_at, last_at) values (?, ?, ?, ?)
on conflict (host, address) do update set last_at = excluded.last_at
"""

_PRESENT = """
from survey_domains d
left join survey_domain_hosts dh on dh.domain = d.domain and dh.last_at = d.resolved_at
left join survey_hosts h on h.host = dh.host
left join survey_host_addresses ha on ha.host = dh.host and ha.last_at = h.resolved_at
left join survey_addresses a on a.address = ha.address
"""

_KNOWLEDGE = f"""
select d.domain, d.outcome, d.resolved_at, d.first_at, d.secure, d.sts,
    dh.host, dh.preference, h.secure, h.tlsa,
    ha.address, a.verdict, a.reason, a.first_at, a.last_at, a.probes, a.settled, a.previous,
    a.changed_at, a.tls_at, a.tls_since, a.tls_streak, a.other_at, a.reached_at, a.version,
    a.cipher, a.host, a.cert_names, a.chain_code, a.cert_not_after,
    ha.asked_at, ha.certificate, ha.certificate_since, ha.certificate_streak,
    ha.certificate_bad_at, ha.dane
{_PRESENT}
where d.domain in (select value from json_each(?))
order by d.domain, dh.preference, dh.host, ha.address
"""  # noqa: S608 - no values in it

_KNOWN = f"""
select d.domain, dh.host, h.tried_at, ha.address, a.started_at, h.records
{_PRESENT}
where d.domain in (select value from json_each(?)) and d.tried_at between ? and ?
order by d.domain, dh.preference, dh.host
"""  # noqa: S608


class SqliteSurvey(SqliteFile):
    """Implements `SurveyStore`."""

    def begin(self, targets: Sequence[Target], now: float, not_since: float) -> list[Target]:
        """See `SurveyRecord.begin`."""
        with self._writing() as db:
            return [
                each
                for each in targets
                if db.conn.execute(
                    _BEGIN, (each.address, each.host, now, not_since, now + AHEAD_S)
                ).rowcount
            ]

    def finish(self, probes: Sequence[Probed]) -> None:
        """See `SurveyRecord.finish`."""
        rows = [_row_of(each) for each in probes]
        shown = [row for row in rows if row["certificate"] is not None]
        with self._writing() as db:
            run = db.conn.executemany
            run(_NOTE_CHANGE, [row for row in rows if row["decisive"]])
            run(_FINISH, rows)
            run(_FINISH_TLS, [row for row in rows if row["tls"]])
            run(_NOTE_CERTIFICATE, shown)
            run(_CERTIFICATE, shown)

    def resolved(self, domains: Sequence[ResolvedDomain], hosts: Sequence[ResolvedHost]) -> None:
        """See `SurveyRecord.resolved`."""
        with self._writing() as db:
            run = db.conn.executemany
            run(_DOMAIN, map(_domain_row, domains))
            run(
                _DOMAIN_HOST,
                [
                    (each.domain, mx.host, mx.preference, each.at, each.at)
                    for each in domains
                    for mx in each.hosts
                ],
            )
            run(_HOST, map(_host_row, hosts))
            run(
                _HOST_ADDRESS,
                [
                    (each.host, address, each.at, each.at)
                    for each in hosts
                    for address in each.addresses
                ],
            )

    def domain(self, domain: str) -> DomainKnowledge | None:
        """See `SurveyKnowledge.domain`."""
        with self._database() as db:
            return next(_read_domains(db, [domain]), None)

    def domains(self, *, resolved_since: float = 0.0) -> Iterator[DomainKnowledge]:
        """See `SurveyKnowledge.domains`."""
        after = ""
        while True:
            # A page at a time, so that whoever writes is not kept waiting, nor the log of writes
            # from being folded into the file.
            with self._database() as db:
                page = db.conn.execute(
                    "select domain from survey_domains where domain > ? and resolved_at >= ? "
                    "order by domain limit ?",
                    (after, resolved_since, PAGE),
                ).fetchall()
                if not page:
                    return
                found = list(_read_domains(db, [row[0] for row in page]))
            yield from found
            after = page[-1][0]

    def known_targets(
        self, domains: Sequence[str], resolved_since: float, not_since: float, now: float
    ) -> tuple[set[str], list[Target]]:
        """See `SurveyStore.known_targets`."""
        ahead = now + AHEAD_S
        values = (json.dumps(list(domains)), resolved_since, ahead)
        with self._database() as db:
            rows = db.conn.execute(_KNOWN, values).fetchall()
        # A domain whose hosts were not all looked up before the end came is looked up again.
        partly = {row[0] for row in rows if row[1] and (row[2] or 0.0) < resolved_since}
        targets = [
            Target(row[3], row[1], _read_tlsa(row[5]))
            for row in rows
            if row[0] not in partly and row[3] and not not_since < (row[4] or 0.0) <= ahead
        ]
        return {row[0] for row in rows} - partly, targets

    def begun_since(self, since: float) -> list[tuple[Target, float]]:
        """See `SurveyStore.begun_since`."""
        with self._database() as db:
            rows = db.conn.execute(
                "select address, host, started_at from survey_addresses where started_at > ?",
                (since,),
            ).fetchall()
        return [(Target(address, host), at) for address, host, at in rows]

    def last_begun(self, addresses: Sequence[str]) -> dict[str, float]:
        """See `SurveyStore.last_begun`."""
        with self._database() as db:
            rows = db.conn.execute(
                "select address, started_at from survey_addresses "
                "where address in (select value from json_each(?))",
                (json.dumps(list(addresses)),),
            ).fetchall()
        return dict(rows)

    def interrupted(self, since: float) -> int:
        """See `SurveyStore.interrupted`."""
        with self._database() as db:
            row = db.conn.execute(
                "select count(*) from survey_addresses "
                "where started_at > ? and last_at < started_at",
                (since,),
            ).fetchone()
        return int(row[0])

    def changes(self, since: float) -> list[Change]:
        """See `SurveyStore.changes`."""
        with self._database() as db:
            rows = db.conn.execute(
                "select at, kind, address, host, was, now from survey_changes where at >= ? "
                "order by at, id",
                (since,),
            ).fetchall()
        return [Change(*row) for row in rows]

    def run_begins(self, at: float, source: str) -> int:
        """See `SurveyStore.run_begins`."""
        with self._writing() as db:
            cursor = db.conn.execute(
                "insert into survey_runs (started_at, source) values (?, ?)", (at, storable(source))
            )
            return int(cursor.lastrowid or 0)

    def run_ends(self, run: int, at: float) -> None:
        """See `SurveyStore.run_ends`."""
        with self._writing() as db:
            db.conn.execute("update survey_runs set ended_at = ? where id = ?", (at, run))
            db.conn.execute("delete from survey_changes where at < ?", (at - KEEP_CHANGES_S,))

    def runs(self, count: int) -> list[Run]:
        """See `SurveyStore.runs`."""
        with self._database() as db:
            rows = db.conn.execute(
                "select id, started_at, ended_at, source from survey_runs order by id desc limit ?",
                (count,),
            ).fetchall()
        return [Run(*row) for row in rows]


def _row_of(probed: Probed) -> dict[str, Any]:
    verdict, facts, chain = probed.verdict, probed.certificate, probed.chain
    worth = None
    if facts is not None and chain is not None:
        worth = judge(facts, chain, probed.target.host)
    elif chain is not None:
        # OpenSSL took it, and nobody knows for which names.
        worth = CertificateVerdict.INVALID
    return {
        "address": probed.target.address,
        "host": probed.target.host,
        "at": probed.at,
        "seconds": probed.seconds,
        "verdict": verdict.value,
        "reason": storable(probed.reason),
        "decisive": verdict.decisive,
        "tls": verdict is Verdict.TLS,
        "other": verdict.decisive and verdict is not Verdict.TLS,
        "reached": verdict is not Verdict.UNREACHABLE,
        "greeting": storable(probed.greeting),
        "ehlo": storable(probed.ehlo),
        "ehlo_tls": storable(probed.ehlo_tls),
        "version": probed.version,
        "cipher": probed.cipher,
        "cert_sha256": facts and facts.sha256,
        "cert_spki": facts and facts.spki_sha256,
        "cert_names": facts and json.dumps(facts.names),
        "cert_issuer": facts and storable(facts.issuer),
        "cert_not_before": facts and facts.not_before,
        "cert_not_after": facts and facts.not_after,
        "cert_key": facts and facts.key,
        "cert_bits": facts and facts.key_bits,
        "cert_self": facts and facts.self_issued,
        "chain_length": facts and facts.chain_length,
        "chain_code": chain and chain.code,
        "chain_text": chain and chain.text,
        "certificate": worth and worth.value,
        "valid": worth is CertificateVerdict.VALID,
        "dane": probed.dane.value,
    }


def _domain_row(each: ResolvedDomain) -> dict[str, Any]:
    return {
        "domain": each.domain,
        "at": each.at,
        "outcome": each.outcome.value,
        "secure": each.secure,
        "sts": each.sts.value,
        "failed": each.outcome is MxOutcome.FAILED,
    }


def _host_row(each: ResolvedHost) -> dict[str, Any]:
    return {
        "host": each.host,
        "at": each.at,
        "outcome": each.outcome.value,
        "secure": each.secure,
        "tlsa": each.tlsa.value,
        "records": json.dumps(
            [[r.usage, r.selector, r.matching, r.data.hex()] for r in each.records]
        ),
        "failed": each.outcome is Outcome.FAILED,
    }


def _read_tlsa(records: str) -> tuple[Tlsa, ...]:
    return tuple(
        Tlsa(usage, selector, matching, bytes.fromhex(data))
        for usage, selector, matching, data in json.loads(records)
    )


def _read_domains(db: Database, names: Sequence[str]) -> Iterator[DomainKnowledge]:
    rows = db.conn.execute(_KNOWLEDGE, (json.dumps(list(names)),))
    for _, group in groupby(rows, key=itemgetter(0)):
        of_domain = list(group)
        domain, outcome, resolved_at, first_at, secure, sts = of_domain[0][:6]
        hosts = tuple(
            _host(list(of_host))
            for host, of_host in groupby(of_domain, key=itemgetter(6))
            if host is not None
        )
        yield DomainKnowledge(
            domain, MxOutcome(outcome), resolved_at, first_at, hosts, bool(secure), Sts(sts)
        )


def _host(rows: list[tuple[Any, ...]]) -> HostKnowledge:
    host, preference, secure, tlsa = rows[0][6:10]
    addresses = tuple(_address(host, row[10:]) for row in rows if row[10] is not None)
    return HostKnowledge(
        host, preference, addresses, bool(secure), TlsaState(tlsa) if tlsa else TlsaState.NONE
    )


def _address(host: str, row: tuple[Any, ...]) -> AddressKnowledge:
    address, verdict, reason, first_at, last_at, probes, settled, previous = row[:8]
    changed_at, tls_at, tls_since, tls_streak, other_at, reached_at, version, cipher = row[8:16]
    asked_for, names, chain_code, not_after, asked_at = row[16:21]
    certificate, since, streak, bad_at, dane = row[21:]
    if asked_at is None or last_at is None:
        # Found, and never probed.
        return AddressKnowledge(address)
    worth = CertificateVerdict(certificate) if certificate else None
    if names is not None and asked_for != host and chain_code is not None:
        other = judge_for_another(json.loads(names), ChainStatus(chain_code), host)
        worth = other if worth is None or other is CertificateVerdict.VALID else worth
    return AddressKnowledge(
        address=address,
        verdict=_verdict(verdict),
        reason=reason,
        first_at=first_at,
        last_at=last_at,
        probes=probes,
        settled=_verdict(settled),
        previous=_verdict(previous),
        changed_at=changed_at,
        tls_at=tls_at,
        tls_since=tls_since,
        tls_streak=tls_streak,
        other_at=other_at,
        reached_at=reached_at,
        version=version,
        cipher=cipher,
        certificate=worth,
        certificate_since=since,
        certificate_streak=streak,
        certificate_bad_at=bad_at,
        not_after=not_after or 0.0,
        dane=DaneVerdict(dane),
    )


def _verdict(word: str | None) -> Verdict | None:
    return None if word is None else Verdict(word)
