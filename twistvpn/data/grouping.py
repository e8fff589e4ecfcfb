"""Sorting a batch by address, so that routes are looked up once for each run of neighbours, not for each packet.

An IP address is 4 or 16 bytes, or b"" for what is too short for an IP header or of another IP version; an Ethernet
address is 6 bytes, or b"" for what is too short for an Ethernet header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.inet import ETHERNET_HEADER_SIZE, IPV4_HEADER_SIZE, IPV6_HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.interfaces import Buffer, Frame


def by_source(packets: Iterable[Buffer]) -> list[tuple[bytes, list[Buffer]]]:
    """Return runs of neighbouring packets with the same source address, each with that address, in order."""
    groups: list[tuple[bytes, list[Buffer]]] = []
    last: Buffer | None = None
    for packet in packets:
        length = len(packet)
        version = packet[0] >> 4 if length >= IPV4_HEADER_SIZE else 0
        if version == 4:
            address = packet[12:16]
        elif version == 6 and length >= IPV6_HEADER_SIZE:
            address = packet[8:24]
        else:
            address = b""
        if address != last:
            last = address
            current: list[Buffer] = []
            groups.append((bytes(address), current))
        current.append(packet)
    return groups


def by_destination(frames: Iterable[Frame]) -> list[tuple[bytes, list[Frame]]]:
    """Return runs of neighbouring frames with the same destination address, each with that address, in order."""
    groups: list[tuple[bytes, list[Frame]]] = []
    last: Buffer | None = None
    for frame in frames:
        packet = frame[0]
        length = len(packet)
        version = packet[0] >> 4 if length >= IPV4_HEADER_SIZE else 0
        if version == 4:
            address = packet[16:20]
        elif version == 6 and length >= IPV6_HEADER_SIZE:
            address = packet[24:40]
        else:
            address = b""
        if address != last:
            last = address
            current: list[Frame] = []
            groups.append((bytes(address), current))
        current.append(frame)
    return groups


def by_ethernet_source(packets: Iterable[Buffer]) -> list[tuple[bytes, list[Buffer]]]:
    """Return runs of neighbouring Ethernet frames with the same source address, each with that address, in order."""
    groups: list[tuple[bytes, list[Buffer]]] = []
    last: Buffer | None = None
    for packet in packets:
        address = packet[6:12] if len(packet) >= ETHERNET_HEADER_SIZE else b""
        if address != last:
            last = address
            current: list[Buffer] = []
            groups.append((bytes(address), current))
        current.append(packet)
    return groups


def by_stations(frames: Iterable[Frame]) -> list[tuple[bytes, list[Frame]]]:
    """Return runs of neighbouring Ethernet frames between the same stations, in order.

    Each comes with 12 bytes, the destination and the source address, as they begin a frame.
    """
    groups: list[tuple[bytes, list[Frame]]] = []
    last: Buffer | None = None
    for frame in frames:
        packet = frame[0]
        stations = packet[:12] if len(packet) >= ETHERNET_HEADER_SIZE else b""
        if stations != last:
            last = stations
            current: list[Frame] = []
            groups.append((bytes(stations), current))
        current.append(frame)
    return groups
