"""Bounds on what strangers on streams cost: connections that they hold, and lines that they leave in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SILENT = 256
"""Connections at a time that have delivered nothing yet: each takes a descriptor, and a process has 1024 unless
somebody raises that; some are wanted for files."""

MOST_LINES = 10
PERIOD = 60.0
"""So many lines in so many seconds."""


class Connection(Protocol):
    """One connection."""

    def give_way(self) -> None:
        """Close it at once."""


class Strangers:
    """Connections that have yet to deliver a packet.  Where there are too many, the oldest gives way.

    So whoever holds connections open keeps nobody out who means to say something.  `seconds` tells the time.
    """

    def __init__(self, seconds: Callable[[], float], most: int = MOST_SILENT) -> None:
        self._seconds = seconds
        self._most = most
        self._silent: dict[Connection, None] = {}
        self._since = float("-inf")
        self._lines = self._left_out = 0

    def __len__(self) -> int:
        return len(self._silent)

    def enter(self, connection: Connection) -> None:
        """A connection was made."""
        if len(self._silent) >= self._most:
            oldest = next(iter(self._silent))
            self.leave(oldest)
            oldest.give_way()
        self._silent[connection] = None

    def leave(self, connection: Connection) -> None:
        """It has said something, or is gone."""
        self._silent.pop(connection, None)

    def line_about(self, line: str) -> str | None:
        """The line to log about one of them; None where it is one too many, which a later one tells."""
        now = self._seconds()
        if now - self._since >= PERIOD:
            self._since, self._lines = now, 0
        if self._lines >= MOST_LINES:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return f"{line} (and {left_out} lines of this kind, left out)" if left_out else line
