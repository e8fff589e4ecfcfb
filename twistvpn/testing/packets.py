"""Packets for tests to send through a tunnel."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


def udp_packet(
    source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address, payload: bytes = b""
) -> bytes:
    """An IP packet with a UDP datagram (RFC 768) in it, from port 7 to port 7."""
    size = 8 + len(payload)
    ends = source.packed + destination.packed
    pseudo = ends + struct.pack(">IHBB", size, 0, 0, 17)
    datagram = struct.pack(">HHHH", 7, 7, size, 0) + payload
    check = _checksum(pseudo + datagram) or 0xFFFF
    datagram = datagram[:6] + check.to_bytes(2, "big") + datagram[8:]
    if source.version == 6:
        return struct.pack(">IHBB", 6 << 28, size, 17, 64) + ends + datagram
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, 17, 0) + ends
    return header[:10] + _checksum(header).to_bytes(2, "big") + header[12:] + datagram


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(word for (word,) in struct.iter_unpack(">H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
