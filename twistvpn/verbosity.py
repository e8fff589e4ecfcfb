"""OpenVPN's `verb` as levels of Twisted's logging, for what this package logs and nothing else.

Every logger of the package is a `Logger` of this module, which emits what `set_verb` allows.  Until that is called all
is emitted: an application that embeds a service filters for itself.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import LogLevel

from twisted import logger

_LEVELS = [LogLevel.error, LogLevel.warn, LogLevel.warn, LogLevel.info, LogLevel.debug]
"""By `verb`: 0 errors, 1 and 2 warnings too, 3 what is usual, 4 and more all."""

_silent: set[Any] = set()
"""The levels that are not emitted."""


class Logger(logger.Logger):
    """Twisted's Logger, which does not even make an event of what `verb` leaves out.

    A filter behind it would cost three times as much, for each line that nobody reads.
    """

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:  # noqa: A002 - Twisted's name
        """See `twisted.logger.Logger`."""
        if level not in _silent:
            super().emit(level, format, **kwargs)


def tells_all() -> bool:
    """Whether debug lines are emitted: what takes work to say need not be worked out for nobody."""
    return LogLevel.debug not in _silent


def level_of(verb: int) -> Any:
    """The least `LogLevel` that is logged at `verb`."""
    return _LEVELS[max(0, min(verb, len(_LEVELS) - 1))]


def set_verb(verb: int) -> None:
    """Log what `verb` asks for, in this process."""
    least = level_of(verb)
    _silent.clear()
    _silent.update(level for level in LogLevel.iterconstants() if level < least)
