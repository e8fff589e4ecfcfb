"""What the decompressors share: an output that has a bound, and matches that copy from what is there already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.errors import MalformedPacket

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer


class Inflated:
    """The bytes that come out; `MalformedPacket` is raised before they are more than `most`."""

    __slots__ = ("_most", "data")

    def __init__(self, most: int) -> None:
        self._most = most
        self.data = bytearray()

    def literals(self, data: Buffer, start: int, length: int) -> int:
        """Add `length` bytes of the input as they are; return where the input goes on."""
        end = start + length
        if end > len(data) or len(self.data) + length > self._most:
            raise MalformedPacket("literals beyond an end")
        self.data += data[start:end]
        return end

    def match(self, distance: int, length: int) -> None:
        """Add `length` bytes again that begin `distance` before the end; they may reach into themselves."""
        data = self.data
        start = len(data) - distance
        if start < 0 or distance <= 0 or len(data) + length > self._most:
            raise MalformedPacket("a match beyond an end")
        if distance >= length:
            data += data[start : start + length]
        else:
            data += (data[start:] * -(-length // distance))[:length]
