"""From the settings of what comes back to the rules that decisions read.

Errors: problems go to the report.
Security: the secret of a webhook is read here, under the same conditions as the keys of tokens, and
no message holds a part of it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping
from pathlib import Path

from gatepost.errors import MalformedMessage
from gatepost.feedback.postmaster import is_protected, parse_token
from gatepost.feedback.rules import FeedbackRules, LadderRules, Step, SuppressionRules, Webhook
from gatepost.settings.files import read_file, secrecy_problem
from gatepost.settings.keys_feedback import (
    BounceStepsSection,
    ComplaintStepsSection,
    FeedbackFlowSection,
    LadderSection,
    SuppressionSection,
    WebhookSection,
)
from gatepost.settings.problems import Place, Rejected, Report
from gatepost.settings.schema import did_you_mean, there_are
from gatepost.snapshot import Platform
from gatepost.traffic.lanes import Lane

_PREFIX = b"whsec_"
# Standard Webhooks, "Signature scheme".
_SECRET_OCTETS = range(24, 65)
_RANDOM = 'umask 077; printf "whsec_%s\\n" "$(openssl rand -base64 32)"'


class FlowBuilder:
    """Makes the rules of one configuration.

    Args:
        directory: What paths are relative to.
        file: Where the settings stand.
        user: Account of the service.
        report: Takes problems.
    """

    def __init__(self, directory: Path, file: str, user: str, report: Report) -> None:
        self._directory = directory
        self._file = file
        self._user = user
        self._report = report

    def feedback(self, section: FeedbackFlowSection) -> FeedbackRules:
        """Return what becomes of what comes back."""
        return FeedbackRules(
            frozenset(section.reporters),
            section.keep_messages,
            section.keep_reports,
            section.keep_events,
            section.privacy,
        )

    def suppression(self, section: SuppressionSection, *, hashed: bool) -> SuppressionRules:
        """Return when an address is no longer written to, and how it is stored."""
        return SuppressionRules(
            section.hard_bounce,
            section.soft_bounces,
            section.soft_window,
            section.sub_addresses,
            section.on_failure,
            hashed,
        )

    def ladder(self, section: LadderSection, lanes: Mapping[str, Lane] | None) -> LadderRules:
        """Return what complaints and bounces lead to.

        Args:
            section: The settings.
            lanes: All lanes, or None where not all of them could be read.
        """
        lane = section.lane
        if lane is not None and lanes is not None and lane not in lanes:
            self._report.error(
                Place(self._file, ("ladder", "lane")),
                f"there is no lane {lane}",
                did_you_mean(lane, lanes) or there_are(lanes),
            )
            lane = None
        return LadderRules(
            section.window,
            section.min_delivered,
            section.min_complaints,
            self._steps(section.complaints, "complaints"),
            self._steps(section.bounces, "bounces"),
            lane,
        )

    def webhooks(
        self, sections: Mapping[str, WebhookSection], tenants: Collection[str] | None
    ) -> tuple[Webhook, ...]:
        """Return who is told of events.

        Args:
            sections: The settings.
            tenants: All tenant ids, or None where not all of them could be read.
        """
        found = []
        for name, section in sections.items():
            if section.url is None or section.secret_file is None:
                continue
            if section.tenant is not None and tenants is not None and section.tenant not in tenants:
                self._report.error(
                    Place(self._file, ("webhooks", name, "tenant")),
                    f"there is no tenant {section.tenant}",
                    did_you_mean(section.tenant, tenants) or "add it, or remove it here",
                )
            kinds = frozenset(section.events) or None
            secret = self._secret(name, section.secret_file)
            found.append(
                Webhook(name, section.url, secret, section.tenant, kinds, section.allow_private)
            )
        return tuple(found)

    def check_postmaster(self, section: FeedbackFlowSection) -> None:
        """Report what keeps Postmaster Tools from being asked."""
        if section.postmaster_token is None:
            return
        place = Place(self._file, ("feedback", "postmaster_token"))
        path = self._directory / section.postmaster_token
        try:
            if not path.exists():
                raise Rejected("does not exist", "put client and refresh token of OAuth there")
            source = read_file(path)
            if (problem := secrecy_problem(source, self._user)) is not None:
                raise problem
            parse_token(source.octets.decode("utf-8", "replace"))
        except Rejected as error:
            self._report.error(place, f"{path} {error.problem}", error.remedy)
        except MalformedMessage as error:
            self._report.error(
                place, f"{path} {error}", "write client_id, client_secret, refresh_token, token_uri"
            )
        if not is_protected(section.postmaster_url):
            self._report.error(
                Place(self._file, ("feedback", "postmaster_url")),
                f"{section.postmaster_url} would get the token in plaintext",
                "write an address with https",
            )
        if not section.postmaster_domains:
            self._report.warn(
                place,
                "nothing is asked, as no domain is listed",
                "list the domains that sign under postmaster_domains",
            )

    def check_unsubscribe(self, section: FeedbackFlowSection, platform: Platform) -> None:
        """Warn of links in mail that nobody answers."""
        if platform.unsubscribe_url is not None and section.unsubscribe is None:
            self._report.warn(
                Place(self._file, ("platform", "unsubscribe_url")),
                "nothing on this host answers there, as feedback.unsubscribe is off",
                "set feedback.unsubscribe, unless another host does",
            )

    def _steps(
        self, section: ComplaintStepsSection | BounceStepsSection, what: str
    ) -> dict[Step, float]:
        shares = {
            Step.WARN: section.warn,
            Step.SLOW: section.slow,
            Step.PAUSE_MARKETING: section.pause_marketing,
            Step.PAUSE_ALL: section.pause_all,
        }
        found = {step: share for step, share in shares.items() if share is not None}
        last = 0.0
        for step, share in found.items():
            if share < last:
                self._report.error(
                    Place(self._file, ("ladder", what, step.name.lower())),
                    f"{step.keyword} comes at a lower share than a milder step",
                    "give each step at least the share of the one before it",
                )
            last = share
        return found

    def _secret(self, name: str, secret_file: str) -> bytes:
        place = Place(self._file, ("webhooks", name, "secret_file"))
        path = self._directory / secret_file
        try:
            if not path.exists():
                raise Rejected("does not exist", f"make it with: {_RANDOM} > {path}")
            source = read_file(path)
            if (problem := secrecy_problem(source, self._user)) is not None:
                raise problem
            return _decoded(source.octets)
        except Rejected as error:
            self._report.error(place, f"{path} {error.problem}", error.remedy)
            return b""


def _decoded(octets: bytes) -> bytes:
    text = octets.strip()
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(_PREFIX) or len(secret) not in _SECRET_OCTETS:
        raise Rejected(
            f"is not whsec_ and {_SECRET_OCTETS[0]} to {_SECRET_OCTETS[-1]} octets in base64",
            f"make one with: {_RANDOM}",
        )
    return secret
