"""From packets to what a tun device with offload takes in one write: the reverse of segmentation.

Neighbouring segments of one flow become one super-packet that the host's network stack handles
once, by the rules of the kernel's own receive offload (net/ipv4/tcp_offload.c, udp_offload.c).  What
`offload.segment` makes of such a frame is, byte for byte, the packets that went in (only the identification of
IPv4 packets that carry DF may differ: it means nothing, RFC 6864).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twistvpn.data.inet import (
    IPV4_HEADER_SIZE,
    IPV6_HEADER_SIZE,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_ACK,
    TCP_CWR,
    TCP_FIN,
    TCP_HEADER_SIZE,
    TCP_PSH,
    TCP_RST,
    TCP_SYN,
    TCP_URG,
    UDP_HEADER_SIZE,
    checksum,
    folded,
    pseudo_sum,
    word_sum,
)
from twistvpn.data.offload import (
    GSO_ECN,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    NEEDS_CSUM,
    TCP_CHECKSUM_AT,
    UDP_CHECKSUM_AT,
    VnetHeader,
)
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer

TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40
"""What a device's TUNSETOFFLOAD accepted (linux/if_tun.h)."""
ALL_OFFLOADS = TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6

_MAX_FRAME = 65535
_MAX_UDP_SEGMENTS = 64
_DONT_FRAGMENT = 0x4000
_ANY_FRAGMENT = 0xBFFF
_CLOSING = TCP_FIN | TCP_PSH
_NEVER_MERGED = TCP_SYN | TCP_RST | TCP_URG


def coalesce(packets: Sequence[Buffer], offloads: int = ALL_OFFLOADS) -> list[Frame]:
    """Merge what can be merged of `packets` into super-packets for a device that takes `offloads`.

    Packets of one flow keep their order.  Only whole packets with right checksums merge; every other one comes out as
    it is, in a frame of its own, so any bytes may go in.
    """
    if not offloads or len(packets) == 1:
        return [Frame(packet) for packet in packets]
    groups: list[_Group] = []
    open_groups: dict[bytes, _Group] = {}
    group: _Group | None = None
    for packet in packets:
        if group is not None and group.add_next(packet):
            continue
        segment = _Segment.of(bytes(packet), offloads)
        if segment is None:
            # It may be a fragment of any flow: nothing that comes later moves before it.
            open_groups.clear()
            group = None
            groups.append(_Group(packet, None))
            continue
        group = open_groups.get(segment.flow)
        if group is not None and segment.can_follow and group.add(packet, segment):
            continue
        group = _Group(packet, segment)
        groups.append(group)
        open_groups[segment.flow] = group
    return [group.frame() for group in groups]


class _Segment(NamedTuple):
    """What decides whether a packet may be merged."""

    flow: bytes
    """Protocol, addresses and ports."""
    common: bytes
    """All header fields that must be the same in every segment."""
    transport: int
    payload: int
    sequence: int
    """Of TCP; 0 for UDP."""
    identification: int | None
    """Of an IPv4 header without DF; an atomic datagram's has no meaning (RFC 6864)."""
    flags: int
    """Of TCP; 0 for UDP."""
    can_follow: bool
    """Whether it may be merged behind another."""
    can_lead: bool
    """Whether others may be merged behind it."""

    @classmethod
    def of(cls, packet: bytes, offloads: int) -> _Segment | None:
        """Read the headers of `packet`, None where it is not a whole plain TCP or UDP packet or not offloaded."""
        length = len(packet)
        first = packet[0] if length >= IPV4_HEADER_SIZE + UDP_HEADER_SIZE else 0
        if first == 0x45:
            return cls._of_ipv4(packet, offloads)
        if first >> 4 == 6 and length >= IPV6_HEADER_SIZE + UDP_HEADER_SIZE:
            return cls._of_ipv6(packet, offloads)
        return None

    @classmethod
    def _of_ipv4(cls, packet: bytes, offloads: int) -> _Segment | None:
        fragment = packet[6] << 8 | packet[7]
        if fragment & _ANY_FRAGMENT or packet[2] << 8 | packet[3] != len(packet):
            return None
        identification = None if fragment & _DONT_FRAGMENT else packet[4] << 8 | packet[5]
        network = packet[6:9] + packet[1:2]
        flow = packet[9:10] + packet[12:24]
        if packet[9] == PROTOCOL_TCP and offloads & TUN_F_TSO4:
            return cls._of_tcp(packet, IPV4_HEADER_SIZE, flow, network, identification)
        if packet[9] == PROTOCOL_UDP and offloads & TUN_F_USO4:
            return cls._of_udp(packet, IPV4_HEADER_SIZE, flow, network, identification)
        return None

    @classmethod
    def _of_ipv6(cls, packet: bytes, offloads: int) -> _Segment | None:
        if packet[4] << 8 | packet[5] != len(packet) - IPV6_HEADER_SIZE:
            return None
        network = packet[:4] + packet[7:8]
        flow = packet[6:7] + packet[8:44]
        if packet[6] == PROTOCOL_TCP and offloads & TUN_F_TSO6:
            return cls._of_tcp(packet, IPV6_HEADER_SIZE, flow, network, None)
        if packet[6] == PROTOCOL_UDP and offloads & TUN_F_USO6:
            return cls._of_udp(packet, IPV6_HEADER_SIZE, flow, network, None)
        return None

    @classmethod
    def _of_tcp(
        cls, packet: bytes, transport: int, flow: bytes, network: bytes, identification: int | None
    ) -> _Segment | None:
        length = len(packet)
        if transport + TCP_HEADER_SIZE > length:
            return None
        payload = transport + (packet[transport + 12] >> 4) * 4
        if not transport + TCP_HEADER_SIZE <= payload <= length:
            return None
        flags = packet[transport + 13]
        header = packet[transport:payload]
        # Acknowledgement and data offset, window, urgent pointer and options.
        common = network + bytes((flags & ~(_CLOSING | TCP_CWR),)) + header[8:13] + header[14:16] + header[18:]
        can_merge = payload < length and flags & TCP_ACK and not flags & _NEVER_MERGED
        return cls(
            flow,
            common,
            transport,
            payload,
            int.from_bytes(header[4:8], "big"),
            identification,
            flags,
            can_follow=bool(can_merge) and not flags & TCP_CWR,
            can_lead=bool(can_merge) and not flags & _CLOSING,
        )

    @classmethod
    def _of_udp(
        cls, packet: bytes, transport: int, flow: bytes, network: bytes, identification: int | None
    ) -> _Segment | None:
        length = len(packet)
        payload = transport + UDP_HEADER_SIZE
        if packet[transport + 4] << 8 | packet[transport + 5] != length - transport:
            return None
        has_checksum = packet[transport + 6] or packet[transport + 7]
        can_merge = payload < length and bool(has_checksum)
        return cls(flow, network, transport, payload, 0, identification, 0, can_follow=can_merge, can_lead=can_merge)


