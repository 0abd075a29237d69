"""Every metric that Gatepost exports, declared once.

Purpose: each role counts in a registry of its own; the ``back`` role asks the others for theirs and
serves all of them on one address.
Source: Prometheus, "Metric and label naming", "Instrumentation" (timestamps instead of ages).
Format: names begin with ``gatepost_``; a metric that more than one role has carries the label
``role``.
Limits: 1,000 tenants as label values in a role; further ones are counted under ``_other``, which
can be no tenant id. Unidentified mail is counted under ``-``. Verdicts, results and kinds are cut
off at 64 values each, map and result together at 512.
Errors: counting never raises.
"""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gatepost import __version__
from gatepost.maillog.evidence import Record, Verdict
from gatepost.maillog.model import TlsClass
from gatepost.modes import Observation
from gatepost.tls.mtasts.entry import Failure

MAX_TENANTS = 1000
MAX_VALUES = 64
MAX_MAPS = 128
PREFIX = "gatepost_"
OTHER = "_other"
UNIDENTIFIED = "-"

# A "_created" series beside every counter would double what is scraped and tell nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]

Increment = Callable[[], None]

# Name, description, type, and samples: name, labels, value.
Family = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]


class Tally(dict[Hashable, Increment]):
    """Label values to the bound ``inc`` of their counter: one look-up on the path of mail.

    ``tally["dunno"]()`` counts one; a key that is new makes its counter. A key is one label value,
    or a tuple of them in the order of the labels.
    """

    def __init__(
        self, counter: Counter, *, fixed: tuple[str, ...] = (), width: int = 1, limit: int
    ) -> None:
        """Wrap a counter.

        Args:
            counter: The labelled counter.
            fixed: Values of its first labels.
            width: Number of labels that keys give.
            limit: Number of keys; further ones are counted together as `OTHER`.
        """
        super().__init__()
        self._counter = counter
        self._fixed = fixed
        self._width = width
        self._limit = limit
        self._lock = threading.Lock()

    def expect(self, *keys: Hashable) -> None:
        """Begin to count these at zero."""
        for key in keys:
            self[key]  # looking it up makes it

    def __missing__(self, key: Hashable) -> Increment:
        """Make the counter for a new key."""
        values = key if isinstance(key, tuple) else (key,)
        with self._lock:
            # Keys over the limit are not kept: no table may grow with what a client makes up.
            keep = len(self) < self._limit
            labels = map(str, values) if keep else (OTHER,) * self._width
            increment: Increment = self._counter.labels(*self._fixed, *labels).inc
            if keep:
                self[key] = increment
            return increment


