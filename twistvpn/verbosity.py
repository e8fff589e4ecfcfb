"""OpenVPN's `verb` as levels of Twisted's logging, for what this package logs and nothing else.

Every logger of the package sends its events through `log_observer`, which lets pass what `set_verb` allows, on to
Twisted's own publisher and so to wherever the process logs.  Until `set_verb` is called all pass: an application
that embeds a service filters for itself.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)

_NAMESPACE = "twistvpn"

_predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.debug)

log_observer = FilteringLogObserver(globalLogPublisher, [_predicate])
"""Give it to every `twisted.logger.Logger` of the package."""


def level_of(verb: int) -> Any:
    """The least `LogLevel` that is logged at `verb` 0 to 11: 0 errors, 1 and 2 warnings too, 3 what is usual, 4 all."""
    by_verb = [LogLevel.error, LogLevel.warn, LogLevel.warn, LogLevel.info, LogLevel.debug]
    return by_verb[max(0, min(verb, len(by_verb) - 1))]


def set_verb(verb: int) -> None:
    """Log what `verb` asks for, in this process."""
    _predicate.setLogLevelForNamespace(_NAMESPACE, level_of(verb))
