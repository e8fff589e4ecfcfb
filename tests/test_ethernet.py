from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import ACK, SYN, checksums_hold, pseudo_header, rfc1071, tcp, udp
from twistvpn.data import kernel
from twistvpn.data.coalesce import ALL_OFFLOADS
from twistvpn.data.ethernet import ip_offset
from twistvpn.data.messages import OCC_MAGIC, PING
from twistvpn.data.offload import VnetHeader
from twistvpn.interfaces import NO_OFFLOAD, Frame

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

pytestmark = pytest.mark.usefixtures("each_kernel")

STATIONS = bytes.fromhex("02000000000102000000000a")
IPV4, IPV6, ARP = b"\x08\x00", b"\x86\xdd", b"\x08\x06"
TAG, OUTER_TAG = b"\x81\x00\x20\x0a", b"\x88\xa8\x00\x64"
HEADERS = {
    4: [STATIONS + IPV4, STATIONS + TAG + IPV4, STATIONS + OUTER_TAG + TAG + IPV4],
    6: [STATIONS + IPV6, STATIONS + TAG + IPV6, STATIONS + OUTER_TAG + TAG + IPV6],
}
ADDRESSES = {4: ("10.8.0.2", "10.8.0.1"), 6: ("fd00::2", "fd00::1")}
EVERY_HEADER = [(version, header) for version, headers in HEADERS.items() for header in headers]


def mss(value: int) -> bytes:
    return struct.pack(">BBH", 2, 4, value)


def clamped(frame: bytes, largest: int) -> bytes:
    (out,), malformed = kernel.segment_ethernet([Frame(frame)], largest)
    assert malformed == 0
    assert kernel.sort_ethernet([memoryview(frame)], largest) == ([out], [])
    return bytes(out)


def payload(length: int) -> bytes:
    return bytes(index * 7 & 0xFF for index in range(length))


@pytest.mark.parametrize(("version", "header"), EVERY_HEADER)
def test_the_packet_is_found_behind_tags(version: int, header: bytes) -> None:
    assert ip_offset(header + udp(*ADDRESSES[version], b"x")) == len(header)
    assert ip_offset(memoryview(header)) == len(header)


@pytest.mark.parametrize(
    "frame", [b"", STATIONS, STATIONS + ARP + bytes(28), STATIONS + TAG, STATIONS + TAG * 3 + IPV4 + bytes(40)]
)
def test_elsewhere_there_is_none(frame: bytes) -> None:
    assert ip_offset(frame) == 0
    assert clamped(frame, 500) == frame


@pytest.mark.parametrize(("version", "header"), EVERY_HEADER)
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_handshakes_inside_frames_announce_no_more_than_the_largest(version: int, header: bytes, flags: int) -> None:
    largest = 1300 if version == 4 else 1280
    frame = header + tcp(*ADDRESSES[version], flags=flags, options=mss(1460))
    assert clamped(frame, 1300) == header + tcp(*ADDRESSES[version], flags=flags, options=mss(largest))
    assert checksums_hold(clamped(frame, 1300)[len(header) :])
    assert clamped(frame, 1460) == frame or version == 6


def test_a_short_handshake_keeps_what_fills_its_frame_up() -> None:
    frame = HEADERS[4][0] + tcp(*ADDRESSES[4], flags=SYN, options=mss(1460))
    padding = bytes(60 - len(frame))
    assert padding
    assert clamped(frame + padding, 900) == clamped(frame, 900) + padding != frame + padding


def test_everything_else_stays_the_same_object() -> None:
    frames: list[Buffer] = [
        HEADERS[4][1] + tcp(*ADDRESSES[4], flags=ACK, payload=b"x" * 100),
        HEADERS[6][0] + udp(*ADDRESSES[6], bytes(60)),
        STATIONS + ARP + bytes(46),
    ]
    for out in (kernel.segment_ethernet(list(map(Frame, frames)), 500)[0], kernel.sort_ethernet(frames, 500)[0]):
        assert all(one is other for one, other in zip(out, frames, strict=True))


def segments(version: int, sizes: list[int]) -> list[bytes]:
    made, sequence = [], 1000
    for index, size in enumerate(sizes):
        made.append(tcp(*ADDRESSES[version], payload(size), sequence=sequence, identification=index))
        sequence += size
    return made


@pytest.mark.parametrize(("version", "header"), EVERY_HEADER)
def test_segments_merge_behind_one_header_and_come_back_byte_for_byte(version: int, header: bytes) -> None:
    frames = [header + packet for packet in segments(version, [1400, 1400, 300])]
    (merged,) = kernel.coalesce_ethernet(frames, ALL_OFFLOADS)
    at = len(header)
    transport = at + (20 if version == 4 else 40)
    assert VnetHeader.decode(merged.vnet) == VnetHeader(
        1, 1 if version == 4 else 4, transport + 20, 1400, transport, 16
    )
    assert bytes(merged.packet).startswith(header)
    assert kernel.segment_ethernet([merged], 0) == (frames, 0)


