"""What the survey knows as rows: a server of a host of a domain on each.

Format: the columns are the fields of `Row`, in CSV with a heading (RFC 4180) and in JSON alike.
Errors: none.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from gatepost.tls.survey.knowledge import AddressKnowledge, DomainKnowledge, HostKnowledge
from gatepost.tls.survey.report import address_word

SHOWN = 40
# Where the output is no terminal; nobody wants a name folded in a file.
WIDTH = 200


class Row(NamedTuple):
    """One server, or a domain without any. Times are Unix time, 0 for never."""

    domain: str
    mx: str
    host: str = ""
    preference: int | None = None
    address: str = ""
    starttls: str = ""
    reason: str = ""
    version: str = ""
    cipher: str = ""
    certificate: str = ""
    not_after: float = 0.0
    tlsa: str = ""
    dane: str = ""
    sts: str = ""
    first_at: float = 0.0
    last_at: float = 0.0
    tls_since: float = 0.0
    tls_streak: int = 0


def rows_of(known: Iterable[DomainKnowledge]) -> Iterator[Row]:
    """Yield the rows of domains."""
    for domain in known:
        if not any(host.addresses for host in domain.hosts):
            yield Row(domain.domain, domain.outcome.value, sts=domain.sts.value)
        for host in domain.hosts:
            for seen in host.addresses:
                yield _row(domain, host, seen)


def print_csv(rows: Iterable[Row]) -> None:
    """Print all rows on standard output."""
    writer = csv.writer(sys.stdout)
    writer.writerow(Row._fields)
    writer.writerows(rows)


def print_table(rows: Iterator[Row]) -> None:
    """Print the first rows on standard output, and how many more there are."""
    table = Table(box=None, pad_edge=False)
    for heading in ("domain", "host", "address", "STARTTLS", "version", "certificate", "DANE",
                    "STS", "last seen"):  # fmt: skip
        table.add_column(heading, overflow="fold")
    for row in islice(rows, SHOWN):
        seen = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.last_at)) if row.last_at else "-"
        table.add_row(
            row.domain, row.host or row.mx, row.address, row.starttls, row.version,
            row.certificate, row.dane, row.sts, seen,
        )  # fmt: skip
    rest = sum(1 for _ in rows)
    if table.row_count:
        Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDTH).print(
            table
        )
    if rest:
        print(f"and {rest} more rows; --csv and --json print all of them")


def _row(domain: DomainKnowledge, host: HostKnowledge, seen: AddressKnowledge) -> Row:
    return Row(
        domain=domain.domain,
        mx=domain.outcome.value,
        host=host.host,
        preference=host.preference,
        address=seen.address,
        starttls=address_word(seen),
        reason=seen.reason,
        version=seen.version,
        cipher=seen.cipher,
        certificate=seen.certificate.value if seen.certificate else "",
        not_after=seen.not_after,
        tlsa=host.tlsa.value,
        dane=seen.dane.value,
        sts=domain.sts.value,
        first_at=seen.first_at,
        last_at=seen.last_at,
        tls_since=seen.tls_since,
        tls_streak=seen.tls_streak,
    )
