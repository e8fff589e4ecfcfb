from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.crypto.replay import ControlReplayWindow, ReplayWindow
from twistvpn.errors import ReplayedPacket


class ModelWindow:
    """The same rules over a set of all ids."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen: set[int] = set()

    def admit(self, packet_id: int) -> bool:
        too_old = packet_id <= max(self.seen, default=0) - self.size
        admitted = packet_id > 0 and not too_old and packet_id not in self.seen
        if admitted:
            self.seen.add(packet_id)
        return admitted


def admits(window: ReplayWindow, packet_id: int) -> bool:
    try:
        window.check_and_update(packet_id)
    except ReplayedPacket:
        return False
    return True


IDS = st.integers(0, 40) | st.integers(0, 2**32 - 1)


@given(st.integers(1, 20), st.lists(IDS, max_size=60))
def test_one_by_one_as_the_model(size: int, packet_ids: list[int]) -> None:
    window, model = ReplayWindow(size), ModelWindow(size)
    assert [admits(window, packet_id) for packet_id in packet_ids] == [model.admit(each) for each in packet_ids]
    assert window.highest == max(model.seen, default=0)


@given(
    st.integers(1, 20),
    st.lists(
        st.lists(IDS, max_size=5) | st.tuples(IDS, st.integers(0, 30)).map(lambda run: list(range(run[0], sum(run)))),
        max_size=12,
    ),
)
def test_runs_as_the_model(size: int, runs: list[list[int]]) -> None:
    window, model = ReplayWindow(size), ModelWindow(size)
    for run in runs:
        assert window.check_run(run) == [model.admit(packet_id) for packet_id in run]


def test_edges_of_the_window() -> None:
    window = ReplayWindow(64)
    assert admits(window, 100)
    assert not admits(window, 36)
    assert admits(window, 37)
    assert not admits(window, 37)
    assert not admits(window, 100)
    assert not admits(window, 0)
    assert admits(window, 101)


def test_a_refusal_names_the_id() -> None:
    window = ReplayWindow()
    window.check_and_update(7)
    with pytest.raises(ReplayedPacket, match="packet id 7"):
        window.check_and_update(7)


def test_a_leap_forgets_what_is_out_of_reach() -> None:
    window = ReplayWindow(64)
    assert window.check_run([1, 2, 3]) == [True] * 3
    assert admits(window, 0xFFFFFFFF)
    assert not admits(window, 3)
    assert admits(window, 0xFFFFFFFE)


def test_ids_of_64_bits() -> None:
    window = ReplayWindow(64)
    first = (3 << 48) + 1
    assert window.check_run(range(first, first + 100)) == [True] * 100
    assert not admits(window, first)
    assert not admits(window, first + 99)


def test_an_empty_run() -> None:
    assert ReplayWindow().check_run([]) == []


def test_what_comes_much_later_than_a_higher_id_is_too_late() -> None:
    window = ReplayWindow(64, 15.0)
    window.expire(1000.0)
    assert window.check_run([1, 2, 5]) == [True] * 3
    window.expire(1010.0)
    assert admits(window, 4)
    window.expire(1015.0)
    window.check_and_update(10)
    window.expire(1030.0)
    assert not admits(window, 3)
    assert admits(window, 9)
    window.expire(1045.0)
    assert not admits(window, 8)
    assert admits(window, 11)


def test_without_seconds_nothing_is_too_late() -> None:
    window = ReplayWindow(64, 0)
    window.check_and_update(2)
    for now in (0.0, 1000.0, 2000.0):
        window.expire(now)
    assert admits(window, 1)


def test_control_ids_start_anew_when_time_moves_on() -> None:
    window = ControlReplayWindow()
    window.check_and_update(5, 100)
    window.check_and_update(4, 100)
    window.check_and_update(1, 101)
    with pytest.raises(ReplayedPacket):
        window.check_and_update(1, 101)


def test_control_time_never_goes_back() -> None:
    window = ControlReplayWindow()
    window.check_and_update(1, 100)
    with pytest.raises(ReplayedPacket, match="time 99"):
        window.check_and_update(2, 99)
    window.check_and_update(2, 100)


def test_an_invalid_id_does_not_move_control_time() -> None:
    window = ControlReplayWindow()
    window.check_and_update(1, 100)
    with pytest.raises(ReplayedPacket):
        window.check_and_update(0, 200)
    window.check_and_update(2, 100)
