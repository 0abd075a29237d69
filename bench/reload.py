"""Reload with 100,000 tenants: processor time, memory beside the old snapshot, cost of a decision.

Purpose: a platform of this size reloads while mail flows, so a reload must be short, must fit
beside the snapshot that is still in force, and must not make decisions dearer.
Format: tenants as an operator writes them, in block style, each with a login, two sender domains,
a profile and a return path; in one file, in a directory of 1,000 files, and made through the API.
Each measurement is a process of its own, which loads twice and keeps the first snapshot as a
running role does.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import yaml

from bench.report import Row
from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.recipient import decide_recipient
from gatepost.decisions.transport import decide_transport
from gatepost.settings import Loader
from gatepost.settings.api_tenants import COPY_NAME, ApiTenants, copy_text
from gatepost.settings.keyring import new_key_file
from gatepost.snapshot import Snapshot
from gatepost.store.api_tenants import Mark
from gatepost.tenants.client import Client

TENANTS = 100_000
FEW = 1_000
FILES = 1_000
GOAL_S = 5.0
GOAL_MIB = 400.0
# A twentieth of what a policy request may cost: more tenants than the processor's cache holds
# cost a miss here and there.
GOAL_MORE_US = 2.25
DECISIONS = 4_000
ROUNDS = 12

_HEAD = """\
platform:
  {sender_id: examplesp, bounce_domain: bounces.example.net, null_sender_profile: private}
modes: {default: enforce}
tls:
  profiles:
    private: {level: encrypt, min_version: TLSv1.2, on_failure: bounce}
"""
_TENANT = """\
  t{number}:
    logins: [t{number}]
    senders:
      - t{number}.example
      - mail.t{number}.example.net
    profile: private
    return_path: token
"""


def run() -> list[Row]:
    """Measure, and return the rows."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        one = _write(place / "one", TENANTS, files=0)
        many = _write(place / "many", TENANTS, files=FILES)
        few = _write(place / "few", FEW, files=0)
        yaml_s, yaml_mib = _child("yaml", one)
        peer = f"PyYAML's CSafeLoader only reads it in {yaml_s:.2f} s, {yaml_mib:.0f} MiB"
        return [
            *_loads("one file", one, peer),
            *_loads(f"{FILES:,} files", many, ""),
            *_loads("made through the API", _write_api(place / "api", TENANTS), ""),
            *_decisions(few, one),
        ]


def _loads(what: str, config: Path, peer: str) -> Iterator[Row]:
    first_s, second_s, peak_mib = _child("load", config)
    yield Row(
        f"{what}: start, CPU",
        f"{first_s:.2f} s",
        peer,
        f"at most {GOAL_S:.0f} s",
        first_s <= GOAL_S,
    )
    yield Row(
        f"{what}: reload, CPU",
        f"{second_s:.2f} s",
        "",
        f"at most {GOAL_S:.0f} s",
        second_s <= GOAL_S,
    )
    yield Row(
        f"{what}: peak memory, old snapshot held",
        f"{peak_mib:.0f} MiB",
        "",
        f"at most {GOAL_MIB:.0f} MiB",
        peak_mib <= GOAL_MIB,
    )


def _decisions(few: Path, many: Path) -> Iterator[Row]:
    times = _child("decide", few, many)
    for at, what in enumerate(("RCPT TO", "map transport")):
        few_us, many_us = times[2 * at : 2 * at + 2]
        yield Row(
            f"decision, {what}, {TENANTS:,} tenants",
            f"{many_us:.2f} µs",
            f"{FEW:,} tenants: {few_us:.2f} µs",
            f"at most {GOAL_MORE_US} µs more",
            many_us - few_us <= GOAL_MORE_US,
        )


