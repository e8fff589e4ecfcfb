"""`passtos`: which datagrams get which type of service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_peer import peers
from twistvpn.data.tos import TOS_OF, split_by_tos
from twistvpn.interfaces import DeviceType, Frame
from twistvpn.memory import MemoryLink
from twistvpn.testing import pair, udp_packet

if TYPE_CHECKING:
    from ipaddress import IPv4Address

MACS = b"\2\0\0\0\0\1\2\0\0\0\0\2"
EF = 0xB8


@pytest.mark.parametrize(
    ("packet", "tos"),
    [
        (b"\x45\xb8rest", EF),
        (b"\x45\xbbrest", EF),  # congestion notification stays inside
        (b"\x6b\x80rest", EF),
        (b"\x6b\xb0rest", EF),
        (b"\x45\0", 0),
        (b"\x75\xb8rest", 0),
        (b"\x45", 0),
        (b"", 0),
    ],
)
def test_of_a_packet(packet: bytes, tos: int) -> None:
    assert TOS_OF[DeviceType.TUN](packet) == tos
    kind = b"\x86\xdd" if packet[:1] == b"\x6b" else b"\x08\0"
    for tags in (b"", b"\x81\0\0\5", b"\x88\xa8\0\1\x81\0\0\5"):
        assert TOS_OF[DeviceType.TAP](MACS + tags + kind + packet) == tos


@given(st.binary(max_size=64))
def test_of_anything(packet: bytes) -> None:
    for tos_of in TOS_OF.values():
        assert tos_of(packet) in range(0, 256, 4)


def test_a_batch_is_cut_where_it_changes() -> None:
    frames = [Frame(bytes((0x45, tos, number))) for number, tos in enumerate((0, 0, EF, EF, 8, 0))]
    parts = split_by_tos(frames, TOS_OF[DeviceType.TUN])
    assert [(tos, len(part)) for tos, part in parts] == [(0, 2), (EF, 2), (8, 1), (0, 1)]
    assert [frame for _, part in parts for frame in part] == frames
    assert split_by_tos([], TOS_OF[DeviceType.TUN]) == []


def _marked(source: IPv4Address, destination: IPv4Address, tos: int) -> bytes:
    packet = bytearray(udp_packet(source, destination))
    packet[1] = tos
    return bytes(packet)


@pytest.mark.shows("passtos")
@pytest.mark.parametrize("proto", ["udp", "tcp"])
def test_each_end_hands_it_on_if_asked_to(proto: Literal["udp", "tcp"]) -> None:
    vpn = pair(server="passtos", client="passtos", proto=proto)
    here, there = vpn.client.address, vpn.server.address
    vpn.server.inject(*(_marked(there, here, tos) for tos in (EF, EF, 0)))
    vpn.client.inject(*(_marked(here, there, tos) for tos in (EF, EF, 0)))
    for peer in peers(vpn):
        link = peer.link
        assert isinstance(link, MemoryLink)
        assert link.tos == ([EF, 0, 0] if proto == "udp" else [EF, 0])
    vpn.advance(1)
    assert len(vpn.server.tun.written) == len(vpn.client.tun.written) == 3


def test_nobody_looks_where_it_is_not_asked_for() -> None:
    vpn = pair()
    vpn.client.inject(_marked(vpn.client.address, vpn.server.address, EF))
    for peer in peers(vpn):
        assert isinstance(peer.link, MemoryLink)
        assert peer.link.tos == []
