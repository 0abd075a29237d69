"""What the stores may rely on in a database, whichever it is.

Purpose: where SQLite and PostgreSQL are asked alike, what is asked and what is made of the answers
stands once, in a class upon `Engine`. A store inherits from it and from `sqlite_file.SqliteFile` or
`postgres_server.PostgresServer`, and adds the SQL that differs.
Errors: those of the two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol


class Rows(Protocol):
    """What a statement returns."""

    @property
    def rowcount(self) -> int:
        """How many rows it changed or made."""

    def fetchone(self) -> Any:
        """Return the next row, or None."""

    def fetchall(self) -> list[Any]:
        """Return all rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows that are left."""


class Queryable(Protocol):
    """A connection."""

    def execute(self, statement: str, values: list[Any] | dict[str, Any] = ..., /) -> Rows:
        """Run a statement."""


class Engine(ABC):
    """A database, with one connection for each thread that calls.

    Attributes:
        MARK: What stands in a statement for a value.
    """

    MARK: ClassVar[str]

    @abstractmethod
    def _database(self) -> AbstractContextManager[Queryable]:
        """Give a connection, for statements of which each is a transaction."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Queryable]:
        """Give a connection within a transaction that writes."""

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Queryable]:
        """Give a connection on which several queries see the data of one moment."""

    @abstractmethod
    def _by_server(self, at: float) -> float:
        """Return a time that was reckoned from now as the clock that counts has it."""

    @abstractmethod
    def _named(self, statement: str) -> str:
        """Return a statement in which values are named as in ``:owner``, as the database has it."""

    def _marked(self, statement: str) -> str:
        """Return a statement with `MARK` where it has ``{}``."""
        return statement.replace("{}", self.MARK)

    def _first(self, query: str, values: list[Any] | dict[str, Any]) -> Any:
        """Return the first row that a query finds, or None."""
        with self._database() as db:
            return db.execute(query, values).fetchone()

    def _all(self, query: str, values: list[Any] | dict[str, Any]) -> list[Any]:
        """Return the rows that a query finds."""
        with self._database() as db:
            return db.execute(query, values).fetchall()

    def _change(self, statement: str, values: list[Any] | dict[str, Any]) -> int:
        """Change rows in a transaction of its own; return how many."""
        with self._writing() as db:
            return max(0, db.execute(statement, values).rowcount)
