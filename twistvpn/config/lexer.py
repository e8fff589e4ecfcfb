"""OpenVPN's configuration syntax: words, quotes, comments and inline blocks.

The grammar is that of OpenVPN's own parser: a word ends at white space or at its closing quote; outside
single quotes a backslash stands before a backslash, a double quote or white space; `#` and `;` begin a comment
where a word would begin; `<name>` alone on a line opens a block that ends with `</name>`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.directive import Directive
from twistvpn.config.settings import Origin
from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPACE = " \t\r\n\v\f"
_ESCAPABLE = '\\"' + _SPACE


def split_words(line: str) -> list[str]:
    """The words of one line, without its comment.  Raises `ConfigError` without a place."""
    words: list[str] = []
    position = 0
    while (position := _skip_space(line, position)) < len(line) and line[position] not in "#;":
        quote = line[position] if line[position] in "\"'" else ""
        word, position = _word(line, position + len(quote), quote)
        words.append(word)
    return words


def _skip_space(line: str, position: int) -> int:
    while position < len(line) and line[position] in _SPACE:
        position += 1
    return position


def _word(line: str, position: int, quote: str) -> tuple[str, int]:
    """The word that begins at `position`, inside `quote` unless that is empty; and where the next may begin."""
    end = quote or _SPACE
    word: list[str] = []
    while position < len(line) and line[position] not in end:
        if line[position] == "\\" and quote != "'":
            position += 1
            if position >= len(line) or line[position] not in _ESCAPABLE:
                raise ConfigError(r"a backslash escapes only a backslash, a double quote or a space; write \\ for one")
        word.append(line[position])
        position += 1
    if quote and position >= len(line):
        raise ConfigError(f"the closing quote ({quote}) is missing")
    return "".join(word), position + len(quote)


def lex(text: str, file: str, first_line: int = 1) -> Iterator[Directive]:
    """The options of a text.  Raises `ConfigError` at the line of a word that does not end, or of an open block."""
    lines = enumerate(text.split("\n"), first_line)
    for number, line in lines:
        try:
            words = split_words(line)
        except ConfigError as error:
            option = line.split(maxsplit=1)[0].removeprefix("--")
            raise ConfigError(error.message, file=file, line=number, option=option) from None
        if not words:
            continue
        name = words[0].removeprefix("--")
        if len(words) == 1 and name.startswith("<") and name.endswith(">"):
            yield _block(name[1:-1], lines, Origin(file, number, name[1:-1]))
        else:
            yield Directive(name, tuple(words[1:]), Origin(file, number, name))


def _block(name: str, lines: Iterator[tuple[int, str]], origin: Origin) -> Directive:
    body: list[str] = []
    for _, line in lines:
        if line.lstrip(_SPACE).startswith(f"</{name}>"):
            return Directive(name, ("".join(body),), origin, inline=True)
        body.append(line.rstrip("\r") + "\n")
    raise ConfigError(f"the block is not closed; </{name}> is missing", file=origin.file, line=origin.line, option=name)
