"""The compression framings: their names in options and peer info, and the bytes that they put before a packet.

A framing says in each packet how it is compressed; none of the packets we send is.  There are two families:

    v1:  one byte in front, and what follows it.  "Swapped" framings put the packet's first byte behind its last and
         the framing's byte in its place, so that the rest keeps its alignment.
    v2:  nothing in front of a packet that does not begin with 0x50; in front of any other 0x50 and a second byte.

Source: wire-protocol draft, "Compression"; openvpn(8), `compress`, `comp-lzo` and `allow-compression`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_COMPRESS = 0xFA
"""v1: what follows is the packet."""
NO_COMPRESS_SWAP = 0xFB
"""v1: the packet, swapped."""
LZO_COMPRESS = 0x66
"""v1: what follows is the packet in LZO1X."""
LZ4_COMPRESS = 0x69
"""v1: the packet as one LZ4 block, swapped."""

V2_INDICATOR = 0x50
V2_UNCOMPRESSED = 0
V2_UNCOMPRESSED_BY_STOCK = 10
"""What stock peers write in the place of `V2_UNCOMPRESSED`, by mistake."""
V2_LZ4 = 1


class Compression(Enum):
    """What frames the packets of a connection."""

    NONE = "none"
    STUB = "comp-lzo no"
    STUB_SWAP = "compress stub"
    STUB_V2 = "compress stub-v2"
    LZO = "comp-lzo"
    LZ4 = "compress lz4"
    LZ4_V2 = "compress lz4-v2"

    @property
    def header_size(self) -> int:
        """Bytes that it adds to an IP packet."""
        return 1 if self in _V1 else 0

    @property
    def is_v2(self) -> bool:
        """Whether most packets have nothing in front."""
        return self in {Compression.STUB_V2, Compression.LZ4_V2}

    @property
    def compresses(self) -> bool:
        """Whether a peer that has it may send compressed packets."""
        return self in {Compression.LZO, Compression.LZ4, Compression.LZ4_V2}


_V1 = frozenset({Compression.STUB, Compression.STUB_SWAP, Compression.LZO, Compression.LZ4})

COMP_LZO = {
    "no": Compression.STUB,
    "yes": Compression.LZO,
    "adaptive": Compression.LZO,
}
"""What the argument of `comp-lzo` stands for; without one it is 'adaptive'."""
COMPRESS = {
    "stub": Compression.STUB_SWAP,
    "stub-v2": Compression.STUB_V2,
    "migrate": Compression.NONE,
    "lzo": Compression.LZO,
    "lz4": Compression.LZ4,
    "lz4-v2": Compression.LZ4_V2,
}
"""What the argument of `compress` stands for; without one it is 'stub'."""


def read_compression(words: Sequence[str]) -> Compression:
    """Read a `comp-lzo` or a `compress` option, cut into words; raises `ValueError` where it is none."""
    names, default = {"comp-lzo": (COMP_LZO, "adaptive"), "compress": (COMPRESS, "stub")}[words[0]]
    algorithm = words[1] if len(words) > 1 else default
    if algorithm not in names:
        raise ValueError(f"{algorithm!r} is not one of {', '.join(names)}")
    return names[algorithm]


def compression_info(compression: Compression, allow: str) -> dict[str, str]:
    """What a client with this framing of its own and this `allow-compression` tells a server that it can have."""
    only_stubs = allow == "no" or compression in {Compression.STUB_SWAP, Compression.STUB_V2}
    names = ["IV_LZO_STUB"] if only_stubs else ["IV_LZ4", "IV_LZ4v2", "IV_LZO"]
    return dict.fromkeys([*names, "IV_COMP_STUB", "IV_COMP_STUBv2"], "1")
