from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import (
    ACK,
    CWR,
    DF,
    ECE,
    FIN,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    URG,
    checksums_hold,
    ip,
    pseudo_header,
    rfc1071,
    tcp,
    udp,
)
from twistvpn.data import kernel
from twistvpn.data.coalesce import TUN_F_TSO4, TUN_F_USO4
from twistvpn.data.inet import checksum, updated_checksum, word_sum
from twistvpn.data.offload import VnetHeader
from twistvpn.errors import WireError
from twistvpn.interfaces import NO_OFFLOAD, Frame

pytestmark = pytest.mark.usefixtures("each_kernel")

IPV4 = ("10.8.0.2", "10.8.0.1")
IPV6 = ("fd00::2", "fd00::1")
TIMESTAMPS = bytes.fromhex("0101080a0000000100000002")


def payload(length: int) -> bytes:
    return bytes(index * 7 & 0xFF for index in range(length))


def tcp_segments(
    ends: tuple[str, str],
    sizes: list[int],
    *,
    sequence: int = 0xFFFFF000,
    identification: int = 0xFFFE,
    flags: int = ACK,
    options: bytes = TIMESTAMPS,
) -> list[bytes]:
    segments = []
    for index, size in enumerate(sizes):
        segments.append(
            tcp(
                *ends,
                payload(size),
                sequence=sequence,
                identification=(identification + index) & 0xFFFF,
                flags=flags,
                options=options,
            )
        )
        sequence += size
    return segments


@given(st.binary(min_size=1).filter(any))
def test_the_checksum_is_that_of_rfc_1071(data: bytes) -> None:
    assert checksum(word_sum(data)) == rfc1071(data)


