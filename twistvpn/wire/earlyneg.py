"""Early negotiation: what client and server tell each other before TLS begins.

A client that knows it numbers its packets from 0x0f000001.  The server's reset to such a client may have a payload of
u16 type, u16 length, value; the one type there is says in flags what the client is to do.
Source: wire-protocol draft, "Early negotiation".
"""

from __future__ import annotations

import struct
from enum import IntFlag

from twistvpn.errors import MalformedPacket

FIRST_PACKET_ID = 0x0F000001
"""Packet id of the first packet of a client that knows early negotiation."""

_MARK = 0x0F000000
_HEAD = struct.Struct(">HH")
_FLAGS = struct.Struct(">HHH")
_TYPE_FLAGS = 1


class EarlyFlag(IntFlag):
    """What a server's reset asks of the client."""

    NONE = 0
    RESEND_WKC = 1
    """Send the wrapped client key once more with the next message (P_CONTROL_WKC_V1)."""


def is_announced(packet_id: int) -> bool:
    """Whether a client whose reset has this packet id knows early negotiation."""
    return packet_id & _MARK == _MARK


def encode_early_flags(flags: EarlyFlag) -> bytes:
    """Encode the payload of a server's reset."""
    return _FLAGS.pack(_TYPE_FLAGS, _FLAGS.size - _HEAD.size, flags)


def decode_early_flags(payload: bytes) -> EarlyFlag:
    """Read the payload of a server's reset; types and flags that nobody has defined mean nothing.

    Raises `MalformedPacket`.
    """
    flags = 0
    while payload:
        if len(payload) < _HEAD.size:
            raise MalformedPacket("early negotiation ends within a header")
        kind, length = _HEAD.unpack_from(payload)
        value, payload = payload[_HEAD.size : _HEAD.size + length], payload[_HEAD.size + length :]
        if len(value) < length or (kind == _TYPE_FLAGS and length != _FLAGS.size - _HEAD.size):
            raise MalformedPacket(f"early negotiation of type {kind} has {len(value)} bytes")
        if kind == _TYPE_FLAGS:
            flags |= int.from_bytes(value, "big")
    return EarlyFlag(flags & EarlyFlag.RESEND_WKC)
