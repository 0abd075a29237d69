"""Kinds of settings that say where the store is."""

from __future__ import annotations

import re

from gatepost.settings.places import is_of_the_system, parent_of
from gatepost.settings.problems import Rejected, quoted
from gatepost.settings.schema import Scalar


def _store(text: str) -> str:
    if re.fullmatch(r"sqlite:////[^\0?#]+", text):
        directory = parent_of(text.removeprefix("sqlite:///"))
        if is_of_the_system(directory):
            raise Rejected(
                f"{quoted(text)} lies in {directory}, which belongs to the system",
                "put it into a directory of Gatepost's own, as in "
                "sqlite:////var/lib/gatepost/gatepost.db",
            )
        return text
    if text.startswith("sqlite:"):
        raise Rejected(
            f"{quoted(text)} has no absolute path",
            "write four slashes, as in sqlite:////var/lib/gatepost/gatepost.db",
        )
    raise Rejected(
        f"{quoted(text)} is no store that this version supports",
        "write sqlite:////var/lib/gatepost/gatepost.db",
    )


def _local_store(text: str) -> str:
    if not text.startswith("sqlite:"):
        raise Rejected(
            f"{quoted(text)} is no file of SQLite, as what is one host's alone must be",
            "write sqlite:////var/lib/gatepost/gatepost.db, or leave local_state out",
        )
    return _store(text)


STORE = Scalar("the URL of a store", _store, "sqlite:////var/lib/gatepost/gatepost.db")
LOCAL_STORE = Scalar("the URL of a file of SQLite", _local_store, STORE.example)
