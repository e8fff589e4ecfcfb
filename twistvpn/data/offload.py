"""From what a tun device with offload reads to packets that can leave: segmentation and checksum completion.

A super-packet has the headers of one packet and the payload of many; its struct virtio_net_hdr
(linux/virtio_net.h, host byte order) tells where to cut.  Each segment gets a copy of the
headers with its own lengths, IPv4 identification, sequence number, flags and checksums, as the
kernel's tcp_gso_segment and __udp_gso_segment make them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.data.inet import (
    IPV4_HEADER_SIZE,
    IPV6_HEADER_SIZE,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_CWR,
    TCP_FIN,
    TCP_HEADER_SIZE,
    TCP_PSH,
    UDP_HEADER_SIZE,
    checksum,
    pseudo_sum,
    word_sum,
)
from twistvpn.errors import MalformedPacket
from twistvpn.interfaces import NO_OFFLOAD, VNET_HEADER_SIZE, Buffer

if TYPE_CHECKING:
    from twistvpn.interfaces import Frame

NEEDS_CSUM = 1
"""VIRTIO_NET_HDR_F_NEEDS_CSUM: the checksum field holds the pseudo-header's sum only."""

GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
GSO_UDP_L4 = 5
GSO_ECN = 0x80
"""VIRTIO_NET_HDR_GSO_ECN: set beside a TCP type where the super-packet carries CWR."""

TCP_CHECKSUM_AT = 16
UDP_CHECKSUM_AT = 6

_vnet = struct.Struct("=BBHHHH")
_MAX_PACKET = 65535
_MAX_HEADERS = 512
"""So that many tiny segments of one super-packet cannot fill the memory."""


class VnetHeader(NamedTuple):
    """struct virtio_net_hdr; all sizes and offsets are bytes from the start of the packet."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    """A hint only: the kernel gives the length of the linear part."""
    gso_size: int = 0
    """Payload bytes of each segment but the last."""
    csum_start: int = 0
    csum_offset: int = 0
    """Where the checksum field is, from `csum_start`."""

    def encode(self) -> bytes:
        """Return the 10 bytes in host byte order."""
        return _vnet.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> VnetHeader:
        """Read 10 bytes in host byte order; raises `MalformedPacket` for any other length."""
        if len(data) != VNET_HEADER_SIZE:
            raise MalformedPacket("a virtio-net header has 10 bytes")
        return cls(*_vnet.unpack(data))


def segment(frame: Frame) -> list[Buffer]:
    """Return the packets that `frame` stands for, each whole and with complete checksums.

    Raises `MalformedPacket` where the virtio-net header and the packet do not fit each other.
    """
    packet, raw = frame
    if raw == NO_OFFLOAD:
        return [packet]
    vnet = VnetHeader.decode(raw)
    kind = vnet.gso_type & ~GSO_ECN
    if kind == GSO_NONE:
        return [_complete_checksum(packet, vnet)] if vnet.flags & NEEDS_CSUM else [packet]
    layout = _Layout.of(packet, vnet.csum_start)
    if not vnet.gso_size:
        raise MalformedPacket("a super-packet without a segment size")
    if kind in {GSO_TCPV4, GSO_TCPV6} and layout.protocol == PROTOCOL_TCP:
        return _segment_tcp(packet, layout, vnet.gso_size)
    if kind == GSO_UDP_L4 and layout.protocol == PROTOCOL_UDP:
        return _segment_udp(packet, layout, vnet.gso_size)
    raise MalformedPacket("a super-packet of a type that is not its packet's")


def _complete_checksum(packet: Buffer, vnet: VnetHeader) -> Buffer:
    start, field = vnet.csum_start, vnet.csum_start + vnet.csum_offset
    if field + 2 > len(packet):
        raise MalformedPacket("a checksum beyond the packet's end")
    value = checksum(word_sum(packet[start:]))
    if value == 0 and vnet.csum_offset == UDP_CHECKSUM_AT:
        value = 0xFFFF
    complete = bytearray(packet)
    complete[field : field + 2] = value.to_bytes(2, "big")
    return complete


class _Layout(NamedTuple):
    """Where the parts of a super-packet are."""

    is_ipv4: bool
    protocol: int
    """Of the transport header; IPv6 extension headers are skipped on the kernel's word."""
    transport: int
    """Offset of the transport header."""
    payload: int

    @classmethod
    def of(cls, packet: Buffer, transport: int) -> _Layout:
        """Find the parts, given the transport header's offset from the virtio-net header."""
        length = len(packet)
        version = packet[0] >> 4 if packet else 0
        if not IPV4_HEADER_SIZE <= length <= _MAX_PACKET + (IPV6_HEADER_SIZE if version == 6 else 0):
            raise MalformedPacket("a super-packet of an impossible length")
        if version == 4:
            protocol = packet[9]
            if transport != (packet[0] & 15) * 4 or transport < IPV4_HEADER_SIZE:
                raise MalformedPacket("an IPv4 header of another length than the virtio-net header has")
        elif version == 6:
            protocol = packet[6] if transport == IPV6_HEADER_SIZE else _last_next_header(packet, transport)
        else:
            raise MalformedPacket("a super-packet that is not IP")
        payload = transport + _transport_size(packet, protocol, transport)
        if payload >= length:
            raise MalformedPacket("a super-packet without payload")
        if payload > _MAX_HEADERS:
            raise MalformedPacket("a super-packet with headers of an unusual length")
        return cls(version == 4, protocol, transport, payload)


