"""At RCPT TO: what becomes of a recipient whose domain cannot meet the profile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gatepost.decisions.facts import RecipientFacts
from gatepost.decisions.reachability import asks_for_sights, decide_reachability
from gatepost.decisions.recipient import Verdict, decide_recipient
from gatepost.modes import Feature, Mode, Modes
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tls.dane import MxHost
from gatepost.tls.knowledge import Knowledge
from gatepost.tls.levels import Level, Requirement
from gatepost.tls.mtasts.policy import StsMode, StsPolicy
from gatepost.tls.reachability import NO_SIGHTS, HostSight, Sights
from gatepost.tls.rules import DomainRules, Profile
from tests.world import ENFORCE, NOW, OFF, snapshot, tenant

ACME = tenant("acme", senders=frozenset({"acme.example"}), logins=("acme",), profile="private")
PLAIN = Sights((HostSight("mx.dest.example", Level.NONE, None, NOW - 60),))
OLD = Sights((HostSight("mx.dest.example", Level.NONE, None, NOW - 2 * 86_400),))
TEXT = (
    "dest.example does not offer the TLS that is asked for (profile private): no mail server of "
    "it does STARTTLS, last seen 2027-01-15 07:59 UTC by survey"
)


def config(at_rcpt: Mode = Mode.ENFORCE, modes: Modes = ENFORCE, **profile: object) -> Snapshot:
    made = snapshot(replace(ACME, modes=modes))
    private = replace(made.tls.profiles["private"], at_rcpt=at_rcpt, **profile)
    profiles = {**made.tls.profiles, "private": private}
    return replace(made, tls=replace(made.tls, profiles=profiles))


def facts(sender: str = "a@acme.example", recipient: str = "u@dest.example") -> RecipientFacts:
    return RecipientFacts(
        Client("acme", "", "192.0.2.9", "4711", "submission"), sender, recipient, "4Q"
    )


def ask(made: Snapshot, sights: Sights = PLAIN, knowledge: Knowledge | None = None) -> Verdict:
    verdict = decide_recipient(facts(), made, NOW)
    assert asks_for_sights(verdict, facts(), made) == "dest.example"
    return decide_reachability(verdict, facts(), made, NOW, sights, knowledge)


def test_enforced_and_certain_is_a_permanent_refusal() -> None:
    verdict = ask(config())
    assert verdict.reject is not None
    assert (verdict.reject.code, verdict.reject.status) == ("550", "5.7.10")
    assert verdict.reject.text == TEXT
    assert verdict.observations == ()
    assert verdict.reasons[-1] == f"{TEXT} (enforce)"


def test_enforced_and_uncertain_is_a_temporary_one() -> None:
    verdict = ask(config(), OLD)
    assert verdict.reject is not None
    assert (verdict.reject.code, verdict.reject.status) == ("450", "4.7.10")


@pytest.mark.parametrize(
    ("at_rcpt", "modes"),
    [
        (Mode.OBSERVE, ENFORCE),
        (Mode.ENFORCE, replace(ENFORCE, tls=Mode.OBSERVE)),
        (Mode.OBSERVE, replace(ENFORCE, tls=Mode.OBSERVE)),
    ],
)
def test_in_observe_it_is_only_recorded(at_rcpt: Mode, modes: Modes) -> None:
    verdict = ask(config(at_rcpt, modes))
    assert verdict.reject is None
    seen = verdict.observations[-1]
    assert (seen.feature, seen.action, seen.detail) == (Feature.TLS, "reject", TEXT)
    assert (seen.tenant, seen.recipient) == ("acme", "u@dest.example")
    assert ask(config(at_rcpt, modes), OLD).observations[-1].action == "defer"


def test_what_is_not_known_is_accepted() -> None:
    made = config()
    assert ask(made, NO_SIGHTS) == decide_recipient(facts(), made, NOW)
    good = Sights((HostSight("mx.dest.example", Level.VERIFY, None, NOW),))
    assert ask(made, good).reject is None


def test_an_exception_of_the_profile_counts() -> None:
    weaker = DomainRules({"dest.example": Requirement(Level.MAY)})
    assert ask(config(exceptions=weaker)).reject is None


def test_a_policy_that_names_no_mail_server_is_a_temporary_refusal() -> None:
    policy = StsPolicy(StsMode.ENFORCE, 86_400, ("mx.elsewhere.example",))
    knowledge = Knowledge((MxHost("mx.dest.example"),), False, policy, "a", "dest.example")
    verdict = ask(config(), NO_SIGHTS, knowledge)
    assert verdict.reject is not None
    assert (verdict.reject.code, verdict.reject.status) == ("450", "4.7.10")
    assert "no MX host of dest.example is named by its MTA-STS policy" in verdict.reject.text
    # What cannot be looked up at the moment is no reason: the delivery decides.
    unknown = Knowledge(failure="SERVFAIL", dane=True)
    assert ask(config(), NO_SIGHTS, unknown).reject is None


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        (config(Mode.OFF), facts()),
        (config(modes=OFF), facts()),
        (config(), facts(sender="")),
        (config(), facts(recipient="postmaster")),
        (config(), facts(recipient="u@[192.0.2.1]")),
        # Refused already.
        (config(), facts(sender="ceo@other.example")),
    ],
)
def test_what_needs_no_look(made: Snapshot, asked: RecipientFacts) -> None:
    verdict = decide_recipient(asked, made, NOW)
    assert asks_for_sights(verdict, asked, made) is None


def test_a_profile_that_asks_for_nothing_needs_no_look() -> None:
    made = config()
    standard = snapshot(replace(ACME, profile="standard"))
    assert asks_for_sights(decide_recipient(facts(), standard, NOW), facts(), standard) is None
    stranger = RecipientFacts(Client("", "", "192.0.2.9", "1", "-"), "a@b.example", "u@d.example")
    assert asks_for_sights(decide_recipient(stranger, made, NOW), stranger, made) is None
    assert not Profile("x", Requirement(Level.MAY)).asks
