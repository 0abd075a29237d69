"""What attach writes so that deliveries can be held back."""

from __future__ import annotations

from dataclasses import replace

from gatepost.postfix.bounce_filter import HELD_BACK
from gatepost.postfix.plan import MASTER_CF
from gatepost.tls.rules import OnFailure
from tests.postfix.test_rules import ALL, PRIVATE, attach, service

SHAPED = replace(ALL, shaping=True)


def test_with_shaping_a_service_tells_its_lane_before_each_delivery() -> None:
    made = service(attach("smtp_tls_policy_maps = hash:/a\n", spec=SHAPED), PRIVATE.name)
    assert made.value("smtp_tls_policy_maps") == (
        "socketmap:unix:gatepost/maps.sock:tls-private@normal, hash:/a"
    )
    # Over a connection that is used again, nobody would be asked.
    assert made.value("smtp_connection_cache_on_demand") == "no"
    assert "smtp_connection_cache_on_demand" not in attach().new[MASTER_CF]


def test_with_shaping_what_is_held_back_is_called_so_and_still_bounces_what_bounced() -> None:
    main = "default_delivery_status_filter = pcre:/f\n"
    made = service(attach(main, spec=SHAPED), PRIVATE.name)
    assert made.value("smtp_delivery_status_filter") == (
        f"{HELD_BACK}, regexp:$config_directory/gatepost-tls-bounce.regexp, "
        "$default_delivery_status_filter"
    )
    deferring = replace(SHAPED, services=(replace(PRIVATE, on_failure=OnFailure.DEFER),))
    made = service(attach(spec=deferring), PRIVATE.name)
    assert made.value("smtp_delivery_status_filter") == HELD_BACK
