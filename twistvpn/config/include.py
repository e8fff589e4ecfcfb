"""Options of a file in OpenVPN's syntax, and of those that it includes with `config`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.lexer import lex
from twistvpn.config.screen import modern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from twistvpn.config.directive import Directive, Directives

_MAX_INCLUDES = 10


def expand(items: Iterable[Directive], directives: Directives, depth: int = 1) -> Iterator[Directive]:
    """The options with present names, and those of the files that `config` includes in its place.

    `cd` counts for the includes behind it, and in the end for every path.
    """
    for item in items:
        directive = modern(item)
        if directive is None:
            continue
        if directive.name == "cd" and len(directive.args) == 1:
            directives.directory = directives.path(directive.args[0])
        if directive.name != "config":
            yield directive
            continue
        if len(directive.args) != 1:
            raise directive.error("takes a file's name")
        if depth >= _MAX_INCLUDES:
            raise directive.error("files include each other without end")
        path = directives.path(directive.args[0])
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise directive.error(f"cannot read {path}: {error.strerror}") from None
        except ValueError:
            raise directive.error(f"{path} is not UTF-8 text") from None
        yield from expand(lex(text, path), directives, depth + 1)
