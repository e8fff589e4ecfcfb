"""Windows that let each packet id through once.

A window is told only ids of packets that have been authenticated, so that a forged id can not move it.
Source: wire-protocol draft, "Replay protection".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.errors import ReplayedPacket

if TYPE_CHECKING:
    from collections.abc import Sequence


class ReplayWindow:
    """Which of the ids up to the highest were seen.

    `size` is how far behind the highest an id may come; `seconds` how long after a higher one
    (see `expire`; 0 is for ever).
    """

    __slots__ = ("_closed", "_highest", "_mark", "_mark_time", "_mask", "_seconds", "_seen", "_size")

    def __init__(self, size: int = 64, seconds: float = 15.0) -> None:
        self._size = size
        self._seconds = seconds
        self._mask = (1 << size) - 1
        self._highest = 0
        self._seen = 0  # bit n is set when id highest - n was
        self._closed = 0  # ids up to this one come too late
        self._mark = 0
        self._mark_time: float | None = None

    @property
    def highest(self) -> int:
        """The highest id seen, 0 before the first."""
        return self._highest

    def check_and_update(self, packet_id: int) -> None:
        """Note one id.  Raises `ReplayedPacket` when it was seen, is too old, or is 0, which is no id."""
        if not self._note(packet_id):
            raise ReplayedPacket(f"packet id {packet_id} was seen or is too old, the highest is {self._highest}")

    def check_run(self, packet_ids: Sequence[int]) -> list[bool]:
        """Note a whole run of ids and tell for each whether its packet may pass."""
        count = len(packet_ids)
        if count and packet_ids[0] > self._highest and _is_consecutive(packet_ids):
            last = packet_ids[-1]
            shift = min(last - self._highest, self._size)
            self._seen = (self._seen << shift | (1 << min(count, self._size)) - 1) & self._mask
            self._highest = last
            return [True] * count
        return [self._note(packet_id) for packet_id in packet_ids]

    def expire(self, now: float) -> None:
        """Close the window behind ids that came more than `seconds` ago.

        `now` is a monotonic time.  To be called before each batch; closes after twice `seconds` at the latest.
        """
        if not self._seconds:
            return
        if self._mark_time is None or now - self._mark_time >= self._seconds:
            self._closed = self._mark
            self._mark = self._highest
            self._mark_time = now

    def _note(self, packet_id: int) -> bool:
        behind = self._highest - packet_id
        if behind < 0:
            self._seen = (self._seen << min(-behind, self._size) | 1) & self._mask
            self._highest = packet_id
            return True
        bit = 1 << behind if behind < self._size else 0
        if packet_id <= self._closed or not bit or self._seen & bit:
            return False
        self._seen |= bit
        return True


class ControlReplayWindow:
    """The window of wrapped control packets, whose ids start anew whenever their time moves on."""

    __slots__ = ("_size", "_time", "_window")

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._time = 0
        self._window = ReplayWindow(size, 0)

    def check_and_update(self, packet_id: int, time: int) -> None:
        """Note an id of the sender's `time` (seconds since the epoch).

        Raises `ReplayedPacket` as `ReplayWindow` does, and when time goes back.
        """
        if time < self._time:
            raise ReplayedPacket(f"time {time} is before {self._time}")
        if time == self._time:
            self._window.check_and_update(packet_id)
            return
        fresh = ReplayWindow(self._size, 0)
        fresh.check_and_update(packet_id)
        self._time, self._window = time, fresh


def _is_consecutive(packet_ids: Sequence[int]) -> bool:
    first, count = packet_ids[0], len(packet_ids)
    return packet_ids[-1] - first == count - 1 and list(packet_ids) == list(range(first, first + count))
