"""The tables of the survey.

Purpose: what is known of domains, mail exchangers and their addresses. An address has one row,
whose counters sum up its history, so that eight million domains fit on a disk; what changed is
kept as rows of its own.
Format: times are Unix time, 0 for never. `started_at` is written before anybody connects. `settled`
is the last verdict that says something about TLS, `previous` the one before it; `resolved_at` is
the last lookup that did not fail, `tried_at` the last one.
"""

from __future__ import annotations

from sqlite_utils import Database

_TABLES = (
    """
    create table survey_addresses (
        address text primary key, host text not null, started_at real not null,
        first_at real not null default 0, last_at real not null default 0,
        probes integer not null default 0, seconds real not null default 0,
        verdict text, reason text not null default '', settled text, previous text,
        changed_at real not null default 0, tls_at real not null default 0,
        tls_since real not null default 0, tls_streak integer not null default 0,
        other_at real not null default 0, reached_at real not null default 0,
        version text not null default '', cipher text not null default '',
        greeting text not null default '', ehlo text not null default '',
        ehlo_tls text not null default '', cert_sha256 text, cert_spki text, cert_names text,
        cert_issuer text, cert_not_before real, cert_not_after real, cert_key text,
        cert_bits integer, cert_self integer, chain_length integer, chain_code integer,
        chain_text text
    ) without rowid
    """,
    "create index survey_addresses_started on survey_addresses (started_at)",
    """
    create table survey_hosts (
        host text primary key, first_at real not null, resolved_at real not null,
        tried_at real not null, outcome text not null, secure integer not null,
        tlsa text not null, records text not null
    ) without rowid
    """,
    """
    create table survey_host_addresses (
        host text not null, address text not null, first_at real not null, last_at real not null,
        asked_at real not null default 0, certificate text,
        certificate_since real not null default 0, certificate_streak integer not null default 0,
        certificate_bad_at real not null default 0, dane text not null default 'none',
        primary key (host, address)
    ) without rowid
    """,
    """
    create table survey_domains (
        domain text primary key, first_at real not null, resolved_at real not null,
        tried_at real not null, outcome text not null, secure integer not null, sts text not null
    ) without rowid
    """,
    """
    create table survey_domain_hosts (
        domain text not null, host text not null, preference integer not null,
        first_at real not null, last_at real not null, primary key (domain, host)
    ) without rowid
    """,
    """
    create table survey_changes (
        id integer primary key, at real not null, kind text not null, address text not null,
        host text not null, was text not null, now text not null
    )
    """,
    "create index survey_changes_at on survey_changes (at)",
    """
    create table survey_runs (
        id integer primary key, started_at real not null, ended_at real, source text not null
    )
    """,
)


def survey(db: Database) -> None:
    """Make them."""
    for statement in _TABLES:
        db.execute(statement)
