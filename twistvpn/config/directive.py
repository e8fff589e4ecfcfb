"""Options as they were written, before anyone knows what they mean: what both syntaxes are parsed into."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.config.settings import Origin


@dataclass(frozen=True)
class Directive:
    """One option with its arguments; the one argument of an inline block is its text."""

    name: str
    """The option's present name; `origin.option` has the spelling of the file."""
    args: tuple[str, ...] = field(repr=False)
    origin: Origin
    inline: bool = False
    optional: bool = False
    """Written as `setenv opt NAME`: not knowing it is no mistake."""

    def error(self, message: str) -> ConfigError:
        """The mistake `message` at this option's place."""
        return ConfigError(message, file=self.origin.file, line=self.origin.line, option=self.origin.option)

    def contradiction(self, other: Directive) -> ConfigError:
        """This option and `other` cannot both be meant."""
        return self.error(f"contradicts {other.place}; keep one of them")

    @property
    def place(self) -> str:
        """The option and its line, for a message about another one."""
        return f"{self.origin.option} (line {self.origin.line})"


class Directives:
    """The options of one configuration in their order, and the notes that reading them leaves for the log."""

    def __init__(self, items: Iterable[Directive], *, file: str, directory: str) -> None:
        self.items = list(items)
        self.file = file
        self.directory = directory
        self.notes: list[str] = []

    def every(self, name: str) -> list[Directive]:
        """All options of that name."""
        return [item for item in self.items if item.name == name]

    def last(self, name: str) -> Directive | None:
        """The option that holds: a later one replaces an earlier one."""
        return next((item for item in reversed(self.items) if item.name == name), None)

    def last_of(self, *names: str) -> Directive | None:
        """The last option that has any of these names."""
        return next((item for item in reversed(self.items) if item.name in names), None)

    def __contains__(self, name: str) -> bool:
        return any(item.name == name for item in self.items)

    def missing(self, option: str, message: str) -> ConfigError:
        """The mistake that `option` is not there at all."""
        return ConfigError(message, file=self.file, option=option)

    def note(self, directive: Directive, text: str) -> None:
        """Leave a line for the log at the option's place."""
        self.notes.append(str(directive.error(text)))

    def path(self, text: str) -> str:
        """A path as written, taken from the configuration's directory."""
        return os.path.normpath(os.path.join(self.directory, os.path.expanduser(text)))  # noqa: PTH111, PTH118 - text in, text out
