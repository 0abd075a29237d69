"""``gatepost explain``: print what would become of one message, and why."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gatepost.cli.common import (
    DEFAULT_CONFIG,
    NO,
    ConfigOption,
    JsonOption,
    errors_to_exit,
    fail,
    print_json,
)
from gatepost.decisions.explain import Case, Explanation
from gatepost.decisions.facts import Header
from gatepost.decisions.lane import LaneChoice
from gatepost.modes import Feature
from gatepost.runtime.explaining import gather
from gatepost.settings import Loader, kinds
from gatepost.settings.problems import Rejected, quoted
from gatepost.tenants.client import Client


def command(
    *,
    sender: Annotated[
        str, typer.Option(metavar="ADDRESS", help='Envelope sender; "" or "<>" for a bounce.')
    ],
    recipient: Annotated[str, typer.Option(metavar="ADDRESS", help="Envelope recipient.")],
    config: ConfigOption = DEFAULT_CONFIG,
    login: Annotated[str, typer.Option(metavar="LOGIN", help="SASL login of the client.")] = "",
    client_address: Annotated[str, typer.Option(metavar="IP", help="Address of the client.")] = "",
    certificate: Annotated[
        str, typer.Option(metavar="FINGERPRINT", help="Fingerprint of the client certificate.")
    ] = "",
    listener: Annotated[
        str, typer.Option(metavar="NAME", help="milter_macro_daemon_name of the listener.")
    ] = "",
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:VALUE", help="A header field of the message; repeat for more."),
    ] = None,
    next_hop: Annotated[
        str | None,
        typer.Option(
            metavar="NEXTHOP",
            help="Next-hop to ask the TLS map for, such as [relay.example]:587; "
            "without it, the recipient's domain.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain what becomes of one message to one recipient, and why.

    Runs the decisions of the live system, on the configuration file as it is now, without sending
    any mail: who the client is, whether the sender may be used, whether the recipient is
    suppressed, which headers and which envelope sender the message gets, which service delivers it
    and which TLS policy that service is told. With tls.dane or tls.mta_sts, DNS and the policy host
    of the destination are asked. A feature in mode observe is shown with what it would do. Quotas
    are shown as far as they were used at most a second ago. What slows the lane towards the
    provider, or towards whomever if its mail servers are not known, stands under slowed. What keeps
    Postfix from doing as explained, such as a hook that was not needed at the last attach, stands
    under BUT.

    Exit status: 0 the message is accepted; 1 it is refused or would wait in the queue; 2 usage or
    configuration error.

    Example: gatepost explain --login acme --sender news@acme.example --recipient x@example.org
    """
    case = Case(
        _client(login, certificate, client_address, listener),
        _address(sender),
        _address(recipient) or fail("--recipient is empty; write an address such as u@example.org"),
        tuple(_header(text) for text in header or ()),
        next_hop,
    )
    with errors_to_exit(as_json=as_json):
        explained = gather(case, Loader(config).load())
    if as_json:
        print_json(explained.document())
    else:
        _print(explained.result)
        _rows("quotas", explained.quotas.lines)
        _rows("slowed", explained.slowed_lines())
        _rows("BUT", explained.problems)
    if not explained.accepted:
        raise typer.Exit(NO)


def _client(login: str, certificate: str, address: str, listener: str) -> Client:
    try:
        ipaddress.ip_address(address or "::")
    except ValueError:
        fail(
            f"--client-address takes an IP address, and not {quoted(address)}; "
            "write one such as 192.0.2.10 or 2001:db8::10"
        )
    try:
        fingerprint = certificate and kinds.FINGERPRINT.parse(certificate)
    except Rejected as error:
        fail(f"--certificate: {error.problem}; {error.remedy}")
    return Client(login, fingerprint, address, "", listener)


def _address(text: str) -> str:
    """Return an envelope address as the servers get it, without the brackets that logs show."""
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def _header(text: str) -> Header:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        fail(f'--header takes NAME:VALUE, and "{text}" has no colon')
    return Header(name.strip(), value.strip())


def _print(result: Explanation) -> None:
    modes = " ".join(f"{feature}={result.modes.of(feature)}" for feature in Feature)
    _row("tenant", result.tenant or "none (unidentified)")
    _row("modes", modes)
    _rows("RCPT TO", [*result.rcpt.reasons, _verdict(result.rcpt)])
    if result.plan is not None:
        _rows("message", [*result.plan.reasons, _verdict(result.plan)])
    if result.admission is not None:
        _rows("admission", [*result.admission.reasons, _verdict(result.admission)])
    if result.refused:
        return
    if result.waits is not None:
        _row("waits", result.waits)
        return
    if result.route is not None:
        service = f"{result.route.service}:" if result.route.service else "Postfix's own default"
        _rows("transport", [f"{service} for sender {result.delivery_sender or '<>'}"])
        _row("", result.route.why)
    if result.lane is not None:
        _rows("lane", list(_lane(result.lane)))
    policy = result.policy or "no opinion: Postfix's own level for this service"
    _row("TLS", f"{policy} (map {result.map_name}, key {result.nexthop})")
    for opinion in result.tls.opinions:
        _row("", f"{opinion.source}: {opinion.requirement.level.keyword}")
    for sentence in result.tls.notes:
        _row("", sentence)


def _lane(choice: LaneChoice) -> Iterator[str]:
    yield f"{choice.lane}: {choice.why}"
    for would in choice.would:
        yield f"would be {would.lane} if {would.feature} were enforced: {would.why}"


def _verdict(check: Any) -> str:
    if check.reject is not None:
        return f"refused: {check.reject.code} {check.reject.status} {check.reject.text}"
    return "accepted"


def _rows(title: str, lines: list[str]) -> None:
    for index, line in enumerate(lines):
        _row(title if not index else "", line)


def _row(title: str, text: str) -> None:
    print(f"{title:<10} {text}")
