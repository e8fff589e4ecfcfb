from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from twistvpn.data import kernel
from twistvpn.data.bridge import AGING, MacTable, PortSettings
from twistvpn.interfaces import Buffer, Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.usefixtures("each_kernel")

EVERYBODY = b"\xff" * 6
ALL_ROUTERS = bytes.fromhex("333300000002")


def mac(number: int) -> bytes:
    """A unicast address, locally administered."""
    return b"\x02" + number.to_bytes(5, "big")


def frame(destination: bytes, source: bytes, text: bytes = b"text") -> bytes:
    return destination + source + b"\x08\x00" + text


class Bridge:
    """A table with peers named by letters, and a clock."""

    def __init__(self, peers: str = "abc", *, most_per_peer: int = 256, most: int = 65536) -> None:
        self.clock = Clock()
        self.table: MacTable[str] = MacTable(self.clock.seconds, most=most)
        for peer in peers:
            self.join(peer, most_per_peer)

    def join(self, peer: str, most_per_peer: int = 256) -> None:
        self.table.join(peer, (), PortSettings(most_per_peer))

    def sends(self, peer: str, *frames: bytes) -> list[Buffer]:
        return self.table.check_sources(peer, frames)

    def hears(self, peer: str, *numbers: int) -> bool:
        """Whether `peer` may send from all these addresses."""
        frames = [frame(EVERYBODY, mac(number)) for number in numbers]
        return self.sends(peer, *frames) == frames

    def from_tap(self, *frames: bytes) -> dict[str, list[bytes]]:
        return contents(self.table.split_by_peer([Frame(one) for one in frames]))

    def between(self, peer: str, *frames: bytes) -> tuple[dict[str, list[bytes]], list[Buffer]]:
        """Where what `peer` sends goes: to other peers, and to the tap."""
        for_peers, for_tap = self.table.split_client_to_client(self.sends(peer, *frames))
        return contents(for_peers), for_tap


def contents(for_peers: Sequence[tuple[str, Sequence[Frame]]]) -> dict[str, list[bytes]]:
    return {peer: [bytes(one.packet) for one in frames] for peer, frames in for_peers}


def test_a_frame_goes_where_its_destination_was_heard() -> None:
    bridge = Bridge()
    assert bridge.hears("a", 1, 11)
    assert bridge.hears("b", 2)
    to_1, to_2, to_11 = (frame(mac(number), mac(99)) for number in (1, 2, 11))
    assert bridge.from_tap(to_1, to_2, to_11, to_1) == {"a": [to_1, to_11, to_1], "b": [to_2]}


@pytest.mark.parametrize("destination", [EVERYBODY, ALL_ROUTERS, mac(7)])
def test_what_is_for_many_or_for_somebody_unknown_goes_to_all(destination: bytes) -> None:
    bridge = Bridge()
    one = frame(destination, mac(99))
    assert bridge.from_tap(one) == {"a": [one], "b": [one], "c": [one]}
    other = frame(destination, mac(1))
    assert bridge.between("a", other) == ({"b": [other], "c": [other]}, [other])


def test_between_peers_a_frame_reaches_its_receiver_alone() -> None:
    bridge = Bridge()
    bridge.hears("b", 2)
    to_2 = frame(mac(2), mac(1))
    assert bridge.between("a", to_2) == ({"b": [to_2]}, [])


def test_what_lives_behind_the_tap_is_learned_too() -> None:
    bridge = Bridge()
    bridge.from_tap(frame(EVERYBODY, mac(99)))
    to_99 = frame(mac(99), mac(1))
    assert bridge.between("a", to_99) == ({}, [to_99])
    assert bridge.from_tap(frame(mac(99), mac(98))) == {}
    assert bridge.table.drops == {"same-port": 1}


def test_what_stays_behind_one_peer_is_not_sent_back() -> None:
    bridge = Bridge()
    assert bridge.hears("a", 1, 11)
    assert bridge.between("a", frame(mac(11), mac(1))) == ({}, [])
    assert bridge.table.drops == {"same-port": 1}


def test_an_address_moves_with_its_frames() -> None:
    bridge = Bridge()
    to_1 = frame(mac(1), mac(99))
    for peer in "abab":
        assert bridge.hears(peer, 1)
        assert bridge.from_tap(to_1) == {peer: [to_1]}
    bridge.from_tap(frame(EVERYBODY, mac(1)))
    assert bridge.from_tap(to_1) == {}, "it is behind the tap now"
    assert bridge.hears("c", 1)
    assert bridge.from_tap(to_1) == {"c": [to_1]}
    assert len(bridge.table) == 2


@pytest.mark.parametrize("source", [EVERYBODY, ALL_ROUTERS, bytes(6), mac(100), mac(101)])
def test_no_peer_has_a_groups_address_or_one_of_the_host(source: bytes) -> None:
    bridge = Bridge()
    bridge.table.own = {mac(100), mac(101)}
    good = frame(EVERYBODY, mac(1))
    assert bridge.sends("a", frame(EVERYBODY, source), good, frame(mac(2), source)) == [good]
    assert bridge.table.drops == {"source-address": 2}
    assert bridge.between("b", frame(mac(100), mac(2))) == ({}, [frame(mac(100), mac(2))])


