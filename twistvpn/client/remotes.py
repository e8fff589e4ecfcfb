"""Which server a client tries next, and how long it waits before."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistvpn.config.settings import ClientSettings, Remote


class RemoteList:
    """Goes round the configured servers; each round without success doubles the wait, up to a bound."""

    def __init__(self, settings: ClientSettings, rng: random.Random | None = None) -> None:
        self._remotes = list(settings.remotes)
        self._first_wait, self._longest_wait = settings.connect_retry
        self._rounds = self._rounds_left = settings.connect_retry_max
        self._wait = self._first_wait
        self._next = 0
        self._rng = rng or random.Random()  # noqa: S311 - it spreads load, it guards nothing
        if settings.remote_random:
            self._rng.shuffle(self._remotes)

    def current(self) -> Remote:
        """The server to try now."""
        return self._remotes[self._next]

    def advance(self) -> None:
        """Go on to the next server."""
        self._next = (self._next + 1) % len(self._remotes)

    def failed(self) -> float | None:
        """The current server could not be reached: the seconds to wait before trying the next.

        None when every round that `connect-retry-max` allows has been made.
        """
        self.advance()
        if self._next:
            return self._first_wait
        if self._rounds_left is not None:
            self._rounds_left -= 1
            if self._rounds_left <= 0:
                return None
        wait, self._wait = self._wait, min(self._wait * 2, self._longest_wait)
        # A thousand clients of a server that comes back should not all knock in the same second.
        return wait * self._rng.uniform(1.0, 1.25)

    def succeeded(self) -> None:
        """A server has let us in: the next failure starts with a short wait, and all rounds, again."""
        self._wait = self._first_wait
        self._rounds_left = self._rounds
