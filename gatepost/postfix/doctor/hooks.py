"""Whether Postfix really comes to ask us: overrides, order, and what skips us.

Source: MILTER_README, SMTPD_POLICY_README, SMTPD_ACCESS_README; postconf(5).
Errors: none.
Security: a listener that does not ask us lets everything through untagged and unchecked, and the
log of Gatepost says nothing about it; so each listener is looked at by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gatepost.postfix.attach_master import takes_mail_back
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.scene import Scene, elements
from gatepost.postfix.master_cf import Service
from gatepost.postfix.spec import MILTER_SOCKET, POLICY_SOCKET, Hook

_ABSOLUTE = "/"
_SWITCHES = (Hook.MILTER, Hook.POLICY, Hook.QUOTA)
_SIGNER = re.compile(r"dkim|sign|arc|rspam|:8891\b|:12301\b|:11332\b|:8892\b", re.IGNORECASE)
_UNCHECKED = "Senders are not checked here, and a client certificate does not identify a tenant."
_UNCOUNTED = "Mail that comes in here counts for no quota."
_DEFAULT_ACTION = re.compile(r"default_action\s*=\s*([A-Za-z]+)")
# Restrictions that take the word behind them as their argument.
_WITH_ARGUMENT = re.compile(r"check_|reject_rbl|reject_rhsbl|permit_dnswl|permit_rhswl|warn_if")
_MAY_PERMIT = re.compile(r"permit|check_\w+_access$")


def check(scene: Scene) -> Iterator[Finding]:
    """Look at the listeners, one by one, and at what holds for all of them."""
    spec = scene.spec
    if not scene.attached or spec is None:
        return
    if Hook.MILTER in spec.hooks:
        yield from _milters_in_general(scene)
    for entry in scene.entries:
        yield from _switched_off(scene, entry)
    for entry in scene.listeners():
        if Hook.MILTER in spec.hooks:
            yield from _milter(scene, entry)
        if Hook.POLICY in spec.hooks:
            yield from _policy(scene, entry, "smtpd_recipient_restrictions", _UNCHECKED)
        if Hook.QUOTA in spec.hooks:
            yield from _policy(scene, entry, "smtpd_end_of_data_restrictions", _UNCOUNTED)


def _switched_off(scene: Scene, entry: Service) -> Iterator[Finding]:
    off = [o.name for o in entry.options if o.name in _SWITCHES]
    if takes_mail_back(entry, scene.value):
        yield warning(
            f"{entry.key}: Gatepost is not asked here, as this looks like where a content filter "
            "gives mail back.",
            "A client that hands in mail of its own here is neither checked nor tagged, and a "
            "forged tag stays.",
            "only if others than the filter send here: give them a listener of their own, without "
            "-o content_filter= or with -o smtpd_sasl_auth_enable=yes; then gatepost attach",
        )
    elif entry.command == "smtpd" and off:
        yield warning(
            f"{entry.key}: {' and '.join(off)} switched off.",
            "Mail that comes in here is not tagged or checked, though this is not where a content "
            "filter gives mail back: whoever sends here can bear any tag.",
            *(scene.unset_override(entry, name) for name in off),
        )


def _milters_in_general(scene: Scene) -> Iterator[Finding]:
    if scene.value("milter_protocol") != "6":
        yield problem(
            f"milter_protocol = {scene.value('milter_protocol')}.",
            "Older versions cannot change the envelope sender, and send every callback of every "
            "message; Gatepost's milter needs 6.",
            scene.set_main("milter_protocol = 6"),
        )
    if maps := scene.value("smtpd_milter_maps"):
        yield warning(
            f"smtpd_milter_maps = {maps}.",
            "For the clients that it lists it replaces smtpd_milters: their mail is tagged only "
            "where its answers name $gatepost_milter.",
        )
    listed = elements(scene.value("non_smtpd_milters"))
    if _place(listed, _socket(scene, MILTER_SOCKET)) is None:
        yield warning(
            "non_smtpd_milters does not name Gatepost's milter.",
            "Mail that is handed in with sendmail(1) keeps a tag that it has no right to.",
            "gatepost attach",
        )


def _milter(scene: Scene, entry: Service) -> Iterator[Finding]:
    if "no_milters" in scene.value("receive_override_options", entry):
        yield problem(
            f"{entry.key}: receive_override_options holds no_milters.",
            "Mail that comes in here is not tagged, and a forged tag stays.",
            _without_override(scene, entry, "receive_override_options"),
        )
    if proxy := scene.value("smtpd_proxy_filter", entry):
        yield warning(
            f"{entry.key}: smtpd_proxy_filter = {proxy}.",
            "Milters do not see the body here, and behind the filter the login is not known: "
            "the mail belongs to no tenant.",
        )
    listed = elements(scene.value("smtpd_milters", entry))
    place = _place(listed, _socket(scene, MILTER_SOCKET))
    if place is None:
        yield problem(
            f"{entry.key}: smtpd_milters does not name Gatepost's milter.",
            "Mail that comes in here is not tagged, and a forged tag stays.",
            *_without_ours(scene, entry, "smtpd_milters"),
        )
        return
    yield from _milter_itself(scene, entry, listed[place])
    if place:
        yield _ahead(entry, listed[:place])


def _milter_itself(scene: Scene, entry: Service, ours: str) -> Iterator[Finding]:
    found = _DEFAULT_ACTION.search(ours)
    action = found[1].lower() if found else scene.value("milter_default_action")
    if action not in {"tempfail", "shutdown"}:
        yield problem(
            f"{entry.key}: the default_action of Gatepost's milter is {action}.",
            "While the milter does not answer, mail would be lost (reject) or pass untagged "
            "(accept, quarantine).",
            "gatepost detach",
            "gatepost attach",
        )
    yield from _chroot(entry, ours)


def _chroot(entry: Service, ours: str) -> Iterator[Finding]:
    if f"unix:{_ABSOLUTE}" in ours and entry.columns[2] != "n":
        yield problem(
            f"{entry.key} runs chrooted and names Gatepost's socket by an absolute path.",
            "The path does not exist in the chroot; only one relative to the queue directory "
            "works in both.",
            "gatepost detach",
            "gatepost attach",
        )


def _ahead(entry: Service, ahead: Sequence[str]) -> Finding:
    why = (
        "A signer there does not sign the headers that Gatepost adds, and its signature breaks "
        "where Gatepost takes one away."
    )
    what = f"{entry.key}: in front of Gatepost's milter stands {', '.join(ahead)}."
    mend = "put $gatepost_milter first in smtpd_milters, or: gatepost detach && gatepost attach"
    if any(_SIGNER.search(each) for each in ahead):
        return problem(what, why, mend)
    return warning(what, why, mend)


def _policy(scene: Scene, entry: Service, name: str, without: str) -> Iterator[Finding]:
    listed = elements(scene.value(name, entry))
    place = _place(listed, _socket(scene, POLICY_SOCKET))
    if place is None:
        yield problem(
            f"{entry.key}: {name} does not ask Gatepost's policy service.",
            without,
            *_without_ours(scene, entry, name),
        )
        return
    yield from _chroot(entry, listed[place])
    skipping = list(_permitting(listed[:place]))
    if skipping:
        yield problem(
            f"{entry.key}: in {name}, {', '.join(skipping)} stands in front of Gatepost.",
            "For clients that it permits, Gatepost is never asked.",
            f"put ours first in {name}, or: gatepost detach && gatepost attach",
        )


def _permitting(ahead: Sequence[str]) -> Iterator[str]:
    argument = False
    for word in ahead:
        if not argument and _MAY_PERMIT.match(word.lower()):
            yield word
        argument = not argument and _WITH_ARGUMENT.match(word.lower()) is not None


def _place(listed: Sequence[str], socket: re.Pattern[str]) -> int | None:
    return next((i for i, each in enumerate(listed) if socket.search(each)), None)


def _socket(scene: Scene, name: str) -> re.Pattern[str]:
    path = re.escape(f"{scene.socket_dir}/{name}")
    return re.compile(rf"unix:(?:/[^,\s]*/)?{path}(?![\w.])")


def _without_ours(scene: Scene, entry: Service, name: str) -> tuple[str, ...]:
    option = entry.option(name)
    if option is not None and not option.value:
        return (scene.unset_override(entry, name), "gatepost attach")
    return ("gatepost attach",)


def _without_override(scene: Scene, entry: Service, name: str) -> str:
    if entry.option(name) is not None:
        return scene.unset_override(entry, name)
    return f"take no_milters out of {name} in main.cf"