def _last_next_header(packet: Buffer, transport: int) -> int:
    """Walk the IPv6 extension headers (RFC 8200 section 4) up to `transport`."""
    protocol, at = packet[6] if len(packet) > 6 else 0, IPV6_HEADER_SIZE
    while at < transport and at + 2 <= len(packet):
        protocol, at = packet[at], at + (packet[at + 1] + 1) * 8
    if at != transport:
        raise MalformedPacket("IPv6 headers of another length than the virtio-net header has")
    return protocol


def _transport_size(packet: Buffer, protocol: int, transport: int) -> int:
    if protocol == PROTOCOL_UDP:
        return UDP_HEADER_SIZE
    if protocol != PROTOCOL_TCP or transport + TCP_HEADER_SIZE > len(packet):
        raise MalformedPacket("a super-packet without a whole TCP or UDP header")
    size = (packet[transport + 12] >> 4) * 4
    if size < TCP_HEADER_SIZE:
        raise MalformedPacket("a TCP header that is too short")
    return size


class _IpHeaders:
    """Makes the IP header of each segment from the super-packet's."""

    __slots__ = ("_after", "_before", "_identification", "_is_ipv4", "_sum")

    def __init__(self, packet: Buffer, layout: _Layout) -> None:
        self._is_ipv4 = layout.is_ipv4
        header = bytes(packet[: layout.transport])
        # What stands before and after the fields that change: the length, and for IPv4 the identification.
        self._before, self._after = header[: 2 if layout.is_ipv4 else 4], header[6:]
        self._identification = int.from_bytes(header[4:6], "big")
        self._sum = word_sum(header[:2]) + word_sum(header[6:10]) + word_sum(header[12:])

    def make(self, index: int, length: int) -> bytes:
        """Return the header of segment `index` for `length` bytes of transport header and payload."""
        before, after = self._before, self._after
        if not self._is_ipv4:
            length += len(after) + 6 - IPV6_HEADER_SIZE
            return before + length.to_bytes(2, "big") + after
        length += len(after) + 6
        identification = (self._identification + index) & 0xFFFF
        value = checksum(self._sum + length + identification)
        changing = (length << 16 | identification).to_bytes(4, "big")
        return before + changing + after[:4] + value.to_bytes(2, "big") + after[6:]


def _segment_tcp(packet: Buffer, layout: _Layout, size: int) -> list[Buffer]:
    ip_headers = _IpHeaders(packet, layout)
    transport, start = layout.transport, layout.payload
    header = bytes(packet[transport:start])
    sequence = int.from_bytes(header[4:8], "big")
    ports, acknowledgement, behind = header[:4], header[8:12], header[18:]
    window = header[14:16]
    flags = int.from_bytes(header[12:14], "big")
    first, middle = flags & ~(TCP_FIN | TCP_PSH), flags & ~(TCP_FIN | TCP_PSH | TCP_CWR)
    base = sum(map(word_sum, (ports, acknowledgement, window, behind)))
    payload_end = len(packet)
    segments: list[Buffer] = []
    for index, at in enumerate(range(start, payload_end, size)):
        payload = packet[at : at + size]
        length = start - transport + len(payload)
        is_last = at + size >= payload_end
        own = middle if index else first
        if is_last:
            own = flags & ~TCP_CWR if index else flags
        own_sequence = (sequence + at - start) & 0xFFFFFFFF
        total = base + own + own_sequence + word_sum(payload) + pseudo_sum(packet, PROTOCOL_TCP, length)
        fields = (ports, own_sequence.to_bytes(4, "big"), acknowledgement, own.to_bytes(2, "big"), window)
        segments.append(
            b"".join((ip_headers.make(index, length), *fields, checksum(total).to_bytes(2, "big"), behind, payload))
        )
    return segments


def _segment_udp(packet: Buffer, layout: _Layout, size: int) -> list[Buffer]:
    ip_headers = _IpHeaders(packet, layout)
    transport, start = layout.transport, layout.payload
    ports = bytes(packet[transport : transport + 4])
    base = word_sum(ports)
    segments: list[Buffer] = []
    for index, at in enumerate(range(start, len(packet), size)):
        payload = packet[at : at + size]
        length = UDP_HEADER_SIZE + len(payload)
        total = base + length + word_sum(payload) + pseudo_sum(packet, PROTOCOL_UDP, length)
        value = checksum(total) or 0xFFFF
        fields = (ports, (length << 16 | value).to_bytes(4, "big"))
        segments.append(b"".join((ip_headers.make(index, length), *fields, payload)))
    return segments
