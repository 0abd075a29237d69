"""What attach does to master.cf: old text in, new text out.

Purpose: overrides (``-o``) of services that would hide our main.cf settings get a reference to ours
in place; a listener where a content filter gives mail back is told not to ask us again; the smtp(8)
clones stand in one marked block.
Source: Postfix master(5); FILTER_README and SMTPD_PROXY_README for listeners behind a filter.
Errors: `attach_master` raises `AttachError` where the clones have no place.
Security: an operator who has switched milters off for a listener keeps them off.
Not handled: the operator's own smtp(8) clones keep their TLS settings; a note names them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence

from gatepost.postfix.clones import add_clones
from gatepost.postfix.editor import Editor
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.handover import add_hand_over, add_return
from gatepost.postfix.lines import Edit
from gatepost.postfix.main_cf import refers_to
from gatepost.postfix.markers import splice
from gatepost.postfix.master_cf import Service, glued, services
from gatepost.postfix.parameters import LIST_HOOKS
from gatepost.postfix.plan import MASTER_CF, Draft, Note, note, warning
from gatepost.postfix.spec import AttachSpec, Hook

# Which daemon reads which list; the same override on another service has no effect.
_READERS = {
    "smtpd_milters": "smtpd",
    "smtpd_recipient_restrictions": "smtpd",
    "smtpd_end_of_data_restrictions": "smtpd",
    "non_smtpd_milters": "cleanup",
    "sender_dependent_default_transport_maps": "trivial-rewrite",
    "transport_maps": "trivial-rewrite",
}
_RESTRICTIONS = (
    "smtpd_client_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
)
_MILTER_LISTS = frozenset({"smtpd_milters", "non_smtpd_milters"})


def attach_master(
    text: str,
    spec: AttachSpec,
    facts: PostfixFacts,
    before: Mapping[str, str],
    after: Mapping[str, str],
    position: int | None = None,
) -> Draft:
    """Return master.cf with everything in it that a spec asks for.

    Args:
        text: A master.cf without anything of ours.
        spec: What Postfix has to be told.
        facts: The instance; its values are those without attach.
        before: Parameter to value, not expanded, as the operator's main.cf has it.
        after: The same as main.cf will be.
        position: Offset of the line at which a block stood before, or None for the end.

    Raises:
        AttachError: If the clones have no place.
    """
    editor = Editor(MASTER_CF, text)
    entries = services(text)
    for entry in entries:
        if takes_mail_back(entry, facts.value):
            _switch_off(editor, entry, spec, after)
        else:
            _splice_overrides(editor, entry, spec, after)
    editor.notes += _remarks(entries, spec, facts)
    editor.notes += _unreadable(text, entries)
    add_clones(editor, entries, spec, facts, before)
    for instance in spec.instances:
        add_hand_over(editor, instance.lane, facts.value("syslog_name") or "postfix", before)
    if spec.lanes_apart:
        add_return(editor, {**before, **after})
    return editor.draft(position)


def open_return(text: str, before: Mapping[str, str], position: int | None) -> Draft:
    """Return master.cf with nothing in it but what takes mail of lanes' instances back.

    Args:
        text: A master.cf without anything of ours.
        before: Parameter to value, not expanded, as the operator's main.cf has it.
        position: Offset of the line at which a block stood before, or None for the end.
    """
    editor = Editor(MASTER_CF, text)
    add_return(editor, before)
    return editor.draft(position)


def takes_mail_back(entry: Service, value: Callable[[str], str]) -> bool:
    """Tell whether a listener is one where a content filter on this host gives mail back.

    Such mail has passed us when it came in. It comes from the filter now, so nobody could be
    identified, the tag would be taken off, and with ``unknown: reject`` the mail be refused. In
    doubt it is none: a message that passes us twice shows our tokens, but a listener for logins at
    which we are not asked would let every login be anybody.

    Args:
        entry: A service.
        value: Returns the value of a parameter that main.cf has in force.
    """
    if entry.command != "smtpd" or not _on_loopback(entry) or _takes_logins(entry, value):
        return False
    filters_off = any(
        (option := entry.option(name)) is not None and not option.value
        for name in ("content_filter", "smtpd_proxy_filter")
    )
    return filters_off or _milters_off(entry)


def _takes_logins(entry: Service, value: Callable[[str], str]) -> bool:
    """Tell whether clients may log in at a listener and send."""
    option = entry.option("smtpd_sasl_auth_enable")
    if option is not None:
        return option.value != "no"
    if value("smtpd_sasl_auth_enable") != "yes":
        return False
    own = [found.value for name in _RESTRICTIONS if (found := entry.option(name)) is not None]
    if any("permit_sasl_authenticated" in each or "$" in each for each in own):
        return True
    # As FILTER_README has it: permit_mynetworks,reject.
    return not any(each.replace(",", " ").split()[-1:] == ["reject"] for each in own)


def _on_loopback(entry: Service) -> bool:
    host, colon, _ = entry.name.rpartition(":")
    if entry.type != "inet" or not colon:
        return False
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _milters_off(entry: Service) -> bool:
    option = entry.option("smtpd_milters")
    return (option is not None and not option.value) or "no_milters" in entry.value(
        "receive_override_options"
    )


def _scope(entry: Service, main: Mapping[str, str]) -> dict[str, str]:
    return {**main, **{option.name: option.value for option in entry.options}}


def _switch_off(editor: Editor, entry: Service, spec: AttachSpec, main: Mapping[str, str]) -> None:
    scope = _scope(entry, main)
    added = []
    for hook in LIST_HOOKS:
        if _READERS.get(hook.parameter) != "smtpd" or hook.hook not in spec.hooks:
            continue
        if hook.hook is Hook.MILTER and _milters_off(entry):
            continue
        if hook.hook is Hook.QUOTA and Hook.POLICY in added:
            # It refers to that one, and is empty with it.
            continue
        if refers_to(f"${hook.parameter}", hook.hook, scope):
            added.append(hook.hook)
    last = entry.line.parts[-1]
    end = last.start + len(last.text)
    if added:
        text = "".join(f"\n  -o {hook}=" for hook in added)
        editor.insert(
            entry.line,
            Edit(end, end, text),
            "Mail from a content filter has passed Gatepost already; it must not be checked and "
            "tagged again as mail of the filter.",
        )
    editor.notes.append(
        note(
            f"{entry.key}: this is where a content filter gives mail back, so Gatepost is not "
            "asked again here."
        )
    )


def _splice_overrides(
    editor: Editor, entry: Service, spec: AttachSpec, main: Mapping[str, str]
) -> None:
    scope = _scope(entry, main)
    for hook in LIST_HOOKS:
        option = entry.option(hook.parameter)
        if option is None or _READERS.get(hook.parameter) != entry.command:
            continue
        if hook.hook not in spec.hooks or refers_to(option.value, hook.hook, scope):
            continue
        if hook.parameter in _MILTER_LISTS and not option.value:
            if entry.option(Hook.POLICY) is not None:
                # The operator has said of the whole listener that we are not asked here.
                continue
            editor.notes.append(
                warning(
                    f'{entry.key}: "-o {hook.parameter}=" switches milters off here and stays: '
                    "mail that comes in here is not tagged. If tenants send here, take the "
                    "override out and attach again."
                )
            )
            continue
        editor.insert(
            entry.line,
            splice(option.value, option.start, hook.hook, roomy=option.braced),
            f"{entry.key} overrides {hook.parameter}. {hook.reason}",
        )


def _remarks(entries: Sequence[Service], spec: AttachSpec, facts: PostfixFacts) -> Iterator[Note]:
    for entry in entries:
        if entry.command == "smtpd" and not takes_mail_back(entry, facts.value):
            yield from _listener_remarks(entry, spec)
        if (
            Hook.TLS in spec.hooks
            and entry.command == "smtp"
            and entry.value("smtp_tls_policy_maps")
        ):
            yield note(
                f"{entry.key} has its own smtp_tls_policy_maps, which stays: the rules of "
                "tls.domains do not hold for mail that goes this way."
            )


def _unreadable(text: str, entries: Sequence[Service]) -> Iterator[Note]:
    for entry in entries:
        if found := glued(text, entry):
            yield warning(
                f"{entry.key}, from master.cf line {entry.line.number} on: postconf cannot read an "
                f'override without a blank behind "-o" (here {", ".join(o.name for o in found)}), '
                "and writes nonsense when it is told to edit this entry. Postfix itself reads it, "
                'and so do we; a blank behind "-o" helps.'
            )


def _listener_remarks(entry: Service, spec: AttachSpec) -> Iterator[Note]:
    if Hook.MILTER in spec.hooks and "no_milters" in entry.value("receive_override_options"):
        yield warning(
            f"{entry.key}: receive_override_options switches milters off here, ours too: mail "
            "that comes in here is not tagged."
        )
    if entry.value("smtpd_proxy_filter"):
        yield warning(
            f"{entry.key}: smtpd_proxy_filter sends mail through a filter before it is queued; "
            "milters do not see it here, and the login is not known behind the filter."
        )
    option = entry.option("content_filter")
    if option is None or option.value or entry.option(Hook.POLICY) is not None:
        return
    if _on_loopback(entry):
        yield warning(
            f'{entry.key} has "-o content_filter=" and takes logins, so Gatepost is asked here. If '
            "it is where a content filter gives mail back, and nobody logs in, add -o "
            "smtpd_sasl_auth_enable=no and attach again: that mail would be checked and tagged "
            "again as mail of the filter."
        )
    else:
        yield note(
            f'{entry.key} has "-o content_filter=". If a filter on another host gives mail back '
            "here, and nobody else sends here, add -o smtpd_milters= and -o "
            f"{Hook.POLICY}=permit_mynetworks so that it does not pass Gatepost twice."
        )
