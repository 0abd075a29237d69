"""What attach does to main.cf: old text in, new text out.

Purpose: new parameters stand in one marked block; the operator's lists get a reference to ours in
place; a setting that ours replaces is commented out where it stands. No other character changes.
Errors: `attach_main` raises `AttachError` for a set-up that the change would break.
Security: a list that already holds ours through another one is left alone, so that no message
passes the milter twice and no recipient is checked twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from gatepost.errors import AttachError
from gatepost.postfix.editor import Editor
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.instances.handover import queue_settings
from gatepost.postfix.instances.registration import registration
from gatepost.postfix.main_cf import Parameter, parameters, refers_to
from gatepost.postfix.markers import KEPT, splice, token
from gatepost.postfix.operator_level import default_name
from gatepost.postfix.parameters import (
    LIST_HOOKS,
    SCALARS,
    ListHook,
    Setting,
    private_settings,
    scalar_settings,
    service_settings,
)
from gatepost.postfix.plan import MAIN_CF, Draft, Note, note, warning
from gatepost.postfix.returns import without_elsewhere
from gatepost.postfix.spec import AttachSpec, Hook
from gatepost.traffic.lanes import hand_over_name


def attach_main(
    text: str,
    spec: AttachSpec,
    facts: PostfixFacts,
    keep: frozenset[str] = frozenset(),
    position: int | None = None,
) -> Draft:
    """Return main.cf with everything in it that a spec asks for.

    Args:
        text: A main.cf without anything of ours.
        spec: What Postfix has to be told.
        facts: The instance; its values are those of `text`.
        keep: Parameters to leave as they are, although we would set them.
        position: Offset of the line at which a block stood before, or None for the end.

    Raises:
        AttachError: If the set-up has no place for ours.
    """
    if Hook.TLS in spec.hooks and facts.value("smtp_tls_per_site"):
        raise AttachError(
            "main.cf sets smtp_tls_per_site, which Postfix ignores as soon as "
            "smtp_tls_policy_maps is set, as tls.domains needs; move its entries to a table for "
            "smtp_tls_policy_maps (see TLS_README) and attach again"
        )
    spec, remarks = without_elsewhere(spec, facts)
    main = _Main(text, facts)
    main.editor.notes += remarks
    for setting in private_settings(spec):
        main.set(setting)
    for hook in LIST_HOOKS:
        if hook.hook in spec.hooks:
            main.include(hook)
    main.services(spec)
    main.instances(spec)
    main.scalars(keep)
    main.editor.notes += _remarks(spec, facts)
    return main.editor.draft(position)


def register(text: str, spec: AttachSpec, facts: PostfixFacts, position: int | None) -> Draft:
    """Return main.cf with nothing in it but the registration of lanes' instances.

    Args:
        text: A main.cf without anything of ours.
        spec: Which lanes have one.
        facts: The instance; its values are those of `text`.
        position: Offset of the line at which a block stood before, or None for the end.
    """
    main = _Main(text, facts)
    main.instances(spec)
    return main.editor.draft(position)


class _Main:
    """One main.cf on its way."""

    def __init__(self, text: str, facts: PostfixFacts) -> None:
        self.editor = Editor(MAIN_CF, text)
        self._facts = facts
        self._explicit: dict[str, list[Parameter]] = {}
        for parameter in parameters(text):
            self._explicit.setdefault(parameter.name, []).append(parameter)
        # Of several settings the last wins.
        self._values = {name: found[-1].value for name, found in self._explicit.items()}

    def set(self, setting: Setting) -> None:
        """Put a parameter into the block, and out of force wherever else it is set."""
        for parameter in self._explicit.get(setting.name, []):
            self.editor.comment_out(
                parameter.line, f"{setting.name} is set in the gatepost block instead."
            )
        self.editor.add(f"{setting.name} = {setting.value}", setting.reason)
        self._values[setting.name] = setting.value

    def set_unless_explicit(self, setting: Setting) -> None:
        """Put a parameter into the block unless the operator has set it."""
        if setting.name in self._explicit:
            self.editor.notes.append(note(f"{setting.name} is set in main.cf and stays as it is."))
        else:
            self.set(setting)

    def services(self, spec: AttachSpec) -> None:
        """Set what the queue manager has to know of our services."""
        base = default_name(self._facts.value("default_transport"))
        for setting in service_settings(spec, base, dict(self._values)):
            self.set_unless_explicit(setting)

    def instances(self, spec: AttachSpec) -> None:
        """Register the instances of lanes, and set how mail is handed to them."""
        for instance in spec.instances:
            for setting in queue_settings(hand_over_name(instance.lane), self._values):
                self.set_unless_explicit(setting)
        for setting in registration(spec, self._facts, self._values):
            self.set(setting)

    def include(self, hook: ListHook) -> None:
        """Put a reference to one of ours first into a list of the operator's."""
        name, reference = hook.parameter, token(hook.hook)
        found = self._explicit.get(name)
        if hook.only_if_set and not (found and found[-1].value):
            return
        if not found:
            # A default that comes to nothing is left out.
            in_force = self._facts.value(name)
            default = self._facts.defaults.get(name, "") if in_force else ""
            value = f"{reference}, {default}" if default else reference
            self.set(Setting(name, value, hook.reason))
        elif refers_to(found[-1].value, hook.hook, self._values):
            self.editor.notes.append(
                note(f"{name} = {found[-1].value} holds ours already, through what it refers to.")
            )
        elif not found[-1].value:
            self.set(Setting(name, reference, hook.reason))
        else:
            last = found[-1]
            edit = splice(last.value, last.start, hook.hook, roomy=True)
            self.editor.insert(last.line, edit, hook.reason)
            self._values[name] = edit.text + last.value

    def scalars(self, keep: frozenset[str]) -> None:
        """Set the Postfix parameters that need another value, except those to keep."""
        for setting in scalar_settings(self._facts, frozenset(self._explicit)):
            if isinstance(setting, Note):
                self.editor.notes.append(setting)
            elif setting.name not in keep:
                self.set(setting)
        for name in SCALARS:
            if name in keep:
                self.editor.add_plain(KEPT + name)


