"""The checks of ./dev check find what they look for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import cli_docs, links, locks, postfix_conf, sizes


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_broken_link_is_found_and_a_good_one_is_not(tmp_path: Path) -> None:
    written(tmp_path / "other.md", "# A heading, with words\n")
    document = written(
        tmp_path / "one.md",
        "[a](other.md) [b](other.md#a-heading-with-words) [c](https://example.org/x)\n"
        "[d](nowhere.md)\n[e](other.md#elsewhere)\n`[f](g)`\n```\n[h](i)\n```\n",
    )
    assert [each.split(": ")[0] for each in links.broken(document)] == [
        f"{document}:2",
        f"{document}:3",
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("# why\na = b\n", []),
        ("# a and c: why\na = b\nc = d\n", []),
        ("# why\na = b\nc = d\n", ["c"]),
        ("# why\n\na = b\n", ["a"]),
        ("# why\na = b,\n  c=d\n", []),
        ("# why\ngp-x unix - - y - - smtp\n# why\n  -o a=b\n  -o c=d\n", ["c"]),
        ("/^4(.*)$/ 5$1\n", ["/^4(.*)$/"]),
    ],
)
def test_a_setting_without_a_reason_is_found(tmp_path: Path, text: str, names: list[str]) -> None:
    path = written(tmp_path / "main.cf", text)
    found = [each.split(": ")[1].removesuffix(" is not explained") for each in _of(path)]
    assert found == names


def _of(path: Path) -> list[str]:
    return list(postfix_conf.unexplained(path))


def test_a_parameter_that_nobody_shows_is_found(tmp_path: Path) -> None:
    shown = written(tmp_path / "main.cf", "gatepost_milter = x\n")
    missing = list(postfix_conf.missing([shown]))
    assert not any("gatepost_milter " in each for each in missing)
    assert any("gatepost_policy " in each for each in missing)


def test_a_group_of_a_unit_without_a_reason_is_found(tmp_path: Path) -> None:
    unit = written(tmp_path / "x.service", "[Unit]\n# why\nA=b\nC=d\n\n[Service]\nE=f\nG=h\n")
    assert list(postfix_conf.bare(unit)) == [f"{unit}:7: these lines are not explained"]


def test_functions_are_measured_without_their_signature(tmp_path: Path) -> None:
    path = written(
        tmp_path / "x.py", "def f(\n    a,\n    b,\n):\n    def g():\n        pass\n    g()\n"
    )
    assert sorted(sizes.functions(path)) == [(f"{path}:1: f", 3), (f"{path}:5: g", 1)]


def test_a_lock_that_does_not_fit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCKS", tmp_path)
    written(tmp_path / "run.txt", "a-b==1.0 \\\n    --hash=sha256:00\nc==2\n")
    assert list(locks.unmet(["A_b>=1"], "run.txt")) == []
    assert len(list(locks.unmet(["a-b>=2", "d"], "run.txt"))) == 2
    assert list(locks.without_hash("run.txt")) == ["locks/run.txt: c==2 has no hash"]


def test_the_reference_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cli_docs.markdown()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "10")
    assert cli_docs.markdown() == before
    assert "## gatepost attach\n" in before
