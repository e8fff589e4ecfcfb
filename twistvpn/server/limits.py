"""How often something may happen: `connect-freq` and `connect-freq-initial`."""

from __future__ import annotations


class FrequencyLimit:
    """At most `most` events in a period of `seconds`; a new period begins with the first event after the last one."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self.refused = 0
        """Events refused in the present period."""
        self._count = 0
        self._ends = 0.0

    def allows(self, now: float) -> bool:
        """Count an event; whether it may happen."""
        if now >= self._ends:
            self._ends = now + self.seconds
            self._count = self.refused = 0
        if self._count >= self.most:
            self.refused += 1
            return False
        self._count += 1
        return True

    def forgive(self) -> None:
        """Let an event not have counted after all."""
        self._count = max(0, self._count - 1)

    def __str__(self) -> str:
        return f"{self.most} in {self.seconds:g} s"
