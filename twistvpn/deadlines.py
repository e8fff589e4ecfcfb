"""One timer for everybody who waits: a queue of deadlines on a reactor's clock."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING, Protocol

from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime


_SHORTEST_WAIT = 0.01
"""Seconds before a waiter that still is due after its `tick` is called again."""


_SLACK = 64
"""Entries of the queue that may be stale before it is cleaned up."""


class Waiter(Protocol):
    """Who waits for a deadline."""

    def deadline(self) -> float | None:
        """When `tick` is due, in seconds of the clock; None for never.

        It may be later than what was last scheduled: then it is asked again instead of being ticked.
        """

    def tick(self, now: float) -> None:
        """The deadline has come."""


class DeadlineQueue:
    """Calls each waiter's `tick` when its deadline comes.

    A deadline that moves later costs nothing until the earlier one has passed, so nobody has to
    reschedule for each packet.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Waiter]] = []
        self._scheduled: dict[Waiter, float] = {}
        self._order = count()
        self._call: IDelayedCall | None = None
        self._not_before = 0.0

    def schedule(self, waiter: Waiter) -> None:
        """See to it that `waiter` is looked at by its deadline; call it when that may have moved earlier."""
        self._enter(waiter)
        self._arm()

    def forget(self, waiter: Waiter) -> None:
        """Never call `waiter` again."""
        self._scheduled.pop(waiter, None)
        if len(self._heap) > _SLACK + 2 * len(self._scheduled):
            # What was forgotten or scheduled anew would hold on to its waiter until its old time comes.
            self._heap = [entry for entry in self._heap if self._scheduled.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def stop(self) -> None:
        """Forget everybody."""
        self._scheduled.clear()
        self._heap.clear()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _tick(self, waiter: Waiter, now: float) -> None:
        try:
            waiter.tick(now)
        except Exception:  # noqa: BLE001  a fault of one waiter must not stop the others' clock
            self._log.failure("a timer of {waiter} broke", waiter=waiter)

    def _enter(self, waiter: Waiter) -> None:
        when = waiter.deadline()
        if when is None:
            return
        when = max(when, self._not_before)
        known = self._scheduled.get(waiter)
        if known is not None and known <= when:
            return
        self._scheduled[waiter] = when
        heapq.heappush(self._heap, (when, next(self._order), waiter))

    def _arm(self) -> None:
        if not self._heap:
            return
        when = self._heap[0][0]
        delay = max(0.0, when - self._clock.seconds())
        if self._call is not None and self._call.active():
            if self._call.getTime() <= when:
                return
            self._call.cancel()
        self._call = self._clock.callLater(delay, self._expire)

    def _expire(self) -> None:
        self._call = None
        now = self._clock.seconds()
        # Ticks schedule too: what stays due must not keep this turn from ending.
        self._not_before = now + _SHORTEST_WAIT
        while self._heap and self._heap[0][0] <= now:
            when, _, waiter = heapq.heappop(self._heap)
            if self._scheduled.get(waiter) != when:
                continue
            del self._scheduled[waiter]
            due = waiter.deadline()
            if due is not None and due <= now:
                self._tick(waiter, now)
            self._enter(waiter)
        self._not_before = 0.0
        self._arm()