class Metrics:
    """The metrics of one role.

    Attributes:
        registry: Where they are registered.
        policy_requests: By verdict; keys such as ``"dunno"``.
        map_lookups: By map and result; keys such as ``("transport", "found")``.
        milter_messages: By verdict; keys such as ``"accept"``.
        destination_searches: By result; ``"found"`` and ``"failed"``.
        sts_fetches: By result; ``"ok"`` or a result type of RFC 8460.
        errors: By kind; keys such as ``"store"``.
        reloads: By result; ``"ok"`` and ``"refused"``.
        dropped: Observations not stored, by reason: ``"queue"`` and ``"store"``.
    """

    def __init__(self, role: str, *, max_tenants: int = MAX_TENANTS) -> None:
        """Declare the metrics of a role; only those that it counts get any samples."""
        self.role = role
        self.registry = CollectorRegistry()
        self._max_tenants = max_tenants
        self._tenants: set[str] = set()
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str, str], Increment] = {}
        self._declare_traffic()
        self._declare_discovery()
        self._declare_trouble()
        self._declare_recorder()
        self._declare_configuration()
        self.registry.register(_Process(role))

    def _declare_traffic(self) -> None:
        self.policy_requests = Tally(
            self._counter("policy_requests", "Policy requests answered, by verdict.", "verdict"),
            limit=MAX_VALUES,
        )
        self.map_lookups = Tally(
            self._counter("map_lookups", "Map look-ups, by map and result.", "map", "result"),
            width=2,
            limit=MAX_MAPS * 4,
        )
        self.milter_messages = Tally(
            self._counter("milter_messages", "Messages at their end, by verdict.", "verdict"),
            limit=MAX_VALUES,
        )

    def _declare_discovery(self) -> None:
        self.destination_searches = self._role_tally(
            "destination_searches", "Searches for what a destination publishes.", "result"
        )
        self.sts_fetches = self._role_tally("sts_fetches", "Fetches of MTA-STS policies.", "result")

    def _declare_trouble(self) -> None:
        self.errors = self._role_tally("errors", "Errors, by kind.", "kind")
        self.reloads = self._role_tally(
            "reloads", "Reloads of the configuration, by result.", "result"
        )
        self.reloads.expect("ok", "refused")

    def _declare_recorder(self) -> None:
        self._observations = self._counter(
            "observations",
            "What features in observe mode would have done, by feature, action and tenant.",
            *("role", "feature", "action", "tenant"),
        )
        self.dropped = self._role_tally(
            "recorder_dropped", "Observations that were not stored, by reason.", "reason"
        )

    def _declare_configuration(self) -> None:
        self._loaded = self._gauge(
            "snapshot_loaded_timestamp_seconds",
            "Unix time at which the configuration in force was loaded.",
        )
        self._snapshot = Gauge(
            f"{PREFIX}snapshot_info",
            "The configuration in force, by digest; always 1.",
            ["role", "digest"],
            registry=self.registry,
        )
        Gauge(
            f"{PREFIX}info", "What runs; always 1.", ["role", "version"], registry=self.registry
        ).labels(self.role, __version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}{name}", text, labels, registry=self.registry)

    def _role_tally(self, name: str, text: str, label: str) -> Tally:
        counter = self._counter(name, text, "role", label)
        return Tally(counter, fixed=(self.role,), limit=MAX_VALUES)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"{PREFIX}{name}", text, ["role"], registry=self.registry).labels(self.role)

    def watch_connections(self, count: Callable[[], int]) -> None:
        """Export the number of open connections, which `count` returns when it is wanted."""
        self._gauge("connections", "Connections that Postfix holds open.").set_function(count)

    def watch_messages(self, count: Callable[[], int]) -> None:
        """Export the number of messages in hand, which `count` returns when it is wanted."""
        self._gauge("messages_in_hand", "Messages between MAIL FROM and end.").set_function(count)

    def watch_recorder(self, waiting: Callable[[], int]) -> Callable[[int], None]:
        """Export what a recorder does, and return what counts observations that were stored.

        Args:
            waiting: Returns how many observations wait to be stored.
        """
        self._gauge("recorder_queued", "Observations that wait to be stored.").set_function(waiting)
        for reason in ("queue", "store"):
            # From zero, as Prometheus sees no increase in a series that begins at one.
            self.dropped.expect(reason)
        stored = self._counter("recorder_stored", "Observations written to the store.", "role")
        increment: Callable[[int], None] = stored.labels(self.role).inc
        return increment

    def tenant_label(self, tenant: str) -> str:
        """Return the label value for a tenant id, which is `OTHER` beyond the limit of tenants."""
        label = tenant or UNIDENTIFIED
        with self._lock:
            if label not in self._tenants and len(self._tenants) >= self._max_tenants:
                return OTHER
            self._tenants.add(label)
        return label

    def watch_deliveries(self) -> DeliveryMetrics:
        """Export what the log tells of deliveries."""
        by_tls = Tally(
            self._counter("deliveries", "Message-recipients in the log, by TLS.", "tls"),
            limit=MAX_VALUES,
        )
        by_tls.expect(*TlsClass)
        weaker = self._counter(
            "weaker_deliveries", "Deliveries with less TLS than was asked for.", "tenant"
        )
        unproven = self._counter(
            "unproven_deliveries",
            "Deliveries for which TLS was asked, and the log does not tell whether they had it.",
            "tenant",
        )
        lines = self._counter("maillog_lines", "Lines of the mail log that were read.")
        unreadable = self._counter(
            "maillog_unreadable", "Lines of deliveries that could not be taken apart."
        )
        read = Gauge(
            f"{PREFIX}maillog_read_timestamp_seconds",
            "Unix time of the last delivery in the log that was read.",
            registry=self.registry,
        )
        for counter in (weaker, unproven):
            # From zero, as Prometheus sees no increase in a series that begins at one.
            counter.labels(UNIDENTIFIED)
        return DeliveryMetrics(self, by_tls, weaker, unproven, lines, unreadable, read)

    def watch_discovery(
        self, validates: Callable[[], bool], known: Callable[[], int], policies: Callable[[], int]
    ) -> None:
        """Export what is known of destinations, and count from zero what is done about it.

        Args:
            validates: Returns whether the resolver validates DNSSEC.
            known: Returns how many destinations are known.
            policies: Returns how many MTA-STS policy domains are.
        """
        self._gauge(
            "resolver_validates", "1 if the resolver validates DNSSEC; at 0, DANE is off."
        ).set_function(validates)
        self._gauge("destinations_known", "Destinations that were found out.").set_function(known)
        self._gauge("sts_policy_domains", "MTA-STS policy domains known.").set_function(policies)
        self.destination_searches.expect("found", "failed")
        self.sts_fetches.expect("ok", *(failure.value for failure in Failure))

    def destination_search(self, result: str) -> None:
        """Count one search for what a destination publishes."""
        self.destination_searches[result]()

    def sts_fetch(self, result: str) -> None:
        """Count one fetch of an MTA-STS policy."""
        self.sts_fetches[result]()

    def watch_promoted(self, dropped: Callable[[], int]) -> None:
        """Export how many destinations no longer offer what their promoted rule asks for."""
        self._gauge(
            "promoted_dropped", "Destinations that no longer offer what their rule asks for."
        ).set_function(dropped)

    def policy(self, verdict: str) -> None:
        """Count one policy answer."""
        self.policy_requests[verdict]()

    def lookup(self, map_name: str, result: str) -> None:
        """Count one map answer."""
        self.map_lookups[map_name, result]()

    def message(self, verdict: str) -> None:
        """Count one message at its end."""
        self.milter_messages[verdict]()

    def error(self, kind: str) -> None:
        """Count one error."""
        self.errors[kind]()

    def observed(self, observation: Observation) -> None:
        """Count one observation."""
        key = (observation.feature.value, observation.action, observation.tenant)
        increment = self._seen.get(key)
        if increment is None:
            increment = self._new_observation(*key)
        increment()

    def _new_observation(self, feature: str, action: str, tenant: str) -> Increment:
        label = self.tenant_label(tenant)
        increment: Increment = self._observations.labels(self.role, feature, action, label).inc
        if label != OTHER:
            self._seen[feature, action, tenant] = increment
        return increment

    def snapshot_in_force(self, digest: str, loaded_at: float) -> None:
        """Say which configuration is in force since when (Unix time in seconds)."""
        self._loaded.set(loaded_at)
        self._snapshot.clear()
        self._snapshot.labels(self.role, digest).set(1)

    def families(self) -> list[Family]:
        """Return all metrics as plain values, for the reply on the control socket."""
        return [
            (
                family.name,
                family.documentation,
                family.type,
                [(each.name, dict(each.labels), each.value) for each in family.samples],
            )
            for family in self.registry.collect()
            if family.samples
        ]

    def counts(self) -> dict[str, dict[str, float]]:
        """Return what was counted, for ``gatepost status``: by counter, then by label values.

        Tenants are added up; the metrics tell them apart.
        """
        found: dict[str, dict[str, float]] = {}
        for family in self.registry.collect():
            if family.type != "counter" or "process" in family.name:
                continue
            by_labels = found.setdefault(family.name.removeprefix(PREFIX), {})
            for sample in family.samples:
                labels = sample.labels
                key = " ".join(labels[n] for n in labels if n not in {"role", "tenant"}) or "all"
                if sample.value:
                    by_labels[key] = by_labels.get(key, 0) + sample.value
        return {name: by_labels for name, by_labels in found.items() if by_labels}


