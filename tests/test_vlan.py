from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tests.inner_packets import tcp
from tests.test_bridge import EVERYBODY, contents, mac
from twistvpn.config.settings import VlanSettings
from twistvpn.data import kernel
from twistvpn.data.bridge import AGING, PortSettings
from twistvpn.data.coalesce import ALL_OFFLOADS
from twistvpn.data.vlan import VlanTable, names_vlan, tagged, untagged, vlan_of
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

pytestmark = pytest.mark.usefixtures("each_kernel")

PRIORITY = b"\x81\x00\x60\x00"


def tag(vlan: int) -> bytes:
    return b"\x81\x00" + vlan.to_bytes(2, "big")


def frame(destination: bytes, source: bytes, tags: bytes = b"") -> bytes:
    return destination + source + tags + b"\x88\xb5text"


class Switch:
    """A table with peers named by letters, in the VLANs that are given, the tap in VLAN 1."""

    def __init__(self, accept: str = "all", pvid: int = 1, **vlans: int | None) -> None:
        self.table: VlanTable[str] = VlanTable(VlanSettings(accept, pvid), Clock().seconds, aging=AGING)
        for peer, vlan in vlans.items():
            self.table.join(peer, (), PortSettings(256, vlan))

    def from_tap(self, *frames: bytes) -> dict[str, list[bytes]]:
        return contents(self.table.split_by_peer([Frame(one) for one in frames]))

    def sent(self, peer: str, *frames: bytes) -> tuple[dict[str, list[bytes]], list[bytes]]:
        """Where what `peer` sends goes: to other peers, and to the tap."""
        for_peers, for_tap = self.table.split_client_to_client(self.table.check_sources(peer, frames))
        return contents(for_peers), list(map(bytes, self.table.for_device(for_tap)))

    def to_tap(self, peer: str, *frames: bytes) -> list[bytes]:
        """The same without client-to-client."""
        return list(map(bytes, self.table.for_device(self.table.check_sources(peer, frames))))


@pytest.mark.parametrize(
    ("tags", "vlan", "names"),
    [
        (b"", 0, False),
        (tag(10), 10, True),
        (PRIORITY, 0, False),
        (PRIORITY + tag(10), 0, True),
        (tag(0x6FFF), 4095, True),
    ],
)
def test_the_vlan_that_a_frame_names(tags: bytes, vlan: int, *, names: bool) -> None:
    one = frame(mac(1), mac(2), tags)
    assert vlan_of(one) == vlan
    assert vlan_of(memoryview(one)) == vlan
    assert names_vlan(one) is names


def test_tags_come_and_go() -> None:
    bare = frame(mac(1), mac(2))
    assert tagged(bare, 10) == frame(mac(1), mac(2), tag(10))
    assert untagged(tagged(bare, 10)) == bare
    urgent = frame(mac(1), mac(2), PRIORITY)
    assert tagged(urgent, 10) == frame(mac(1), mac(2), tag(0x600A))
    assert untagged(tagged(urgent, 10)) == urgent


def test_a_peer_gets_what_is_in_its_vlan_alone_and_without_a_tag() -> None:
    switch = Switch(a=10, b=10, c=20, d=None)
    bare = frame(EVERYBODY, mac(99))
    assert switch.from_tap(frame(EVERYBODY, mac(99), tag(10))) == {"a": [bare], "b": [bare]}
    assert switch.from_tap(frame(EVERYBODY, mac(99), tag(20))) == {"c": [bare]}
    assert switch.from_tap(bare, frame(EVERYBODY, mac(99), PRIORITY)) == {
        "d": [bare, frame(EVERYBODY, mac(99), PRIORITY)]
    }
    assert switch.from_tap(frame(EVERYBODY, mac(99), tag(30))) == {}
    assert switch.table.drops == {"vlan": 1}


def test_one_address_may_be_in_two_vlans() -> None:
    switch = Switch(a=10, c=20)
    for peer in "ac":
        switch.to_tap(peer, frame(EVERYBODY, mac(1)))
    bare = frame(mac(1), mac(99))
    assert switch.from_tap(frame(mac(1), mac(99), tag(10))) == {"a": [bare]}
    assert switch.from_tap(frame(mac(1), mac(99), tag(20))) == {"c": [bare]}
    assert switch.table.behind("c") == [("02:00:00:00:00:01@20", 0.0)]
    assert switch.table.behind("nobody") == []