def _remarks(spec: AttachSpec, facts: PostfixFacts) -> Iterator[Note]:
    """Yield what stands in the way of ours, or in whose way ours stands."""
    hooks = spec.hooks
    if Hook.TRANSPORT in hooks:
        yield from _routing_remarks(spec, facts)
    if spec.services or spec.instances:
        yield from _service_remarks(spec, facts)
    if spec.tokens:
        yield from _token_remarks(facts)
    if spec.tokens or Hook.TRANSPORT in hooks:
        yield from _rewriting_remarks(facts)
    if Hook.TLS in hooks and (maps := facts.value("smtp_tls_policy_maps")):
        yield warning(
            f"smtp_tls_policy_maps ({maps}): Postfix takes the first answer and merges none. "
            "Where a profile or tls.domains has a rule for a destination, your entry for it no "
            "longer counts: put what it asks for into tls.domains, which is joined to the "
            "stricter. gatepost doctor names the entries that ask for more."
        )
    if Hook.MILTER in hooks and facts.value("smtpd_milter_maps"):
        yield warning(
            "smtpd_milter_maps replaces smtpd_milters for the clients that it lists: their mail "
            f"is tagged only where its answers name {token(Hook.MILTER)}."
        )
    if Hook.MILTER in hooks and "no_milters" in facts.value("receive_override_options"):
        yield warning(
            "receive_override_options = no_milters in main.cf switches all milters off, ours too."
        )
    if facts.value("content_filter"):
        yield note(
            "content_filter is set: mail passes Gatepost when it comes in, and not again on a "
            "listener where the filter gives it back. Mail that a filter gives back through "
            "sendmail(1) looks like local mail and loses its tag."
        )
    for hook, why in spec.left_out:
        yield note(f"{hook} is not needed and not set: {why}.")


