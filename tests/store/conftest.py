"""Stores to test: each backend in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from gatepost.modes import Feature, Observation
from gatepost.store import ObservationStore, open_store
from gatepost.store.postgres_schema import migrate
from gatepost.store.postgres_server import connect
from lab.postgres import PrivatePostgres, programs

NOON = 1_800_000_000 // 86_400 * 86_400 + 12 * 3600.0

Opener = Callable[[], ObservationStore]

# What each node has for itself, always in a file of its own.
LOCAL = {
    *("test_deliveries", "test_held", "test_lanes", "test_quotas", "test_survey"),
    *("test_tls_reports",),
}
# Rows that are there from the beginning.
_SINGLE = (
    "update event_stream set position = 0",
    "update tenant_status_version set version = 0",
    "update api_tenants_mark set version = 0, nonce = ''",
)
_KEPT = {"gatepost_schema", "event_stream", "tenant_status_version", "api_tenants_mark"}


class Server(PrivatePostgres):
    """A server whose database can be emptied quickly."""

    def __init__(self) -> None:
        super().__init__()
        with contextlib.closing(connect(self.url)) as db:
            migrate(db)

    def empty(self) -> None:
        """Let the database be as new, with nobody connected, whatever a test has done."""
        if not self.running:
            self.start()
        with contextlib.closing(psycopg.connect(self.url, autocommit=True)) as db:
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
            rows = db.execute("select tablename from pg_tables where schemaname = 'public'")
            names = sorted({row[0] for row in rows} - _KEPT)
            query = " union all ".join(
                f"select '{name}' where exists (select 1 from {name})" for name in names
            )
            if full := [row[0] for row in db.execute(query)]:
                db.execute(f"truncate {', '.join(full)} restart identity")
            for statement in _SINGLE:
                db.execute(statement)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Return a server of PostgreSQL with an empty database."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with contextlib.closing(Server()) as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the contract tests of what nodes share on both engines."""
    path = metafunc.definition.path
    if "url" in metafunc.fixturenames and not path.stem.startswith("test_postgres"):
        shared = path.parent.name == "contract" and path.stem not in LOCAL
        kinds = ["sqlite", "postgresql"] if shared else ["sqlite"]
        metafunc.parametrize("url", kinds, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/gatepost.db"
    server: Server = request.getfixturevalue("postgres")
    server.empty()
    return server.url


@pytest.fixture
def local(tmp_path: Path) -> str:
    """Return the URL of what is the node's alone, where the store is a server."""
    return f"sqlite:///{tmp_path}/gatepost.db"


@pytest.fixture
def store(url: str) -> Iterator[ObservationStore]:
    """Return an empty store, closed at the end."""
    with contextlib.closing(open_store(url)) as opened:
        yield opened


@pytest.fixture
def seen() -> Callable[..., Observation]:
    """Return what makes an observation: at noon, of tenant acme, unless told otherwise."""

    def seen(at: float = NOON, tenant: str = "acme", **fields: str) -> Observation:
        feature = Feature(fields.pop("feature", "tag"))
        action = fields.pop("action", "add-header")
        return Observation(at, tenant, feature, action, fields.pop("detail", "d"), **fields)

    return seen
