"""What else than packets is said on the data channel: plaintexts that begin with bytes no packet begins with."""

from __future__ import annotations

from enum import IntEnum

PING = bytes.fromhex("2a187bf3641eb4cb07ed2d0a981fc748")
"""The plaintext that keeps a connection alive."""
OCC_MAGIC = bytes.fromhex("287f346bd4ef7a812d56b8d3afc5459c")
"""The first 16 bytes of an options-consistency message; one byte that tells its type follows."""


class OccKind(IntEnum):
    """What follows on `OCC_MAGIC`."""

    REQUEST = 0
    """The peer wants to know our options; the answer is REPLY with their string and a NUL."""
    REPLY = 1
    MTU_LOAD_REQUEST = 2
    """The peer wants a datagram of the size that follows (16 bits); the answer is MTU_LOAD with anything behind it."""
    MTU_LOAD = 3
    MTU_REQUEST = 4
    """The peer wants to know the sizes of the largest datagrams received and sent; MTU_REPLY has both, 16 bits each."""
    MTU_REPLY = 5
    EXIT = 6
    """The peer leaves."""
