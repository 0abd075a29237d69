"""main.cf and master.cf of a lane's own instance, as attach writes them.

Purpose: an instance that takes mail from the main one alone and delivers it as the main one would.
Source: MULTI_INSTANCE_README; postconf(5); master(5). Daemons run without chroot: they reach
Gatepost's sockets by an absolute path.
Format: whole files, of which nothing is the operator's: the next attach writes them anew.
Errors: `instance_files` raises `AttachError` where there is no service to clone.
Security: no port is opened (master_service_disable = inet), no local user may submit
(authorized_submit_users), and delivery services are made by the same code, with the same TLS maps,
as those of the main instance. What has no tenant goes back to the main instance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gatepost.postfix.bounce_filter import FILE_NAME, TEXT
from gatepost.postfix.clones import add_clones
from gatepost.postfix.editor import Editor, comment
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.handover import (
    BACK,
    back_to,
    connecting,
    listening,
    override,
    queue_settings,
)
from gatepost.postfix.instances.inherited import inherited, moved
from gatepost.postfix.instances.place import MARK, Place, place_of
from gatepost.postfix.main_cf import settings
from gatepost.postfix.master_cf import Service, services
from gatepost.postfix.operator_level import default_name, default_service
from gatepost.postfix.parameters import SCALARS, Setting, service_settings
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Plan
from gatepost.postfix.planning import Bare
from gatepost.postfix.spec import AttachSpec, InstanceSpec
from gatepost.tls.rules import OnFailure
from gatepost.traffic.lanes import HAND_OVER_SOCKET

GROUP = "gatepost"
_HEAD = (
    f"{MARK}, for a lane that is a Postfix instance of its own. The next",
    "# attach writes it anew: change the main instance or Gatepost's configuration instead.",
)
_INDENT = "  "
# Above any limit of an operator.
_NO_HOPS = 1_000_000
# Entry, and what it is there for.
_SERVICES = (
    (
        "pickup    unix  n       -       n       60      1       pickup",
        "Takes in again what postsuper -r has requeued.",
    ),
    (
        "cleanup   unix  n       -       n       -       0       cleanup",
        "Writes each message into the queue.",
    ),
    (
        "qmgr      unix  n       -       n       300     1       qmgr",
        "A queue manager of its own, and with it an active queue of its own.",
    ),
    (
        "tlsmgr    unix  -       -       n       1000?   1       tlsmgr",
        "TLS sessions that can be resumed, and random numbers, for smtp(8).",
    ),
    (
        "rewrite   unix  -       -       n       -       -       trivial-rewrite",
        "Asks Gatepost which service delivers.",
    ),
    (
        "bounce    unix  -       -       n       -       0       bounce",
        "Writes notices of failure; they go back to the main instance.",
    ),
    (
        "defer     unix  -       -       n       -       0       bounce",
        "Keeps why mail waits.",
    ),
    (
        "trace     unix  -       -       n       -       0       bounce",
        "Writes notices of success, where a sender asked for them (DSN).",
    ),
    (
        "flush     unix  n       -       n       1000?   0       flush",
        "Knows which mail waits for a destination, for postqueue -s.",
    ),
    (
        "proxymap  unix  -       -       n       -       -       proxymap",
        "Reads tables that your main.cf names with proxy: in front.",
    ),
    (
        "error     unix  -       -       n       -       -       error",
        "Returns mail for which a table of yours says so.",
    ),
    (
        "retry     unix  -       -       n       -       -       error",
        "Lets mail wait for which a map says so, such as that of a paused tenant.",
    ),
    (
        "scache    unix  -       -       n       -       1       scache",
        "Keeps connections for the next message.",
    ),
    (
        "tlsproxy  unix  -       -       n       -       0       tlsproxy",
        "Keeps TLS connections for the next message, with smtp_tls_connection_reuse.",
    ),
    (
        "showq     unix  n       -       n       -       -       showq",
        "Lists the queue for postqueue.",
    ),
    (
        "postlog   unix-dgram n  -       n       -       1       postlogd",
        "Writes the log where maillog_file names a file.",
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """What the files of an instance are made from.

    Attributes:
        facts: The main instance, without ours.
        entries: Its services, without ours.
        before: Parameter to value, not expanded, in its main.cf without ours.
        after: The same with ours.
    """

    facts: PostfixFacts
    entries: Sequence[Service]
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def place(self) -> Place:
        """Return where the main instance stands."""
        facts = self.facts
        data = Path(facts.value("data_directory") or "/")
        return Place("", facts.config_dir, facts.queue_directory, data)

    @property
    def main(self) -> Mapping[str, str]:
        """Return the operator's parameters, with those that attach sets in their place."""
        return {**self.before, **{n: self.after[n] for n in SCALARS if n in self.after}}


def sources_of(plan: Plan, without: Bare, facts: PostfixFacts) -> Sources:
    """Return what the files of instances are made from.

    Args:
        plan: What becomes of the main instance.
        without: The main instance's files without ours.
        facts: The main instance as it is without ours.
    """
    return Sources(
        facts,
        services(without.master.text),
        settings(without.main.text),
        settings(plan.new[MAIN_CF]),
    )


def instance_files(
    instance: InstanceSpec, spec: AttachSpec, sources: Sources, *, leaving: bool = False
) -> dict[str, str]:
    """Return file name to text of an instance's files.

    Args:
        instance: The instance.
        spec: What the main instance is told.
        sources: What the main instance is.
        leaving: Whether it is to give back all that it has, because it is to go.

    Raises:
        AttachError: If there is nothing to clone.
    """
    facts = sources.facts
    place = place_of(instance.lane, facts)
    own = dataclasses.replace(
        spec,
        services=() if leaving else instance.services,
        # By the absolute path: the queue directory is another.
        socket_dir=str(facts.queue_directory / spec.socket_dir),
    )
    named = dataclasses.replace(facts, values={**facts.values, "syslog_name": place.name})
    found = {
        MAIN_CF: _main_cf(own, sources, place, leaving=leaving),
        MASTER_CF: _master_cf(own, dataclasses.replace(sources, facts=named), place),
    }
    if any(service.on_failure is OnFailure.BOUNCE for service in own.services):
        found[FILE_NAME] = TEXT
    return found


