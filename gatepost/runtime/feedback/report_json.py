"""A report as JSON, between the process that reads mail and the one that acts on it.

Purpose: what reads hostile mail may be killed at any moment; what comes from it is data and nothing
that could be run.
Format: the fields of `gatepost.feedback.report.Report` by name; octets in hex.
Errors: `report_of` raises `MalformedMessage` for anything that is no such object.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gatepost.errors import MalformedMessage
from gatepost.feedback.report import (
    Classified,
    FoundToken,
    Kind,
    Original,
    Report,
    ReportedRecipient,
    Severity,
)
from gatepost.feedback.token import Purpose, Token
from gatepost.feedback.trust import Authentication


def json_of(report: Report) -> dict[str, Any]:
    """Return a report as an object of JSON."""
    found = asdict(report)
    if report.token is not None:
        found["token"]["token"]["message"] = report.token.token.message.hex()
    return found


def report_of(found: Any) -> Report:
    """Return the report that `json_of` made an object of.

    Raises:
        MalformedMessage: If it is none.
    """
    try:
        return Report(
            **{
                **found,
                "kind": Kind(found["kind"]),
                "recipients": tuple(map(_recipient, found["recipients"])),
                "original": Original(**found["original"]),
                "token": _token(found["token"]),
                "notes": tuple(found["notes"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedMessage(f"no report: {error}", rule="report as JSON") from error


def authentication_of(found: Any) -> Authentication:
    """Return what is proven, from the object that `dataclasses.asdict` made of it.

    Raises:
        MalformedMessage: If it is none.
    """
    try:
        return Authentication(**{**found, "domains": tuple(found["domains"])})
    except (KeyError, TypeError) as error:
        raise MalformedMessage(f"no authentication: {error}", rule="report as JSON") from error


def _recipient(found: dict[str, Any]) -> ReportedRecipient:
    classified = found["classified"]
    if classified is not None:
        classified = Classified(**{**classified, "severity": Severity(classified["severity"])})
    return ReportedRecipient(**{**found, "classified": classified})


def _token(found: dict[str, Any] | None) -> FoundToken | None:
    if found is None:
        return None
    token = found["token"]
    return FoundToken(
        Token(**{**token, "message": bytes.fromhex(token["message"])}),
        Purpose(found["purpose"]),
        found["where"],
    )
