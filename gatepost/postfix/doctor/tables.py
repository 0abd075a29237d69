"""What the operator's own lookup tables hold.

Source: postmap(1), option -s; DATABASE_README on which types can be listed.
Errors: `PostfixUnavailable` from postmap(1), such as for a table that is not there.
"""

from __future__ import annotations

from gatepost.postfix.commands import PostfixCommands
from gatepost.postfix.doctor.scene import Scene

# Tables whose entries postmap -s can list.
_LISTABLE = ("hash:", "btree:", "lmdb:", "cdb:", "sdbm:", "dbm:", "texthash:", "inline:")


def listable(table: str) -> str | None:
    """Return a table in the form in which postmap -s takes it, or None."""
    direct = table.removeprefix("proxy:")
    return direct if direct.startswith(_LISTABLE) else None


def entries(scene: Scene, table: str) -> list[tuple[str, str]]:
    """Return key and value of all entries; none if the table cannot be listed.

    Raises:
        PostfixUnavailable: If postmap is missing, or cannot read the table.
    """
    direct = listable(table)
    if direct is None:
        return []
    postfix = PostfixCommands(scene.facts.config_dir)
    printed = postfix.postmap("-s", direct, directory=scene.facts.queue_directory)
    pairs = (line.split(None, 1) for line in printed.splitlines())
    return [(pair[0], pair[1].strip()) for pair in pairs if len(pair) == 2]