def _main_cf(spec: AttachSpec, sources: Sources, place: Place, *, leaving: bool) -> str:
    facts = sources.facts
    lines = [*_HEAD]
    found = [*_identity(place), *_taking_in(), *listening()]
    found += _leading_out(spec, facts, place.lane, leaving=leaving)
    found += queue_settings(BACK, sources.before)
    base = default_name(facts.value("default_transport"))
    found += service_settings(spec, base, sources.before)
    for setting in found:
        lines += ["", *comment(setting.reason), f"{setting.name} = {setting.value}".rstrip()]
    own = frozenset(setting.name for setting in found)
    reason = "As in the main instance, so that deliveries are the same from here."
    lines.append("")
    base_entry = default_service(sources.entries, facts.value("default_transport"))
    options = [option.value for option in base_entry.options] if base_entry else []
    places = (sources.place, place)
    for setting in inherited(sources.main, own, facts, places, options):
        lines += [*comment(reason), f"{setting.name} = {setting.value}".rstrip()]
        reason = "Likewise."
    return "\n".join(lines) + "\n"


def _identity(place: Place) -> Iterator[Setting]:
    yield Setting("queue_directory", str(place.queue_directory), "A queue of its own.")
    yield Setting("data_directory", str(place.data_directory), "Caches of its own.")
    yield Setting(
        "multi_instance_name",
        place.name,
        "The name by which postmulti and the log know it.",
    )
    yield Setting("multi_instance_group", GROUP, "postmulti -g gatepost -l lists these instances.")
    yield Setting(
        "multi_instance_enable",
        "yes",
        "postfix start, stop and reload of all instances include it.",
    )


def _taking_in() -> Iterator[Setting]:
    yield Setting("master_service_disable", "inet", "No port is opened, whatever master.cf says.")
    yield Setting(
        "authorized_submit_users", "", "No local user may put mail in, as by sendmail -C."
    )
    yield Setting(
        "receive_override_options",
        "no_address_mappings, no_header_body_checks, no_milters, no_unknown_recipient_checks",
        "The main instance has done all of it; once more would copy, sign or change mail twice.",
    )
    yield Setting(
        "local_header_rewrite_clients", "", "Headers stay as they are: they may have been signed."
    )
    yield Setting(
        "append_dot_mydomain", "no", "Addresses are complete: once more would change them."
    )
    yield Setting("message_drop_headers", "", "Likewise: the main instance has dropped its own.")
    yield Setting(
        "hopcount_limit",
        str(_NO_HOPS),
        "The main instance has counted the hops, by its own limit, and counts what comes back.",
    )
    yield Setting(
        "in_flow_delay",
        "0",
        "A backlog here must not slow the hand-over down: it is what this instance is for.",
    )
    yield Setting("enable_long_queue_ids", "yes", "As there: no queue id comes twice.")
    yield Setting("smtpd_client_connection_count_limit", "0", "The one client is Postfix itself.")
    yield Setting("smtpd_client_connection_rate_limit", "0", "Likewise.")
    yield Setting(
        "mydestination", "", "Nothing is local here: the main instance keeps such mail to itself."
    )
    for name in ("relay_domains", "alias_maps", "alias_database"):
        yield Setting(name, "", "Likewise.")


def _leading_out(
    spec: AttachSpec, facts: PostfixFacts, lane: str, *, leaving: bool
) -> Iterator[Setting]:
    yield Setting(
        "default_transport",
        back_to(facts.queue_directory),
        "What has no tenant goes back to the main instance: bounces return as its own do.",
    )
    if not leaving:
        yield Setting(
            "sender_dependent_default_transport_maps",
            spec.map(f"transport@{lane}"),
            "From the envelope sender to the service with its tenant's profile, asked at each "
            "delivery attempt. While the map does not answer, mail waits in the queue.",
        )


def _master_cf(spec: AttachSpec, sources: Sources, place: Place) -> str:
    editor = Editor(MASTER_CF, "")
    entries = [_as_here(entry, sources.place, place) for entry in sources.entries]
    main = {n: moved(n, value, sources.place, place) for n, value in sources.main.items()}
    add_clones(editor, entries, spec, sources.facts, main)
    lines = [*_HEAD, "", *comment("Where the main instance hands mail over.")]
    lines.append(f"{HAND_OVER_SOCKET:<9} unix  -       -       n       -       -       smtpd")
    lines += [""]
    for line, why in _SERVICES:
        lines += [*comment(why), line]
    lines += ["", *comment("The way back to the main instance.")]
    lines.append(f"{BACK:<9} unix  -       -       n       -       -       lmtp")
    for setting in connecting(BACK, place.name, sources.before):
        lines += [*comment(setting.reason, _INDENT), _INDENT + override(setting)]
    return "\n".join([*lines, "", *editor.lines()]) + "\n"


def _as_here(entry: Service, main_dirs: Place, place: Place) -> Service:
    """Return a service of the main instance as it would stand in a lane's own."""
    private, unprivileged, _, wakeup, limit = entry.columns
    options = tuple(
        dataclasses.replace(option, value=moved(option.name, option.value, main_dirs, place))
        for option in entry.options
    )
    columns = (private, unprivileged, "n", wakeup, limit)
    return dataclasses.replace(entry, columns=columns, options=options)
