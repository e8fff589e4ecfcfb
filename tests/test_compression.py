from __future__ import annotations

import json
import zlib
from base64 import b64decode
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.data.compression import BAD_COMPRESSION, CompressionFraming
from twistvpn.wire.compression import Compression, compression_info, read_compression

VECTORS = json.loads((Path(__file__).parent / "vectors" / "compressed.json").read_text())
FRAMINGS = [compression for compression in Compression if compression is not Compression.NONE]
C = Compression


def unwrapped(text: bytes, compression: Compression, allow: str = "asym", largest: int = 1618) -> bytes | str:
    """The packet, or why there is none."""
    drops: Counter[str] = Counter()
    packets = CompressionFraming(compression, largest, allow).unwrap([text], drops)
    assert len(packets) + drops.total() == 1
    return bytes(packets[0]) if packets else next(iter(drops))


@pytest.mark.parametrize(
    ("compression", "packet", "text"),
    [
        (C.STUB, b"E123", b"\xfaE123"),
        (C.LZO, b"E123", b"\xfaE123"),
        (C.STUB_SWAP, b"E123", b"\xfb123E"),
        (C.LZ4, b"E123", b"\xfb123E"),
        (C.STUB_V2, b"E123", b"E123"),
        (C.LZ4_V2, b"E123", b"E123"),
        (C.STUB_V2, b"P123", b"P\0P123"),
        (C.LZ4_V2, b"P123", b"P\0P123"),
    ],
)
def test_what_is_sent_says_that_it_is_not_compressed(compression: Compression, packet: bytes, text: bytes) -> None:
    framing = CompressionFraming(compression, 1618, "no")
    assert framing.wrap([packet, memoryview(packet), bytearray(packet)]) == [text] * 3
    assert unwrapped(text, compression, "no") == packet
    assert len(text) == len(packet) + (2 if packet[0] == 0x50 else compression.header_size)


@given(st.sampled_from(FRAMINGS), st.lists(st.binary(min_size=1, max_size=50)))
def test_what_is_wrapped_is_unwrapped(compression: Compression, packets: list[bytes]) -> None:
    framing = CompressionFraming(compression, 1618, "no")
    drops: Counter[str] = Counter()
    assert framing.unwrap(framing.wrap(packets), drops) == packets
    assert not drops


@pytest.mark.parametrize("vector", VECTORS[1:6], ids=lambda vector: vector["name"])
def test_what_old_peers_compress(vector: dict[str, str]) -> None:
    plain = zlib.decompress(b64decode(vector["plain"]))
    lzo, lz4 = b64decode(vector["lzo1x_1_15"]), b64decode(vector["lz4"])
    texts = [
        (C.LZO, b"\x66" + lzo),
        (C.LZ4, b"\x69" + lz4[1:] + lz4[:1]),
        (C.LZ4_V2, b"\x50\1" + lz4),
    ]
    for compression, text in texts:
        assert unwrapped(text, compression) == unwrapped(text, compression, "yes") == plain
        assert unwrapped(text, compression, "no") == BAD_COMPRESSION
        assert unwrapped(text, compression, largest=len(plain)) == plain
        assert unwrapped(text, compression, largest=len(plain) - 1) == BAD_COMPRESSION


@pytest.mark.parametrize("compression", [C.STUB, C.STUB_SWAP, C.LZO, C.LZ4])
def test_each_packet_says_by_itself_how_it_is_framed(compression: Compression) -> None:
    assert unwrapped(b"\xfaE12", compression) == unwrapped(b"\xfb12E", compression) == b"E12"


def test_the_escape_of_stock_peers() -> None:
    assert unwrapped(b"P\x0aP123", C.STUB_V2) == b"P123"


@pytest.mark.parametrize("compression", FRAMINGS)
@pytest.mark.parametrize("allow", ["no", "asym"])
def test_what_no_framing_has_is_counted(compression: Compression, allow: str) -> None:
    v1 = [b"\xfa", b"\xfb", b"\x66", b"\x69", b"E123", b"\x2a123", b"\x66\x11\0\0", b"\x690"]
    v2 = [b"P", b"P\0", b"P\1", b"P\2E12", b"P\1E12", b"P\1\0"]
    for text in v2 if compression.is_v2 else v1:
        assert unwrapped(text, compression, allow) == BAD_COMPRESSION


@given(st.sampled_from(FRAMINGS), st.lists(st.binary(min_size=1, max_size=100)), st.sampled_from(["no", "yes"]))
def test_any_bytes_may_come(compression: Compression, texts: list[bytes], allow: str) -> None:
    drops: Counter[str] = Counter()
    packets = CompressionFraming(compression, 200, allow).unwrap(texts, drops)
    assert all(packets)
    assert all(0 < len(packet) <= 200 for packet in packets)
    assert len(packets) + drops.total() == len(texts)


@pytest.mark.parametrize(
    ("option", "compression"),
    [
        ("comp-lzo", C.LZO),
        ("comp-lzo yes", C.LZO),
        ("comp-lzo adaptive", C.LZO),
        ("comp-lzo no", C.STUB),
        ("compress", C.STUB_SWAP),
        ("compress stub", C.STUB_SWAP),
        ("compress stub-v2", C.STUB_V2),
        ("compress lzo", C.LZO),
        ("compress lz4", C.LZ4),
        ("compress lz4-v2", C.LZ4_V2),
        ("compress migrate", C.NONE),
    ],
)
def test_the_options_names(option: str, compression: Compression) -> None:
    assert read_compression(option.split()) is compression


@pytest.mark.parametrize("option", ["comp-lzo maybe", "compress snappy", "compress lz4-v3"])
def test_unknown_algorithms(option: str) -> None:
    with pytest.raises(ValueError, match="is not one of"):
        read_compression(option.split())


@pytest.mark.parametrize(
    ("compression", "allow", "names"),
    [
        (C.NONE, "no", "IV_LZO_STUB IV_COMP_STUB IV_COMP_STUBv2"),
        (C.STUB_SWAP, "asym", "IV_LZO_STUB IV_COMP_STUB IV_COMP_STUBv2"),
        (C.STUB_V2, "yes", "IV_LZO_STUB IV_COMP_STUB IV_COMP_STUBv2"),
        (C.NONE, "asym", "IV_LZ4 IV_LZ4v2 IV_LZO IV_COMP_STUB IV_COMP_STUBv2"),
        (C.LZ4, "yes", "IV_LZ4 IV_LZ4v2 IV_LZO IV_COMP_STUB IV_COMP_STUBv2"),
    ],
)
def test_what_a_client_announces(compression: Compression, allow: str, names: str) -> None:
    assert compression_info(compression, allow) == dict.fromkeys(names.split(), "1")