def test_peers_of_one_vlan_reach_each_other() -> None:
    switch = Switch(a=10, b=10, c=20)
    hello = frame(EVERYBODY, mac(1))
    assert switch.sent("a", hello) == ({"b": [hello]}, [frame(EVERYBODY, mac(1), tag(10))])
    answer = frame(mac(1), mac(2))
    assert switch.sent("b", answer) == ({"a": [answer]}, [])
    assert switch.sent("c", answer) == ({}, [frame(mac(1), mac(2), tag(20))]), "it is unknown in this VLAN"


@pytest.mark.parametrize(
    ("accept", "from_own", "from_other"),
    [("all", b"", tag(10)), ("tagged", tag(1), tag(10)), ("untagged", b"", None)],
)
def test_what_the_tap_gets(accept: str, from_own: bytes, from_other: bytes | None) -> None:
    switch = Switch(accept, a=10, d=1)
    assert switch.to_tap("d", frame(EVERYBODY, mac(4))) == [frame(EVERYBODY, mac(4), from_own)]
    expected = [] if from_other is None else [frame(EVERYBODY, mac(1), from_other)]
    assert switch.to_tap("a", frame(EVERYBODY, mac(1))) == expected
    assert switch.table.drops == ({"vlan": 1} if from_other is None else {})


@pytest.mark.parametrize(
    ("accept", "own", "other"), [("all", True, True), ("tagged", False, True), ("untagged", True, False)]
)
def test_what_the_tap_may_give(accept: str, *, own: bool, other: bool) -> None:
    switch = Switch(accept, a=10, d=1)
    assert bool(switch.from_tap(frame(EVERYBODY, mac(99)))) is own
    assert bool(switch.from_tap(frame(EVERYBODY, mac(99), tag(10)))) is other


@pytest.mark.parametrize("tags", [tag(10), tag(20), tag(1), PRIORITY + tag(20), PRIORITY + PRIORITY + tag(20)])
def test_a_peer_cannot_choose_a_vlan(tags: bytes) -> None:
    switch = Switch(a=10, c=20, d=1)
    for peer in "ad":
        assert switch.sent(peer, frame(EVERYBODY, mac(1), tags)) == ({}, [])
    assert switch.table.drops == {"vlan": 2}


def test_the_hosts_own_addresses_are_nobodys_in_any_vlan() -> None:
    switch = Switch(a=10)
    switch.table.own = {mac(100)}
    switch.table.join("c", (), PortSettings(256, 20))
    for peer in "ac":
        assert switch.to_tap(peer, frame(EVERYBODY, mac(100))) == []
    assert switch.table.drops == {"source-address": 2}
    assert switch.table.own == {mac(100)}


def test_a_vlan_ends_with_its_last_peer() -> None:
    switch = Switch(a=10, b=10)
    everybody = frame(EVERYBODY, mac(99), tag(10))
    switch.table.leave("a")
    assert switch.from_tap(everybody).keys() == {"b"}
    switch.table.leave("b")
    switch.table.leave("b")
    assert switch.from_tap(everybody) == {}


def test_super_packets_lose_their_tag_whole() -> None:
    switch = Switch(a=10)
    header = mac(1) + mac(99)
    segments = [tcp(payload=b"x" * 100, sequence=number * 100, identification=number) for number in range(3)]
    (merged,) = kernel.coalesce_ethernet([header + tag(10) + b"\x08\x00" + one for one in segments], ALL_OFFLOADS)
    ((peer, frames),) = switch.table.split_by_peer([merged])
    assert peer == "a"
    assert kernel.segment_ethernet(frames, 0) == ([header + b"\x08\x00" + one for one in segments], 0)


_FRAMES = st.lists(st.builds(bytes.__add__, st.sampled_from([b"", b"\2" * 12, b"\2" * 12 + b"\x81\0"]), st.binary()))


@given(_FRAMES, st.sampled_from(["all", "tagged", "untagged"]))
def test_any_bytes_may_come(frames: list[bytes], accept: str) -> None:
    switch = Switch(accept, a=10, b=10, d=1)
    for peer in "ad":
        assert peer not in switch.sent(peer, *frames)[0]
        switch.to_tap(peer, *frames)
    switch.from_tap(*frames)
    batch: list[Buffer] = list(frames)
    switch.table.split_client_to_client(batch)
    switch.table.for_device(batch)
    switch.table.split_by_peer([Frame(one, b"\1\1" + bytes(8)) for one in frames])
