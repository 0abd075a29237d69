"""Whatever stands in the files: a configuration comes out, or errors that an operator can use."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import ConfigErrors
from gatepost.settings import Loaded, Loader
from gatepost.settings.document import starter
from gatepost.settings.keys import KeyFile, MainFile
from gatepost.settings.schema import Section, Table

KEYS = f"current: 1\nkeys:\n  1: {{secret: {bytes(range(32)).hex()}}}\n"


def _names(section: Section[object]) -> set[str]:
    found = set(section.entries) | set(section.planned)
    for entry in section.entries.values():
        node = entry.node.value if isinstance(entry.node, Table) else entry.node
        if isinstance(node, Section):
            found |= _names(node)
    return found


NAMES = sorted(_names(Section(MainFile)) | {"standard", "normal", "private", "acme", "globex"})
VALUES = sorted(
    {"acme", "globex", "private", "bulk", "standard", "normal", "token", "keep", "observe"}
    | {"off", "enforce", "yes", "no", "*", "encrypt", "verify", "may", "none", "TLSv1.2", "bounce"}
    | {"acme.example", ".example", "example", "192.0.2.0/24", "192.0.2.1", "::/1", "10s", "5"}
    | {"X-Campaign", "X-Tenant-ID", "examplesp", "127.0.0.1:9464", "keys.yaml", "tenants.d", ""}
)
keys = st.sampled_from(NAMES) | st.text(max_size=3)
scalars = st.sampled_from(VALUES) | st.text(max_size=5) | st.none() | st.integers()
plausible = st.dictionaries(
    keys,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)


def outcome(directory: Path) -> Loaded | ConfigErrors:
    """Load, and check that what comes out can be shown to an operator."""
    config = directory / "gatepost.yaml"
    try:
        loaded = Loader(config).load()
    except ConfigErrors as errors:
        result: Loaded | ConfigErrors = errors
        told = [*errors.errors, *errors.warnings]
        wrong = len(errors.errors)
    else:
        result = loaded
        told = list(loaded.warnings)
        wrong = 0
    assert isinstance(result, ConfigErrors) == bool(wrong)
    for each in told:
        text = str(each)
        assert "\n" not in text
        assert "\0" not in text
        assert each.problem
        assert each.remedy
        assert each.problem[-1] != "."
        assert each.remedy[-1] != "."
        lines = Path(each.file).read_bytes().decode("utf-8", "replace")
        assert 0 <= each.line <= len(lines.splitlines()) + 1
    return result


def write_keys(directory: Path, text: str | bytes) -> None:
    keys = directory / "keys.yaml"
    keys.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    keys.chmod(0o600)


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """One directory for all examples of a property, which each writes all files anew."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.fuzz
@given(data=plausible)
def test_settings_in_any_places(shared, data):
    write_keys(shared, KEYS)
    (shared / "gatepost.yaml").write_text(yaml.dump(data, Dumper=yaml.CSafeDumper))
    outcome(shared)


@pytest.mark.fuzz
@given(text=st.text() | st.binary())
def test_any_text(shared, text):
    write_keys(shared, KEYS)
    octets = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    (shared / "gatepost.yaml").write_bytes(octets)
    outcome(shared)


@pytest.mark.fuzz
@given(seed=st.integers(0, 2**32), cuts=st.integers(1, 6))
def test_a_configuration_with_lines_lost_moved_and_doubled(shared, seed, cuts):
    write_keys(shared, KEYS)
    chance = random.Random(seed)
    lines = [line for line in STARTER_IN_FORCE if chance.random() > 0.3]
    for _ in range(cuts):
        at = chance.randrange(len(lines))
        what = chance.choice(["lose", "double", "move", "cut", "indent"])
        if what == "lose":
            del lines[at]
        elif what == "double":
            lines.insert(chance.randrange(len(lines)), lines[at])
        elif what == "move":
            lines.insert(chance.randrange(len(lines)), lines.pop(at))
        elif what == "cut":
            lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
        else:
            lines[at] = " " * chance.randrange(8) + lines[at].lstrip()
    (shared / "gatepost.yaml").write_text("\n".join(lines))
    outcome(shared)


def _in_force() -> list[str]:
    text = re.sub(r"(?m)^( *)#(?=\S| {2})", r"\1", starter())
    return [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


STARTER_IN_FORCE = _in_force()

SECRET = "5f3a9c" * 12
secrets = st.sampled_from([SECRET, SECRET[:-1], SECRET + "g", SECRET.upper(), f"*{SECRET}"])
key_texts = st.recursive(
    secrets | st.sampled_from(["1", "2", "32", "secret", "until", "2030-01-01"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Section(KeyFile).entries, "secret", "until", "1", "2", SECRET]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@pytest.mark.fuzz
@given(data=key_texts, quotes=st.booleans())
def test_no_message_shows_a_secret(shared, data, quotes):
    text = yaml.dump(data, Dumper=yaml.CSafeDumper)
    write_keys(shared, text if quotes else text.replace("'", "").replace('"', ""))
    (shared / "gatepost.yaml").write_text("log: {level: info}\n")
    result = outcome(shared)
    if isinstance(result, ConfigErrors):
        shown = "\n".join(map(str, [*result.errors, *result.warnings])).lower()
        assert SECRET[:12] not in shown
