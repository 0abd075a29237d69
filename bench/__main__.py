"""``./dev bench [name …]``: run the measurements and print them.

Without a name all run, in order, except those that take a quarter of an hour. Exit status 1 if a
goal was missed.
"""

from __future__ import annotations

import importlib
import sys

from bench.report import Row, print_rows

BENCHES = {
    "policy": "policy request: CPU per request",
    "quota": "quotas: CPU per request, in memory and in Valkey",
    "maps": "map answer: CPU per answer",
    "milter": "milter: CPU per message",
    "maillog": "log lines: CPU per line, parsed and joined to deliveries",
    "suppression": "suppression list: import and look-up of a million addresses",
    "store": "the databases: CPU, time and room of what is stored",
    "reload": "reload with 100,000 tenants",
    "survey": "survey: CPU and memory of probes, and pacing",
    "postfix": "whole Postfix, attached and enforcing beside plain",
    "isolation": "quiet tenants beside one that floods",
    "fairness": "fifty equal tenants, of which one sends a thousand times as much",
    "growth": "the others, while one grows from 10 thousand to 10 million messages a day",
}
# These run only by name.
LONG = ("isolation", "fairness", "growth")


def main(names: list[str]) -> int:
    """Run the named measurements, or all."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"bench: no such measurement: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
        return 2
    missed = 0
    for name in names or [name for name in BENCHES if name not in LONG]:
        rows: list[Row] = importlib.import_module(f"bench.{name}").run()
        print_rows(f"{name}: {BENCHES[name]}", rows)
        missed += sum(row.met is False for row in rows)
    if missed:
        print(f"{missed} goals missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
