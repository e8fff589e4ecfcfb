"""IPv6 packets that are not let through, and what their senders are told (`block-ipv6`).

Source: RFC 4443, sections 2.4 and 3.1.
"""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from twistvpn.data.ethernet import ip_offset
from twistvpn.data.inet import IPV6_HEADER_SIZE, checksum, word_sum
from twistvpn.interfaces import DeviceType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer

_ICMP6 = 58
_ICMP6_HEADER_SIZE = 8
_UNREACHABLE_NO_ROUTE = b"\x01\x00"
_FIRST_INFORMATIONAL = 128
_HOP_LIMIT = 255
_LARGEST = 1280
"""Bytes of an error at most: what every link takes that IPv6 goes over."""
_UNSPECIFIED = bytes(16)
_MULTICAST = 0xFF
_MAC_SIZE = 6

ROUTER = IPv6Address("fe80::7").packed
"""Who errors come from: nobody's address, and the one that stock takes."""


def no_route(packet: Buffer) -> bytes | None:
    """The error that tells the sender of an IPv6 packet that there is no way to its destination.

    None where nothing may be said: to a group, about a packet to a group, about an error, to nobody, or about what is
    no whole packet.
    """
    if len(packet) < IPV6_HEADER_SIZE:
        return None
    source, destination = bytes(packet[8:24]), packet[24:40]
    if source[0] == _MULTICAST or destination[0] == _MULTICAST or source == _UNSPECIFIED:
        return None
    if packet[6] == _ICMP6 and (len(packet) == IPV6_HEADER_SIZE or packet[IPV6_HEADER_SIZE] < _FIRST_INFORMATIONAL):
        return None
    body = bytes(packet[: _LARGEST - IPV6_HEADER_SIZE - _ICMP6_HEADER_SIZE])
    length = _ICMP6_HEADER_SIZE + len(body)
    total = sum(map(word_sum, (ROUTER, source, _UNREACHABLE_NO_ROUTE, body))) + length + _ICMP6
    header = struct.pack("!IHBB16s16s", 6 << 28, length, _ICMP6, _HOP_LIMIT, ROUTER, source)
    return header + _UNREACHABLE_NO_ROUTE + struct.pack("!HI", checksum(total), 0) + body


def part_ipv6(packets: Sequence[Buffer], device: DeviceType) -> tuple[list[int], list[bytes]]:
    """Return the places of those of a device's `packets` that are not IPv6, and the answers to those that are."""
    kept: list[int] = []
    answers: list[bytes] = []
    for place, packet in enumerate(packets):
        start = ip_offset(packet) if device is DeviceType.TAP else 0
        if (device is DeviceType.TAP and not start) or len(packet) <= start or packet[start] >> 4 != 6:
            kept.append(place)
            continue
        error = no_route(packet[start:] if start else packet)
        if error is not None:
            answers.append(_turned(packet, start) + error)
    return kept, answers


def _turned(packet: Buffer, start: int) -> bytes:
    """The Ethernet header of an answer; nothing where there is none."""
    if not start:
        return b""
    return bytes(packet[_MAC_SIZE : 2 * _MAC_SIZE]) + bytes(packet[:_MAC_SIZE]) + bytes(packet[2 * _MAC_SIZE : start])