@given(st.binary(min_size=4, max_size=60), st.integers(0, 0xFFFF), st.data())
def test_an_updated_checksum_still_verifies(data: bytes, new: int, source: st.DataObject) -> None:
    words = bytearray(b"\x45" + data[: len(data) & ~1] + b"\0")
    at = source.draw(st.integers(0, len(words) // 2 - 1)) * 2
    old_checksum, old = rfc1071(bytes(words)), int.from_bytes(words[at : at + 2], "big")
    words[at : at + 2] = new.to_bytes(2, "big")
    updated = updated_checksum(old_checksum, old, new)
    assert rfc1071(bytes(words) + updated.to_bytes(2, "big")) in {0, 0xFFFF}


def test_a_plain_frame_is_its_packet() -> None:
    packet = tcp(payload=b"x")
    assert kernel.segment(Frame(packet)) == [packet]


@pytest.mark.parametrize("ends", [IPV4, IPV6])
@pytest.mark.parametrize("make", [tcp, udp])
@pytest.mark.parametrize("size", [0, 1, 100, 101])
def test_a_partial_checksum_is_completed(ends: tuple[str, str], make: object, size: int) -> None:
    whole = tcp(*ends, payload(size)) if make is tcp else udp(*ends, payload(size))
    header = 20 if ends is IPV4 else 40
    protocol, offset = (TCP, 16) if make is tcp else (UDP, 6)
    partial = bytearray(whole)
    pseudo = ~rfc1071(pseudo_header(*ends, protocol, len(whole) - header)) & 0xFFFF
    struct.pack_into(">H", partial, header + offset, pseudo)
    vnet = VnetHeader(flags=1, csum_start=header, csum_offset=offset)
    assert kernel.segment(Frame(bytes(partial), vnet.encode())) == [whole]


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    # The port is chosen so that the sum is 0xFFFF.
    base = udp(*IPV4, bytes(2))
    rest = int.from_bytes(base[26:28], "big")
    whole = udp(*IPV4, rest.to_bytes(2, "big"))
    assert whole[26:28] == b"\xff\xff"
    partial = bytearray(whole)
    struct.pack_into(">H", partial, 26, ~rfc1071(pseudo_header(*IPV4, UDP, 10)) & 0xFFFF)
    assert kernel.segment(Frame(bytes(partial), VnetHeader(1, csum_start=20, csum_offset=6).encode())) == [whole]


@pytest.mark.parametrize("ends", [IPV4, IPV6])
def test_a_tcp_super_packet_becomes_the_segments_it_stands_for(ends: tuple[str, str]) -> None:
    """FIN and PSH come on the last segment only, CWR on the first; sequence and identification wrap."""
    header = 20 if ends is IPV4 else 40
    sequence = 0xFFFFFF00
    flags = ACK | PSH | FIN | CWR | ECE
    whole = tcp(*ends, payload(2500), sequence=sequence, flags=flags, options=TIMESTAMPS, identification=0xFFFF)
    vnet = VnetHeader(1, (1 if ends is IPV4 else 4) | 0x80, 1000, 1000, header, 16)
    expected = [
        tcp(
            *ends,
            payload(2500)[at : at + 1000],
            sequence=sequence + at,
            flags=own,
            options=TIMESTAMPS,
            identification=(0xFFFF + index) & 0xFFFF,
        )
        for index, (at, own) in enumerate([(0, ACK | ECE | CWR), (1000, ACK | ECE), (2000, ACK | ECE | PSH | FIN)])
    ]
    assert kernel.segment(Frame(memoryview(whole), vnet.encode())) == expected


@pytest.mark.parametrize("ends", [IPV4, IPV6])
def test_a_udp_super_packet_becomes_the_datagrams_it_stands_for(ends: tuple[str, str]) -> None:
    header = 20 if ends is IPV4 else 40
    whole = udp(*ends, payload(250), identification=9)
    vnet = VnetHeader(1, 5, 0, 100, header, 6)
    expected = [
        udp(*ends, payload(250)[at : at + 100], identification=9 + index) for index, at in enumerate((0, 100, 200))
    ]
    assert kernel.segment(Frame(whole, vnet.encode())) == expected


def test_ip_options_and_extension_headers_are_copied_to_every_segment() -> None:
    whole = tcp(*IPV4, payload(300), ip_options=b"\x94\x04\0\0", identification=5)
    parts = kernel.segment(Frame(whole, VnetHeader(1, 1, 0, 200, 24, 16).encode()))
    assert parts[1] == tcp(*IPV4, payload(300)[200:], ip_options=b"\x94\x04\0\0", identification=6, sequence=1200)
    body = tcp(*IPV6, payload(300))[40:]
    extended = ip(*IPV6, 60, bytes((TCP, 0)) + bytes(6) + body)
    first, second = kernel.segment(Frame(extended, VnetHeader(1, 4, 0, 200, 48, 16).encode()))
    assert first[:40] == ip(*IPV6, 60, bytes(8 + 20 + 200))[:40]
    assert bytes(second)[48:] == tcp(*IPV6, payload(300)[200:], sequence=1200)[40:]


@given(st.binary(max_size=200), st.tuples(*[st.integers(0, 255)] * 2, *[st.integers(0, 0xFFFF)] * 4))
def test_any_frame_gives_packets_or_our_error(packet: bytes, fields: tuple[int, int, int, int, int, int]) -> None:
    with contextlib.suppress(WireError):
        kernel.segment(Frame(packet, VnetHeader(*fields).encode()))


@given(
    st.sampled_from([IPV4, IPV6]),
    st.sampled_from([1, 4, 5, 0x81]),
    st.integers(0, 300),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=3),
    st.tuples(st.integers(0, 400), st.sampled_from([20, 40, 44, 0]), st.sampled_from([6, 16, 0xFFFF])),
)
def test_a_spoilt_super_packet_gives_packets_or_our_error(
    ends: tuple[str, str], kind: int, size: int, spoils: list[tuple[int, int]], fields: tuple[int, int, int]
) -> None:
    packet = bytearray(udp(*ends, payload(size)) if kind == 5 else tcp(*ends, payload(size)))
    for at, value in spoils:
        packet[at % len(packet)] = value
    with contextlib.suppress(WireError):
        kernel.segment(Frame(bytes(packet), VnetHeader(1, kind, 0, *fields).encode()))


def test_a_vnet_header_of_another_length_is_our_error() -> None:
    with pytest.raises(WireError):
        VnetHeader.decode(b"\1")


@pytest.mark.parametrize("length", [65536, 66000])
def test_an_ipv4_super_packet_longer_than_ip_allows_is_our_error(length: int) -> None:
    packet = tcp(*IPV4, b"x").ljust(length, b"x")
    with pytest.raises(WireError):
        kernel.segment(Frame(packet, VnetHeader(1, 1, 0, 65535, 20, 16).encode()))


@given(
    st.sampled_from([IPV4, IPV6]),
    st.tuples(st.integers(1, 40), st.integers(1, 200), st.integers(1, 200)),
    st.tuples(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFF)),
    st.sampled_from([b"", TIMESTAMPS]),
    st.sampled_from([0, PSH, FIN | PSH]),
)
def test_segments_merge_and_come_back_byte_for_byte(
    ends: tuple[str, str], sizes: tuple[int, int, int], numbers: tuple[int, int], options: bytes, last_flags: int
) -> None:
    count, size, last = sizes
    sequence, identification = numbers
    segments = tcp_segments(ends, [size] * count, sequence=sequence, identification=identification, options=options)
    tail = tcp(
        *ends,
        payload(min(last, size)),
        sequence=sequence + size * count,
        identification=(identification + count) & 0xFFFF,
        flags=ACK | last_flags,
        options=options,
    )
    frames = kernel.coalesce([*segments, tail])
    assert len(frames) == 1
    assert kernel.segment(frames[0]) == [*segments, tail]


