"""What lies between packets and sealing where the two ends have agreed on it: compression's framing and `fragment`.

Out, a packet is framed and then cut into parts; in, the parts are joined and then unframed, as in stock peers.
A connection with neither has no `Framing`, and what is here costs it nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.data.compression import CompressionFraming
from twistvpn.data.ethernet import VLAN_TAG_SIZE
from twistvpn.data.fragment import Fragmenter
from twistvpn.data.inet import ETHERNET_HEADER_SIZE
from twistvpn.wire.compression import Compression
from twistvpn.wire.fragments import HEADER_SIZE, SIZE_UNIT

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from twistvpn.config.settings import FragmentLimit
    from twistvpn.interfaces import Buffer

LARGEST_PACKET = 1600
"""Bytes of a packet at least that are decompressed and put together, however small our own device's MTU is: the peer
may have another.  It is what stock peers have room for by default (`tun-mtu-max`)."""
LINK_LAYER = ETHERNET_HEADER_SIZE + VLAN_TAG_SIZE
"""Bytes of an Ethernet header with a VLAN tag that a packet may have in front beside that."""


class Framing:
    """One peer's, in both directions.  What is dropped is counted by reason in the `drops` that are passed."""

    __slots__ = ("_compression", "_fragmenter", "compression", "fragment_limit", "overhead")

    def __init__(
        self,
        compression: Compression,
        fragment_limit: FragmentLimit | None,
        *,
        allow_compression: str,
        mtu: int,
        sequence: int,
    ) -> None:
        """`mtu` is that of the tunnel, `sequence` what `Fragmenter` counts from."""
        largest = max(mtu, LARGEST_PACKET) + LINK_LAYER
        self.compression = compression
        self.fragment_limit = fragment_limit
        self._compression = (
            None if compression is Compression.NONE else CompressionFraming(compression, largest, allow_compression)
        )
        self._fragmenter = None if fragment_limit is None else Fragmenter(largest + compression.header_size, sequence)
        self.overhead = compression.header_size + (0 if fragment_limit is None else HEADER_SIZE)
        """Bytes that it adds to an IP packet that leaves whole."""

    def fit(self, largest: int) -> None:
        """Say how many bytes of a text fit a datagram of the limit's size (`Channel.largest_text`)."""
        if self._fragmenter is not None:
            self._fragmenter.limit = max(SIZE_UNIT, largest - HEADER_SIZE)

    def wrap(self, packets: Sequence[Buffer], drops: Counter[str]) -> list[Buffer]:
        """Return what is to be sealed for `packets`, in order."""
        texts = list(packets) if self._compression is None else self._compression.wrap(packets)
        return texts if self._fragmenter is None else self._fragmenter.split(texts, drops)

    def unwrap(self, texts: Sequence[Buffer], now: float, drops: Counter[str]) -> list[Buffer]:
        """Return the packets and messages in what was opened, in order, none of them empty."""
        if self._fragmenter is not None:
            texts = self._fragmenter.join(texts, now, drops)
        return list(texts) if self._compression is None else self._compression.unwrap(texts, drops)
