"""Sorting a batch by address, so that routes are looked up once for each run of neighbours, not for each packet.

An IP address is 4 or 16 bytes, or b"" for what is too short for an IP header or of another IP version; an Ethernet
address is 6 bytes, or b"" for what is too short for an Ethernet header.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from twistvpn.data.inet import ETHERNET_HEADER_SIZE, IPV4_HEADER_SIZE, IPV6_HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twistvpn.interfaces import Buffer, Frame


def by_source(packets: Iterable[Buffer]) -> list[tuple[bytes, list[Buffer]]]:
    """Return runs of neighbouring packets with the same source address, each with that address, in order."""
    return [(bytes(address), list(run)) for address, run in groupby(packets, _source)]


def by_destination(frames: Iterable[Frame]) -> list[tuple[bytes, list[Frame]]]:
    """Return runs of neighbouring frames with the same destination address, each with that address, in order."""
    return [(bytes(address), list(run)) for address, run in groupby(frames, _destination)]


def by_ethernet_source(packets: Iterable[Buffer]) -> list[tuple[bytes, list[Buffer]]]:
    """Return runs of neighbouring Ethernet frames with the same source address, each with that address, in order."""
    return [(bytes(address), list(run)) for address, run in groupby(packets, _ethernet_source)]


def by_stations(frames: Iterable[Frame]) -> list[tuple[bytes, list[Frame]]]:
    """Return runs of neighbouring Ethernet frames between the same stations, in order.

    Each comes with 12 bytes, the destination and the source address, as they begin a frame.
    """
    return [(bytes(stations), list(run)) for stations, run in groupby(frames, _stations)]


def _source(packet: Buffer) -> Buffer:
    length = len(packet)
    version = packet[0] >> 4 if length >= IPV4_HEADER_SIZE else 0
    if version == 4:
        return packet[12:16]
    return packet[8:24] if version == 6 and length >= IPV6_HEADER_SIZE else b""


def _destination(frame: Frame) -> Buffer:
    packet = frame[0]
    length = len(packet)
    version = packet[0] >> 4 if length >= IPV4_HEADER_SIZE else 0
    if version == 4:
        return packet[16:20]
    return packet[24:40] if version == 6 and length >= IPV6_HEADER_SIZE else b""


def _ethernet_source(packet: Buffer) -> Buffer:
    return packet[6:12] if len(packet) >= ETHERNET_HEADER_SIZE else b""


def _stations(frame: Frame) -> Buffer:
    packet = frame[0]
    return packet[:12] if len(packet) >= ETHERNET_HEADER_SIZE else b""