def _write(directory: Path, tenants: int, *, files: int) -> Path:
    directory.mkdir()
    keys = directory / "keys.yaml"
    keys.write_text(new_key_file(), encoding="ascii")
    keys.chmod(0o600)
    texts = (_TENANT.format(number=number) for number in range(tenants))
    config = directory / "gatepost.yaml"
    if not files:
        config.write_text(_HEAD + "tenants:\n" + "".join(texts), encoding="ascii")
        return config
    config.write_text(_HEAD + "tenants_dir: tenants.d\n", encoding="ascii")
    below = directory / "tenants.d"
    below.mkdir()
    for number in range(files):
        text = "tenants:\n" + "".join(islice(texts, tenants // files))
        (below / f"{number:06}.yaml").write_text(text, encoding="ascii")
    return config


def _write_api(directory: Path, tenants: int) -> Path:
    config = _write(directory, 0, files=0)
    state = f"state: sqlite:///{directory}/gatepost.db\n"
    config.write_text(f"{state}{_HEAD}tenants:\n", encoding="ascii")
    (settings,) = yaml.safe_load(_TENANT.format(number="NUMBER")).values()
    one = json.dumps(settings)
    rows = [(f"t{number}", one.replace("NUMBER", str(number))) for number in range(tenants)]
    text = copy_text(ApiTenants(Mark(1, "bench"), tuple(sorted(rows))))
    (directory / COPY_NAME).write_text(text, encoding="ascii")
    return config


def _child(what: str, *configs: Path) -> list[float]:
    command = [sys.executable, "-m", "bench.reload", what, *map(str, configs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    numbers: list[float] = json.loads(done.stdout)
    return numbers


def _measure_load(config: Path) -> list[float]:
    loader = Loader(config)
    began = time.process_time()
    held = loader.load()
    first = time.process_time()
    fresh = loader.load()
    second = time.process_time()
    if len(held.snapshot.tenants.by_id) != len(fresh.snapshot.tenants.by_id) or fresh.warnings:
        raise SystemExit("the configuration is not what it should be")
    return [first - began, second - first, _peak_mib()]


def _measure_yaml(config: Path) -> list[float]:
    octets = config.read_bytes()
    began = time.process_time()
    yaml.load(octets, yaml.CSafeLoader)
    return [time.process_time() - began, _peak_mib()]


def _measure_decisions(few: Path, many: Path) -> list[float]:
    """Return the least time of a decision in µs, with few and with many tenants, in turn."""
    best: dict[tuple[str, int], float] = {}
    snapshots = [Loader(config).load().snapshot for config in (few, many)]
    for _ in range(ROUNDS):
        for position, snapshot in enumerate(snapshots):
            for name, work in _work(snapshot).items():
                began = time.process_time()
                work()
                spent = (time.process_time() - began) / DECISIONS * 1e6
                key = (name, position)
                best[key] = min(spent, best.get(key, spent))
    return [best[key] for key in sorted(best)]


def _work(snapshot: Snapshot) -> dict[str, Callable[[], None]]:
    # As on a real platform, few tenants send most of the mail.
    names = list(snapshot.tenants.by_id)
    chance = random.Random(5)  # noqa: S311  # the same tenants in every run
    chosen = [names[int(len(names) * chance.random() ** 3)] for _ in range(DECISIONS)]
    facts = [
        RecipientFacts(
            Client(name, "", f"192.0.2.{index % 250}", "4711", "submission"),
            f"news@{name}.example",
            f"reader{index}@destination{index % 500}.example",
            "",
        )
        for index, name in enumerate(chosen)
    ]
    now = time.time()

    def recipients() -> None:
        for each in facts:
            decide_recipient(each, snapshot, now)

    def transports() -> None:
        for each in facts:
            decide_transport(each.sender, snapshot, now)

    return {"1 recipient": recipients, "2 transport": transports}


def _peak_mib() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status has no VmHWM")


_MEASUREMENTS: dict[str, Callable[..., list[float]]] = {
    "load": _measure_load,
    "yaml": _measure_yaml,
    "decide": _measure_decisions,
}

if __name__ == "__main__":
    print(json.dumps(_MEASUREMENTS[sys.argv[1]](*map(Path, sys.argv[2:]))))