def test_datagrams_merge_too() -> None:
    frames = [HEADERS[4][1] + udp(*ADDRESSES[4], payload(500), identification=index) for index in range(5)]
    (merged,) = kernel.coalesce_ethernet(frames, ALL_OFFLOADS)
    assert kernel.segment_ethernet([merged, Frame(frames[0])], 0) == ([*frames, frames[0]], 0)


def test_frames_with_other_headers_and_other_than_ip_stay_apart() -> None:
    first, second = segments(4, [100, 100])
    arp = STATIONS + ARP + bytes(46)
    others = [HEADERS[4][0] + first, HEADERS[4][1] + second, arp, arp, HEADERS[4][0] + second + b"filled up"]
    assert kernel.coalesce_ethernet(others, ALL_OFFLOADS) == [Frame(frame) for frame in others]
    alike = [HEADERS[4][0] + first, HEADERS[4][0] + second]
    assert kernel.coalesce_ethernet(alike, 0) == [Frame(frame) for frame in alike]
    assert kernel.coalesce_ethernet([], ALL_OFFLOADS) == []


@pytest.mark.parametrize(("version", "header"), EVERY_HEADER)
def test_a_partial_checksum_is_completed(version: int, header: bytes) -> None:
    whole = tcp(*ADDRESSES[version], payload(99), flags=SYN, options=mss(1460))
    start = 20 if version == 4 else 40
    pseudo = ~rfc1071(pseudo_header(*ADDRESSES[version], 6, len(whole) - start)) & 0xFFFF
    partial = header + whole[: start + 16] + pseudo.to_bytes(2, "big") + whole[start + 18 :]
    frame = Frame(partial, VnetHeader(1, 0, 0, 0, len(header) + start, 16).encode())
    assert kernel.segment_ethernet([frame], 0) == ([header + whole], 0)
    lowered = kernel.segment_ethernet([frame], 1000)[0][0]
    assert checksums_hold(lowered[len(header) :])
    assert lowered != header + whole


@pytest.mark.parametrize(
    ("frame", "vnet"),
    [
        (STATIONS + ARP + bytes(60), VnetHeader(1, 1, 0, 10, 34, 16)),
        (HEADERS[4][0] + segments(4, [100])[0], VnetHeader(1, 1, 0, 10, 13, 16)),
        (HEADERS[4][0] + segments(4, [100])[0], VnetHeader(1, 1, 0, 10, 38, 16)),
        (HEADERS[4][0] + segments(4, [100])[0], VnetHeader(1, 1, 0, 0, 34, 16)),
        (HEADERS[4][0], VnetHeader(1, 0, 0, 0, 34, 16)),
        (b"", VnetHeader(1, 1, 0, 10, 34, 16)),
    ],
)
def test_a_frame_that_does_not_fit_its_virtio_header_is_counted(frame: bytes, vnet: VnetHeader) -> None:
    good = Frame(STATIONS + ARP)
    assert kernel.segment_ethernet([Frame(frame, vnet.encode()), good], 0) == ([good.packet], 1)
    assert kernel.segment_ethernet([Frame(frame, b"\1"), good], 0) == ([good.packet], 1)


def test_messages_are_told_from_frames() -> None:
    exit_message = OCC_MAGIC + b"\6"
    frames = [PING[:15], PING[:14] + b"xx", OCC_MAGIC[:12] + IPV4 + bytes(50), b""]
    texts = [PING, *frames[:2], exit_message, *frames[2:]]
    assert kernel.sort_ethernet(texts, 0) == (frames, [PING, exit_message])


_HEADERS = st.sampled_from([b"", *(header for _, header in EVERY_HEADER)])


@given(st.lists(st.builds(bytes.__add__, _HEADERS, st.binary(max_size=80))))
def test_any_bytes_may_come(texts: list[bytes]) -> None:
    packets, malformed = kernel.segment_ethernet([Frame(text) for text in texts], 536)
    assert malformed == 0
    assert [len(packet) for packet in packets] == [len(text) for text in texts]
    assert kernel.sort_ethernet(texts, 536) == (packets, [])
    merged = kernel.coalesce_ethernet(texts, ALL_OFFLOADS)
    assert sorted(map(bytes, kernel.segment_ethernet(merged, 0)[0])) == sorted(texts)
    assert all(frame.vnet != NO_OFFLOAD or bytes(frame.packet) in texts for frame in merged)