class _Group:
    """Packets that leave in one frame."""

    __slots__ = (
        "_head",
        "_identification",
        "_is_open",
        "_is_verified",
        "_length",
        "_packets",
        "_pattern",
        "_sequence",
        "_size",
    )

    def __init__(self, packet: Buffer, segment: _Segment | None) -> None:
        self._packets = [packet]
        self._head = segment
        self._length = len(packet)
        self._is_open = segment is not None and segment.can_lead
        self._is_verified = False
        self._pattern: _Pattern | None = None
        if segment is not None:
            self._size = self._length - segment.payload
            self._sequence = segment.sequence + self._size
            self._identification = segment.identification

    def add(self, packet: Buffer, segment: _Segment) -> bool:
        """Take one more packet of the flow, False where it does not continue this group."""
        head = self._head
        if head is None or not self._is_open:
            return False
        size = len(packet) - segment.payload
        if segment.common != head.common or size > self._size or self._length + size > _MAX_FRAME:
            return False
        if not self._is_contiguous(segment):
            return False
        if not self._is_verified:
            if not _is_intact(self._packets[0], head):
                self._is_open = False
                return False
            self._is_verified = True
            self._pattern = _Pattern(bytes(self._packets[0]), head)
        if not _is_intact(packet, segment):
            return False
        self._append(packet, size)
        if size != self._size or not segment.can_lead:
            self._is_open = False
        return True

    def _append(self, packet: Buffer, size: int) -> None:
        self._packets.append(packet)
        self._length += size
        self._sequence += size
        assert self._head is not None
        if self._head.flow[0] == PROTOCOL_UDP and len(self._packets) == _MAX_UDP_SEGMENTS:
            self._is_open = False

    def add_next(self, packet: Buffer) -> bool:
        """Take what is like the segments before it, only further on; False tells nothing.

        It is what `add` would do with nearly all packets of a bulk transfer, without taking them to pieces.
        """
        pattern, size = self._pattern, self._size if self._is_open else 0
        if pattern is None or not size or len(packet) != pattern.length or self._length + size > _MAX_FRAME:
            return False
        expected = self._identification
        if expected is not None:
            expected = (expected + len(self._packets)) & 0xFFFF
        if not pattern.fits(int.from_bytes(packet, "big"), self._sequence & 0xFFFFFFFF, expected):
            return False
        self._append(packet, size)
        return True

    def _is_contiguous(self, segment: _Segment) -> bool:
        if segment.flow[0] == PROTOCOL_TCP and segment.sequence != self._sequence & 0xFFFFFFFF:
            return False
        if self._identification is None:
            return True
        return segment.identification == (self._identification + len(self._packets)) & 0xFFFF

    def frame(self) -> Frame:
        """Return the packet as it came, or the super-packet of all."""
        packets, head = self._packets, self._head
        if len(packets) == 1 or head is None:
            return Frame(packets[0])
        header = bytearray(packets[0][: head.payload])
        length, transport = self._length, head.transport
        header_is_ipv4 = header[0] >> 4 == 4
        if header_is_ipv4:
            header[2:4] = length.to_bytes(2, "big")
            header[10:12] = b"\0\0"
            header[10:12] = checksum(word_sum(header[:IPV4_HEADER_SIZE])).to_bytes(2, "big")
        else:
            header[4:6] = (length - IPV6_HEADER_SIZE).to_bytes(2, "big")
        if head.flow[0] == PROTOCOL_TCP:
            header[transport + 13] |= packets[-1][transport + 13] & _CLOSING
            gso_type = (GSO_TCPV4 if header_is_ipv4 else GSO_TCPV6) | (GSO_ECN if head.flags & TCP_CWR else 0)
            field = TCP_CHECKSUM_AT
        else:
            header[transport + 4 : transport + 6] = (length - transport).to_bytes(2, "big")
            gso_type, field = GSO_UDP_L4, UDP_CHECKSUM_AT
        partial = pseudo_sum(header, head.flow[0], length - transport) % 0xFFFF or 0xFFFF
        header[transport + field : transport + field + 2] = partial.to_bytes(2, "big")
        vnet = VnetHeader(NEEDS_CSUM, gso_type, head.payload, self._size, transport, field)
        return Frame(b"".join((header, *(packet[head.payload :] for packet in packets))), vnet.encode())


