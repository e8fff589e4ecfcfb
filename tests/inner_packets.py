"""IP packets made by hand, with checksums summed word by word: an oracle that shares no code with the package."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
TCP, UDP = 6, 17
DF = 0x4000


def rfc1071(data: bytes) -> int:
    """The Internet checksum, as RFC 1071 writes it."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    addresses = ip_address(source).packed + ip_address(destination).packed
    if ip_address(source).version == 4:
        return addresses + struct.pack(">BBH", 0, protocol, length)
    return addresses + struct.pack(">IHBB", length, 0, 0, protocol)


def ip(
    source: str,
    destination: str,
    protocol: int,
    body: bytes,
    *,
    identification: int = 0,
    fragment: int = 0,
    ttl: int = 64,
    tos: int = 0,
    options: bytes = b"",
) -> bytes:
    if isinstance(ip_address(source), IPv4Address):
        words = (20 + len(options)) // 4
        length = 20 + len(options) + len(body)
        fields = (0x40 | words, tos, length, identification, fragment, ttl, protocol)
        ends = ip_address(source).packed + ip_address(destination).packed + options
        check = rfc1071(struct.pack(">BBHHHBBH", *fields, 0) + ends)
        return struct.pack(">BBHHHBBH", *fields, check) + ends + body
    assert isinstance(ip_address(source), IPv6Address)
    head = struct.pack(">IHBB", 6 << 28 | tos << 20, len(body), protocol, ttl)
    return head + ip_address(source).packed + ip_address(destination).packed + body


def tcp(
    source: str = "10.8.0.2",
    destination: str = "10.8.0.1",
    payload: bytes = b"",
    *,
    sequence: int = 1000,
    acknowledgement: int = 77,
    flags: int = ACK,
    window: int = 512,
    options: bytes = b"",
    ports: tuple[int, int] = (40000, 443),
    identification: int = 0,
    fragment: int = 0,
    ttl: int = 64,
    tos: int = 0,
    ip_options: bytes = b"",
) -> bytes:
    offset = (20 + len(options)) // 4 << 4
    fields = (*ports, sequence & 0xFFFFFFFF, acknowledgement, offset, flags, window)
    header = struct.pack(">HHIIBBHHH", *fields, 0, 0) + options
    check = rfc1071(pseudo_header(source, destination, TCP, len(header) + len(payload)) + header + payload)
    body = struct.pack(">HHIIBBHHH", *fields, check, 0) + options + payload
    return ip(
        source,
        destination,
        TCP,
        body,
        identification=identification,
        fragment=fragment,
        ttl=ttl,
        tos=tos,
        options=ip_options,
    )


def udp(
    source: str = "10.8.0.2",
    destination: str = "10.8.0.1",
    payload: bytes = b"",
    *,
    ports: tuple[int, int] = (5000, 53),
    identification: int = 0,
    fragment: int = 0,
    ttl: int = 64,
) -> bytes:
    header = struct.pack(">HHHH", *ports, 8 + len(payload), 0)
    check = rfc1071(pseudo_header(source, destination, UDP, len(header) + len(payload)) + header + payload) or 0xFFFF
    body = struct.pack(">HHHH", *ports, 8 + len(payload), check) + payload
    return ip(source, destination, UDP, body, identification=identification, fragment=fragment, ttl=ttl)


def checksums_hold(packet: Buffer) -> bool:
    """Whether the IP and TCP or UDP checksums of an unfragmented packet are right."""
    packet = bytes(packet)
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        if rfc1071(packet[:header]):
            return False
        source, destination, protocol = packet[12:16], packet[16:20], packet[9]
        pseudo = source + destination + struct.pack(">BBH", 0, protocol, len(packet) - header)
    else:
        header = 40
        pseudo = packet[8:40] + struct.pack(">IHBB", len(packet) - 40, 0, 0, packet[6])
    return rfc1071(pseudo + packet[header:]) == 0
