from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import checksums_hold, udp
from twistvpn.data.dhcp import take_router

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

HEADER = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\x00"
ROUTER = IPv4Address("192.168.50.1")
LEASE = b"\x33\4\0\0\x0e\x10"
OFFER, ACK, NAK = b"\x35\1\2", b"\x35\1\5", b"\x35\1\6"
ROUTERS = b"\3\x08" + ROUTER.packed + b"\xc0\xa8\x32\2"


def answer(
    options: bytes,
    *,
    ports: tuple[int, int] = (67, 68),
    kind: int = 2,
    cookie: bytes = b"\x63\x82\x53\x63",
    header: bytes = HEADER,
) -> bytes:
    """What a DHCP server says, in an Ethernet frame."""
    text = bytes((kind,)) + bytes(235) + cookie + options
    return header + udp(str(ROUTER), "255.255.255.255", text, ports=ports)


def taken(frame: bytes) -> tuple[bytes, IPv4Address | None]:
    frames: list[Buffer] = [b"another", frame, memoryview(b"another")]
    router = take_router(frames)
    assert frames[0] == frames[2] == b"another"
    return bytes(frames[1]), router


@pytest.mark.parametrize("header", [HEADER, HEADER[:12] + b"\x81\x00\0\x0a\x08\x00"])
def test_the_router_is_taken_out_of_a_grant(header: bytes) -> None:
    changed, router = taken(answer(ACK + ROUTERS + LEASE + b"\xff", header=header))
    assert router == ROUTER
    assert changed == answer(ACK + LEASE + b"\xff" + bytes(len(ROUTERS)), header=header)
    assert checksums_hold(changed[len(header) :])


def test_an_offers_router_is_taken_out_but_not_granted() -> None:
    changed, router = taken(answer(b"\0" + ROUTERS + OFFER + b"\xff" + bytes(3)))
    assert router is None
    assert changed == answer(OFFER + b"\xff" + bytes(len(ROUTERS) + 4))


def test_a_frame_that_is_filled_up_stays_filled_up() -> None:
    changed, router = taken(answer(ACK + ROUTERS + b"\xff") + b"\0\0")
    assert router == ROUTER
    assert changed.endswith(b"\0\0")
    assert checksums_hold(changed[len(HEADER) : -2])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        HEADER,
        answer(ACK + LEASE + b"\xff"),
        answer(NAK + ROUTERS + b"\xff"),
        answer(ROUTERS + b"\xff"),
        answer(ACK + b"\3\2\1\2\xff"),
        answer(ACK + b"\xff" + ROUTERS),
        answer(ACK + b"\x0c\xf0x" + ROUTERS),
        answer(ACK + ROUTERS[:5]),
        answer(ACK + b"\3"),
        answer(ACK + ROUTERS, ports=(68, 67)),
        answer(ACK + ROUTERS, kind=1),
        answer(ACK + ROUTERS, cookie=b"\x63\x82\x53\x64"),
        answer(ACK + ROUTERS, header=HEADER[:12] + b"\x08\x06"),
        answer(ACK + ROUTERS, header=HEADER[:12] + b"\x86\xdd"),
        answer(ACK + ROUTERS)[:-1],
        HEADER + udp(str(ROUTER), "255.255.255.255", answer(ACK + ROUTERS)[42:], ports=(67, 68), fragment=0x2000),
    ],
)
def test_everything_else_stays(frame: bytes) -> None:
    assert taken(frame) == (frame, None) or frame.startswith(HEADER[:12] + b"\x86\xdd")


@given(st.binary(max_size=60), st.integers(0, 330), st.binary(max_size=4))
def test_any_bytes_may_come(options: bytes, at: int, spoilt: bytes) -> None:
    frame = answer(ACK + ROUTERS + options)
    frame = frame[:at] + spoilt + frame[at + len(spoilt) :]
    frames: list[Buffer] = [frame]
    take_router(frames)
    assert len(frames[0]) == len(frame)
