"""Everything that doctor looks at, read once.

Source: postconf(1) ``-x`` (values in force), ``-d`` (defaults), ``-Px`` (overrides in force).
Errors: `look` raises `PostfixUnavailable` where postconf fails, and `AttachError` for files that
cannot be read.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gatepost.postfix.attach_master import takes_mail_back
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.detach import is_our_service
from gatepost.postfix.detect import detect, parse_settings
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.main_cf import settings
from gatepost.postfix.markers import PRIVATE_PREFIX
from gatepost.postfix.master_cf import Service, for_postconf, glued, services
from gatepost.postfix.operator_level import default_service, operators_level
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from gatepost.postfix.referee import write_scratch
from gatepost.postfix.services import attach_spec
from gatepost.postfix.session import read_files, relocated
from gatepost.postfix.spec import DEFAULT_SOCKET_DIR, AttachSpec
from gatepost.snapshot import Snapshot

_DEFAULT_CONFIG_DIR = Path("/etc/postfix")


@dataclass(frozen=True, slots=True)
class Scene:
    """One instance, and the configuration that it is to serve.

    Attributes:
        facts: The instance; its values are those in force, ours included.
        files: File name to text of main.cf and master.cf.
        entries: The services of master.cf.
        overrides: ``service/type/parameter`` to value in force, expanded.
        snapshot: The configuration of Gatepost, or None if it has mistakes.
        socket_dir: Directory of the sockets below the queue directory.
        dns_names: A signed name and a bogus one to test resolvers by, or None for the usual ones.
    """

    facts: PostfixFacts
    files: Mapping[str, str]
    entries: tuple[Service, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    socket_dir: str = DEFAULT_SOCKET_DIR
    dns_names: tuple[str, str] | None = None

    @property
    def attached(self) -> bool:
        """Tell whether main.cf has anything of ours in force."""
        return any(name.startswith(PRIVATE_PREFIX) for name in settings(self.files[MAIN_CF]))

    @property
    def spec(self) -> AttachSpec | None:
        """Return what Postfix should be told, or None where the configuration has mistakes."""
        return None if self.snapshot is None else attach_spec(self.snapshot, self.socket_dir)

    def value(self, name: str, entry: Service | None = None) -> str:
        """Return the value in force of a parameter, for one service or in general."""
        general = self.facts.value(name)
        return general if entry is None else self.overrides.get(f"{entry.key}/{name}", general)

    @property
    def base(self) -> Service | None:
        """The operator's service that delivers by default."""
        theirs = (entry for entry in self.entries if not is_our_service(entry))
        return default_service(theirs, self.value("default_transport"))

    @property
    def level(self) -> str:
        """The TLS level that it asks for, which is joined to Gatepost's answers."""
        base = self.base
        return operators_level(base, lambda name: self.value(name, base))

    def is_our_tls_map(self, table: str) -> bool:
        """Tell whether an element of smtp_tls_policy_maps is one of Gatepost's maps."""
        return self.socket_dir in table and table.rpartition(":")[2].startswith("tls")

    def on(self, name: str) -> bool:
        """Tell whether a yes/no parameter is on."""
        return self.facts.value(name) == "yes"

    def listeners(self) -> Iterator[Service]:
        """Yield the smtpd(8) services at which clients hand in mail.

        Left out are those where a content filter or a lane's own instance gives mail back, and
        those where the operator has switched us off by our own parameters.
        """
        for entry in self.entries:
            ours = is_our_service(entry) or any(
                option.name.startswith(PRIVATE_PREFIX) for option in entry.options
            )
            if entry.command == "smtpd" and not ours and not takes_mail_back(entry, self.value):
                yield entry

    def set_main(self, setting: str) -> str:
        """Return the command that sets a parameter in main.cf."""
        return f"postconf {self._instance()}-e '{setting}'"

    def unset_override(self, entry: Service, name: str) -> str:
        """Return the command, or the edit, that removes an override from master.cf."""
        if glued(self.files[MASTER_CF], entry):
            # postconf would write the entry anew, with the wrong names that it reads in it.
            return f"take {name} out of {entry.key} in master.cf by hand; postconf cannot read it"
        return f"postconf {self._instance()}-PX {entry.key}/{name}"

    def _instance(self) -> str:
        directory = self.facts.config_dir
        return "" if directory == _DEFAULT_CONFIG_DIR else f"-c {directory} "


def look(
    config_dir: Path,
    snapshot: Snapshot | None,
    socket_dir: str = DEFAULT_SOCKET_DIR,
    dns_names: tuple[str, str] | None = None,
) -> Scene:
    """Read everything about an instance.

    Args:
        config_dir: The configuration directory of the instance.
        snapshot: The configuration of Gatepost, or None if it has mistakes.
        socket_dir: Directory of the sockets below the queue directory.
        dns_names: A signed name and a bogus one to test resolvers by, or None for the usual ones.

    Raises:
        PostfixUnavailable: If a Postfix command is missing or fails.
        AttachError: If a file cannot be read, or the version is older than we support.
    """
    postfix = PostfixCommands(config_dir)
    files = read_files(config_dir)
    return Scene(
        detect(postfix),
        files,
        tuple(services(files[MASTER_CF])),
        _overrides(postfix, files),
        snapshot,
        socket_dir,
        dns_names,
    )


def _overrides(postfix: PostfixCommands, files: Mapping[str, str]) -> dict[str, str]:
    if for_postconf(files[MASTER_CF]) == files[MASTER_CF]:
        return parse_settings(postfix.postconf("-P", "-x").stdout)
    with tempfile.TemporaryDirectory(prefix="gatepost-") as name:
        write_scratch(files, Path(name))
        found = parse_settings(postfix.postconf("-P", "-x", config_dir=Path(name)).stdout)
    return relocated(found, name, postfix.config_dir)


_ELEMENT = re.compile(r"[^\s,{}]*(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}[^\s,{}]*)+|[^\s,{}]+")


def elements(value: str) -> list[str]:
    """Return the elements of a list, which commas and white space outside of braces separate."""
    return _ELEMENT.findall(value)
