"""`passtos`: which type of service the datagrams get that carry a batch of packets.

The six bits of the DSCP (RFC 2474) alone.  The two below are of congestion notification (RFC 3168), which who copies
them outside would have to bring back inside (RFC 6040); stock copies all eight, and looks at IPv4 alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.ethernet import ip_offset
from twistvpn.interfaces import DeviceType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twistvpn.interfaces import Buffer, Frame

_DSCP = 0xFC


def _of_ip(packet: Buffer) -> int:
    if len(packet) < 2:
        return 0
    version = packet[0] >> 4
    if version == 4:
        return packet[1] & _DSCP
    return (packet[0] << 4 | packet[1] >> 4) & _DSCP if version == 6 else 0


def _of_ethernet(frame: Buffer) -> int:
    at = ip_offset(frame)
    return _of_ip(frame[at : at + 2]) if at else 0


TOS_OF: dict[DeviceType, Callable[[Buffer], int]] = {DeviceType.TUN: _of_ip, DeviceType.TAP: _of_ethernet}
"""The TOS byte of a packet, without its two lowest bits; 0 for what is not IP."""


def split_by_tos(frames: Sequence[Frame], tos_of: Callable[[Buffer], int]) -> list[tuple[int, list[Frame]]]:
    """Cut a batch where the TOS of its frames changes."""
    parts: list[tuple[int, list[Frame]]] = []
    last = None
    for frame in frames:
        tos = tos_of(frame.packet)
        if tos != last:
            parts.append((tos, []))
            last = tos
        parts[-1][1].append(frame)
    return parts
