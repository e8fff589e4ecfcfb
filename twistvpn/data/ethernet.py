"""Ethernet frames around IP packets: where the packet begins, and what is done to it inside its frame.

VLAN tags (IEEE 802.1Q, and one more around it as in 802.1ad) may stand between the header and the packet; they pass
through the tunnel as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data import kernel
from twistvpn.data.inet import IPV4_HEADER_SIZE, PROTOCOL_TCP, TCP_SYN

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

VLAN_TAG_SIZE = 4

_TYPE_AT = 12
_IP = (b"\x08\x00", b"\x86\xdd")
_VLAN = (b"\x81\x00", b"\x88\xa8")
_MOST_TAGS = 2


def ip_offset(frame: Buffer) -> int:
    """Return where the IP packet in `frame` begins, in bytes; 0 where there is none."""
    at = _TYPE_AT
    for _ in range(_MOST_TAGS + 1):
        kind = frame[at : at + 2]
        if kind in _IP:
            return at + 2
        if kind not in _VLAN:
            return 0
        at += VLAN_TAG_SIZE
    return 0


def clamp_mss(frames: list[Buffer], largest: int) -> None:
    """Lower the MSS of TCP handshakes in Ethernet frames as `mss.clamp_mss` does, in the list's place."""
    for index, frame in enumerate(frames):
        at = ip_offset(frame)
        # Nearly every frame ends here.
        if not at or len(frame) < at + 40 or not _is_syn(frame, at):
            continue
        packet = frame[at:]
        padding = b""
        if packet[0] >> 4 == 4:
            # A frame is filled up to 60 bytes on the wire, and a handshake may be shorter.
            end = packet[2] << 8 | packet[3]
            packet, padding = packet[:end], bytes(packet[end:])
        clamped = [packet]
        kernel.clamp_mss(clamped, largest)
        if clamped[0] is not packet:
            frames[index] = b"".join((frame[:at], clamped[0], padding))


def _is_syn(frame: Buffer, at: int) -> bool:
    first = frame[at]
    if first >> 4 == 4:
        flags = at + (first & 15) * 4 + 13
        is_tcp = frame[at + 9] == PROTOCOL_TCP and first & 15 >= IPV4_HEADER_SIZE >> 2
    else:
        flags = at + 53
        is_tcp = first >> 4 == 6 and frame[at + 6] == PROTOCOL_TCP
    return is_tcp and flags < len(frame) and bool(frame[flags] & TCP_SYN)
