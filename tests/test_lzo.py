from __future__ import annotations

import contextlib
import json
import zlib
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twistvpn.data.lz4 import lz4_decompress
from twistvpn.data.lzo import lzo1x_decompress
from twistvpn.errors import MalformedPacket

VECTORS = json.loads((Path(__file__).parent / "vectors" / "compressed.json").read_text())

END = bytes((0x11, 0, 0))


class Stream:
    """Writes an LZO1X stream and what it stands for, from the stream's description."""

    def __init__(self) -> None:
        self.wire = bytearray()
        self.plain = bytearray()
        self.state = 0

    def literals(self, data: bytes) -> None:
        self.wire += data
        self.plain += data

    def first(self, data: bytes) -> None:
        self.wire.append(17 + len(data))
        self.literals(data)
        self.state = min(len(data), 4)

    def long_run(self, data: bytes) -> None:
        self.wire += self.length(0, len(data) - 3, 15)
        self.literals(data)
        self.state = 4

    @staticmethod
    def length(op: int, value: int, most: int) -> bytes:
        if 0 < value <= most:
            return bytes((op | value,))
        zeros, rest = divmod(value - most - 1, 255)
        return bytes((op,)) + bytes(zeros) + bytes((rest + 1,))

    def copy(self, distance: int, length: int, after: bytes) -> None:
        for _ in range(length):
            self.plain.append(self.plain[-distance])
        self.literals(after)
        self.state = len(after)

    def match(self, distance: int, length: int, after: bytes) -> None:
        """Copy in the shortest form there is."""
        s = len(after)
        if length == 2 and 1 <= self.state <= 3 and distance <= 1024:
            self.wire += bytes(((distance - 1 & 3) << 2 | s, distance - 1 >> 2))
        elif length == 3 and self.state == 4 and 2049 <= distance <= 3072:
            self.wire += bytes(((distance - 2049 & 3) << 2 | s, distance - 2049 >> 2))
        elif 3 <= length <= 8 and distance <= 2048:
            self.wire += bytes((length - 1 << 5 | (distance - 1 & 7) << 2 | s, distance - 1 >> 3))
        elif distance <= 16384:
            length = max(3, length)
            self.wire += self.length(0x20, length - 2, 31) + (distance - 1 << 2 | s).to_bytes(2, "little")
        else:
            length = max(3, length)
            far = distance - 16384
            self.wire += self.length(0x10 | far >> 14 << 3, length - 2, 7)
            self.wire += ((far & 0x3FFF) << 2 | s).to_bytes(2, "little")
        self.copy(distance, length, after)


@st.composite
def lzo_streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stream and what it stands for."""
    stream = Stream()
    if draw(st.booleans()):
        stream.first(draw(st.binary(min_size=1, max_size=30)) * draw(st.sampled_from([1, 1, 7])))
    for _ in range(draw(st.integers(0, 10))):
        if not stream.state:
            stream.long_run(draw(st.binary(min_size=4, max_size=9)) * draw(st.sampled_from([1, 2, 60])))
        if not stream.plain:
            continue
        furthest = min(len(stream.plain), 49151)
        near = [1, 2, 9, 1024, 1025, 2048, 2049, 3072, 3073, 16384, 16385, 32767, 32768, furthest]
        distance = draw(st.sampled_from([number for number in near if number <= furthest]) | st.integers(1, furthest))
        length = draw(st.sampled_from([2, 3, 4, 5, 8, 9, 10, 33, 34, 264, 288, 289, 544, 20000]))
        stream.match(distance, length, draw(st.binary(max_size=3)))
    return bytes(stream.wire) + END, bytes(stream.plain)


@settings(max_examples=300)
@given(lzo_streams())
def test_every_instruction_says_what_the_description_has(stream: tuple[bytes, bytes]) -> None:
    wire, plain = stream
    assert lzo1x_decompress(wire, len(plain)) == plain
    for broken in (wire[:-1], wire + b"\0"):
        with pytest.raises(MalformedPacket):
            lzo1x_decompress(broken, len(plain))
    if plain:
        with pytest.raises(MalformedPacket):
            lzo1x_decompress(wire, len(plain) - 1)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_what_the_compressors_of_stock_peers_make(vector: dict[str, str]) -> None:
    plain = zlib.decompress(b64decode(vector["plain"]))
    for name in ("lzo1x_1_15", "lzo1x_999"):
        wire = b64decode(vector[name])
        assert lzo1x_decompress(wire, len(plain)) == plain
        assert lzo1x_decompress(memoryview(wire), len(plain)) == plain
        with pytest.raises(MalformedPacket):
            lzo1x_decompress(wire, len(plain) - 1)
    wire = b64decode(vector["lz4"])
    assert lz4_decompress(wire, len(plain)) == plain
    assert lz4_decompress(memoryview(wire), len(plain)) == plain
    with pytest.raises(MalformedPacket):
        lz4_decompress(wire, len(plain) - 1)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """What a compressor has made, with some bytes changed; or any bytes."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=200))
    vector = draw(st.sampled_from(VECTORS))
    wire = bytearray(b64decode(vector[draw(st.sampled_from(["lzo1x_1_15", "lzo1x_999", "lz4"]))]))
    for _ in range(draw(st.integers(1, 3))):
        wire[draw(st.integers(0, len(wire) - 1))] = draw(st.integers(0, 255))
    return bytes(wire[: draw(st.integers(0, len(wire)))])


@settings(max_examples=500)
@given(damaged(), st.sampled_from([0, 1, 100, 1618]))
def test_any_bytes_give_no_more_than_is_asked_for_or_an_error(wire: bytes, most: int) -> None:
    for decompress in (lzo1x_decompress, lz4_decompress):
        with contextlib.suppress(MalformedPacket):
            assert len(decompress(wire, most)) <= most


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x11\0\0\0",
        b"\x12E\x11\0",
        b"\x12\x11\0\0",  # the literal is the end's first byte
        b"\x20" + bytes(2000) + b"\1\0\0",  # half a million bytes of a match in nothing
        b"\x12E\x20" + bytes(60000) + b"\1\0\0\x11\0\0",  # 15 million bytes of a match
        b"\0" + bytes(60000) + b"\1",
        b"\x11\1\0",
        b"\x12E\x12\0\0",
    ],
)
def test_bad_streams_of_lzo(wire: bytes) -> None:
    with pytest.raises(MalformedPacket):
        lzo1x_decompress(wire, 1618)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\x10",
        b"\x20E",
        b"\x10E\0\0\0",  # a match at no distance
        b"\x10E\2\0\0",
        b"\x10E\1",
        b"\x1fE\1\0" + b"\xff" * 60000 + b"\0\0",
        b"\xf0" + b"\xff" * 60000,
        b"\x10E\1\0",  # no last literals
    ],
)
def test_bad_blocks_of_lz4(wire: bytes) -> None:
    with pytest.raises(MalformedPacket):
        lz4_decompress(wire, 1618)


def test_a_block_of_lz4_by_hand() -> None:
    assert lz4_decompress(b"\x32abc\3\0\x10!", 10) == b"abcabcabc!"
    assert lz4_decompress(b"\x1fa\1\0\1\x10b", 22) == b"a" * 21 + b"b"
    assert lz4_decompress(b"\0", 0) == b""
