"""From the main file to `Settings`.

Errors: none.
"""

from __future__ import annotations

from pathlib import Path

from gatepost.settings.counters import counters_target
from gatepost.settings.keys import MainFile
from gatepost.settings.model import Settings


def settings_of(path: Path, main: MainFile) -> Settings:
    """Return what only a restart can change.

    Args:
        path: The main file, as the operator named it.
        main: What it says.
    """
    return Settings(
        config=path,
        postfix_config_dir=Path(main.postfix.config_dir),
        postfix_group=main.postfix.group,
        socket_dir=main.postfix.socket_dir,
        user=main.service.user,
        run_dir=Path(main.service.run_dir),
        grace_s=main.service.grace,
        watchdog_s=main.service.watchdog,
        policy_timeout_s=main.service.policy_timeout,
        state=main.state,
        counters=counters_target(main, path),
        local_state_url=main.local_state or "",
        node=main.node or "",
        metrics=main.metrics,
        api=main.api.listen,
        maillog=main.maillog,
        intake_dir=Path(main.feedback.intake_dir)
        if main.platform.bounce_domain or main.platform.feedback_domain
        else None,
        events_file=Path(main.feedback.events_file) if main.feedback.events_file else None,
        unsubscribe=main.feedback.unsubscribe,
        postmaster_token=path.parent / main.feedback.postmaster_token
        if main.feedback.postmaster_token
        else None,
        feedback_loops=main.feedback.loops,
        postmaster_url=main.feedback.postmaster_url,
        postmaster_domains=main.feedback.postmaster_domains,
        log_to=main.log.to,
        log_level=main.log.level,
        dns_servers=tuple(address for _, address in main.dns.servers),
        dns_signed=main.dns.signed or ".",
        dns_bogus=main.dns.bogus,
        https_ca_file=path.parent / main.dns.https_ca_file if main.dns.https_ca_file else None,
    )
