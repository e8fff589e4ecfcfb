"""When datagrams are left to gather."""

from __future__ import annotations

from twistvpn.link.gathering import DENSE, LARGE, PAUSE, PERIOD, WAIT, Gathering


def busy(datagrams: int, interval: float) -> tuple[Gathering, float]:
    """A link that has long had so many datagrams in each wake-up, and the time of the last."""
    gathering, now = Gathering(), 1000.0
    for _ in range(1000):
        now += interval
        gathering.ended(now, datagrams)
    return gathering, now


def test_nobody_waits_at_first() -> None:
    assert Gathering().wait(1000.0) == 0


def test_small_batches_that_come_thick_and_fast_are_made_larger() -> None:
    for datagrams in (1, 10):
        gathering, now = busy(datagrams, datagrams / DENSE / 1.1)
        assert gathering.wait(now) == WAIT


def test_a_short_burst_is_not_held_up() -> None:
    gathering, now = busy(1, 1.0)
    for _ in range(10):
        now += PERIOD / 20
        assert gathering.wait(now) == 0
        gathering.ended(now, 1)


def test_questions_and_answers_are_not_held_up() -> None:
    gathering, now = busy(1, 1.1 / DENSE)
    assert gathering.wait(now) == 0


def test_a_link_that_cannot_keep_up_is_not_held_up() -> None:
    gathering, now = busy(LARGE, 1 / DENSE)
    assert gathering.wait(now) == 0


def test_a_pause_ends_it() -> None:
    gathering, now = busy(1, 0.5 / DENSE)
    assert gathering.wait(now + PAUSE) == 0
