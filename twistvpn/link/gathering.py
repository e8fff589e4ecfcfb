"""When to let datagrams gather before they are read, as network cards moderate their interrupts.

A wake-up costs about the same for one datagram as for thirty, and what is read together leaves together.  Where
datagrams come thick and fast, a short wait makes one large batch of many small ones.  Questions and answers are not
held up, as each waits for the other; nor is a link that cannot keep up, as its batches are large by themselves.
"""

from __future__ import annotations

WAIT = 0.0002
"""Seconds that datagrams gather."""
PAUSE = 0.0003
"""Seconds between two wake-ups that make a pause."""
PERIOD = 0.002
"""Seconds over which the rate is taken, at least."""
DENSE = 10_000
"""Datagrams a second from which on it is worth it."""
LARGE = 48
"""Datagrams of a batch that is large enough."""


class Gathering:
    """Watches the wake-ups of one link; times are monotonic seconds."""

    __slots__ = ("_count", "_ended", "_is_dense", "_last", "_since")

    def __init__(self) -> None:
        self._is_dense = False
        self._count = self._last = 0
        self._since = self._ended = 0.0

    def wait(self, now: float) -> float:
        """Return how many seconds to wait at the beginning of a wake-up; mostly 0."""
        return WAIT if self._is_dense and self._last < LARGE and now - self._ended < PAUSE else 0.0

    def ended(self, now: float, datagrams: int) -> None:
        """Note the end of a wake-up that has brought so many datagrams."""
        self._count += datagrams
        self._last = datagrams
        self._ended = now
        elapsed = now - self._since
        if elapsed >= PERIOD:
            self._is_dense = self._count >= DENSE * elapsed
            self._since = now
            self._count = 0
