"""As much of IPv4, ICMP and UDP as the example speaks (RFC 791, RFC 792, RFC 768)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

ICMP = 1
UDP = 17

_IPV4 = struct.Struct(">BBHHHBBH4s4s")
_UDP = struct.Struct(">HHHH")
_ECHO_REQUEST = 8
_FRAGMENT = 0x3FFF
_TTL = 64


class Packet(NamedTuple):
    """A whole IPv4 packet."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    payload: bytes

    def encode(self) -> bytes:
        """The packet's bytes, without options."""
        size = _IPV4.size + len(self.payload)
        ends = self.source.packed, self.destination.packed
        header = _IPV4.pack(0x45, 0, size, 0, 0, _TTL, self.protocol, 0, *ends)
        return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + self.payload

    def reply(self, payload: bytes) -> Packet:
        """The packet that takes `payload` back."""
        return Packet(self.destination, self.source, self.protocol, payload)


def decode(packet: Buffer) -> Packet | None:
    """Read a packet; None for IPv6, for fragments, and for what is cut short."""
    if len(packet) < _IPV4.size or packet[0] >> 4 != 4:
        return None
    _, _, size, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    start = (packet[0] & 0xF) * 4
    if fragment & _FRAGMENT or not _IPV4.size <= start <= size <= len(packet):
        return None
    return Packet(IPv4Address(source), IPv4Address(destination), protocol, bytes(packet[start:size]))


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(word for (word,) in struct.iter_unpack(">H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def echo_reply(request: bytes) -> bytes | None:
    """The ICMP message that answers an echo request; None where it is something else."""
    if len(request) < 8 or request[0] != _ECHO_REQUEST:
        return None
    rest = request[4:]
    return b"\0\0" + checksum(rest).to_bytes(2, "big") + rest


def udp_reply(request: bytes, port: int, data: bytes) -> bytes | None:
    """The UDP datagram that answers one for `port` with `data`; None where it is for another port."""
    if len(request) < _UDP.size:
        return None
    source, destination, _, _ = _UDP.unpack_from(request)
    if destination != port:
        return None
    # Over IPv4 a checksum of zero means that there is none.
    return _UDP.pack(port, source, _UDP.size + len(data), 0) + data
