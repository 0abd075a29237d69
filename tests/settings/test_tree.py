"""Reading YAML: what is written stays text, all is bounded, and only `Unreadable` comes out."""

from __future__ import annotations

import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatepost.settings.locate import lines_of
from gatepost.settings.tree import MAX_ALIASED, MAX_DEPTH, Unreadable, parse

ALPHABET = string.ascii_letters + string.digits + "._-*/:#' \"[]{}\néπ"
words = st.text(ALPHABET, min_size=1, max_size=12)
trees = st.recursive(
    words, lambda inner: st.lists(inner) | st.dictionaries(words, inner), max_leaves=12
)
mappings = st.dictionaries(words, trees, min_size=1, max_size=5)


def dump(data: object, *, flow: bool) -> str:
    """Return YAML in one of its two styles; narrow, so that values go over several lines."""
    return yaml.dump(
        data, Dumper=yaml.CSafeDumper, default_flow_style=flow, allow_unicode=True, width=20
    )


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("off", "off"),
        (
            "[no, 010, 1e3, 2030-12-31, 0x1f, 1:30]",
            ["no", "010", "1e3", "2030-12-31", "0x1f", "1:30"],
        ),
        (
            "{a: , b: ~, c: null, d: '', e: '~', f: \"null\"}",
            {**dict.fromkeys("abc"), "d": "", "e": "~", "f": "null"},
        ),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: >\n  one\n  line\n", {"a": "one line\n"}),
        ("? a\n: b\n", {"a": "b"}),
        ("--- {a: b}\n...\n", {"a": "b"}),
        ("\N{BYTE ORDER MARK}a: b", {"a": "b"}),
        ("a: &x [b]\nc: *x\nd: [*x, &y e, *y]", {"a": ["b"], "c": ["b"], "d": [["b"], "e", "e"]}),
        ("&k a: *k", {"a": "a"}),
        (
            "a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}",
            {"a": {"b": "1", "c": "2"}, "d": {"c": "3", "b": "1"}},
        ),
        ("a: {<<: [{b: 1}, {b: 2, c: 2}]}", {"a": {"b": "1", "c": "2"}}),
        ("a: {'<<': x}", {"a": {"<<": "x"}}),
        ("", None),
        ("---", None),
        ("# only a comment", None),
    ],
)
def test_values_stay_what_they_are(text, data):
    assert parse(text.encode()) == (data, [])


@pytest.mark.parametrize("character", "\0\x07\x0b\x0c\x7f\x85\u2028\uffff\r")
def test_characters_that_would_hide_something_or_shift_lines(character):
    with pytest.raises(Unreadable) as caught:
        parse(f"a: b\n# {character}c: d\n".encode())
    assert caught.value.line == 2
    assert f"U+{ord(character):04X}" in caught.value.problem


def test_lines_may_end_in_crlf():
    assert parse(b"a: b\r\nc:\r\n  - d\r\n") == ({"a": "b", "c": ["d"]}, [])


@given(mappings)
def test_what_yaml_writes_is_read_back(data):
    # Both styles, since libyaml's parser has a state for each.
    for flow in (False, True):
        text = dump(data, flow=flow)
        assert parse(text.encode()) == (data, [])


@pytest.mark.fuzz
@given(st.text() | st.text("abc:-[]{}&*!|>'\"%@`#,? \n\t") | st.binary().map(lambda b: b))
def test_nothing_but_unreadable_comes_out(text):
    octets = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    try:
        parse(octets)
    except Unreadable as error:
        found = error
    else:
        return
    assert found.problem
    assert found.remedy
    # Past the end at most: where something is missing.
    assert 0 <= found.line <= octets.count(b"\n") + 2


def test_depth():
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 5000):
        with pytest.raises(Unreadable, match="nest"):
            parse(b"[" * depth + b"]" * depth)


def test_aliases_are_counted_with_what_they_hold():
    # 1,000 values, each alias of it counts 1,001 with its list.
    inner = ", ".join(["x"] * 1000)
    fits = MAX_ALIASED // 1001
    text = "a: &a [{}]\nb: [{}]\n"
    parse(text.format(inner, ", ".join(["*a"] * fits)).encode())
    with pytest.raises(Unreadable, match="aliases repeat"):
        parse(text.format(inner, ", ".join(["*a"] * (fits + 1))).encode())


def test_an_anchor_that_is_used_again_counts_as_what_it_is_now():
    big = ", ".join(["x"] * 2000)
    small = "\n".join(f"c{n}: *a" for n in range(1000))
    parse(f"a: &a [{big}]\nb: &a [x]\n{small}".encode())


def test_a_long_chain_of_aliases_costs_no_stack():
    chain = "\n".join(f"k{n}: &k{n} [*k{n - 1}]" for n in range(1, 1200))
    data, _ = parse(f"k0: &k0 x\n{chain}".encode())
    assert isinstance(data, dict)
    assert len(data) == 1200


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("a: 1\nb: 2\na: 3\n", [(("a",), 3)]),
        ("x:\n  - y: {a: 1,\n      a: 2}\n", [(("x", 0, "y", "a"), 3)]),
        ("x: &x {a: 1, a: 2}\ny: *x\n", [(("x", "a"), 1)]),
    ],
)
def test_keys_that_stand_twice(text, paths):
    _, problems = parse(text.encode())
    assert [(problem.place.path, problem.line) for problem in problems] == paths


def _paths(node: yaml.Node, path: tuple[str | int, ...]) -> dict[tuple[str | int, ...], int]:
    """Return the line of each path by PyYAML's own composer."""
    found: dict[tuple[str | int, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            found[*path, key.value] = key.start_mark.line + 1
            found.update(_paths(value, (*path, key.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[*path, index] = value.start_mark.line + 1
            found.update(_paths(value, (*path, index)))
    return found


@given(mappings, st.booleans(), st.data())
def test_lines_are_those_of_the_composer(data, flow, draw):
    text = dump(data, flow=flow)
    lines = _paths(yaml.compose(text, yaml.CSafeLoader), ())
    wanted = draw.draw(st.lists(st.sampled_from(sorted(lines, key=repr))))
    assert lines_of(text.encode(), wanted) == {path: lines[path] for path in wanted}


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a:\n  b: 1\n", (), 0),
        ("a:\n  b: 1\n", ("a", "missing", "deeper"), 1),
        ("a:\n  - 1\n", ("a", 7, "x"), 1),
        ("a: 1\n", ("missing",), 0),
        ("a: &x\n  b: 1\nc:\n  d: *x\n", ("c", "d", "b"), 4),
        ("a: &x\n  b: 1\nc:\n  <<: *x\n  e: 1\n", ("c", "b", "deeper"), 4),
        ("a: 1\nb: 1\na:\n  c: 1\n", ("a", "c"), 1),
        ("", ("a",), 0),
    ],
)
def test_lines_of_what_is_not_there_as_such(text, path, line):
    assert lines_of(text.encode(), [path]) == {path: line}
