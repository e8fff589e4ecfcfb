"""How long to wait for an acknowledgement: as long as it takes, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.control.round_trips import SHORTEST, RoundTrips

TLS_TIMEOUT = 2.0


def test_while_nothing_is_known_the_longest_is_waited() -> None:
    assert RoundTrips.of_datagrams(TLS_TIMEOUT).timeout == TLS_TIMEOUT


@pytest.mark.parametrize(
    ("taken", "timeout"),
    [
        ([0.001], SHORTEST),
        ([0.1], 0.3),
        ([0.1] * 100, SHORTEST),
        ([0.4] * 100, 0.4),
        ([0.4] * 100 + [0.8], 0.85),
        ([1.0], TLS_TIMEOUT),
        ([30.0], TLS_TIMEOUT),
    ],
)
def test_what_is_known_is_waited_with_room_for_its_variation(taken: list[float], timeout: float) -> None:
    trips = RoundTrips.of_datagrams(TLS_TIMEOUT)
    for seconds in taken:
        trips.took(seconds)
    assert trips.timeout == pytest.approx(timeout)


@pytest.mark.parametrize("longest", [0.1, 2.0, 30.0])
@given(taken=st.lists(st.floats(0, 1e6)))
def test_the_bounds_hold(longest: float, taken: list[float]) -> None:
    datagrams, stream = RoundTrips.of_datagrams(longest), RoundTrips.of_stream(longest)
    for seconds in taken:
        datagrams.took(seconds)
        stream.took(seconds)
    assert min(SHORTEST, longest) <= datagrams.timeout <= longest
    assert stream.timeout == longest
