"""The starter file and the document say all that there is, and nothing that is not so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatepost.settings import Settings
from gatepost.settings.document import markdown, starter
from gatepost.settings.keys import AllOrSome, KeyFile, MainFile
from gatepost.settings.keys_promoted import PromotedFile
from gatepost.settings.keys_tenants import TenantFile
from gatepost.settings.schema import Entry, ListOf, Scalar, Section, Table
from gatepost.settings.tree import parse

POSTMASTER = (
    '{"client_id": "x", "client_secret": "s", "refresh_token": "y", '
    '"token_uri": "https://oauth2.example/"}'
)


def entries(section: Section[Any], path: str = "") -> Iterator[tuple[str, Entry]]:
    """Yield every setting with its path, the inner ones included."""
    for name, entry in section.entries.items():
        yield f"{path}{name}", entry
        node = entry.node.value if isinstance(entry.node, Table) else entry.node
        if isinstance(node, Section):
            yield from entries(node, f"{path}{name}.")


ALL = [
    *entries(Section(MainFile)),
    *entries(Section(KeyFile)),
    *entries(Section(PromotedFile)),
]


def test_the_starter_passes_without_a_word(load, config):
    loaded = load(starter())
    assert loaded.warnings == ()
    assert loaded.settings == Settings(config)
    assert replace(loaded.snapshot, digest="") == replace(load("{}").snapshot, digest="")


def test_the_starter_with_every_line_in_force_passes(load, config):
    # An explanation has one blank behind its "#"; an example has none, or its own indentation.
    text = re.sub(r"(?m)^( *)#(?=\S| {2})", r"\1", starter())
    (config.parent / "tenants.d").mkdir()
    (config.parent / "tenants.d" / "globex.yaml").write_text("tenants: {globex: {logins: [g]}}")
    (config.parent / "promoted.yaml").write_text("promoted: {}")
    token = config.parent / "postmaster.json"
    token.write_text(POSTMASTER)
    token.chmod(0o600)
    secret = config.parent / "webhook-acme.secret"
    secret.write_text("whsec_" + "AAAA" * 10)
    secret.chmod(0o600)
    loaded = load(text)
    assert loaded.snapshot.tenants.by_id["acme"].campaign_header == "x-campaign"
    assert loaded.snapshot.lanes["bulk"].concurrency == 10
    assert "private" in loaded.snapshot.tls.profiles
    assert [(each.name, each.tenant) for each in loaded.snapshot.webhooks] == [("acme", "acme")]


def test_the_starter_has_every_setting():
    text = starter()
    for path, entry in entries(Section(MainFile)):
        name = path.rpartition(".")[2]
        assert re.search(rf"(?m)^[ #]*{name}:", text), path
        words = (entry.doc or name).split()[:4]
        assert re.search(r"[\s#]+".join(map(re.escape, words)), text), path


def test_no_line_is_too_long_for_a_terminal():
    assert max(map(len, starter().splitlines())) <= 100


@pytest.mark.parametrize(("path", "entry"), ALL, ids=[path for path, _ in ALL])
def test_every_setting_is_explained(path, entry):
    name = path.rpartition(".")[2]
    node = entry.node
    text = entry.doc or getattr(node, "doc", "")
    assert text
    assert text[-1] in ".?"
    if isinstance(node, Scalar | ListOf | AllOrSome):
        assert f"**`{name}`**" in markdown()


@pytest.mark.parametrize(("path", "entry"), ALL, ids=[path for path, _ in ALL])
def test_every_example_can_be_read(path, entry):
    if isinstance(entry.node, Section | Table) or path == "keys.secret":
        return
    data, problems = parse(f"x: {entry.example}".encode())
    entry.node.read(data["x"], problems)
    assert problems == []


def test_what_is_planned_is_no_setting():
    def sections(section: Section[Any]) -> Iterator[Section[Any]]:
        yield section
        for entry in section.entries.values():
            node = entry.node.value if isinstance(entry.node, Table) else entry.node
            if isinstance(node, Section):
                yield from sections(node)

    for each in sections(Section(MainFile)):
        assert not set(each.planned) & set(each.entries)


def test_tenant_files_hold_what_the_main_file_holds():
    assert set(Section(TenantFile).entries) == {"tenants"}
    assert Section(TenantFile).entries["tenants"].node is Section(MainFile).entries["tenants"].node


def test_the_document_in_the_repository_is_this_one():
    path = Path(__file__).parents[2] / "docs" / "config.md"
    assert path.read_text(encoding="utf-8") == markdown()
