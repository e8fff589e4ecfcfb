"""Ethernet frames around IP packets: segmentation, coalescing and `mssfix` inside them, in pure Python.

VLAN tags (IEEE 802.1Q, and one more around it as in 802.1ad) may stand between the header and the packet; they pass
through the tunnel as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.coalesce import coalesce
from twistvpn.data.inet import IPV4_HEADER_SIZE
from twistvpn.data.messages import OCC_MAGIC, PING
from twistvpn.data.mss import clamp_mss
from twistvpn.data.offload import GSO_ECN, GSO_NONE, VnetHeader, segment, segment_all
from twistvpn.errors import MalformedPacket
from twistvpn.interfaces import NO_OFFLOAD, Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twistvpn.interfaces import Buffer

VLAN_TAG_SIZE = 4
ETHERTYPE_AT = 12
"""Where the EtherType is in a frame, or that of its first tag."""
VLAN = b"\x81\x00"
"""The EtherType of a tag (802.1Q)."""

_IP = (b"\x08\x00", b"\x86\xdd")
_TAGS = (VLAN, b"\x88\xa8")
_MOST_TAGS = 2
_MESSAGES = (PING, OCC_MAGIC)
_MESSAGE_SIZE = 16


def ip_offset(frame: Buffer) -> int:
    """Return where the IP packet in `frame` begins, in bytes; 0 where there is none."""
    at = ETHERTYPE_AT
    for _ in range(_MOST_TAGS + 1):
        kind = frame[at : at + 2]
        if kind in _IP:
            return at + 2
        if kind not in _TAGS:
            return 0
        at += VLAN_TAG_SIZE
    return 0


def segment_ethernet(frames: Iterable[Frame], largest_mss: int, /) -> tuple[list[Buffer], int]:
    """Return the packets that `frames` stand for, in order, and how many frames are malformed.

    Each packet is whole, with complete checksums, as `offload.segment` makes them, behind a copy of the frame's header;
    handshakes' MSS is lowered to `largest_mss` unless that is 0.
    """
    packets, malformed = segment_all(frames, _segments)
    if largest_mss:
        _clamp(packets, largest_mss)
    return packets, malformed


def _segments(frame: Frame) -> list[Buffer]:
    packet, raw = frame
    vnet = VnetHeader.decode(raw)
    if vnet.gso_type & ~GSO_ECN == GSO_NONE:
        return segment(frame)
    at = ip_offset(packet)
    if not at or vnet.csum_start < at:
        raise MalformedPacket("a super-packet that is not IP")
    header = bytes(packet[:at])
    inner = vnet._replace(csum_start=vnet.csum_start - at)
    return [header + part for part in segment(Frame(packet[at:], inner.encode()))]


def sort_ethernet(texts: Iterable[Buffer], largest_mss: int, /) -> tuple[list[Buffer], list[Buffer]]:
    """Part opened plaintexts into frames, their handshakes' MSS lowered as above, and messages."""
    frames: list[Buffer] = []
    messages: list[Buffer] = []
    for text in texts:
        (messages if text[:_MESSAGE_SIZE] in _MESSAGES else frames).append(text)
    if largest_mss:
        _clamp(frames, largest_mss)
    return frames, messages


def coalesce_ethernet(packets: Sequence[Buffer], offloads: int, /) -> list[Frame]:
    """Merge packets into super-packets as `coalesce.coalesce` does, where neighbours have the same header."""
    frames: list[Frame] = []
    run: list[Buffer] = []
    header: Buffer = b""
    for packet in packets:
        at = ip_offset(packet)
        own = packet[:at]
        if not run or not at or own != header:
            frames += _coalesced(run, header, offloads)
            run, header = [], own
        run.append(packet)
    return frames + _coalesced(run, header, offloads)


def _coalesced(packets: list[Buffer], header: Buffer, offloads: int) -> list[Frame]:
    at = len(header)
    if len(packets) < 2 or not at:
        return [Frame(packet) for packet in packets]
    frames = []
    for inner, raw in coalesce([packet[at:] for packet in packets], offloads):
        if raw == NO_OFFLOAD:
            frames.append(Frame(bytes(header) + inner))
            continue
        vnet = VnetHeader.decode(raw)
        vnet = vnet._replace(hdr_len=vnet.hdr_len + at, csum_start=vnet.csum_start + at)
        frames.append(Frame(bytes(header) + inner, vnet.encode()))
    return frames


def _clamp(frames: list[Buffer], largest: int) -> None:
    for index, frame in enumerate(frames):
        at = ip_offset(frame)
        if not at:
            continue
        packet = frame[at:]
        padding: Buffer = b""
        if len(packet) >= IPV4_HEADER_SIZE and packet[0] >> 4 == 4:
            # A frame is filled up to 60 bytes on the wire, and a handshake may be shorter.
            end = packet[2] << 8 | packet[3]
            packet, padding = packet[:end], packet[end:]
        clamped = [packet]
        clamp_mss(clamped, largest)
        if clamped[0] is not packet:
            frames[index] = b"".join((frame[:at], clamped[0], padding))