@given(st.sampled_from([IPV4, IPV6]), st.lists(st.integers(1, 4), min_size=1, max_size=80))
def test_datagrams_merge_and_come_back_byte_for_byte(ends: tuple[str, str], sizes: list[int]) -> None:
    datagrams = [udp(*ends, payload(size), identification=index) for index, size in enumerate(sizes)]
    frames = kernel.coalesce(datagrams)
    assert [packet for frame in frames for packet in kernel.segment(frame)] == datagrams


def test_a_merged_frame_says_how_to_cut_it() -> None:
    segments = tcp_segments(IPV4, [1400, 1400, 300])
    (frame,) = kernel.coalesce(segments)
    assert VnetHeader.decode(frame.vnet) == VnetHeader(1, 1, 52, 1400, 20, 16)
    assert rfc1071(bytes(frame.packet[:20])) == 0
    pseudo = ~rfc1071(pseudo_header(*IPV4, TCP, len(frame.packet) - 20)) & 0xFFFF
    assert frame.packet[36:38] == pseudo.to_bytes(2, "big")


def test_a_frame_that_begins_with_cwr_says_so() -> None:
    first, second = tcp_segments(IPV4, [100, 100])
    first = tcp(*IPV4, payload(100), sequence=0xFFFFF000, identification=0xFFFE, flags=ACK | CWR, options=TIMESTAMPS)
    (frame,) = kernel.coalesce([first, second])
    assert VnetHeader.decode(frame.vnet).gso_type == 0x81
    assert kernel.segment(frame) == [first, second]


def alone(packets: list[bytes]) -> bool:
    frames = kernel.coalesce(packets)
    return [frame.packet for frame in frames] == packets and {frame.vnet for frame in frames} == {NO_OFFLOAD}


BASE = tcp(*IPV4, payload(100))


@pytest.mark.parametrize(
    "second",
    [
        tcp(*IPV4, payload(100), sequence=1101, identification=1),
        tcp(*IPV4, payload(100), sequence=1000, identification=1),
        tcp(*IPV4, payload(101), sequence=1100, identification=1),
        tcp(*IPV4, payload(100), sequence=1100, identification=2),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, acknowledgement=78),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, window=5),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, ttl=63),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, tos=1),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, options=TIMESTAMPS),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, ports=(40001, 443)),
        tcp("10.8.0.3", "10.8.0.1", payload(100), sequence=1100, identification=1),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, fragment=0x2000),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, fragment=DF),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, ip_options=b"\x94\x04\0\0"),
        *(
            tcp(*IPV4, payload(100), sequence=1100, identification=1, flags=ACK | flag)
            for flag in (SYN, RST, URG, CWR, ECE)
        ),
        tcp(*IPV4, payload(100), sequence=1100, identification=1, flags=0),
        tcp(*IPV4, sequence=1100, identification=1),
        tcp(*IPV4, payload(100), sequence=1100, identification=1) + b"trailer",
        udp(*IPV4, payload(100), identification=1),
    ],
)
def test_what_does_not_continue_a_segment_stays_alone(second: bytes) -> None:
    assert alone([BASE, second])


