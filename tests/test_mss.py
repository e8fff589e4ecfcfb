from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import ACK, SYN, checksums_hold, tcp, udp
from twistvpn.data import kernel
from twistvpn.data.mss import DEFAULT_MSSFIX, link_overhead, max_mss

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

pytestmark = pytest.mark.usefixtures("each_kernel")

IPV4 = ("10.8.0.2", "10.8.0.1")
IPV6 = ("fd00::2", "fd00::1")


def mss(value: int) -> bytes:
    return struct.pack(">BBH", 2, 4, value)


def clamped(packet: bytes, largest: int) -> bytes:
    batch: list[Buffer] = [memoryview(packet)]
    kernel.clamp_mss(batch, largest)
    return bytes(batch[0])


@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_a_handshake_announces_no_more_than_the_largest(flags: int) -> None:
    packet = tcp(*IPV4, flags=flags, options=mss(1460))
    assert clamped(packet, 1400) == tcp(*IPV4, flags=flags, options=mss(1400))


def test_ipv6_has_twenty_bytes_less() -> None:
    assert clamped(tcp(*IPV6, flags=SYN, options=mss(1440)), 1400) == tcp(*IPV6, flags=SYN, options=mss(1380))


@pytest.mark.parametrize(
    "packet",
    [
        tcp(*IPV4, flags=SYN, options=mss(1400)),
        tcp(*IPV4, flags=SYN, options=mss(500)),
        tcp(*IPV6, flags=SYN, options=mss(1380)),
        tcp(*IPV4, flags=ACK, options=mss(1460)),
        tcp(*IPV4, flags=SYN),
        tcp(*IPV4, flags=SYN, options=b"\0\0\0\0" + mss(1460)),
        tcp(*IPV4, flags=SYN, options=b"\2\0\5\xb4"),
        tcp(*IPV4, flags=SYN, options=b"\2\x08\5\xb4"),
        tcp(*IPV4, flags=SYN, options=mss(1460), fragment=1),
        tcp(*IPV4, flags=SYN, options=mss(1460)) + b"x",
        tcp(*IPV4, flags=SYN, options=mss(1460))[:-2],
        udp(*IPV4, bytes(40)),
        b"",
        b"\x45" * 40,
    ],
)
def test_everything_else_is_left_as_it_is(packet: bytes) -> None:
    assert clamped(packet, 1400) == packet


def test_the_option_is_found_behind_others_at_any_offset() -> None:
    for before, behind in ((b"\1", b"\1\1\1"), (b"\1\1", b"\1\1"), (b"\3\3\7", b"\1"), (b"\4\2\3\3\7", b"\1\1\1")):
        packet = tcp(*IPV4, flags=SYN, options=before + mss(1460) + behind)
        assert clamped(packet, 1200) == tcp(*IPV4, flags=SYN, options=before + mss(1200) + behind)


def test_ip_options_and_data_in_the_handshake_change_nothing() -> None:
    def handshake(largest: int) -> bytes:
        return tcp(*IPV4, b"early data", flags=SYN, ip_options=b"\x94\x04\0\0", options=mss(largest))

    assert clamped(handshake(1460), 1300) == handshake(1300)


@given(
    st.sampled_from([IPV4, IPV6]),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 12),
    st.binary(max_size=20),
)
def test_the_checksum_stays_right(ends: tuple[str, str], announced: int, largest: int, nops: int, data: bytes) -> None:
    options = b"\1" * nops + mss(announced)
    options += b"\1" * (-len(options) % 4)
    packet = clamped(tcp(*ends, data, flags=SYN, options=options), largest)
    assert checksums_hold(packet)
    limit = largest if ends is IPV4 else max(0, largest - 20)
    header = 20 if ends is IPV4 else 40
    assert packet[header + 20 + nops : header + 24 + nops] == mss(min(announced, limit))


@given(st.binary(max_size=100), st.integers(0, 0xFFFF))
def test_any_packet_may_pass(packet: bytes, largest: int) -> None:
    assert len(clamped(packet, largest)) == len(packet)


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), max_size=4), st.sampled_from([IPV4, IPV6]))
def test_a_spoilt_handshake_may_pass(spoils: list[tuple[int, int]], ends: tuple[str, str]) -> None:
    packet = bytearray(tcp(*ends, flags=SYN, options=mss(1460) + b"\1\1\3\3\7\0\0\0"))
    for at, value in spoils:
        packet[at % len(packet)] = value
    assert len(clamped(bytes(packet), 1400)) == len(packet)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (link_overhead(20, is_stream=False), 1400),
        (link_overhead(40, is_stream=False), 1380),
        (link_overhead(20, is_stream=True), 1386),
    ],
)
def test_the_default_keeps_outer_packets_within_1492_bytes(link: int, expected: int) -> None:
    assert max_mss(DEFAULT_MSSFIX - link - 24) == expected
    assert max_mss(10) == 0
