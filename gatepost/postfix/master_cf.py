"""The services of a master.cf, with the place of each ``-o`` value.

Purpose: to Postfix's daemons, which use getopt(3), ``-oname=value`` is ``-o name=value``. What
postconf(1) does with it is to take it apart at the next "o", so that it reads other names and
values; `for_postconf` writes a file so that both read the same.
Source: Postfix master(5); src/postconf/postconf_master.c (how options are taken apart),
src/util/mystrtok.c (white space does not split text between braces).
Format: name, type, private, unprivileged, chroot, wakeup, process limit, command, arguments. An
override is written ``-o name=value``, ``-oname=value`` or ``-o { name = value }``.
Errors: none: an entry with fewer than eight fields is left out, and Postfix refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gatepost.postfix.lines import SPACE, Edit, Logical, apply_edits, logical_lines

BLANKS = " \t\r\n"
FIELDS = 8


@dataclass(frozen=True, slots=True)
class Token:
    """One blank-separated word of an entry, from index `start` to before `end` of its text."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Option:
    """One ``-o`` override.

    Attributes:
        name: Parameter name.
        value: Value, not expanded.
        start: File offset of the first character of the value, or of where it would be.
        end: File offset behind the value.
        braced: Whether it is written in braces, so that the value may hold white space.
        first: File offset of the first character of the whole override, "-o" included.
        setting: File offset of the first character of the name, or of its brace.
        last: File offset behind its last character.
    """

    name: str
    value: str
    start: int
    end: int
    braced: bool
    first: int
    setting: int
    last: int


@dataclass(frozen=True, slots=True)
class Service:
    """One entry.

    Attributes:
        name: Service name, such as ``smtp`` or ``127.0.0.1:10025``.
        type: ``inet``, ``unix``, ``pass``, ``fifo`` or ``unix-dgram``.
        columns: The five columns from "private" to "maxproc", as written.
        command: Last component of the command name.
        options: Its overrides, in order; of two for one parameter the last wins.
        flags: Other options before the first argument, such as ``-v``.
        line: The logical line that holds it.
    """

    name: str
    type: str
    columns: tuple[str, ...]
    command: str
    options: tuple[Option, ...]
    flags: tuple[str, ...]
    line: Logical

    @property
    def key(self) -> str:
        """Return ``name/type``, as postconf -P writes it."""
        return f"{self.name}/{self.type}"

    def option(self, name: str) -> Option | None:
        """Return the override that wins for a parameter, or None."""
        return next((o for o in reversed(self.options) if o.name == name), None)

    def value(self, name: str, default: str = "") -> str:
        """Return the value that an override gives a parameter, or a default."""
        option = self.option(name)
        return default if option is None else option.value


def services(text: str) -> list[Service]:
    """Return all entries of a master.cf, in order."""
    found = []
    for line in logical_lines(text):
        words = list(_tokens(line.text))
        if line.text[0] in SPACE or len(words) < FIELDS:
            continue
        options, flags = _options(line, words[FIELDS:])
        found.append(
            Service(
                words[0].text,
                words[1].text,
                tuple(word.text for word in words[2:7]),
                words[7].text.rpartition("/")[2],
                tuple(options),
                tuple(flags),
                line,
            )
        )
    return found


def glued(text: str, entry: Service) -> list[Option]:
    """Return the overrides of an entry that are written without a blank behind "-o".

    Args:
        text: The file.
        entry: One of its entries.
    """
    return [option for option in entry.options if text[option.setting - 1] not in BLANKS]


def for_postconf(text: str) -> str:
    """Return a master.cf that means the same, with a blank behind every "-o"."""
    return apply_edits(
        text,
        (
            Edit(option.setting, option.setting, " ")
            for entry in services(text)
            for option in glued(text, entry)
        ),
    )


def _tokens(text: str) -> Iterator[Token]:
    start, level = -1, 0
    for index, char in enumerate(text):
        if level == 0 and char in BLANKS:
            if start >= 0:
                yield Token(start, index, text[start:index])
                start = -1
            continue
        if start < 0:
            start = index
        if char == "{":
            level += 1
        elif char == "}" and level > 0:
            level -= 1
    if start >= 0:
        yield Token(start, len(text), text[start:])


def _options(line: Logical, words: list[Token]) -> tuple[list[Option], list[str]]:
    options: list[Option] = []
    flags: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.text.startswith("-") or word.text == "--":
            break
        letter = word.text.find("o", 1)
        if letter < 0:
            flags.append(word.text)
            continue
        if letter > 1:
            flags.append(word.text[:letter])
        # "-oname=value" and "-vo name=value" are as good as "-o name=value".
        glued = Token(word.start + letter + 1, word.end, word.text[letter + 1 :])
        setting = glued if glued.text else next(rest, None)
        if setting is not None and (option := _option(line, word, setting)) is not None:
            options.append(option)
    return options, flags


def _option(line: Logical, word: Token, setting: Token) -> Option | None:
    braced = setting.text.startswith("{")
    begin, inner = setting.start, setting.text
    if braced:
        begin, inner = begin + 1, inner[1:].removesuffix("}")
    name, equals, rest = inner.partition("=")
    if not equals or not name.strip(SPACE):
        return None
    value = rest.strip(SPACE)
    begin += len(name) + 1
    if value:
        begin += len(rest) - len(rest.lstrip(SPACE))
    return Option(
        name.strip(SPACE),
        value,
        line.offset(begin) if value else line.offset(begin - 1) + 1,
        line.offset(begin + len(value) - 1) + 1,
        braced,
        line.offset(word.start),
        line.offset(setting.start),
        line.offset(setting.end - 1) + 1,
    )
