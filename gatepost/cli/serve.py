"""``gatepost serve``: run the daemons."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from gatepost.cli.common import DEFAULT_CONFIG, NO, ConfigOption, errors_to_exit, fail
from gatepost.errors import PostfixUnavailable, StartError
from gatepost.runtime.command import role_command, role_environment
from gatepost.runtime.configuration import load_settings
from gatepost.runtime.installation import settle
from gatepost.runtime.log import set_up
from gatepost.runtime.paths import roles_of
from gatepost.runtime.signals import STOP_SIGNALS, blocked, catching
from gatepost.runtime.supervisor import Supervisor


class RoleName(StrEnum):
    """What can be served alone."""

    MILTER = "milter"
    POLICY = "policy"
    BACK = "back"
    API = "api"


@contextmanager
def _start_errors() -> Iterator[None]:
    try:
        yield
    except (StartError, PostfixUnavailable) as error:
        fail(str(error), NO)


def command(
    *,
    role: Annotated[
        RoleName | None,
        typer.Argument(help="Serve only this; without it, all under a supervisor."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    prepare: Annotated[
        bool,
        typer.Option("--prepare", help="Make the directories, as root, and serve nothing."),
    ] = False,
) -> None:
    """Serve Postfix, in the foreground, until SIGTERM.

    Without an argument, three processes run: the milter, the policy server and the back role
    (metrics, upkeep of the store); and where api.listen is set, the HTTP API. One that dies is
    started again. SIGHUP reloads the configuration.

    Started as root, it makes the directories that are missing and becomes the configured user.

    Exit status: 0 stopped as asked; 1 cannot start; 2 usage or configuration error.
    """
    with errors_to_exit(), _start_errors():
        if prepare:
            settle(load_settings(config))
            return
        if role is not None:
            arguments = role_command(role.value, config)
            # The role takes our place, so that whoever started us signals the role itself.
            with blocked(signal.SIGHUP):
                os.execve(arguments[0], arguments, role_environment())
        with catching(signal.SIGHUP, *STOP_SIGNALS) as signals:
            settings = load_settings(config)
            set_up("supervisor", settings.log_to, settings.log_level)
            settle(settings)
            supervisor = Supervisor(
                settings.run_dir,
                config,
                settings.grace_s,
                settings.watchdog_s,
                roles_of(settings),
            )
            supervisor.run(signals)
