"""The lines of our own syntax: sections of `name = value`, read into directives.

Comments begin with `#` or `;` at the start of a line or after white space, outside double quotes.  Options that
take several values have one on each line; the lines after the first are indented deeper than the option.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.config.directive import Directive
from twistvpn.config.ini_options import DIRECTIVES, SECTIONS, SPACE, Form, client_of, forms_of, what_is_wrong
from twistvpn.config.lexer import split_words
from twistvpn.config.options import OPTIONS, nearest
from twistvpn.config.settings import Origin
from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


_FLAGS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}


@dataclass
class _Raw:
    """An option as it stands in the file: the first line's place, and every line of its value."""

    section: str
    origin: Origin
    indent: int
    lines: list[tuple[int, str]] = field(default_factory=list)

    def error(self, message: str, line: int | None = None) -> ConfigError:
        return ConfigError(message, file=self.origin.file, line=line or self.origin.line, option=self.origin.option)


_SEVERAL = frozenset(Form) - {Form.WHOLE, Form.WORDS, Form.FLAG}
"""Forms of options that may have several lines."""

_HEADERS = frozenset(f"[{name}]" for name in SECTIONS)


def is_ini(text: str) -> bool:
    """Whether the first line that says anything is a section's header, or `NAME = VALUE` with such a header below."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    lines = [line for line in lines if line and line[0] not in "#;"]
    if not lines or lines[0].startswith("["):
        return bool(lines)
    return lines[0].split()[1:2] == ["="] and any(line in _HEADERS for line in lines)


class IniText(NamedTuple):
    """A text as its sections have it: one directive for each line of an option's value."""

    items: list[Directive]
    """The options of all sections but those of single clients, in order."""
    clients: dict[str, list[Directive]]
    """The options of each section [client NAME], by NAME."""
    lines: dict[str, int]
    """Each section's line."""


def lex_ini(text: str, file: str) -> IniText:
    """The options of a text.

    Raises `ConfigError` for what is not in `SECTIONS`, for duplicates and for a value that has not its option's form.
    """
    options, sections = _split(text.removeprefix("\ufeff"), file)
    items: list[Directive] = []
    clients: dict[str, list[Directive]] = {name: [] for section in sections if (name := client_of(section))}
    for option in options:
        client = client_of(option.section)
        (clients[client] if client else items).extend(_directives(option))
    return IniText(items, clients, sections)


def _split(text: str, file: str) -> tuple[list[_Raw], dict[str, int]]:
    options: list[_Raw] = []
    sections: dict[str, int] = {}
    section = ""
    current: _Raw | None = None
    for number, line in enumerate(text.split("\n"), 1):
        content = _without_comment(line).strip(SPACE)
        indent = len(line) - len(line.lstrip(SPACE))
        if not content:
            continue
        if current is not None and indent > current.indent:
            current.lines.append((number, content))
        elif content.startswith("["):
            section, current = _header(content, file, number, sections), None
        else:
            current = _option(content, file, number, section)
            current.indent = indent
            _check_duplicate(current, options)
            options.append(current)
    return options, sections


def _without_comment(line: str) -> str:
    quoted = False
    for position, character in enumerate(line):
        if character == '"':
            quoted = not quoted
        elif character in "#;" and not quoted and (position == 0 or line[position - 1] in SPACE):
            return line[:position]
    return line


def _header(content: str, file: str, number: int, sections: dict[str, int]) -> str:
    name = content[1:].removesuffix("]").strip()
    if not content.endswith("]"):
        raise ConfigError("the section's closing bracket is missing", file=file, line=number, option=content)
    if client := client_of(name):
        name = f"client {client}"
    elif name not in SECTIONS:
        known = ", ".join(f"[{known}]" for known in SECTIONS)
        raise ConfigError(
            f"unknown section{nearest(name, SECTIONS) or f'; there are {known}'}",
            file=file,
            line=number,
            option=content,
        )
    if name in sections:
        raise ConfigError(
            f"the section is there already (line {sections[name]}); join them", file=file, line=number, option=content
        )
    sections[name] = number
    return name


def _option(content: str, file: str, number: int, section: str) -> _Raw:
    name, equals, value = content.partition("=")
    name, value = name.strip(SPACE), value.strip(SPACE)
    raw = _Raw(section, Origin(file, number, name), 0)
    if not section:
        raise raw.error("stands before the first section")
    if not equals:
        raise raw.error("has no value; write it as NAME = VALUE")
    if name not in forms_of(section):
        raise raw.error(what_is_wrong(name, section))
    if value:
        raw.lines.append((number, value))
    return raw


def _check_duplicate(option: _Raw, earlier: list[_Raw]) -> None:
    for other in earlier:
        if (other.section, other.origin.option) == (option.section, option.origin.option):
            mend = "keep one of them"
            if forms_of(option.section)[option.origin.option] in _SEVERAL:
                mend = "put both under that one, each on a line of its own, indented"
            raise option.error(f"is there already (line {other.origin.line}); {mend}")


def _directives(option: _Raw) -> Iterator[Directive]:
    """The option's value as directives: one for each line, none for `no`."""
    name = option.origin.option
    form = forms_of(option.section)[name]
    key = DIRECTIVES.get((option.section, name), name)
    if not option.lines:
        raise option.error("has no value")
    if form not in _SEVERAL and len(option.lines) > 1:
        raise option.error("takes one value on one line", option.lines[1][0])
    if form is Form.FLAG:
        if _flag(option) is not key.startswith("no-"):
            yield Directive(key, (), option.origin)
        return
    for number, value in option.lines:
        origin = Origin(option.origin.file, number, name)
        yield Directive(key, _words(form, value, origin, key), origin)


def _flag(option: _Raw) -> bool:
    value = option.lines[0][1].lower()
    if value not in _FLAGS:
        raise option.error(f"{option.lines[0][1]!r} is neither yes nor no")
    return _FLAGS[value]


def _words(form: Form, value: str, origin: Origin, key: str) -> tuple[str, ...]:
    place = {"file": origin.file, "option": origin.option}
    if form in {Form.WHOLE, Form.WHOLE_LINES}:
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        return (value[1:-1] if quoted else value,)
    try:
        words = tuple(split_words(value))
    except ConfigError as error:
        raise ConfigError(error.message, line=origin.line, **place) from None
    least, most = OPTIONS[key].arguments if key in OPTIONS and form is Form.WORDS else (1, 99)
    if not least <= len(words) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ConfigError(f"takes {wanted} words, this has {len(words)}", line=origin.line, **place)
    return words
