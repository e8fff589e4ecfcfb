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
    from collections.abc import Callable, Iterable

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


def segment_all(frames: Iterable[Frame], segment_one: Callable[[Frame], list[Buffer]]) -> tuple[list[Buffer], int]:
    """Return the packets that `frames` stand for, in order, and how many frames are malformed.

    `segment_one` is `segment` or another that gives the packets of one frame, or raises `MalformedPacket`.
    """
    packets: list[Buffer] = []
    malformed = 0
    for frame in frames:
        if frame[1] == NO_OFFLOAD:
            packets.append(frame[0])
            continue
        try:
            packets += segment_one(frame)
        except MalformedPacket:
            malformed += 1
    return packets, malformed


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


_ipv4_start = struct.Struct(">2sHH4sH")
_tcp_start = struct.Struct(">4sI4sH2sH")
_udp_header = struct.Struct(">4sHH")


class _IpHeaders:
    """Makes the IP header of each segment from the super-packet's."""

    __slots__ = ("_after", "_before", "_identification", "_is_ipv4", "_middle", "_size", "_sum")

    def __init__(self, packet: Buffer, layout: _Layout) -> None:
        self._is_ipv4 = layout.is_ipv4
        header = bytes(packet[: layout.transport])
        self._size = len(header)
        # What stands around the fields that change: the length, and for IPv4 identification and checksum.
        self._before, self._middle = header[: 2 if layout.is_ipv4 else 4], header[6:10]
        self._after = header[12 if layout.is_ipv4 else 6 :]
        self._identification = int.from_bytes(header[4:6], "big")
        self._sum = word_sum(header[:2]) + word_sum(self._middle) + word_sum(self._after)

    def make(self, index: int, length: int) -> bytes:
        """Return the header of segment `index` for `length` bytes of transport header and payload."""
        length += self._size
        if not self._is_ipv4:
            return self._before + (length - IPV6_HEADER_SIZE).to_bytes(2, "big") + self._after
        identification = (self._identification + index) & 0xFFFF
        value = -(self._sum + length + identification) % 0xFFFF
        return _ipv4_start.pack(self._before, length, identification, self._middle, value) + self._after


def _segment_tcp(packet: Buffer, layout: _Layout, size: int) -> list[Buffer]:
    make_ip = _IpHeaders(packet, layout).make
    pack = _tcp_start.pack
    transport, start = layout.transport, layout.payload
    header = bytes(packet[transport:start])
    sequence = int.from_bytes(header[4:8], "big") - start
    ports, acknowledgement, window, behind = header[:4], header[8:12], header[14:16], header[18:]
    flags = int.from_bytes(header[12:14], "big")
    own, middle = flags & ~(TCP_FIN | TCP_PSH), flags & ~(TCP_FIN | TCP_PSH | TCP_CWR)
    constant = sum(map(word_sum, (ports, acknowledgement, window, behind)))
    payload_end = len(packet)
    length = start - transport + size
    base = constant + pseudo_sum(packet, PROTOCOL_TCP, length)
    segments: list[Buffer] = []
    for index, at in enumerate(range(start, payload_end, size)):
        payload = packet[at : at + size]
        if at + size >= payload_end:
            own = flags & ~TCP_CWR if index else flags
            length = start - transport + len(payload)
            base = constant + pseudo_sum(packet, PROTOCOL_TCP, length)
        own_sequence = (sequence + at) & 0xFFFFFFFF
        value = -(base + own + own_sequence + word_sum(payload)) % 0xFFFF
        tcp = pack(ports, own_sequence, acknowledgement, own, window, value)
        segments.append(b"".join((make_ip(index, length), tcp, behind, payload)))
        own = middle
    return segments


def _segment_udp(packet: Buffer, layout: _Layout, size: int) -> list[Buffer]:
    make_ip = _IpHeaders(packet, layout).make
    transport, start = layout.transport, layout.payload
    ports = bytes(packet[transport : transport + 4])
    base = word_sum(ports)
    segments: list[Buffer] = []
    for index, at in enumerate(range(start, len(packet), size)):
        payload = packet[at : at + size]
        length = UDP_HEADER_SIZE + len(payload)
        value = checksum(base + length + word_sum(payload) + pseudo_sum(packet, PROTOCOL_UDP, length)) or 0xFFFF
        segments.append(b"".join((make_ip(index, length), _udp_header.pack(ports, length, value), payload)))
    return segments
