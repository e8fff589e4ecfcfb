"""What opening a run of data packets gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twistvpn.interfaces import Buffer

if TYPE_CHECKING:
    from collections.abc import Sequence


class Opened(NamedTuple):
    """The plaintexts of one run; every datagram is in exactly one of the first four."""

    packets: list[Buffer]
    """IP packets, in order: what begins with the nibble 4 or 6.  Of `open_unsorted`: everything authentic, in order."""
    messages: list[Buffer]
    """Everything else that is authentic, pings and OCC messages among it, in order."""
    forged: int
    """Datagrams whose tag did not verify."""
    replayed: int
    """Authentic datagrams that the replay window did not let through."""


def sort_out(texts: Sequence[Buffer]) -> tuple[list[Buffer], list[Buffer]]:
    """Part plaintexts, none of them empty, into IP packets and messages."""
    packets = [text for text in texts if text[0] & 0xD0 == 0x40]
    messages = [] if len(packets) == len(texts) else [text for text in texts if text[0] & 0xD0 != 0x40]
    return packets, messages
