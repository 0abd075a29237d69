"""Doctor on lanes that are Postfix instances of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatepost.postfix.doctor import hooks, routing, tls
from gatepost.postfix.doctor.findings import Finding, Severity
from gatepost.postfix.doctor.instances import check
from gatepost.postfix.doctor.scene import Scene
from gatepost.postfix.instances.state import InstanceState
from gatepost.traffic.lanes import Lane
from tests.world import LANES, snapshot, tenant

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postfix.doctor.conftest import MakeScene

CONFIG = snapshot(
    tenant("acme", senders=("acme.example",), lane="burst"),
    lanes={**LANES, "burst": Lane("burst", instance=True)},
)


def state(*, running: bool | None = True, messages: int | None = 0) -> InstanceState:
    return InstanceState("burst", "/etc/postfix-gp-burst", running, messages)


def as_default(made: Scene) -> Scene:
    """Return a scene of the host's default instance."""
    defaults = {**made.facts.defaults, "config_directory": str(made.facts.config_dir)}
    return replace(made, facts=replace(made.facts, defaults=defaults))


def findings(scene: MakeScene, *states: InstanceState, config=CONFIG, **values) -> list[Finding]:
    made = as_default(scene(config=config, multi_instance_enable="yes", **values))
    return list(check(made, lambda _directory: states))


def make_socket(directory: Path) -> None:
    private = directory.with_name(f"{directory.name}-gp-burst") / "private"
    private.mkdir(parents=True)
    (private / "gatepost").touch()


def test_one_that_runs_is_fine(scene: MakeScene, tmp_path: Path) -> None:
    make_socket(tmp_path)
    assert findings(scene, state()) == []


def test_one_that_is_missing_or_does_not_run(scene: MakeScene) -> None:
    (found,) = findings(scene)
    assert found.what == "Lane burst has no Postfix instance of its own yet."
    (found,) = findings(scene, state(running=False, messages=3))
    assert found.what == "The instance of lane burst does not run."
    assert "In its own there are 3 messages." in found.why
    assert found.mend == ("postfix -c /etc/postfix-gp-burst start",)
    (found,) = findings(scene, state())
    assert "does not exist, though the instance of lane burst runs" in found.what


def test_one_that_is_to_go_is_told_with_its_mail(scene: MakeScene) -> None:
    config = snapshot(tenant("acme", senders=("acme.example",), lane="bulk"))
    (found,) = findings(scene, state(messages=1), config=config)
    assert "is still there, with 1 message in its queue" in found.what
    assert found.mend == ("gatepost attach",)


def test_one_that_nobody_would_start(scene: MakeScene, tmp_path: Path) -> None:
    make_socket(tmp_path)
    made = scene(config=CONFIG, multi_instance_enable="yes")
    (found,) = check(made, lambda _directory: [state()])
    assert found.what == f"{tmp_path} is not the host's default instance."
    made = as_default(scene(config=CONFIG, multi_instance_enable="no"))
    (found,) = check(made, lambda _directory: [state()])
    assert found.mend == (f"postconf -c {tmp_path} -e 'multi_instance_enable = yes'",)


def test_what_is_ours_is_no_listener_and_no_way_out_that_lacks_anything(scene: MakeScene) -> None:
    made = scene(
        "smtpd_milters = inet:localhost:1\nsmtp_tls_policy_maps = hash:/x\n",
        config=CONFIG,
        smtp_tls_security_level="encrypt",
    )
    names = [entry.name for entry in made.listeners()]
    assert "gatepost-return" not in names
    found = [*hooks.check(made), *tls.check(made)]
    assert not [each.what for each in found if "gatepost-" in each.what or "gp-burst/" in each.what]


def test_a_request_for_tls_that_would_be_lost_on_the_way(scene: MakeScene, tmp_path: Path) -> None:
    make_socket(tmp_path)
    header = "requiretls_esmtp_header"
    for value, said in (("no", [f"{header} = no."]), ("yes", [])):
        made = as_default(
            scene(
                config=CONFIG,
                multi_instance_enable="yes",
                requiretls_enable="yes",
                **{header: value},
            )
        )
        defaults = {**made.facts.defaults, header: "yes"}
        made = replace(made, facts=replace(made.facts, defaults=defaults))
        assert [each.what for each in check(made, lambda _directory: [state()])] == said


def test_a_transport_table_that_leads_the_hand_over_elsewhere(scene: MakeScene) -> None:
    values = {"transport_maps": "inline:{a.example=:[r.example],b.example=smtp:[r.example],c.d=:}"}
    found = [each for each in routing.check(scene(config=CONFIG, **values)) if each.mend]
    (named,) = [each for each in found if "a next-hop and no service" in each.what]
    assert named.what.endswith("a next-hop and no service: a.example :[r.example].")
    assert named.severity is Severity.PROBLEM
    config = snapshot(tenant("acme", senders=("acme.example",), lane="bulk"))
    found = list(routing.check(scene(config=config, **values)))
    assert not [each for each in found if "no service" in each.what]