class _Pattern:
    """What the full-size segments of a group are like.  Whole headers are compared at once, as big integers."""

    __slots__ = (
        "_alike",
        "_constant",
        "_ip_words",
        "_is_ipv4",
        "_is_tcp",
        "_mask",
        "_payload_bits",
        "_transport",
        "length",
    )

    def __init__(self, packet: bytes, segment: _Segment) -> None:
        """Take `packet`, which is intact, as the model."""
        self.length = len(packet)
        transport, payload, protocol = segment.transport, segment.payload, segment.flow[0]
        self._is_ipv4, self._is_tcp = transport == IPV4_HEADER_SIZE, protocol == PROTOCOL_TCP
        self._payload_bits = 8 * (len(packet) - payload)
        # Where fields are, in bits from the end of the transport header.
        self._transport = 8 * (payload - transport)
        header, mask = bytearray(packet[:payload]), bytearray(b"\xff" * payload)
        if self._is_ipv4:
            mask[4:6] = mask[10:12] = bytes(2)
        if self._is_tcp:
            header[transport + 13] &= ~TCP_CWR
            mask[transport + 4 : transport + 8] = bytes(4)
            mask[transport + TCP_CHECKSUM_AT : transport + TCP_CHECKSUM_AT + 2] = bytes(2)
        else:
            mask[transport + UDP_CHECKSUM_AT : transport + UDP_CHECKSUM_AT + 2] = bytes(2)
        self._mask = int.from_bytes(mask, "big")
        self._alike = int.from_bytes(header, "big") & self._mask
        self._ip_words = int.from_bytes(header[4:6], "big") + int.from_bytes(header[10:12], "big")
        # The sum over a whole packet becomes that over pseudo-header and what is behind it: an intact IPv4 header
        # is nothing, so its addresses are missing, and of an IPv6 header the first 8 bytes are too much.
        correction = word_sum(packet[12:20]) if self._is_ipv4 else -word_sum(packet[:8])
        self._constant = correction + protocol + len(packet) - transport

    def fits(self, packet: int, sequence: int, identification: int | None) -> bool:
        """Whether `packet`, of the same length, is the segment with that sequence number, and is intact."""
        header = packet >> self._payload_bits
        if header & self._mask != self._alike:
            return False
        if self._is_tcp:
            if (header >> self._transport - 64) & 0xFFFFFFFF != sequence:
                return False
        elif not header & 0xFFFF:
            return False
        if self._is_ipv4:
            found = (header >> self._transport + 112) & 0xFFFF
            # The header differs from the model's, which is intact, in nothing but these two words.
            difference = found + ((header >> self._transport + 64) & 0xFFFF) - self._ip_words
            if difference % 0xFFFF or (identification is not None and found != identification):
                return False
        return (folded(packet, self.length) + self._constant) % 0xFFFF == 0


def _is_intact(packet: Buffer, segment: _Segment) -> bool:
    """Whether the checksums of `packet` are right, so that the merge blesses nothing corrupt."""
    transport = segment.transport
    is_ipv4 = transport == IPV4_HEADER_SIZE
    if is_ipv4 and word_sum(packet[:transport]):
        return False
    # Addresses, transport header and payload lie one behind the other.
    total = word_sum(packet[12 if is_ipv4 else 8 :]) + segment.flow[0] + len(packet) - transport
    return total % 0xFFFF == 0
