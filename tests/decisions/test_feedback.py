"""Feedback headers of a message: CFBL, List-Unsubscribe, ENVID, and what a signature forbids."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from gatepost.decisions.actions import AddHeader, ChangeSender, RemoveHeader
from gatepost.decisions.message import decide_message, wanted_headers
from gatepost.decisions.rerun import genuine_token
from gatepost.feedback.token import Keyring, Purpose, open_token
from gatepost.modes import Mode
from gatepost.snapshot import Snapshot
from gatepost.tenants.client import Client
from gatepost.tenants.model import ReturnPath
from tests.decisions.cases import URL, messages, snapshots, token, unsubscribe
from tests.world import KEYS, NOW, OBSERVE, edited, message, snapshot, tenant, values

DAY = 86_400.0
ACME = tenant(
    "acme",
    senders=("acme.example",),
    logins=("acme",),
    return_path=ReturnPath.TOKEN,
    mail_type_header="x-mail-type",
    unsubscribe_types=("news", "special offer"),
)
SHOP = tenant("shop", senders=("shop.example",), logins=("shop",), cfbl=False)
PLATFORM = {"feedback_domain": "fbl.example", "unsubscribe_url": URL}
WORLD = snapshot(ACME, SHOP, **PLATFORM)
STRANGER = Client(address="198.51.100.1")
HERE = Client(address="127.0.0.1")
NEWS = ("X-Mail-Type", "news")
OURS = (
    *("X-Tenant-ID", "X-Gatepost-Token", "Feedback-ID", "CFBL-Address", "CFBL-Feedback-ID"),
    *("List-Unsubscribe", "List-Unsubscribe-Post"),
)


def signed(*names: str) -> tuple[str, str]:
    fields = ":\r\n\t".join(["From", *names])
    return ("DKIM-Signature", f"v=1; a=rsa-sha256; d=acme.example; h={fields}; b=x")


def after(*fields: tuple[str, str], world: Snapshot = WORLD, **changes):
    facts = message(*fields, **changes)
    return edited(facts, decide_message(facts, world, NOW).actions)


def notices(*fields: tuple[str, str], **changes) -> dict[str, tuple[str, str]]:
    plan = decide_message(message(*fields, **changes), WORLD, NOW)
    return {notice.header: (notice.reason, notice.text) for notice in plan.notices}


# CFBL


def test_cfbl_quotes_the_token_header() -> None:
    done = after()
    assert values(done, "CFBL-Address") == ["fbl@fbl.example; report=arf"]
    assert values(done, "CFBL-Feedback-ID") == values(done, "X-Gatepost-Token")
    assert values(done, "CFBL-Feedback-ID") == [token("acme", Purpose.COMPLAINT)]


@pytest.mark.parametrize(
    "world",
    [
        snapshot(ACME),
        snapshot(replace(ACME, cfbl=False), **PLATFORM),
        snapshot(ACME, keyring=Keyring({}, 0), **PLATFORM),
    ],
)
def test_cfbl_is_for_those_who_want_it(world: Snapshot) -> None:
    own = [("CFBL-Address", "fbl@acme.example"), ("CFBL-Feedback-ID", "1:2")]
    assert values(after(world=world), "CFBL-Address") == []
    done = after(*own, world=world)
    assert [values(done, name) for name, _ in own] == [["fbl@acme.example"], ["1:2"]]


def test_cfbl_of_a_tenant_is_replaced() -> None:
    done = after(
        ("CFBL-Address", "a@acme.example"), ("cfbl-feedback-id", "1"), ("CFBL-Address", "b")
    )
    assert values(done, "CFBL-Address") == ["fbl@fbl.example; report=arf"]
    assert values(done, "CFBL-Feedback-ID") == [token("acme", Purpose.COMPLAINT)]


def test_a_folded_cfbl_feedback_id_is_the_same() -> None:
    text = token("acme", Purpose.COMPLAINT)
    once = after()
    folded = replace(
        once,
        headers=tuple(
            replace(each, value=f"{text[:9]}\r\n\t{text[9:]}")
            if each.name == "CFBL-Feedback-ID"
            else each
            for each in once.headers
        ),
    )
    assert decide_message(folded, WORLD, NOW).actions == ()


# List-Unsubscribe


@pytest.mark.parametrize("label", ["news", " News\r\n", "SPECIAL\r\n\toffer"])
def test_a_type_that_asks_for_it_gets_list_unsubscribe(label: str) -> None:
    done = after(("X-Mail-Type", label))
    text = token("acme", Purpose.UNSUBSCRIBE)
    assert values(done, "List-Unsubscribe") == [
        f"<{URL}/{text}>, <mailto:{text}@fbl.example?subject=unsubscribe>"
    ]
    assert values(done, "List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]
    assert open_token(text, Purpose.UNSUBSCRIBE, KEYS, NOW).recipient == 1


def test_without_a_feedback_domain_there_is_no_address_of_mail() -> None:
    done = after(NEWS, world=snapshot(ACME, unsubscribe_url=URL))
    assert values(done, "List-Unsubscribe") == [f"<{URL}/{token('acme', Purpose.UNSUBSCRIBE)}>"]


@pytest.mark.parametrize(
    ("fields", "world"),
    [
        ([], WORLD),
        ([("X-Mail-Type", "invoice")], WORLD),
        ([("X-Mail-Type", "")], WORLD),
        ([NEWS], snapshot(ACME, feedback_domain="fbl.example")),
        ([NEWS], snapshot(replace(ACME, mail_type_header=None), **PLATFORM)),
        ([NEWS], snapshot(replace(ACME, unsubscribe_types=()), **PLATFORM)),
    ],
)
def test_other_mail_gets_none(fields, world: Snapshot) -> None:
    done = after(*fields, world=world)
    assert values(done, "List-Unsubscribe") == values(done, "List-Unsubscribe-Post") == []


def test_a_list_unsubscribe_of_its_own_is_left_alone() -> None:
    own = [("List-Unsubscribe", "<https://acme.example/u>"), ("list-unsubscribe", "<mailto:u@b>")]
    done = after(NEWS, *own)
    assert values(done, "List-Unsubscribe") == [value for _, value in own]
    # One-click is a promise that only its maker can keep.
    assert values(done, "List-Unsubscribe-Post") == []


def test_a_list_unsubscribe_post_alone_is_made_right() -> None:
    done = after(NEWS, ("List-Unsubscribe-Post", "what"), ("list-unsubscribe-post", "ever"))
    assert len(values(done, "List-Unsubscribe")) == 1
    assert values(done, "List-Unsubscribe-Post") == ["List-Unsubscribe=One-Click"]


@pytest.mark.parametrize("stale", [unsubscribe("acme", "other"), f"<{URL}/forged>", f"<{URL}/>"])
def test_one_that_was_copied_would_unsubscribe_somebody_else(stale: str) -> None:
    folded = ("List-Unsubscribe", stale.replace("/", "/\r\n "))
    assert values(after(NEWS, folded), "List-Unsubscribe") == [unsubscribe("acme")]
    assert values(after(folded), "List-Unsubscribe") == []
    own = ("List-Unsubscribe", "<https://acme.example/u>")
    assert values(after(NEWS, own, folded, own), "List-Unsubscribe") == [own[1]] * 2


def test_several_recipients_get_none_and_the_tenant_is_told() -> None:
    several = {"recipients": ("a@x.example", "b@x.example")}
    assert values(after(NEWS, **several), "List-Unsubscribe") == []
    stale = ("List-Unsubscribe", unsubscribe("acme", "other"))
    assert values(after(NEWS, stale, **several), "List-Unsubscribe") == []
    ((reason, text),) = notices(NEWS, **several).values()
    assert reason == "several-recipients"
    assert "must tell who unsubscribes" in text
    assert notices(**several) == {}
    assert notices(NEWS, ("List-Unsubscribe", "<mailto:u@acme.example>"), **several) == {}


# The return path


def test_the_envelope_id_is_that_of_the_return_path() -> None:
    (change,) = [
        each
        for each in decide_message(message(), WORLD, NOW).actions
        if isinstance(each, ChangeSender)
    ]
    assert change.address == f"{change.envid}@bounces.example"
    assert open_token(change.envid, Purpose.BOUNCE, KEYS, NOW).recipient == 1


def test_a_sender_that_is_changed_already_is_not_changed_again() -> None:
    """Also where nothing else shows that the message was here before."""
    once = after(signed("X-Gatepost-Token"))
    assert once.sender.endswith("@bounces.example")
    assert decide_message(once, WORLD, NOW).actions == ()


# What a signature covers


@pytest.mark.parametrize("name", OURS)
def test_what_a_signature_covers_is_not_added(name: str) -> None:
    done = after(NEWS, signed(name.upper()))
    assert values(done, name) == []
    left = [each for each in OURS if not values(done, each)]
    pairs = {"CFBL-Address", "CFBL-Feedback-ID"}, {"List-Unsubscribe", "List-Unsubscribe-Post"}
    assert set(left) == next((pair for pair in pairs if name in pair), {name})
    ((header, (reason, text)),) = notices(NEWS, signed(name.upper())).items()
    assert (header, reason) == (name, "signed-header")
    assert text == (
        f"{name} was not added, since the DKIM signature of acme.example covers its absence"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Gatepost-Token", "of-another-platform"),
        ("Feedback-ID", "a:b:c:elsewhere"),
        ("CFBL-Address", "fbl@acme.example"),
        ("CFBL-Feedback-ID", "1:2"),
        ("List-Unsubscribe", unsubscribe("acme", "other")),
        ("List-Unsubscribe-Post", "what"),
    ],
)
def test_what_a_signature_covers_is_left_as_it_came(name: str, value: str) -> None:
    fields = [NEWS, (name, value), signed("To", name)]
    assert values(after(*fields), name) == [value]
    ((header, (_, text)),) = notices(*fields).items()
    assert header == name
    assert text.endswith("was left as it came, since the DKIM signature of acme.example covers it")


def test_what_is_right_is_no_matter_for_a_warning() -> None:
    done = after(NEWS)
    again = replace(done, headers=(*done.headers, message(signed(*OURS)).headers[0]))
    plan = decide_message(again, WORLD, NOW)
    assert (plan.actions, plan.notices) == ((), ())


def test_no_signature_keeps_a_lie_in_our_name() -> None:
    """Its sender wrote it, and could let another tenant pay for its own complaints."""
    lies = [("X-Tenant-ID", "shop"), ("Feedback-ID", "tshop:examplesp")]
    fields = [*lies, signed("X-Tenant-ID", "Feedback-ID")]
    done = after(*fields)
    assert values(done, "X-Tenant-ID") == ["acme"]
    assert values(done, "Feedback-ID") == ["tacme:examplesp"]
    told = notices(*fields)
    assert set(told) == {"X-Tenant-ID", "Feedback-ID"}
    assert all("was replaced, although" in text for _, text in told.values())


@pytest.mark.parametrize("owner", ["acme", "shop"])
@pytest.mark.parametrize(
    ("name", "covered"),
    [
        ("X-Gatepost-Token", {"X-Gatepost-Token"}),
        ("CFBL-Feedback-ID", {"CFBL-Feedback-ID", "CFBL-Address"}),
    ],
)
def test_no_signature_keeps_the_token_of_another_message(
    name: str, covered: set[str], owner: str
) -> None:
    """The complaints about all mail that carries it would count as that one's, and once."""
    fields = [(name, token(owner, Purpose.COMPLAINT, "other")), signed(*covered)]
    assert values(after(*fields), name) == [token("acme", Purpose.COMPLAINT)]
    told = notices(*fields)
    assert set(told) == covered
    assert all("was replaced, although" in text for _, text in told.values())