def test_atomic_datagrams_merge_whatever_their_identification() -> None:
    frames = kernel.coalesce([tcp(*IPV4, b"a" * 9, fragment=DF), tcp(*IPV4, b"a" * 9, sequence=1009, fragment=DF)])
    assert len(frames) == 1


@pytest.mark.parametrize("spoilt", [0, 1])
@pytest.mark.parametrize("at", [10, 36, 60])
def test_a_corrupt_packet_is_not_merged(spoilt: int, at: int) -> None:
    packets = [bytearray(packet) for packet in tcp_segments(IPV4, [100, 100])]
    packets[spoilt][at] ^= 1
    assert alone([bytes(packet) for packet in packets])


def test_good_segments_behind_a_corrupt_one_still_merge() -> None:
    packets = tcp_segments(IPV4, [100, 100, 100])
    packets[0] = packets[0][:-1] + b"?"
    frames = kernel.coalesce(packets)
    assert [len(kernel.segment(frame)) for frame in frames] == [1, 2]


def test_pure_acknowledgements_stay_alone() -> None:
    assert alone([tcp(*IPV4, acknowledgement=number) for number in (1, 2, 2)])


def test_a_packet_between_two_segments_keeps_its_place_in_the_flow() -> None:
    first, second = tcp_segments(IPV4, [100, 100], identification=0)
    acknowledgement = tcp(*IPV4, sequence=0xFFFFF064)
    fragment = ip(*IPV4, UDP, b"rest of a datagram", fragment=5)
    assert alone([first, acknowledgement, second])
    assert alone([first, fragment, second])


def test_nothing_follows_a_push() -> None:
    packets = tcp_segments(IPV4, [100, 100], identification=0)
    assert alone([tcp(*IPV4, payload(100), sequence=0xFFFFF000, flags=ACK | PSH, options=TIMESTAMPS), packets[1]])


def test_flows_that_are_mixed_merge_each_for_itself() -> None:
    one = tcp_segments(IPV4, [100] * 5)
    other = tcp_segments(IPV6, [90] * 5)
    frames = kernel.coalesce([packet for pair in zip(one, other, strict=True) for packet in pair])
    assert [kernel.segment(frame) for frame in frames] == [one, other]


def test_a_udp_datagram_without_a_checksum_stays_alone() -> None:
    bare = bytearray(udp(*IPV4, b"text"))
    bare[26:28] = b"\0\0"
    assert alone([bytes(bare), bytes(bare)])


def test_a_frame_never_grows_beyond_what_ip_allows() -> None:
    segments = tcp_segments(IPV4, [1400] * 60)
    frames = kernel.coalesce(segments)
    assert all(len(frame.packet) <= 65535 for frame in frames)
    assert [packet for frame in frames for packet in kernel.segment(frame)] == segments
    assert len(frames) == 2


def test_only_what_the_device_takes_is_merged() -> None:
    stream, datagrams = tcp_segments(IPV4, [100] * 2), [udp(*IPV4, payload(9), identification=n) for n in range(2)]
    assert len(kernel.coalesce(stream + datagrams, 0)) == 4
    assert len(kernel.coalesce(stream + datagrams, TUN_F_TSO4)) == 3
    assert len(kernel.coalesce(stream + datagrams, TUN_F_USO4)) == 3
    assert len(kernel.coalesce(tcp_segments(IPV6, [100] * 2), TUN_F_TSO4)) == 2


@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from([BASE, udp(*IPV4, b"a"), tcp(*IPV6, b"a")]))))
def test_any_packets_may_be_coalesced(packets: list[bytes]) -> None:
    frames = kernel.coalesce(packets)
    assert all(frame.packet in packets for frame in frames if frame.vnet == NO_OFFLOAD)
    assert all(
        checksums_hold(packet) for frame in frames if frame.vnet != NO_OFFLOAD for packet in kernel.segment(frame)
    )
