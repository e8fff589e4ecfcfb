"""LZ4 blocks, as old peers compress with them: decompression alone, and no byte more than is asked for.

A block is sequences: a token, literals, and a match of 4 bytes or more, which the last sequence has not.
Source: the LZ4 project's "LZ4 Block Format Description".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.lz import Inflated
from twistvpn.errors import MalformedPacket

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

_MORE = 15
"""A length in a token that is only the beginning of it."""
_SHORTEST_MATCH = 4


def lz4_decompress(data: Buffer, most: int) -> bytes:
    """Return the bytes that the block stands for.

    Raises `MalformedPacket` where it is no whole block, or stands for more than `most` bytes.
    """
    inflated = Inflated(most)
    end = len(data)
    at = 0
    try:
        while True:
            token = data[at]
            length, at = _length(data, at + 1, token >> 4)
            at = inflated.literals(data, at, length)
            if at == end:
                return bytes(inflated.data)
            distance = data[at] | data[at + 1] << 8
            length, at = _length(data, at + 2, token & 15)
            inflated.match(distance, length + _SHORTEST_MATCH)
    except IndexError:
        raise MalformedPacket("an LZ4 block without an end") from None


def _length(data: Buffer, at: int, short: int) -> tuple[int, int]:
    """The length that begins with `short`, and where the input goes on: bytes of 255, and one that is less."""
    if short != _MORE:
        return short, at
    start = at
    while data[at] == 255:
        at += 1
    return _MORE + (at - start) * 255 + data[at], at + 1
