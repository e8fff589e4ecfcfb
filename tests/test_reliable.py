"""Messages arrive once and in order; windows, acknowledgements and repetition keep to what peers can take."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.control.reliable import (
    ACKS_WITH_MESSAGE,
    MAX_TIMEOUT,
    RECEIVE_WINDOW,
    SEND_WINDOW,
    Message,
    Reliable,
)
from twistvpn.control.round_trips import SHORTEST, RoundTrips
from twistvpn.wire.opcodes import Opcode
from twistvpn.wire.packets import MAX_ACKS

CONTROL = Opcode.P_CONTROL_V1


def message(message_id: int) -> Message:
    return Message(message_id, CONTROL, b"%d" % message_id)


def ids(messages: list[Message]) -> list[int]:
    return [each.message_id for each in messages]


def sender(count: int, timeout: float = 2.0) -> Reliable:
    reliable = Reliable(RoundTrips.of_datagrams(timeout))
    for number in range(count):
        reliable.enqueue(CONTROL, b"%d" % number)
    return reliable


# Sending


def test_ids_begin_at_zero_and_have_no_gaps() -> None:
    assert sender(3).due(0.0) == [message(0), message(1), message(2)]


def test_an_exchange_that_began_elsewhere_goes_on_there() -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0), first_outgoing=1, first_incoming=1)
    reliable.enqueue(CONTROL, b"1")
    assert reliable.due(0.0) == [message(1)]
    assert reliable.take_acks(4) == (0,), "the reset that was answered statelessly is acknowledged again"
    assert reliable.receive(message(0)) == []
    assert reliable.receive(message(1)) == [message(1)]


def test_no_more_than_the_window_is_in_flight() -> None:
    reliable = sender(20)
    assert ids(reliable.due(0.0)) == list(range(SEND_WINDOW))
    assert reliable.due(0.1) == []
    reliable.acknowledged([1, 2, 3], 0.2)
    assert ids(reliable.due(0.2)) == [0], "the oldest holds the window, and has been overtaken by three"
    reliable.acknowledged([0], 0.3)
    assert ids(reliable.due(0.3)) == [6, 7, 8, 9]


def test_a_message_is_repeated_ever_less_often_until_it_is_acknowledged() -> None:
    reliable = sender(1)
    assert ids(reliable.due(0.0)) == [0]
    times = []
    now = 0.0
    for _ in range(6):
        deadline = reliable.deadline()
        assert deadline is not None
        assert reliable.due(deadline - 0.01) == []
        assert ids(reliable.due(deadline)) == [0]
        times.append(deadline - now)
        now = deadline
    assert times == [2.0, 4.0, MAX_TIMEOUT, MAX_TIMEOUT, MAX_TIMEOUT, MAX_TIMEOUT]
    reliable.acknowledged([0], now)
    assert reliable.deadline() is None
    assert reliable.due(now + 100) == []
    assert reliable.settled


def test_a_longer_timeout_of_the_admins_is_kept() -> None:
    reliable = sender(1, timeout=30.0)
    reliable.due(0.0)
    assert reliable.deadline() == 30.0
    reliable.due(30.0)
    assert reliable.deadline() == 60.0


def test_where_round_trips_are_known_messages_are_repeated_after_these() -> None:
    reliable = sender(1)
    reliable.due(0.0)
    reliable.acknowledged([0], 0.5)
    reliable.enqueue(CONTROL, b"")
    reliable.due(10.0)
    assert reliable.deadline() == 11.5, "smoothed 0.5 and four times the variation, 0.25"
    reliable.due(11.5)
    assert reliable.deadline() == 14.5


def test_what_was_sent_twice_tells_nothing_of_round_trips() -> None:
    reliable = sender(1)
    reliable.due(0.0)
    reliable.due(2.0)
    reliable.acknowledged([0], 2.01)
    reliable.enqueue(CONTROL, b"")
    reliable.due(10.0)
    assert reliable.deadline() == 12.0


def test_what_the_peer_must_have_is_sent_no_more() -> None:
    reliable = sender(2)
    reliable.due(0.0)
    reliable.take_for_arrived(0)
    assert ids(reliable.due(2.0)) == [1]
    reliable.take_for_arrived(7)
    assert not reliable.settled


def test_a_message_overtaken_by_three_is_repeated_at_once_and_then_waits_again() -> None:
    reliable = sender(6)
    reliable.due(0.0)
    reliable.acknowledged([1, 2], 0.1)
    assert reliable.due(0.1) == []
    reliable.acknowledged([3], 0.2)
    assert reliable.deadline() == 0.2
    assert ids(reliable.due(0.2)) == [0]
    reliable.acknowledged([4, 5], 0.3)
    assert reliable.due(0.3) == []


def test_acknowledgements_of_what_is_not_in_flight_mean_nothing() -> None:
    reliable = sender(2)
    reliable.due(0.0)
    reliable.acknowledged([7, 0, 0, 0xFFFFFFFF], 0.0)
    assert not reliable.settled
    reliable.acknowledged([1], 0.0)
    assert reliable.settled


def test_something_to_send_is_due_at_once() -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0))
    assert reliable.deadline() is None
    reliable.enqueue(CONTROL, b"")
    assert reliable.deadline() == 0.0
    assert not reliable.settled


# Receiving


def test_what_comes_early_waits_for_what_is_missing() -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0))
    assert reliable.receive(message(2)) == []
    assert reliable.receive(message(1)) == []
    assert reliable.receive(message(0)) == [message(0), message(1), message(2)]


def test_a_duplicate_is_acknowledged_again_and_delivered_once() -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0))
    assert reliable.receive(message(0)) == [message(0)]
    assert reliable.take_acks(MAX_ACKS) == (0,)
    assert not reliable.acks_due(0.0)
    assert reliable.receive(message(0)) == []
    assert reliable.acks_due(0.0)
    assert reliable.take_acks(MAX_ACKS) == (0,)
    early = message(3)
    assert reliable.receive(early) == reliable.receive(early) == []
    assert reliable.take_acks(MAX_ACKS) == (3, 0), "owed once, however often it came"


def test_what_is_too_far_ahead_is_neither_kept_nor_acknowledged() -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0))
    assert reliable.receive(message(RECEIVE_WINDOW)) == []
    assert not reliable.acks_due(0.0)
    assert reliable.receive(message(RECEIVE_WINDOW - 1)) == []
    assert reliable.acks_due(0.0)


@pytest.mark.parametrize("limit", [ACKS_WITH_MESSAGE, MAX_ACKS])
def test_acknowledgements_are_owed_ones_first_then_old_ones_again(limit: int) -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0))
    for number in range(10):
        reliable.receive(message(number))
    first, rest = reliable.take_acks(limit), reliable.take_acks(limit)
    assert first == tuple(range(limit))
    assert rest[: 10 - limit] == tuple(range(limit, min(10, 2 * limit)))
    assert len(rest) == limit


def test_without_anything_received_nothing_is_acknowledged() -> None:
    assert Reliable(RoundTrips.of_datagrams(2.0)).take_acks(MAX_ACKS) == ()


@pytest.mark.parametrize("known", [False, True])
def test_acknowledgements_that_travel_alone_are_repeated(known: bool) -> None:  # noqa: FBT001  a parameter
    trips = RoundTrips.of_datagrams(2.0)
    if known:
        trips.took(0.01)
    wait = SHORTEST if known else 2.0
    reliable = Reliable(trips, echoes=trips.echoes)
    reliable.receive(message(0))
    assert reliable.take_lone_acks(10.0) == (0,)
    for due in (10.0 + wait, 10.0 + 3 * wait):
        assert reliable.deadline() == due
        assert not reliable.acks_due(due - 0.01)
        assert reliable.acks_due(due)
        assert reliable.take_lone_acks(due) == (0,)
        assert reliable.settled, "nobody acknowledges acknowledgements"
    assert reliable.deadline() is None


def test_acknowledgements_on_messages_are_repeated_with_these_alone() -> None:
    reliable = sender(1)
    reliable.receive(message(0))
    reliable.due(0.0)
    assert reliable.take_acks(ACKS_WITH_MESSAGE) == (0,)
    reliable.acknowledged([0], 0.1)
    assert reliable.deadline() is None


def test_newer_acknowledgements_are_repeated_in_the_place_of_older_ones() -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0), echoes=1)
    reliable.receive(message(0))
    reliable.take_lone_acks(0.0)
    reliable.receive(message(1))
    assert reliable.take_lone_acks(1.5) == (1, 0)
    assert reliable.deadline() == 3.5
    reliable.silence_echoes()
    assert reliable.deadline() is None
    assert not reliable.acks_due(100.0)


def test_on_a_stream_no_acknowledgement_is_repeated() -> None:
    trips = RoundTrips.of_stream(2.0)
    reliable = Reliable(trips, echoes=trips.echoes)
    reliable.receive(message(0))
    reliable.take_lone_acks(0.0)
    assert reliable.deadline() is None


# Both ends on a channel that loses, repeats and reorders


def exchange(seed: int, count: int, loss: float, duplication: float) -> list[int]:
    """What arrives of `count` messages; fails where a packet has more acknowledgements than a peer takes."""
    chance = random.Random(seed)
    near, far = sender(count), Reliable(RoundTrips.of_datagrams(2.0))
    arrived: list[Message] = []
    now = 0.0
    while not near.settled:
        now += 0.5
        packets = [(each, ()) for each in near.due(now)]
        chance.shuffle(packets)
        for each, _ in packets:
            for _ in range((chance.random() >= loss) + (chance.random() < duplication)):
                arrived += far.receive(each)
        while far.acks_due(now):
            acks = far.take_lone_acks(now)
            assert 0 < len(acks) <= MAX_ACKS
            if chance.random() >= loss:
                near.acknowledged(acks, now)
        assert now < 10_000
    return ids(arrived)


@given(
    st.integers(0, 2**32),
    st.integers(0, 40),
    st.floats(0, 0.6),
    st.floats(0, 0.5),
)
def test_everything_arrives_once_and_in_order(seed: int, count: int, loss: float, duplication: float) -> None:
    assert exchange(seed, count, loss, duplication) == list(range(count))


@given(st.lists(st.integers(0, 40), max_size=200), st.data())
def test_no_sequence_of_ids_delivers_twice_or_out_of_order(arrivals: list[int], data: st.DataObject) -> None:
    reliable = Reliable(RoundTrips.of_datagrams(2.0))
    delivered: list[int] = []
    for number in arrivals:
        delivered += ids(reliable.receive(message(number)))
        if data.draw(st.booleans()):
            acks = reliable.take_acks(ACKS_WITH_MESSAGE)
            assert len(acks) <= ACKS_WITH_MESSAGE
            assert len(set(acks)) == len(acks)
    assert delivered == list(range(len(delivered)))
