"""Attach, then detach, is the identity; attach twice is attach once; later edits stay.

The files are generated: comments and empty lines everywhere, continuation lines, odd spacing,
repeated settings, carriage returns, files without an end of line at the end.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from gatepost.errors import AttachError
from gatepost.postfix import main_cf
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.lines import SPACE, physical_lines
from gatepost.postfix.markers import REPLACED
from gatepost.postfix.parameters import LIST_HOOKS, SCALARS, TRANSPORT_PARAMETERS
from gatepost.postfix.plan import MAIN_CF, MASTER_CF, Plan
from gatepost.postfix.planning import bare, plan_attach, plan_detach
from gatepost.postfix.spec import AttachSpec, Hook, ServiceSpec
from gatepost.postfix_version import PostfixVersion
from gatepost.tls.levels import Level
from gatepost.tls.rules import OnFailure

DEFAULTS = {
    **dict.fromkeys((hook.parameter for hook in LIST_HOOKS), ""),
    **dict.fromkeys(SCALARS, ""),
    "smtp_tls_loglevel": "0",
    "enable_long_queue_ids": "no",
    "tls_required_enable": "yes",
    "tls_append_default_CA": "no",
    "default_transport": "smtp",
    "syslog_name": "postfix",
}

# Two files are many draws: half as many examples as elsewhere.
QUICK = settings(
    max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.too_slow]
)


# Generated files


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


blanks = st.sampled_from(["", " ", "  ", "\t", " \t "])
indent = st.sampled_from([" ", "  ", "\t", "    "])
break_ = st.sampled_from(["\n", "\n", "\n", "\r\n"])
filler = st.sampled_from(
    [
        "",
        "  ",
        "\t",
        "#",
        "# a comment",
        "   # an indented comment",
        "#foo = bar",
        "# gatepost",
        "\x0c",
    ]
)
word = st.sampled_from(
    [
        "permit_mynetworks",
        "permit_sasl_authenticated",
        "reject_unauth_destination",
        "inet:localhost:8891",
        "{ inet:localhost:11332, default_action=accept }",
        "hash:/etc/postfix/some",
        "$mydomain",
        "${foo}",
        "$(bar)",
        "gatepost",
        "é",
        "\x7f",
    ]
)
separator = st.sampled_from([" ", ", ", ",", "  ", "\t"])
names = st.sampled_from(
    [
        *(hook.parameter for hook in LIST_HOOKS),
        *SCALARS,
        "mydestination",
        "relayhost",
        "foo",
        "bar",
        "transport_maps",
        "content_filter",
        *(f"smtp{suffix}" for suffix in TRANSPORT_PARAMETERS),
    ]
)
scalar_values = {
    "smtp_tls_security_level": ["", "none", "may", "encrypt", "dane"],
    "smtp_tls_loglevel": ["0", "1", "2"],
    "smtp_tls_CAfile": ["", "/etc/ssl/own.pem"],
    "enable_long_queue_ids": ["yes", "no"],
    "tls_required_enable": ["yes", "no"],
    "smtp_tls_dane_insecure_mx_policy": ["dane", "may"],
}


@st.composite
def between(draw: st.DrawFn) -> str:
    """What may stand between two words of a list: blanks, or line breaks with comments."""
    if draw(st.integers(0, 3)):
        return draw(separator)
    comments = draw(st.lists(joined(filler, break_), max_size=2))
    return draw(st.sampled_from(["", ","])) + draw(break_) + "".join(comments) + draw(indent)


@st.composite
def setting(draw: st.DrawFn) -> str:
    name = draw(names)
    if name in scalar_values:
        value = draw(st.sampled_from(scalar_values[name]))
    else:
        words = draw(st.lists(word, max_size=4))
        value = "".join(
            draw(between()) + each if index else each for index, each in enumerate(words)
        )
    before = draw(st.sampled_from([" ", "", "\t", " \n  "])) if value else draw(blanks)
    return name + draw(blanks) + "=" + before + value + draw(blanks)


@st.composite
def main_files(draw: st.DrawFn) -> str:
    lines = draw(st.lists(joined(st.one_of(filler, setting(), setting()), break_), max_size=14))
    text = "".join(lines)
    return text if draw(st.booleans()) else text.rstrip("\r\n")


override_names = st.sampled_from(
    [
        "smtpd_milters",
        "smtpd_recipient_restrictions",
        "smtpd_relay_restrictions",
        "syslog_name",
        "content_filter",
        "smtpd_sasl_auth_enable",
        "receive_override_options",
        "smtp_tls_policy_maps",
        "smtp_bind_address",
        "smtp_tls_security_level",
    ]
)
compact = st.lists(
    st.sampled_from(
        ["permit_sasl_authenticated", "reject", "inet:127.0.0.1:8891", "$foo", "no_milters"]
    ),
    max_size=3,
).map(",".join)


@st.composite
def override(draw: st.DrawFn) -> str:
    name, style = draw(override_names), draw(st.integers(0, 4))
    if style == 4:
        words = draw(st.lists(word.filter(lambda w: "{" not in w), max_size=3))
        value = draw(separator).join(words)
        return f"-o {{ {name} = {value} }}" if draw(st.booleans()) else f"-o {{{name}={value}}}"
    value = draw(compact)
    flag = draw(st.sampled_from(["-o ", "-o", "-o  ", "-vo "]) if style else st.just("-vo"))
    return f"{flag}{name}={value}"


heads = st.sampled_from(
    [
        "smtp      inet  n       -       y       -       -       smtpd",
        "submission inet n - y - - smtpd",
        "smtps\tinet\tn\t-\ty\t-\t-\tsmtpd -v",
        "127.0.0.1:10025 inet n - n - - smtpd",
        "[::1]:10026 inet n - n - - smtpd",
        "cleanup   unix  n       -       y       -       0       cleanup",
        "rewrite   unix  -       -       y       -       -       trivial-rewrite",
        "relay     unix  -       -       y       -       -       smtp",
        "other     unix  -       -       y       -       -       /usr/lib/postfix/smtp",
        "uucp      unix  -       n       n       -       -       pipe user=uucp argv=uux -r",
    ]
)


@st.composite
def entry(draw: st.DrawFn, head: st.SearchStrategy[str] = heads) -> str:
    text = draw(head)
    if "argv" in text:
        return text
    for option in draw(st.lists(override(), max_size=4)):
        if draw(st.booleans()):
            text += draw(st.sampled_from([" ", "  "])) + option
        else:
            comments = draw(st.lists(joined(filler, break_), max_size=2))
            text += draw(break_) + "".join(comments) + draw(indent) + option
    return text + draw(blanks)


smtp_client = entry(st.just("smtp      unix  -       -       y       -       -       smtp"))


@st.composite
def master_files(draw: st.DrawFn) -> str:
    lines = draw(st.lists(joined(st.one_of(filler, entry(), entry()), break_), max_size=8))
    client = draw(smtp_client) + draw(break_)
    lines.insert(draw(st.integers(0, len(lines))), client)
    text = "".join(lines)
    return text if draw(st.booleans()) else text.rstrip("\r\n")


services = st.lists(
    st.builds(
        ServiceSpec,
        name=st.sampled_from(["gp-normal-private", "gp-bulk-standard", "gp-bulk-bank"]),
        lane=st.just("bulk"),
        profile=st.sampled_from(["private", "standard"]),
        level=st.sampled_from(list(Level)),
        on_failure=st.sampled_from(list(OnFailure)),
        concurrency=st.sampled_from([None, 5]),
        rate_delay_s=st.sampled_from([None, 1]),
        address4=st.sampled_from([None, "192.0.2.1"]),
    ),
    max_size=3,
    unique_by=lambda service: service.name,
).map(tuple)
specs = st.builds(AttachSpec, hooks=st.frozensets(st.sampled_from(list(Hook))), services=services)
pairs = st.builds(
    lambda main, master: {MAIN_CF: main, MASTER_CF: master}, main_files(), master_files()
)
EVERYTHING = AttachSpec(
    frozenset(Hook),
    services=(
        ServiceSpec("gp-bulk-private", "bulk", "private", Level.ENCRYPT, OnFailure.BOUNCE, 5, 1),
    ),
)


# The two operations, without Postfix


def facts_of(main: str) -> PostfixFacts:
    return PostfixFacts(
        PostfixVersion(3, 10, 3),
        Path("/etc/postfix"),
        Path("/var/spool/postfix"),
        values={**DEFAULTS, **main_cf.settings(main)},
        defaults=DEFAULTS,
        ca_file=Path("/etc/ssl/certs/ca-certificates.crt"),
    )


def attached(files: dict[str, str], spec: AttachSpec) -> Plan:
    without = bare(files)
    try:
        return plan_attach(files, without, spec, facts_of(without.main.text))
    except AttachError as error:
        # A default_transport that is no smtp(8) service of this file.
        assume("default_transport" not in str(error))
        raise


def detached(files: dict[str, str]) -> dict[str, str]:
    return plan_detach(files, bare(files)).new


@QUICK
@given(pairs, specs)
@example({MAIN_CF: "", MASTER_CF: "smtp unix - - y - - smtp"}, EVERYTHING)
@example(
    {
        MAIN_CF: "smtpd_milters=\n  # why\n\tinet:a,\n#\n  inet:b\n\nsmtpd_milters = inet:c",
        MASTER_CF: "smtp unix - - y - - smtp\n"
        "127.0.0.1:10025 inet n - n - - smtpd\n -o content_filter=",
    },
    EVERYTHING,
)
def test_attach_then_detach_changes_nothing(files: dict[str, str], spec: AttachSpec) -> None:
    assert detached(attached(files, spec).new) == files


def test_what_is_not_utf8_stays_as_it_is() -> None:
    octets = b"smtpd_milters = inet:a # \xff\xfe\n".decode("utf-8", "surrogateescape")
    files = {MAIN_CF: octets, MASTER_CF: "# \udcff\nsmtp unix - - y - - smtp -o a=\udcff\n"}
    assert detached(attached(files, EVERYTHING).new) == files


@QUICK
@given(pairs, specs)
def test_attaching_again_changes_nothing(files: dict[str, str], spec: AttachSpec) -> None:
    once = attached(files, spec).new
    assert attached(once, spec).new == once


@QUICK
@given(pairs, specs, specs)
def test_attaching_with_another_configuration_is_as_if_it_had_been_the_first(
    files: dict[str, str], first: AttachSpec, second: AttachSpec
) -> None:
    assert attached(attached(files, first).new, second).new == attached(files, second).new


def boundaries(text: str) -> list[int]:
    """Return the offsets at which a line can be inserted."""
    return [line.start for line in physical_lines(text)] + (
        [len(text)] if text.endswith("\n") else []
    )


def without_final_break(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def taken_out(text: str, line: str) -> str:
    """Return a file without one line, which may be an unfinished last one."""
    assert text.count(line) == 1
    return text.replace(line + "\n", "") if line + "\n" in text else text.removesuffix(line)


@QUICK
@given(pairs, specs, st.sampled_from([MAIN_CF, MASTER_CF]), st.data())
def test_a_comment_of_the_operators_stays_wherever_it_stands(
    files: dict[str, str], spec: AttachSpec, name: str, data: st.DataObject
) -> None:
    new = attached(files, spec).new
    place = data.draw(st.sampled_from(boundaries(new[name]) or [0]))
    own = "# the operator's own words"
    edited = {**new, name: new[name][:place] + own + "\n" + new[name][place:]}
    assert attached(edited, spec).new[name].count(own) == 1
    # Behind text that had no line break at its end, one stays in front of the new line.
    assert without_final_break(taken_out(detached(edited)[name], own)) == (
        without_final_break(files[name])
    )


@QUICK
@given(pairs, specs, st.data())
def test_a_setting_of_the_operators_stays_wherever_it_stands(
    files: dict[str, str], spec: AttachSpec, data: st.DataObject
) -> None:
    new = attached(files, spec).new
    text = new[MAIN_CF]
    # In the middle of another setting it would change the meaning of what follows.
    places = [at for at in boundaries(text) if not begins_inside(text, at)]
    assume(places)
    place = data.draw(st.sampled_from(places))
    own = "own_setting = 1"
    result = detached({**new, MAIN_CF: text[:place] + own + "\n" + text[place:]})[MAIN_CF]
    assert main_cf.settings(result)["own_setting"] == "1"
    assert without_final_break(taken_out(result, own)) == without_final_break(files[MAIN_CF])


def begins_inside(text: str, at: int) -> bool:
    # The lines of a setting that attach has commented out belong together, too; postconf would
    # refuse what detach makes of them, so that nothing is changed.
    lines = (line.text.removeprefix(REPLACED) for line in physical_lines(text[at:]))
    following = next((each for each in lines if each.lstrip(SPACE)[:1] not in {"", "#"}), "x")
    return following[0] in SPACE


@QUICK
@given(pairs, st.sampled_from(["smtpd_milters", "smtpd_recipient_restrictions"]))
def test_what_the_operator_appends_to_a_list_stays(files: dict[str, str], name: str) -> None:
    new = attached(files, EVERYTHING).new
    before = main_cf.settings(files[MAIN_CF]).get(name, "")
    last = [p for p in main_cf.parameters(new[MAIN_CF]) if p.name == name][-1]
    text = new[MAIN_CF][: last.end] + ", inet:new:1" + new[MAIN_CF][last.end :]
    after = main_cf.settings(detached({**new, MAIN_CF: text})[MAIN_CF])[name]
    assert "gatepost_" not in after
    assert after == (f"{before}, inet:new:1" if before else "inet:new:1") or (
        # Nothing of the operator's was there: what stays is what they wrote.
        not before and after.lstrip(", ") == "inet:new:1"
    )


@pytest.mark.parametrize("text", ["smtpd_milters = a\0b\n", "\0"])
def test_a_file_with_a_nul_character_is_refused(text: str) -> None:
    with pytest.raises(AttachError, match="NUL"):
        bare({MAIN_CF: text, MASTER_CF: ""})
