"""The numbers that data packets name their peers by."""

from __future__ import annotations

from collections import deque

NO_PEER_ID = 0xFFFFFF
"""A peer-id that names nobody: the peer is found by its address."""

REST = 120.0
"""Seconds that an id rests before it is somebody else's: packets under it may still be on their way, or come from a
client that has not noticed yet that it is forgotten."""


class PeerIds:
    """Hands out ids of 24 bits, those given back the longest ago first."""

    def __init__(self) -> None:
        self._resting: deque[tuple[float, int]] = deque()
        """When it may be used again, and the id."""
        self._next = 0

    def take(self, now: float) -> int:
        """Return an id that nobody has: one that has rested, else a new one, else the one that has rested longest."""
        if self._resting and (now >= self._resting[0][0] or self._next >= NO_PEER_ID):
            return self._resting.popleft()[1]
        assert self._next < NO_PEER_ID, "there are fewer clients than ids"
        self._next += 1
        return self._next - 1

    def give_back(self, peer_id: int, now: float) -> None:
        """Let `peer_id` rest; one that was never taken here is nobody's."""
        if peer_id >= self._next:
            return
        self._resting.append((now + REST, peer_id))