@dataclass(frozen=True, slots=True)
class DeliveryMetrics:
    """What the log tells of deliveries."""

    _metrics: Metrics
    _by_tls: Tally
    _weaker: Counter
    _unproven: Counter
    _lines: Counter
    _unreadable: Counter
    _read: Gauge

    def lines(self, read: int, unreadable: int) -> None:
        """Count lines that were read, and those of deliveries that could not be taken apart."""
        self._lines.inc(read)
        self._unreadable.inc(unreadable)

    def read_until(self, at: float) -> None:
        """Say up to which Unix time the log is read."""
        self._read.set(at)

    def delivery(self, record: Record) -> None:
        """Count one delivery."""
        for _ in range(record.deliveries):
            self._by_tls[record.tls.value]()
        if record.verdict is Verdict.WEAKER:
            self._weaker.labels(self._metrics.tenant_label(record.tenant)).inc(record.deliveries)
        elif record.verdict is Verdict.UNPROVEN:
            self._unproven.labels(self._metrics.tenant_label(record.tenant)).inc(record.deliveries)


class _Process(Collector):
    """Processor time, memory and descriptors of this process, read when scraped."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._started = time.time()

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = CounterMetricFamily(
            f"{PREFIX}process_cpu_seconds", "Processor time used.", labels=["role"]
        )
        cpu.add_metric([self._role], usage.ru_utime + usage.ru_stime)
        yield cpu
        yield self._gauge(f"{PREFIX}process_start_time_seconds", "Start time.", self._started)
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        except OSError:
            # /proc is not mounted, or closed to a process that changed its user.
            return
        resident = pages * resource.getpagesize()
        yield self._gauge(f"{PREFIX}process_resident_memory_bytes", "Memory.", resident)
        yield self._gauge(f"{PREFIX}process_open_fds", "Open descriptors.", descriptors)

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=["role"])
        family.add_metric([self._role], value)
        return family
