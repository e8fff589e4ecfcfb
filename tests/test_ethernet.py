from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import ACK, SYN, checksums_hold, tcp, udp
from twistvpn.data import ethernet
from twistvpn.data.ethernet import ip_offset

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
    batch: list[Buffer] = [frame]
    ethernet.clamp_mss(batch, largest)
    return bytes(batch[0])


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
    before = list(frames)
    ethernet.clamp_mss(frames, 500)
    assert all(one is other for one, other in zip(frames, before, strict=True))


_HEADERS = st.sampled_from([b"", *(header for _, header in EVERY_HEADER)])


@given(st.lists(st.builds(bytes.__add__, _HEADERS, st.binary(max_size=80))))
def test_any_bytes_may_come(frames: list[bytes]) -> None:
    batch: list[Buffer] = list(frames)
    ethernet.clamp_mss(batch, 536)
    assert [len(frame) for frame in batch] == [len(frame) for frame in frames]
