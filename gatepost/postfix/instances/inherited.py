"""Which parameters of the main instance hold in a lane's own instance as well.

Purpose: a delivery must be the same by whichever instance it goes: names, TLS, DNS, limits, times,
bounces, logs. What has to do with taking mail in does not count here, since the instance takes mail
from the main one alone, which has done all that already.
Source: postconf(5). main.cf has no way to include another file, so the values are copied, and
``gatepost doctor`` tells when they differ.
Format: a parameter is taken over if its name is one of those below. Of what it refers to, the
operator's own words are taken over as well; another parameter of Postfix, which would act here, is
not, and its value stands in the place of the reference.
Errors: none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.place import Place
from gatepost.postfix.markers import PRIVATE_PREFIX, SERVICE_PREFIX
from gatepost.postfix.operator_level import default_name
from gatepost.postfix.parameters import Setting

_NAMES = re.compile(
    r"compatibility_level|mail_(?:name|owner|version)|setgid_group|default_privs"
    r"|my(?:hostname|domain|origin)|inet_(?:interfaces|protocols)|proxy_interfaces"
    r"|(?:daemon|command|shlib|meta|sample|readme|html|manpage)_directory"
    r"|(?:sendmail|newaliases|mailq|openssl)_path|proxy_read_maps|(?:import|export)_environment"
    r"|syslog_facility|maillog_file(?:_[a-z]+)?|info_log_address_format|debug_peer_.*"
    r"|smtp_.*|requiretls_.*|tls_.*|tlsmgr_.*|tlsproxy_.*|dns_.*|ssl_.*|known_tcp_ports|disable_dns_lookups"
    r"|ignore_mx_lookup_error|disable_mime_output_conversion|connection_cache_.*|ipc_.*"
    r"|relayhost|sender_dependent_relayhost_maps"
    r"|default_(?:process_limit|delivery_.*|destination_.*|extra_.*|minimum_.*|recipient_.*"
    r"|transport_rate_delay|filter_nexthop|database_type|transport)|initial_destination_concurrency"
    r"|destination_concurrency_feedback_debug|transport_retry_time|qmgr_.*|defer_transports"
    r"|queue_(?:run_delay|minfree|file_attribute_count_limit)|hash_queue_.*"
    r"|(?:minimal|maximal)_backoff_time|(?:maximal|bounce)_queue_lifetime|delay_.*"
    r"|confirm_delay_cleared|bounce_.*|double_bounce_sender|soft_bounce|.*notice_recipient"
    r"|notify_classes|empty_address_.*|smtputf8_.*|header_.*limit|line_length_limit|mime_.*limit"
    r"|strict_(?:smtputf8|mime_encoding_domain)|max_(?:idle|use)|daemon_timeout|process_id_.*"
    r"|fork_.*|opts?_.*|service_throttle_time|stale_lock_time|trigger_timeout"
    r"|application_event_drain_time|process_name",
    re.ASCII,
)
# Set for the instance itself.
_NOT = frozenset({"default_transport", "in_flow_delay"})
_OF_PLACE = frozenset({"config_directory", "queue_directory", "data_directory"})
_REFERENCE = re.compile(r"\$(?:[({])?([A-Za-z0-9_]+)", re.ASCII)


def inherited(
    main: Mapping[str, str],
    own: frozenset[str],
    facts: PostfixFacts,
    places: tuple[Place, Place],
    options: Iterable[str] = (),
) -> Iterator[Setting]:
    """Yield the settings of the main instance that hold in a lane's own.

    Args:
        main: Parameter to value, not expanded, as main.cf of the main instance sets it, without
            our own parameters but with the values that attach sets for the operator.
        own: Names of parameters that the instance sets itself.
        facts: The main instance.
        places: Where it stands, and where the lane's does.
        options: Values of overrides of the operator's service that ours are made after.
    """
    base = default_name(facts.value("default_transport"))
    wanted = {n for n in main if _NAMES.fullmatch(n) or n.startswith(f"{base}_")}
    words = {name for name in main if not facts.has(name) and name not in wanted}
    named = {each for value in options for each in _REFERENCE.findall(value)}
    needed = _with_words(wanted | (named & words), words, main) - own - _NOT
    # In the order of main.cf.
    for name, value in main.items():
        if name in needed and not _is_ours(name):
            here = _without_others(value, needed, main, facts)
            yield Setting(name, moved(name, here, *places), "")


def _with_words(wanted: set[str], words: set[str], main: Mapping[str, str]) -> set[str]:
    """Return the names that are wanted, and those of the operator's words that they refer to."""
    needed: set[str] = set()
    left = list(wanted)
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left += [each for each in _REFERENCE.findall(main[name]) if each in words]
    return needed


def _without_others(
    value: str, kept: set[str], main: Mapping[str, str], facts: PostfixFacts
) -> str:
    """Return a value in which what others have set stands in the place of a reference to it."""
    for name in dict.fromkeys(_REFERENCE.findall(value)):
        if name in main and name not in kept and name not in _OF_PLACE:
            value = facts.value(name).join(_reference_to(name).split(value))
    return value


def _reference_to(name: str) -> re.Pattern[str]:
    return re.compile(rf"\$(?:{name}\b|\{{{name}\}}|\({name}\))")


def _is_ours(name: str) -> bool:
    return name.startswith((PRIVATE_PREFIX, SERVICE_PREFIX))


def moved(name: str, value: str, main_dirs: Place, place: Place) -> str:
    """Return a value of the main instance as it has to stand in a lane's own.

    Args:
        name: Its parameter.
        value: The value, not expanded.
        main_dirs: Where the main instance stands.
        place: Where the lane's stands.
    """
    for reference, directory in (
        ("config_directory", main_dirs.config_dir),
        ("queue_directory", main_dirs.queue_directory),
    ):
        value = _reference_to(reference).sub(str(directory), value)
    if name.endswith("_session_cache_database"):
        # Two tlsmgr(8) must not write to one file.
        value = value.replace(_slash(main_dirs.data_directory), _slash(place.data_directory))
    return " ".join(value.split())


def _slash(directory: Path) -> str:
    return f"{directory}/"
