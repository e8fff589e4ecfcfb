"""The first byte of every packet: opcode in the high five bits, key id in the low three.

Source: wire-protocol draft, "Packet header"; numbers from the "Opcodes" table.
"""

from __future__ import annotations

from enum import IntEnum

from twistvpn.errors import MalformedPacket

KEY_ID_MASK = 0x07
OPCODE_SHIFT = 3


class Opcode(IntEnum):
    """What a packet is."""

    P_CONTROL_HARD_RESET_CLIENT_V1 = 1
    P_CONTROL_HARD_RESET_SERVER_V1 = 2
    P_CONTROL_SOFT_RESET_V1 = 3
    P_CONTROL_V1 = 4
    P_ACK_V1 = 5
    P_DATA_V1 = 6
    P_CONTROL_HARD_RESET_CLIENT_V2 = 7
    P_CONTROL_HARD_RESET_SERVER_V2 = 8
    P_DATA_V2 = 9
    P_CONTROL_HARD_RESET_CLIENT_V3 = 10
    P_CONTROL_WKC_V1 = 11


DATA_OPCODES = frozenset({Opcode.P_DATA_V1, Opcode.P_DATA_V2})
"""Packets that carry tunnelled traffic."""

CONTROL_OPCODES = frozenset(
    {
        Opcode.P_CONTROL_SOFT_RESET_V1,
        Opcode.P_CONTROL_V1,
        Opcode.P_ACK_V1,
        Opcode.P_CONTROL_HARD_RESET_CLIENT_V2,
        Opcode.P_CONTROL_HARD_RESET_SERVER_V2,
        Opcode.P_CONTROL_HARD_RESET_CLIENT_V3,
        Opcode.P_CONTROL_WKC_V1,
    }
)
"""Packets of the control channel, P_ACK_V1 included; the V1 hard resets belong to key method 1, which is gone."""

CLIENT_RESETS = frozenset({Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, Opcode.P_CONTROL_HARD_RESET_CLIENT_V3})
"""What a client's first packet may be."""

KEY_BEARERS = frozenset({Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, Opcode.P_CONTROL_WKC_V1})
"""Packets of a client that end in its wrapped key (tls-crypt-v2)."""

_BY_NUMBER: dict[int, Opcode] = {opcode.value: opcode for opcode in Opcode}


def first_byte(opcode: Opcode, key_id: int) -> int:
    """Join the first byte of a packet; `key_id` is 0 to 7."""
    return opcode << OPCODE_SHIFT | key_id


def split_first_byte(byte: int) -> tuple[Opcode, int]:
    """Return opcode and key id.  Raises `MalformedPacket` for an opcode nobody has defined."""
    opcode = _BY_NUMBER.get(byte >> OPCODE_SHIFT)
    if opcode is None:
        raise MalformedPacket(f"unknown opcode {byte >> OPCODE_SHIFT}")
    return opcode, byte & KEY_ID_MASK
