"""The deadline queue on a Clock."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twistvpn.deadlines import DeadlineQueue


class Sleeper:
    """Notes its ticks; its deadline is what the test says."""

    def __init__(self, when: float | None) -> None:
        self.when = when
        self.ticks: list[float] = []

    def deadline(self) -> float | None:
        return self.when

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        self.when = None


class Insomniac(Sleeper):
    """Stays due, and schedules itself anew in each tick."""

    def __init__(self, when: float, queue: DeadlineQueue) -> None:
        super().__init__(when)
        self._queue = queue

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        self._queue.schedule(self)


class DeadlineQueueTests(SynchronousTestCase):
    """Each waiter is ticked in its time, and no waiter can keep the others from theirs."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.queue = DeadlineQueue(self.clock)

    def schedule(self, when: float | None) -> Sleeper:
        sleeper = Sleeper(when)
        self.queue.schedule(sleeper)
        return sleeper

    def test_each_in_its_time(self) -> None:
        late, early, never = self.schedule(2.0), self.schedule(1.0), self.schedule(None)
        self.clock.pump([0.5] * 10)
        assert (early.ticks, late.ticks, never.ticks) == ([1.0], [2.0], [])
        assert self.clock.getDelayedCalls() == []

    def test_a_deadline_that_moves_later_is_asked_again(self) -> None:
        sleeper = self.schedule(1.0)
        sleeper.when = 3.0
        self.clock.pump([1.0] * 4)
        assert sleeper.ticks == [3.0]

    def test_a_deadline_that_moves_earlier(self) -> None:
        sleeper = self.schedule(3.0)
        sleeper.when = 1.0
        self.queue.schedule(sleeper)
        self.clock.pump([1.0] * 4)
        assert sleeper.ticks == [1.0]

    def test_the_forgotten_are_not_called(self) -> None:
        sleeper = self.schedule(1.0)
        self.queue.forget(sleeper)
        self.clock.advance(2.0)
        assert sleeper.ticks == []

    def test_who_stays_due_does_not_stop_the_clock(self) -> None:
        insomniac = Insomniac(1.0, self.queue)
        self.queue.schedule(insomniac)
        other = self.schedule(1.5)
        self.clock.advance(1.0)
        assert insomniac.ticks == [1.0]
        self.clock.advance(1.0)
        assert insomniac.ticks == [1.0, 2.0]
        assert other.ticks == [2.0]

    def test_nobody_is_called_after_stop(self) -> None:
        sleeper = self.schedule(1.0)
        self.queue.stop()
        self.clock.advance(2.0)
        assert sleeper.ticks == []
        assert self.clock.getDelayedCalls() == []
