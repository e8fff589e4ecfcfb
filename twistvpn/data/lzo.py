"""LZO1X, as old peers compress with it: decompression alone, and no byte more than is asked for.

The stream is instructions, each of which copies from what is there already (a match) and then up to 3 bytes of the
input (literals), or copies many literals.  What the first bits of an instruction mean depends on how many literals
the one before has copied: the state, 0 to 3, or 4 for a long run.
Source: the Linux kernel's Documentation/staging/lzo.rst, bitstream version 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.lz import Inflated
from twistvpn.errors import MalformedPacket

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

_LONG_RUN = 4
"""The state after 4 literals or more."""
_FIRST_LITERALS = 17
"""A first byte above this is so many literals more than it."""
_FAR = 16384
"""Bytes between the nearest distance of the far match and the end of what there is; the distance itself is the end."""
_NEAR = 2049
"""The nearest distance of the match that follows a long run of literals."""


def lzo1x_decompress(data: Buffer, most: int) -> bytes:
    """Return the bytes that `data` stands for.

    Raises `MalformedPacket` where it is no whole stream, or stands for more than `most` bytes.
    """
    inflated = Inflated(most)
    try:
        at, state = _first_literals(data, inflated)
        while True:
            op = data[at]
            at += 1
            if op >= 64:
                # 1LLDDDSS H (5 to 8 bytes) and 01LDDDSS H (3 to 4): a match within 2 KiB.
                inflated.match((data[at] << 3) + (op >> 2 & 7) + 1, (op >> 5) + 1)
                state = op & 3
                at += 1
            elif op >= 32:
                # 001LLLLL, D and S: a match within 16 KiB.
                length, at = _length(data, at, op & 31, 31)
                inflated.match((data[at + 1] << 6 | data[at] >> 2) + 1, length + 2)
                state = data[at] & 3
                at += 2
            elif op >= 16:
                # 0001HLLL, D and S: a match between 16 KiB and 48 KiB, or the end.
                length, at = _length(data, at, op & 7, 7)
                distance = _FAR + ((op & 8) << 11) + (data[at + 1] << 6 | data[at] >> 2)
                state = data[at] & 3
                at += 2
                if distance == _FAR:
                    break
                inflated.match(distance, length + 2)
            elif state == 0:
                # 0000LLLL: a long run of literals.
                length, at = _length(data, at, op, 15)
                at = inflated.literals(data, at, length + 3)
                state = _LONG_RUN
                continue
            else:
                # 0000DDSS H: the shortest matches.
                distance = (data[at] << 2) + (op >> 2)
                if state == _LONG_RUN:
                    inflated.match(distance + _NEAR, 3)
                else:
                    inflated.match(distance + 1, 2)
                state = op & 3
                at += 1
            at = inflated.literals(data, at, state)
    except IndexError:
        raise MalformedPacket("an LZO stream without an end") from None
    if length != 1 or state or at != len(data):
        raise MalformedPacket("an LZO stream with something behind its end")
    return bytes(inflated.data)


def _first_literals(data: Buffer, inflated: Inflated) -> tuple[int, int]:
    """Copy the literals that a stream may begin with; return where the instructions begin, and the state."""
    count = data[0] - _FIRST_LITERALS
    if count <= 0:
        return 0, 0
    return inflated.literals(data, 1, count), min(count, _LONG_RUN)


def _length(data: Buffer, at: int, short: int, most: int) -> tuple[int, int]:
    """The length whose short form is `short`, and where the input goes on.

    0 says that it is longer than `most`, the largest short form: each zero byte that follows adds 255, and the first
    one that is not zero adds itself.
    """
    if short:
        return short, at
    start = at
    while not data[at]:
        at += 1
    return most + (at - start) * 255 + data[at], at + 1
