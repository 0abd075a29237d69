"""Which of our hooks the main.cf of an instance has: what a pause can act through.

Source: postconf(1) -h, whose values name a hook by its parameter, as attach writes it.
Errors: `PostfixUnavailable`.
Not handled: a service in master.cf that overrides a parameter; `gatepost doctor` looks at these.
"""

from __future__ import annotations

from pathlib import Path

from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.spec import Hook

_WHERE = {
    Hook.POLICY: "smtpd_recipient_restrictions",
    Hook.MILTER: "smtpd_milters",
    Hook.TRANSPORT: "sender_dependent_default_transport_maps",
}


def hooks_in_use(config_dir: Path) -> frozenset[Hook]:
    """Return which of policy check, milter and transport map an instance has.

    Args:
        config_dir: Its configuration directory.

    Raises:
        PostfixUnavailable: If postconf(1) fails.
    """
    output = PostfixCommands(config_dir).postconf(*_WHERE.values()).stdout
    values = dict(line.split(" = ", 1) for line in output.splitlines() if " = " in line)
    return frozenset(hook for hook, name in _WHERE.items() if hook.value in values.get(name, ""))
