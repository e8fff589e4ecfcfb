"""How long a control message waits for its acknowledgement before it is sent again.

Under the full load of a tunnel, datagrams are lost where they arrive: a stock peer's socket has room for about a
hundred, and control packets stand in line with data.  Who then waits 2, 4 and 8 seconds, as `tls-timeout` has it for a
path of which nothing is known, has few tries within a hand-window.  So the wait follows what round trips really take.

Source: RFC 6298, with a bound below as Linux has it.
"""

from __future__ import annotations

SHORTEST = 0.2
"""Seconds that a message waits at least: a busy peer is no lost packet."""

ECHOES = 2
"""How often acknowledgements that travelled alone are repeated."""


class RoundTrips:
    """What one remote's acknowledgements have taken, for all keys of a session.

    `longest` is the wait while nothing is known, and at most (seconds).  `echoes` is how often acknowledgements that
    travel alone are repeated: nobody acknowledges these, and a stock peer that lacks one says its own message again
    after 2 seconds, then 4, 8 and 16.
    """

    __slots__ = ("_shortest", "_smoothed", "_variation", "echoes", "longest")

    def __init__(self, longest: float, shortest: float, echoes: int) -> None:
        self.longest = longest
        self.echoes = echoes
        self._shortest = shortest
        self._smoothed: float | None = None
        self._variation = 0.0

    @classmethod
    def of_datagrams(cls, longest: float) -> RoundTrips:
        """Where packets get lost."""
        return cls(longest, SHORTEST, ECHOES)

    @classmethod
    def of_stream(cls, longest: float) -> RoundTrips:
        """Where nothing gets lost, but may stand in line for long."""
        return cls(longest, longest, 0)

    def took(self, seconds: float) -> None:
        """A message that was sent once was acknowledged after so many seconds."""
        if self._smoothed is None:
            self._smoothed, self._variation = seconds, seconds / 2
            return
        self._variation += (abs(self._smoothed - seconds) - self._variation) / 4
        self._smoothed += (seconds - self._smoothed) / 8

    @property
    def timeout(self) -> float:
        """Seconds until the first repetition of what leaves now."""
        if self._smoothed is None:
            return self.longest
        return min(max(self._shortest, self._smoothed + 4 * self._variation), self.longest)
