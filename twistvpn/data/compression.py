"""The compression framing of data packets: what we send says that it is not compressed, what comes may be.

Which bytes there are is told in `wire.compression`.  A receiver need not know which v1 framing its peer has: the
first byte of each packet says it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.lz4 import lz4_decompress
from twistvpn.data.lzo import lzo1x_decompress
from twistvpn.errors import MalformedPacket
from twistvpn.wire.compression import (
    LZ4_COMPRESS,
    LZO_COMPRESS,
    NO_COMPRESS,
    NO_COMPRESS_SWAP,
    V2_INDICATOR,
    V2_LZ4,
    V2_UNCOMPRESSED,
    V2_UNCOMPRESSED_BY_STOCK,
    Compression,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from twistvpn.interfaces import Buffer

BAD_COMPRESSION = "compression"
"""The reason for which packets are dropped whose framing is not one that is allowed, or that do not decompress."""

_PREFIX = bytes((NO_COMPRESS,))
_SWAP = bytes((NO_COMPRESS_SWAP,))
_INDICATOR = bytes((V2_INDICATOR,))
_ESCAPE = bytes((V2_INDICATOR, V2_UNCOMPRESSED))


def _prefixed(packets: Sequence[Buffer]) -> list[Buffer]:
    return [_PREFIX + packet for packet in packets]


def _swapped(packets: Sequence[Buffer]) -> list[Buffer]:
    return [b"".join((_SWAP, packet[1:], packet[:1])) for packet in packets]


def _escaped(packets: Sequence[Buffer]) -> list[Buffer]:
    return [_ESCAPE + packet if packet[:1] == _INDICATOR else packet for packet in packets]


_WRAPS: dict[Compression, Callable[[Sequence[Buffer]], list[Buffer]]] = {
    Compression.STUB: _prefixed,
    Compression.STUB_SWAP: _swapped,
    Compression.STUB_V2: _escaped,
    Compression.LZO: _prefixed,
    Compression.LZ4: _swapped,
    Compression.LZ4_V2: _escaped,
}


class CompressionFraming:
    """One peer's framing, in both directions."""

    __slots__ = ("_inflates", "_largest", "_unwrap", "compression", "wrap")

    def __init__(self, compression: Compression, largest: int, allow: str) -> None:
        """Take any `compression` but NONE; `allow` is that of `allow-compression`: with 'no' nothing is decompressed.

        What would be more than `largest` bytes is not decompressed either.
        """
        self.compression = compression
        self.wrap = _WRAPS[compression]
        """Returns packets as they are sent."""
        self._largest = largest
        self._inflates = allow != "no"
        self._unwrap = self._unwrapped_v2 if compression.is_v2 else self._unwrapped_v1

    def unwrap(self, texts: Sequence[Buffer], drops: Counter[str]) -> list[Buffer]:
        """Return the packets in what has come, in order; what is bad is counted in `drops`."""
        packets: list[Buffer] = []
        for text in texts:
            try:
                packet = self._unwrap(text)
            except MalformedPacket:
                packet = b""
            if packet:
                packets.append(packet)
            else:
                drops[BAD_COMPRESSION] += 1
        return packets

    def _unwrapped_v1(self, text: Buffer) -> Buffer:
        first = text[0]
        if len(text) > 1:
            if first == NO_COMPRESS:
                return text[1:]
            if first == NO_COMPRESS_SWAP:
                return _unswapped(text)
            if first == LZO_COMPRESS and self._inflates:
                return lzo1x_decompress(text[1:], self._largest)
            if first == LZ4_COMPRESS and self._inflates:
                return lz4_decompress(_unswapped(text), self._largest)
        raise MalformedPacket("no v1 compression framing")

    def _unwrapped_v2(self, text: Buffer) -> Buffer:
        if text[0] != V2_INDICATOR:
            return text
        if len(text) > 2:
            second = text[1]
            if second in {V2_UNCOMPRESSED, V2_UNCOMPRESSED_BY_STOCK}:
                return text[2:]
            if second == V2_LZ4 and self._inflates:
                return lz4_decompress(text[2:], self._largest)
        raise MalformedPacket("no v2 compression framing")


def _unswapped(text: Buffer) -> Buffer:
    return b"".join((text[-1:], text[1:-1]))
