"""Finding out what kind of Postfix is there.

Source: postconf(1).
Errors: `PostfixUnavailable` if postconf cannot tell; `AttachError` for a version that is too old.
"""

from __future__ import annotations

from pathlib import Path

from gatepost.errors import AttachError, MalformedMessage, PostfixUnavailable
from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.facts import PostfixFacts
from gatepost.postfix.parameters import CA_FILES
from gatepost.postfix_version import OLDEST_SUPPORTED, PostfixVersion, parse_version


def parse_settings(output: str) -> dict[str, str]:
    """Return name to value from what ``postconf``, ``postconf -n`` or ``postconf -P`` print."""
    found = {}
    for line in output.splitlines():
        name, equals, value = line.partition(" =")
        if equals:
            found[name] = value.strip()
    return found


def detect_version(postfix: PostfixCommands) -> PostfixVersion:
    """Return the version of the installed Postfix.

    Raises:
        PostfixUnavailable: If there is none, or it does not say.
    """
    try:
        return parse_version(postfix.postconf("-d", "-h", "mail_version").stdout)
    except MalformedMessage as error:
        raise PostfixUnavailable(f"postconf mail_version: {error}") from error


def detect(postfix: PostfixCommands, config_dir: Path | None = None) -> PostfixFacts:
    """Return what is known of an instance.

    Args:
        postfix: Its commands.
        config_dir: Where to read its parameters instead, such as a copy without ours.

    Raises:
        PostfixUnavailable: If postconf fails, which is also how it reports a broken file.
        AttachError: If the version is older than we support.
    """
    version = detect_version(postfix)
    if version < OLDEST_SUPPORTED:
        raise AttachError(
            f"this is Postfix {version}; Gatepost needs {OLDEST_SUPPORTED.major}."
            f"{OLDEST_SUPPORTED.minor} or later"
        )
    values = parse_settings(postfix.postconf("-x", config_dir=config_dir).stdout)
    return PostfixFacts(
        version,
        postfix.config_dir,
        Path(values["queue_directory"]),
        values.get("mail_owner", "postfix"),
        values.get("setgid_group", "postdrop"),
        values,
        parse_settings(postfix.postconf("-d", config_dir=config_dir).stdout),
        postfix.running(),
        next((Path(name) for name in CA_FILES if Path(name).is_file()), None),
    )
