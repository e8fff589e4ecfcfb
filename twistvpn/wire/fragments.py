"""The header that `fragment` puts before every packet or part of one: 32 bits, big-endian.

    bit  0: type (2)    bit  2: sequence (8)    bit 10: index of the part (5)    bit 15: size / 4 (14)

The size is that of all parts but the last, which alone carries it.  A packet that is whole has the header 0.
Source: the reference's behaviour; openvpn(8), `fragment`.
"""

from __future__ import annotations

from enum import IntEnum

HEADER_SIZE = 4

WHOLE_HEADER = bytes(HEADER_SIZE)

MAX_PARTS = 32
SEQUENCES = 256
SIZE_UNIT = 4
"""Sizes of parts are multiples of it, but for the last part's."""

_SEQUENCE_AT = 2
_INDEX_AT = 10
_SIZE_AT = 15
_SIZE_MASK = 0x3FFF


class Part(IntEnum):
    """The type."""

    WHOLE = 0
    NOT_LAST = 1
    LAST = 2
    TEST = 3
    """Was meant for finding the path's MTU; nobody sends it."""


def encode_header(kind: Part, sequence: int, index: int, size: int) -> bytes:
    """Return the header of part `index` of packet `sequence`; `size` counts for the last part only."""
    value = kind | sequence << _SEQUENCE_AT | index << _INDEX_AT
    if kind is Part.LAST:
        value |= size // SIZE_UNIT << _SIZE_AT
    return value.to_bytes(HEADER_SIZE, "big")


def decode_header(value: int) -> tuple[int, int, int, int]:
    """Cut a header into type, sequence, index and size."""
    return (
        value & 3,
        value >> _SEQUENCE_AT & (SEQUENCES - 1),
        value >> _INDEX_AT & (MAX_PARTS - 1),
        (value >> _SIZE_AT & _SIZE_MASK) * SIZE_UNIT,
    )
