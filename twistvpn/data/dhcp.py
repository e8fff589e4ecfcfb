"""The router that a DHCP server inside a tap names (RFC 2131, RFC 2132 section 3.5).

With `route-gateway dhcp` it is what routes into the tunnel go through.  It is taken out of the server's answer, so that
the host's own DHCP client does not send all its traffic there.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from twistvpn.data.ethernet import ip_offset
from twistvpn.data.inet import PROTOCOL_UDP, UDP_HEADER_SIZE, checksum, pseudo_sum, word_sum

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

_SERVER_TO_CLIENT = b"\0\x43\0\x44"
_REPLY = 2
_COOKIE = bytes.fromhex("63825363")
_COOKIE_AT = 236
_PAD, _ROUTER, _MESSAGE_TYPE, _END = 0, 3, 53, 255
_OFFER, _ACK = 2, 5
_SHORTEST = 34 + UDP_HEADER_SIZE + _COOKIE_AT


def take_router(frames: list[Buffer]) -> IPv4Address | None:
    """Take the routers out of what DHCP servers say among Ethernet frames, in the list's place.

    Returns the router of the last answer that grants an address; None where there is none.
    """
    router = None
    for index, frame in enumerate(frames):
        if len(frame) < _SHORTEST:
            continue
        at = ip_offset(frame)
        if not at or frame[at] >> 4 != 4 or frame[at + 9] != PROTOCOL_UDP:
            continue
        udp = (frame[at] & 15) * 4
        if frame[at + udp : at + udp + 4] != _SERVER_TO_CLIENT:
            continue
        changed, found = _without_router(bytes(frame[at:]), udp)
        router = found or router
        if changed is not None:
            frames[index] = bytes(frame[:at]) + changed
    return router


def _without_router(packet: bytes, udp: int) -> tuple[bytes | None, IPv4Address | None]:
    """The packet without its router option, None where it has none; and the router, if it is granted."""
    bootp = udp + UDP_HEADER_SIZE
    options_at = bootp + _COOKIE_AT + len(_COOKIE)
    is_whole = packet[2] << 8 | packet[3] <= len(packet) and not (packet[6] << 8 | packet[7]) & 0x3FFF
    if not is_whole or packet[bootp : bootp + 1] != bytes((_REPLY,)) or packet[options_at - 4 : options_at] != _COOKIE:
        return None, None
    end = packet[2] << 8 | packet[3]
    options = _options(packet[options_at:end])
    kinds = dict(options)
    kind, routers = kinds.get(_MESSAGE_TYPE, b""), kinds.get(_ROUTER, b"")
    if kind not in {bytes((_OFFER,)), bytes((_ACK,))} or len(routers) < 4:
        return None, None
    kept = b"".join(bytes((code, len(value))) + value for code, value in options if code != _ROUTER)
    text = bytearray(packet[:options_at] + (kept + bytes((_END,))).ljust(end - options_at, b"\0") + packet[end:])
    text[udp + 6 : udp + 8] = bytes(2)
    total = word_sum(text[udp:end]) + pseudo_sum(text, PROTOCOL_UDP, end - udp)
    text[udp + 6 : udp + 8] = (checksum(total) or 0xFFFF).to_bytes(2, "big")
    return bytes(text), IPv4Address(routers[:4]) if kind == bytes((_ACK,)) else None


def _options(data: bytes) -> list[tuple[int, bytes]]:
    """The options in their order, up to the end or to the first that is cut short."""
    options = []
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        value = data[at + 2 : at + 2 + data[at + 1]] if at + 1 < len(data) else b""
        if at + 1 >= len(data) or len(value) != data[at + 1]:
            break
        options.append((data[at], value))
        at += 2 + len(value)
    return options
