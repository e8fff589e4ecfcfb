"""`fragment`: packets that are too large for a datagram leave in parts, and are put together again.

The header is told in `wire.fragments`.  What waits for its other parts is bounded: by number, as a window over the
packets' sequence numbers, by size, and by time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.errors import MalformedPacket
from twistvpn.wire.fragments import (
    HEADER_SIZE,
    MAX_PARTS,
    SEQUENCES,
    SIZE_UNIT,
    WHOLE_HEADER,
    Part,
    decode_header,
    encode_header,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer

WINDOW = 25
"""Packets that may wait for their parts at a time, as in stock peers."""
TIME_TO_LIVE = 10.0
"""Seconds that a packet waits after its last part, as in stock peers."""

TOO_LARGE = "too-large"
"""The reason for which packets are dropped that would need more than 32 parts."""
BAD_FRAGMENT = "bad-fragment"
"""The reason for which parts are dropped that are none, or do not fit the others."""
INCOMPLETE = "incomplete"
"""The reason for which packets are dropped some of whose parts have not come."""


class _Assembly:
    """The parts of one packet that have come."""

    __slots__ = ("last", "parts", "size", "touched")

    def __init__(self, size: int) -> None:
        self.size = size
        """Of every part but the last."""
        self.parts: dict[int, Buffer] = {}
        self.last = MAX_PARTS
        """The index of the last part, once that has come."""
        self.touched = 0.0

    @property
    def is_complete(self) -> bool:
        return len(self.parts) > self.last

    def joined(self) -> bytes:
        return b"".join([self.parts[index] for index in range(self.last + 1)])


class Fragmenter:
    """One peer's packets, in both directions."""

    __slots__ = ("_assemblies", "_largest", "_newest", "_sequence", "limit")

    def __init__(self, largest: int, sequence: int) -> None:
        """Put together packets of at most `largest` bytes; the first one that leaves in parts follows `sequence`."""
        self.limit = largest
        """Bytes of a packet that may leave whole, and of a part."""
        self._largest = largest
        self._sequence = sequence
        self._assemblies: dict[int, _Assembly] = {}
        self._newest = 0

    # Out

    def split(self, packets: Sequence[Buffer], drops: Counter[str]) -> list[Buffer]:
        """Return the packets with headers, in order, the large ones in parts."""
        limit = self.limit
        texts: list[Buffer] = []
        for packet in packets:
            if len(packet) <= limit:
                texts.append(WHOLE_HEADER + packet)
            else:
                texts += self._parts(packet, drops)
        return texts

    def _parts(self, packet: Buffer, drops: Counter[str]) -> list[Buffer]:
        """As few parts as there can be, all of nearly one size."""
        most = self.limit // SIZE_UNIT * SIZE_UNIT
        if most <= 0 or len(packet) > most * MAX_PARTS:
            drops[TOO_LARGE] += 1
            return []
        count = -(-len(packet) // most)
        size = -(-len(packet) // count // SIZE_UNIT) * SIZE_UNIT
        self._sequence = (self._sequence + 1) % SEQUENCES
        starts = range(0, len(packet), size)
        return [
            encode_header(Part.LAST if start + size >= len(packet) else Part.NOT_LAST, self._sequence, index, size)
            + packet[start : start + size]
            for index, start in enumerate(starts)
        ]

    # In

    def join(self, texts: Sequence[Buffer], now: float, drops: Counter[str]) -> list[Buffer]:
        """Return the packets that are whole or become so, in order; `now` is a monotonic time in seconds."""
        packets: list[Buffer] = []
        for text in texts:
            try:
                packet = self._joined(text, now, drops)
            except MalformedPacket:
                drops[BAD_FRAGMENT] += 1
                continue
            if packet is not None:
                packets.append(packet)
        return packets

    def _joined(self, text: Buffer, now: float, drops: Counter[str]) -> Buffer | None:
        kind, sequence, index, size = decode_header(int.from_bytes(text[:HEADER_SIZE], "big"))
        part = text[HEADER_SIZE:]
        if not part or kind == Part.TEST:
            raise MalformedPacket("nothing in a fragment")
        if kind == Part.WHOLE:
            if sequence or index:
                raise MalformedPacket("a whole packet that is one of many")
            return part
        if kind == Part.NOT_LAST:
            size = len(part)
        if size % SIZE_UNIT or len(part) > size or index * size + len(part) > self._largest:
            raise MalformedPacket("a fragment of an impossible size")
        assembly = self._assembly(sequence, size, now, drops)
        if kind == Part.LAST:
            assembly.last = index
        assembly.parts[index] = part
        assembly.touched = now
        if max(assembly.parts) > assembly.last:
            del self._assemblies[sequence]
            raise MalformedPacket("a fragment behind the last one")
        if not assembly.is_complete:
            return None
        del self._assemblies[sequence]
        return assembly.joined()

    def _assembly(self, sequence: int, size: int, now: float, drops: Counter[str]) -> _Assembly:
        """The packet that a part of this size belongs to; those that it shows to be past are given up."""
        assembly = self._assemblies.get(sequence)
        if assembly is not None and assembly.size == size and now < assembly.touched + TIME_TO_LIVE:
            return assembly
        ahead = (sequence - self._newest + SEQUENCES // 2) % SEQUENCES - SEQUENCES // 2
        if abs(ahead) >= WINDOW:
            self._give_up(list(self._assemblies), drops)
            self._newest = sequence
        elif ahead > 0:
            self._newest = sequence
            self._give_up([old for old in self._assemblies if (sequence - old) % SEQUENCES >= WINDOW], drops)
        self._give_up([old for old, one in self._assemblies.items() if one.touched + TIME_TO_LIVE <= now], drops)
        if sequence in self._assemblies:
            self._give_up([sequence], drops)
        assembly = self._assemblies[sequence] = _Assembly(size)
        return assembly

    def _give_up(self, sequences: Sequence[int], drops: Counter[str]) -> None:
        for sequence in sequences:
            del self._assemblies[sequence]
        if sequences:
            drops[INCOMPLETE] += len(sequences)