def test_in_observe_what_would_be_left_is_recorded() -> None:
    world = snapshot(replace(ACME, modes=OBSERVE), **PLATFORM)
    plan = decide_message(message(signed("Feedback-ID")), world, NOW)
    assert plan.notices == ()
    details = {each.detail for each in plan.observations if each.action == "leave-header"}
    assert details == {
        "Feedback-ID was not added, since the DKIM signature of acme.example covers its absence"
    }
    off = replace(OBSERVE, feedback=Mode.OFF)
    plan = decide_message(
        message(signed("Feedback-ID")), snapshot(replace(ACME, modes=off), **PLATFORM), NOW
    )
    assert {each.action for each in plan.observations} == {"add-header"}


@pytest.mark.fuzz
@given(messages(), snapshots())
def test_no_signature_that_tells_the_truth_is_broken(facts, world: Snapshot) -> None:
    plan = decide_message(facts, world, NOW)
    names = ":".join(
        value.partition("h=")[2].partition(";")[0] for value in values(facts, "DKIM-Signature")
    )
    covered = set(names.lower().split(":"))
    touched = {
        each.name.lower()
        for each in plan.actions
        if isinstance(each, AddHeader | RemoveHeader) and each.name.lower() in covered
    }
    lies = {"x-tenant-id"} | ({"feedback-id"} if world.platform.sender_id else set())
    if any(
        genuine_token(value, Purpose.COMPLAINT, None, world, NOW)
        for name in ("X-Gatepost-Token", "CFBL-Feedback-ID")
        for value in values(facts, name)
    ):
        lies |= {"x-gatepost-token", "cfbl-feedback-id", "cfbl-address"}
    assert touched <= lies
    if plan.tenant:
        told = {each.header.lower() for each in plan.notices}
        assert touched <= told | {"x-tenant-id"}