def not_deferred(spec: AttachSpec, facts: PostfixFacts) -> list[str]:
    """Return our services that defer_transports forgets, where it holds the operator's back."""
    deferred = re.split(r"[\s,]+", facts.value("defer_transports"))
    if default_name(facts.value("default_transport")) not in deferred:
        return []
    names = [service.name for service in spec.services]
    names += [hand_over_name(instance.lane) for instance in spec.instances]
    return [name for name in names if name not in deferred]


def _service_remarks(spec: AttachSpec, facts: PostfixFacts) -> Iterator[Note]:
    if missing := not_deferred(spec, facts):
        yield warning(
            f"defer_transports holds {default_name(facts.value('default_transport'))} back, and "
            "does not hold Gatepost's services: mail of tenants with a lane or profile in force "
            f"goes out at once. Add to defer_transports: {', '.join(missing)}."
        )
    default = facts.defaults.get("config_directory", str(facts.config_dir))
    if spec.instances and str(facts.config_dir) != default:
        lanes = ", ".join(instance.lane for instance in spec.instances)
        yield warning(
            f"{facts.config_dir} is not the host's default instance, so postfix start does not "
            f"start what it has registered: after a reboot, start the instance of {lanes} by "
            f"postfix -c, too."
        )


def _token_remarks(facts: PostfixFacts) -> Iterator[Note]:
    names = ["sender_dependent_relayhost_maps", "sender_dependent_default_transport_maps"]
    if facts.value("smtp_sender_dependent_authentication") == "yes":
        names.append("smtp_sasl_password_maps")
    for name in names:
        if maps := facts.value(name):
            yield warning(
                f"{name} ({maps}) is asked with the token address for tenants with return_path: "
                "token, and does not find its entries for their own addresses. It needs an entry "
                "for @<platform.bounce_domain>, or those tenants need return_path: keep; "
                "gatepost doctor names the entries."
            )


def _rewriting_remarks(facts: PostfixFacts) -> Iterator[Note]:
    for name, classes in (
        ("sender_canonical_maps", "sender_canonical_classes"),
        ("canonical_maps", "canonical_classes"),
    ):
        maps = facts.value(name)
        if maps and "envelope_sender" in facts.value(classes):
            yield warning(
                f"{name} = {maps} rewrites envelope senders too: a tenant's that becomes one that "
                "is not its own loses its lane and TLS profile, and a token return path its "
                "bounces. gatepost doctor names the entries, where the table can be listed."
            )
    domains = facts.value("masquerade_domains")
    if domains and "envelope_sender" in facts.value("masquerade_classes"):
        yield warning(
            f"masquerade_domains = {domains} rewrites envelope senders too: a tenant whose sender "
            "domain becomes one that is not its own loses its lane and TLS profile, and a token "
            "return path its bounces. Except those domains with !, or leave envelope_sender out "
            "of masquerade_classes; gatepost doctor names the domains."
        )


def _routing_remarks(spec: AttachSpec, facts: PostfixFacts) -> Iterator[Note]:
    if maps := facts.value("transport_maps"):
        yield note(
            f"transport_maps ({maps}) wins over lanes and profiles: mail to the destinations that "
            "it lists goes where it says, without a tenant's TLS rules."
        )
        if spec.instances:
            yield warning(
                f"transport_maps ({maps}) must name a service in each entry while a lane is an "
                'instance of its own: with "a.example :[host]", mail of such a lane would be sent '
                "to that host by LMTP, in plaintext. gatepost doctor names the entries, where the "
                "table can be listed."
            )
    if maps := facts.value("sender_dependent_default_transport_maps"):
        yield note(
            f"sender_dependent_default_transport_maps ({maps}) is asked for the senders that "
            "Gatepost does not route; for those that it routes, its answer replaces yours."
        )
    if relay := facts.value("smtp_fallback_relay"):
        yield warning(
            f"smtp_fallback_relay = {relay}: TLS rules are looked up for the host that it names, "
            "not for the recipient's domain; the level of the profile holds all the same."
        )
