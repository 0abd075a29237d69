"""What is known of one Postfix instance.

Source: postconf(1); ``-d`` gives the defaults, and with them every parameter that this version
knows; ``-x`` gives the values in force, expanded.
Errors: none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.postfix_version import PostfixVersion


@dataclass(frozen=True, slots=True)
class PostfixFacts:
    """One instance, as its own postconf describes it.

    Attributes:
        version: Its version.
        config_dir: Its configuration directory.
        queue_directory: Its queue directory.
        mail_owner: The account of its daemons, whose group reads our sockets.
        setgid_group: The group of its set-gid commands.
        values: Parameter to value in force, expanded, without what attach put in.
        defaults: Parameter to built-in default, not expanded.
        running: Whether its master(8) runs.
        ca_file: A file with the host's certificate authorities, or None if there is none.
        routed: Domain to what the operator's own transport_maps says of it, for the domains that
            bounces and reports come back to.
    """

    version: PostfixVersion
    config_dir: Path
    queue_directory: Path
    mail_owner: str = "postfix"
    setgid_group: str = "postdrop"
    values: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    running: bool = False
    ca_file: Path | None = None
    routed: Mapping[str, str] = field(default_factory=dict)

    def has(self, parameter: str) -> bool:
        """Tell whether this version knows a parameter."""
        return parameter in self.defaults

    def value(self, parameter: str) -> str:
        """Return the value in force, empty where the parameter is unknown."""
        return self.values.get(parameter, "")