# Mail of nobody


def test_mail_of_nobody_keeps_what_is_not_feigned() -> None:
    own = [
        ("CFBL-Address", "fbl@elsewhere.example; report=arf"),
        ("CFBL-Feedback-ID", "111:222"),
        ("List-Unsubscribe", "<https://elsewhere.example/u>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]
    facts = message(*own, client=STRANGER)
    assert decide_message(facts, WORLD, NOW).actions == ()
    back = after(NEWS)
    genuine = replace(
        back, client=STRANGER, headers=tuple(h for h in back.headers if h.name in OURS[3:])
    )
    assert decide_message(genuine, WORLD, NOW).actions == ()


def test_feigned_references_go_unless_a_signature_covers_them() -> None:
    feigned = [
        ("CFBL-Address", "x@elsewhere.example"),
        ("CFBL-Address", "<FBL@FBL.example>; report=arf"),
        ("CFBL-Feedback-ID", "a" * 48),
        ("List-Unsubscribe", f"<{URL}/{'a' * 48}>"),
        ("List-Unsubscribe", f"<mailto:{token('acme', Purpose.BOUNCE)}@FBL.example>"),
        ("Feedback-ID", "tacme:examplesp"),
        ("X-Gatepost-Token", "forged"),
    ]
    done = after(*feigned, client=STRANGER)
    left = [(field.name, field.value) for field in done.headers]
    assert left == [feigned[0], feigned[2]]
    fields = [*feigned, signed(*OURS[1:])]
    assert decide_message(message(*fields, client=STRANGER), WORLD, NOW).actions == ()


# A second run


@pytest.mark.parametrize("days", [0, 3])
@pytest.mark.parametrize("client", [HERE, Client(address="::1")])
def test_a_second_run_changes_nothing(client: Client, days: int) -> None:
    once = after(NEWS)
    rotated = replace(WORLD, keyring=Keyring({**KEYS.keys, 3: bytes(range(64, 96))}, 3))
    again = replace(once, client=client, queue_id="another", recipients=("a@x", "b@x"))
    plan = decide_message(again, rotated, NOW + days * DAY)
    assert (plan.tenant, plan.actions, plan.notices) == ("acme", (), ())


def test_a_second_run_says_of_one_message_what_the_first_said() -> None:
    """What is missing then is made of the first run's token, by which the message is known."""
    once = after(("X-Mail-Type", "news"), world=snapshot(ACME))
    again = replace(once, client=Client(login="acme", address="127.0.0.1"))
    done = edited(again, decide_message(again, WORLD, NOW).actions)
    assert values(done, "CFBL-Feedback-ID") == values(once, "X-Gatepost-Token")
    assert values(done, "List-Unsubscribe") == [unsubscribe("acme")]


# What is kept for it


def test_only_what_can_be_needed_is_kept() -> None:
    assert not wanted_headers(snapshot(ACME)) & {name.lower() for name in OURS[3:]}
    assert wanted_headers(WORLD) >= {name.lower() for name in OURS}
    assert "dkim-signature" in wanted_headers(snapshot(ACME))


def test_no_field_of_ours_is_folded() -> None:
    """One line, however long the names of an operator are."""
    domain = ".".join(["f" * 60] * 4)
    url = "https://" + "u" * 392
    world = snapshot(ACME, feedback_domain=domain, unsubscribe_url=url)
    added = [
        each
        for each in decide_message(message(NEWS), world, NOW).actions
        if isinstance(each, AddHeader)
    ]
    assert max(len(each.value) for each in added) <= 900
    assert all("\n" not in each.value for each in added)
