"""IPv6 packets that are refused, and what their senders are told."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import pseudo_header, rfc1071
from twistvpn.data.icmp6 import no_route, part_ipv6
from twistvpn.interfaces import DeviceType
from twistvpn.testing import pair, transfer, udp_packet

US, THEM, GROUP = IPv6Address("fd00::2"), IPv6Address("2001:db8::1"), IPv6Address("ff02::1")
PACKET = udp_packet(US, THEM, b"hello")


def transport_sum_is_right(error: bytes) -> bool:
    source, destination = (str(IPv6Address(error[start : start + 16])) for start in (8, 24))
    return rfc1071(pseudo_header(source, destination, 58, len(error) - 40) + error[40:]) == 0


def ping(source: IPv6Address, destination: IPv6Address, kind: int) -> bytes:
    return b"\x60\0\0\0\0\x08\x3a\x40" + source.packed + destination.packed + bytes([kind]) + bytes(7)


def test_the_answer_says_no_route_and_quotes_the_packet() -> None:
    error = no_route(PACKET)
    assert error is not None
    assert error[:1] == b"\x60"
    assert error[4:6] == (8 + len(PACKET)).to_bytes(2, "big")
    assert (error[6], error[7]) == (58, 255)
    assert IPv6Address(error[8:24]) == IPv6Address("fe80::7")
    assert IPv6Address(error[24:40]) == US
    assert error[40:42] == b"\x01\x00"
    assert error[48:] == PACKET
    assert transport_sum_is_right(error)


@given(st.binary(max_size=3000))
def test_checksums_are_right_and_answers_are_bounded(payload: bytes) -> None:
    error = no_route(memoryview(udp_packet(US, THEM, payload)))
    assert error is not None
    assert len(error) <= 1280
    assert transport_sum_is_right(error)


@pytest.mark.parametrize(
    "packet",
    [
        *(b"", PACKET[:39], udp_packet(GROUP, THEM, b""), udp_packet(US, GROUP, b"")),
        *(udp_packet(IPv6Address("::"), THEM, b""), ping(US, THEM, 1), ping(US, THEM, 4), ping(US, THEM, 127)),
        ping(US, THEM, 128)[:40],
    ],
)
def test_nothing_is_said_where_nothing_may_be(packet: bytes) -> None:
    assert no_route(packet) is None


def test_an_echo_request_is_answered() -> None:
    assert no_route(ping(US, THEM, 128)) is not None


def test_packets_are_parted() -> None:
    other = udp_packet(IPv4Address("10.8.0.2"), IPv4Address("10.8.0.1"), b"hello")
    kept, answers = part_ipv6([other, PACKET, b"", udp_packet(US, GROUP, b""), other], DeviceType.TUN)
    assert (kept, answers) == ([0, 2, 4], [no_route(PACKET)])


@pytest.mark.parametrize("tag", [b"", b"\x81\x00\x00\x07"])
def test_on_a_tap_the_answer_goes_back_to_the_frames_sender(tag: bytes) -> None:
    to, by = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"
    frames = [to + by + tag + b"\x86\xdd" + PACKET, to + by + tag + b"\x08\x06" + bytes(28), b"short"]
    kept, answers = part_ipv6(frames, DeviceType.TAP)
    error = no_route(PACKET)
    assert error is not None
    assert (kept, answers) == ([1, 2], [by + to + tag + b"\x86\xdd" + error])


@pytest.mark.shows("block-ipv6")
@pytest.mark.parametrize(
    ("server", "client"), [('push "block-ipv6"', ""), ("", "block-ipv6"), ("", "route-nopull\nblock-ipv6")]
)
def test_a_client_refuses_its_hosts_packets(server: str, client: str) -> None:
    vpn = pair("alice", server=server, client=client)
    alice = vpn.client
    packet = udp_packet(alice.address6, vpn.server.address6, b"hello")
    assert transfer(alice, vpn.server, packet) == []
    (answer,) = alice.tun.take()
    assert answer == no_route(packet)
    assert alice.service.drops["block-ipv6"] == 1
    other = udp_packet(alice.address, vpn.server.address, b"hello")
    assert transfer(alice, vpn.server, other) == [other]


def test_a_client_that_pulls_no_routes_is_not_told_to() -> None:
    vpn = pair("alice", server='push "block-ipv6"', client="route-nopull")
    packet = udp_packet(vpn.client.address6, vpn.server.address6, b"hello")
    assert transfer(vpn.client, vpn.server, packet) == [packet]


@pytest.mark.shows("block-ipv6")
def test_a_server_refuses_its_clients_packets() -> None:
    vpn = pair("alice", server="block-ipv6")
    alice = vpn.client
    packet = udp_packet(alice.address6, vpn.server.address6, b"hello")
    assert transfer(alice, vpn.server, packet) == []
    vpn.advance(0.1)
    assert alice.tun.take() == [no_route(packet)]
    assert vpn.server.factory.drops["block-ipv6"] == 1