@pytest.mark.shows("stale-routes-check")
def test_a_silent_address_is_forgotten() -> None:
    bridge = Bridge()
    bridge.hears("a", 1)
    bridge.clock.advance(AGING)
    bridge.hears("b", 2)
    to_1, to_2 = frame(mac(1), mac(99)), frame(mac(2), mac(99))
    assert bridge.from_tap(to_1) == {"a": [to_1]}
    bridge.clock.advance(1)
    assert bridge.from_tap(to_1) == {"a": [to_1], "b": [to_1], "c": [to_1]}
    assert bridge.from_tap(to_2) == {"b": [to_2]}


def test_one_peer_has_so_many_addresses_and_no_more() -> None:
    bridge = Bridge(most_per_peer=3)
    assert bridge.hears("a", 1, 2, 3)
    assert not bridge.hears("a", 4)
    assert bridge.table.drops == {"too-many-addresses": 1}
    assert bridge.hears("a", 1, 2)
    assert bridge.hears("b", 4)
    assert not bridge.hears("a", 4), "it would be one more"
    bridge.clock.advance(AGING + 1)
    assert bridge.hears("a", 5)
    assert len(bridge.table) == 2, "silent ones make room"


def test_a_full_table_takes_from_whoever_has_the_most() -> None:
    bridge = Bridge(most=10)
    assert bridge.hears("a", *range(100, 109))
    assert bridge.hears("b", 1)
    assert bridge.hears("b", 2), "the longest silent of a's has gone"
    assert [address for address, _ in bridge.table.behind("a")] == [
        f"{mac(each).hex(':')}@0" for each in range(101, 109)
    ]
    assert not bridge.hears("a", 109)
    assert bridge.hears("b", 3, 4, 5)
    assert not bridge.hears("b", 6), "as many as a has"
    assert bridge.hears("b", 108), "an address that moves needs no room"
    assert bridge.hears("c", 7)
    assert len(bridge.table) == 10


def test_who_leaves_is_forgotten() -> None:
    bridge = Bridge()
    bridge.hears("a", 1)
    bridge.table.leave("a")
    bridge.table.leave("a")
    to_1 = frame(mac(1), mac(99))
    assert bridge.from_tap(to_1) == {"b": [to_1], "c": [to_1]}


@pytest.mark.parametrize("length", [0, 5, 13])
def test_what_is_too_short_for_a_header_is_dropped(length: int) -> None:
    bridge = Bridge()
    short, good = bytes(length), frame(EVERYBODY, mac(1))
    assert bridge.sends("a", short, good) == [good]
    assert bridge.from_tap(short) == {}
    assert bridge.table.drops == {"malformed": 2}


@pytest.mark.parametrize("length", [0, 5, 13])
def test_a_short_frame_takes_none_of_its_batch_along(length: int) -> None:
    bridge = Bridge()
    bridge.hears("b", 2)
    to_2 = frame(mac(2), mac(1))
    assert bridge.between("a", to_2, bytes(length), to_2) == ({"b": [to_2, to_2]}, [])
    assert bridge.from_tap(to_2, bytes(length), to_2) == {"b": [to_2, to_2]}


_NUMBERS = st.integers(0, 30)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abct"), _NUMBERS, st.one_of(_NUMBERS.map(mac), st.just(EVERYBODY))),
        st.floats(0, 200).map(lambda seconds: ("wait", seconds, b"")),
        st.sampled_from("abc").map(lambda peer: ("leave", peer, b"")),
    ),
    max_size=200,
)


@given(_STEPS)
def test_it_stays_within_bounds_and_never_sends_back(steps: list[tuple[str, int | float | str, bytes]]) -> None:
    bridge = Bridge(most_per_peer=8, most=12)
    for who, what, destination in steps:
        if who == "wait":
            assert isinstance(what, float)
            bridge.clock.advance(what)
        elif who == "leave":
            assert isinstance(what, str)
            bridge.table.leave(what)
            bridge.join(what, 8)
        else:
            assert isinstance(what, int)
            one = frame(destination, mac(what))
            received = bridge.from_tap(one) if who == "t" else bridge.between(who, one)[0]
            assert who not in received
            assert all(frames == [one] for frames in received.values())
        assert len(bridge.table) <= 12


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_frames_are_grouped_by_neighbours(kind: type[bytes]) -> None:
    texts = [frame(mac(1), mac(2)), frame(mac(1), mac(2), b"y"), frame(mac(3), mac(2)), b"short", frame(mac(1), mac(2))]
    packets = [kind(text) for text in texts]
    assert kernel.by_ethernet_source(packets) == [(mac(2), packets[:3]), (b"", packets[3:4]), (mac(2), packets[4:])]
    frames = [Frame(packet) for packet in packets]
    assert kernel.by_stations(frames) == [
        (mac(1) + mac(2), frames[:2]),
        (mac(3) + mac(2), frames[2:3]),
        (b"", frames[3:4]),
        (mac(1) + mac(2), frames[4:]),
    ]
