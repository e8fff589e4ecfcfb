"""`mssfix`: lowering the maximum segment size that TCP handshakes through the tunnel announce.

Both ends then send segments that fit the link once they are sealed, in place of fragments.
Only the MSS option of whole, unfragmented SYN and SYN-ACK packets changes (RFC 9293 section 3.7.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.inet import (
    IPV4_HEADER_SIZE,
    IPV6_HEADER_SIZE,
    PROTOCOL_TCP,
    TCP_HEADER_SIZE,
    TCP_SYN,
    UDP_HEADER_SIZE,
    updated_checksum,
)
from twistvpn.wire.framing import PREFIX_SIZE

if TYPE_CHECKING:
    from twistvpn.config.settings import DataSettings, FragmentLimit
    from twistvpn.interfaces import Buffer

DEFAULT_MSSFIX = 1492
"""Bytes of the outer packet, its IP and UDP or TCP headers included, that the default keeps within."""

ETHERNET_MTU = 1500

_OPTION_END = 0
_OPTION_NOP = 1
_OPTION_MSS = 2
_MSS_OPTION_SIZE = 4
_FLAGS_AT = 13
_CHECKSUM_AT = 16
_IPV6_EXTRA = IPV6_HEADER_SIZE - IPV4_HEADER_SIZE


def link_overhead(ip_header: int, *, is_stream: bool) -> int:
    """Return the bytes that a link (`ILink.is_stream`) puts around a sealed packet.

    `ip_header` is the size of the outer IP header, 20 or 40; a stream has a TCP header and the length prefix.
    """
    return ip_header + (TCP_HEADER_SIZE + PREFIX_SIZE if is_stream else UDP_HEADER_SIZE)


def mssfix_bound(data: DataSettings, fragment: FragmentLimit | None) -> tuple[int, str]:
    """Return what TCP segments are bounded by, in bytes (0 is nothing), and what that is the size of.

    It is `mssfix`; without one the limit of fragments, if there is one, else stock's default.
    """
    if data.mssfix is not None:
        return data.mssfix, data.mssfix_mode
    return (DEFAULT_MSSFIX, "mtu") if fragment is None else (fragment.size, fragment.mode)


def max_mss(packet: int) -> int:
    """Return the largest MSS of TCP over IPv4 that keeps packets inside within `packet` bytes.

    TCP over IPv6 gets 20 bytes less, which `clamp_mss` sees to.  The result is never below zero; 0 is no clamping.
    """
    return max(0, packet - IPV4_HEADER_SIZE - TCP_HEADER_SIZE)


def clamp_mss(packets: list[Buffer], largest: int) -> None:
    """Lower the MSS option of the TCP handshakes among `packets` to `largest` (20 less over IPv6), in the list's place.

    A packet that changes is replaced by a copy; anything odd is left as it is.
    """
    for index, packet in enumerate(packets):
        # Nearly every packet ends here.  Unusual IPv4 header lengths take the slow road.
        first = packet[0] if len(packet) > 33 else 0
        if first == 0x45:
            if packet[9] != PROTOCOL_TCP or not packet[33] & TCP_SYN:
                continue
        elif first >> 4 == 6:
            if packet[6] != PROTOCOL_TCP or len(packet) < 60 or not packet[53] & TCP_SYN:
                continue
        elif first >> 4 != 4 or packet[9] != PROTOCOL_TCP:
            continue
        packets[index] = _clamped(packet, largest)


def _clamped(packet: Buffer, largest: int) -> Buffer:
    transport = _whole_tcp_at(packet)
    if transport is None or not packet[transport + _FLAGS_AT] & TCP_SYN:
        return packet
    if packet[0] >> 4 == 6:
        largest = max(0, largest - _IPV6_EXTRA)
    at = _mss_option_at(packet, transport)
    if at is None:
        return packet
    announced = packet[at + 2] << 8 | packet[at + 3]
    if announced <= largest:
        return packet
    changed = bytearray(packet)
    changed[at + 2 : at + 4] = largest.to_bytes(2, "big")
    field = transport + _CHECKSUM_AT
    value = int.from_bytes(changed[field : field + 2], "big")
    if (at - transport) & 1:
        # An option at an odd offset has its value across two words of the sum: as if the bytes were swapped.
        announced, largest = _swapped(announced), _swapped(largest)
    changed[field : field + 2] = updated_checksum(value, announced, largest).to_bytes(2, "big")
    return changed


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8


def _whole_tcp_at(packet: Buffer) -> int | None:
    """Offset of the TCP header, None where the packet is a fragment, cut short or not plain TCP."""
    length = len(packet)
    if packet[0] >> 4 == 4:
        transport = (packet[0] & 15) * 4
        is_fragment = bool((packet[6] << 8 | packet[7]) & 0x1FFF)
        is_whole = packet[2] << 8 | packet[3] == length
        if is_fragment or not is_whole or transport < IPV4_HEADER_SIZE:
            return None
    else:
        transport = IPV6_HEADER_SIZE
        if packet[4] << 8 | packet[5] != length - IPV6_HEADER_SIZE:
            return None
    return transport if transport + TCP_HEADER_SIZE <= length else None


def _mss_option_at(packet: Buffer, transport: int) -> int | None:
    end = transport + (packet[transport + 12] >> 4) * 4
    if end > len(packet):
        return None
    at = transport + TCP_HEADER_SIZE
    while at + 1 < end:
        kind = packet[at]
        if kind == _OPTION_END:
            return None
        size = 1 if kind == _OPTION_NOP else packet[at + 1]
        if size == 0 or at + size > end:
            return None
        if kind == _OPTION_MSS and size == _MSS_OPTION_SIZE:
            return at
        at += size
    return None
