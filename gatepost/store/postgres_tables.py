"""The tables in PostgreSQL; steps of `postgres_schema`.

Format: as in SQLite, see ``schema_*``. Texts are compared octet by octet (collation "C"), as there:
the order of a list must not depend on the server's language, nor change with its libraries.
"""

from __future__ import annotations

_TEXT = 'text collate "C" not null'

OBSERVATIONS = (
    f"""
create table observations (
    id bigint generated always as identity primary key, at double precision not null,
    tenant {_TEXT}, feature {_TEXT}, action {_TEXT}, detail {_TEXT}, queue_id {_TEXT},
    sender {_TEXT}, recipient {_TEXT}
)
""",
    f"""
create table observation_hours (
    hour integer not null, tenant {_TEXT}, feature {_TEXT}, action {_TEXT}, count bigint not null,
    primary key (hour, tenant, feature, action)
)
""",
    f"""
create table observation_examples (
    id bigint generated always as identity primary key, at double precision not null,
    tenant {_TEXT}, feature {_TEXT}, action {_TEXT}, detail {_TEXT}, queue_id {_TEXT},
    sender {_TEXT}, recipient {_TEXT}
)
""",
    """
create index observation_examples_of on observation_examples (tenant, feature, action, at)
""",
)

# The position of the last event is a row and not a sequence: whoever adds events holds the row
# until they are committed, so that positions appear in their order, whoever else adds some.
EVENTS = (
    f"""
create table events (
    position bigint primary key, id {_TEXT}, kind {_TEXT}, at double precision not null,
    tenant {_TEXT}, message {_TEXT}, queue_id {_TEXT}, sender {_TEXT}, recipient {_TEXT},
    campaign {_TEXT}, mail_type {_TEXT}, provider {_TEXT}, reporter {_TEXT}, details {_TEXT}
)
""",
    "create unique index events_id on events (id)",
    "create index events_at on events (at)",
    "create index events_tenant on events (tenant, position)",
    # Changes of status are few among millions of events.
    """
create index events_status on events (position) where kind = 'tenant.status_changed'
""",
    "create table event_stream (position bigint not null) with (fillfactor = 10)",
    "insert into event_stream values (0)",
    f"""
create table event_counts (
    hour integer not null, tenant {_TEXT}, campaign {_TEXT}, mail_type {_TEXT}, provider {_TEXT},
    kind {_TEXT}, bounce_class {_TEXT}, severity {_TEXT}, count bigint not null,
    primary key (hour, tenant, campaign, mail_type, provider, kind, bounce_class, severity)
)
""",
    "create index event_counts_tenant on event_counts (tenant, hour)",
    f"""
create table event_labels (
    day integer not null, tenant {_TEXT}, label {_TEXT}, value {_TEXT},
    primary key (day, tenant, label, value)
)
""",
    'create table event_ids (id text collate "C" primary key, day integer not null)',
    "create index event_ids_day on event_ids (day)",
    f"""
create table gmail_days (
    day integer not null, domain {_TEXT}, label {_TEXT}, share double precision not null,
    primary key (day, domain, label)
)
""",
)

WEBHOOKS = (
    """
create table webhooks (
    name text collate "C" primary key, position bigint not null,
    batch_end bigint not null default 0, tries integer not null default 0,
    first_at double precision not null default 0,
    next_at double precision not null default 0, success_at double precision not null default 0,
    error_at double precision not null default 0, error text not null default '',
    gone boolean not null default false, holder text not null default '',
    held_until timestamptz not null default '-infinity'
)
""",
    f"""
create table webhook_dead_letters (
    id bigint generated always as identity primary key, webhook {_TEXT}, first bigint not null,
    last bigint not null, events integer not null, at double precision not null,
    tries integer not null, error text not null, requeued boolean not null
)
""",
    "create index webhook_dead_letters_of on webhook_dead_letters (webhook)",
)

SUPPRESSION = (
    """
create table suppression_owners (
    id integer generated always as identity primary key, tenant text collate "C" not null unique
)
""",
    """
create table suppression (
    owner integer not null, key bytea not null, sub bytea not null, reason smallint not null,
    at bigint not null, expires bigint, address text, source text, note text,
    primary key (owner, key, sub, reason)
)
""",
    "create index suppression_ends on suppression (expires) where expires is not null",
    """
create table suppression_soft (
    owner integer not null, key bytea not null, sub bytea not null, event bytea not null,
    at bigint not null, primary key (owner, key, sub, event)
)
""",
    "create index suppression_soft_at on suppression_soft (at)",
    """
create table suppression_key (id integer primary key check (id = 1), fingerprint bytea not null)
""",
)

TENANT_STATUS = (
    """
create table tenant_status (
    tenant text collate "C" primary key, step integer not null, since double precision not null,
    why text not null, counted_from double precision not null, scope text not null,
    reason text not null, paused_at double precision not null, until double precision,
    by text not null, queued text not null
)
""",
    f"""
create table tenant_pauses (
    tenant {_TEXT}, campaign {_TEXT}, domain {_TEXT}, reason text not null,
    paused_at double precision not null, until double precision, by text not null,
    queued text not null, primary key (tenant, campaign, domain)
)
""",
    "create table tenant_status_version (version bigint not null) with (fillfactor = 10)",
    "insert into tenant_status_version values (0)",
)

MESSAGES = (
    f"""
create table messages (
    id bytea primary key, at double precision not null, tenant {_TEXT}, queue_id {_TEXT},
    sender {_TEXT}, message_id {_TEXT}, campaign {_TEXT}, mail_type {_TEXT}, recipients {_TEXT}
)
""",
    "create index messages_at on messages (at)",
)

RECEIVED = (
    f"""
create table received_reports (
    number bigint generated by default as identity primary key, id text collate "C" not null unique,
    at double precision not null, kind {_TEXT}, format {_TEXT}, reporter {_TEXT}, result {_TEXT},
    reason {_TEXT}, tenant {_TEXT}, message {_TEXT}, events {_TEXT}
)
""",
    "create index received_reports_of on received_reports (reporter, tenant, at)",
    "create index received_reports_message on received_reports (message)",
    # What acted is most of it, and stays for long: what may go is found without passing over it.
    "create index received_reports_at on received_reports (at)",
    "create index received_reports_idle on received_reports (number) where events = ''",
)

API = (
    """
create table api_tenants (
    id text collate "C" primary key, settings text not null, version bigint not null,
    by text not null, at double precision not null
)
""",
    "create table api_tenants_mark (version bigint not null, nonce text not null)",
    "insert into api_tenants_mark values (0, '')",
    """
create table api_tokens (
    name text collate "C" primary key, digest bytea not null unique, tenant text not null,
    read_only boolean not null, created double precision not null, by text not null,
    expires double precision
)
""",
)
