from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.errors import MalformedPacket
from twistvpn.interfaces import Buffer, Run
from twistvpn.wire.framing import Deframer, frame_one, frame_run, runs_of

DATAGRAMS = st.lists(st.binary(min_size=1, max_size=50), max_size=8)


def chunks(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


@given(DATAGRAMS, st.lists(st.integers(0, 400), max_size=10))
def test_any_cut_of_the_stream_gives_the_same_datagrams(datagrams: list[bytes], cuts: list[int]) -> None:
    deframer = Deframer(50)
    received = [part for chunk in chunks(b"".join(map(frame_one, datagrams)), cuts) for part in deframer.feed(chunk)]
    assert received == datagrams


@given(DATAGRAMS)
def test_byte_by_byte(datagrams: list[bytes]) -> None:
    deframer = Deframer(50)
    stream = b"".join(map(frame_one, datagrams))
    assert [part for byte in stream for part in deframer.feed(bytes((byte,)))] == datagrams


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_datagrams_do_not_depend_on_the_fed_buffer(kind: type[bytes | bytearray | memoryview]) -> None:
    stream = bytearray(frame_one(b"one") + frame_one(b"two")[:3])
    fed: Buffer = kind(stream)
    deframer = Deframer(50)
    received = deframer.feed(fed)
    stream[:] = bytes(len(stream))
    assert received == [b"one"]
    assert deframer.feed(b"wo") == [b"two"]


@pytest.mark.parametrize(("prefix", "length"), [(b"\0\0", 0), (b"\0\x0b", 11), (b"\xff\xff", 65535)])
def test_an_impossible_length_kills_the_stream(prefix: bytes, length: int) -> None:
    deframer = Deframer(10)
    with pytest.raises(MalformedPacket, match=f"of {length} bytes"):
        deframer.feed(frame_one(b"good") + prefix)
    with pytest.raises(MalformedPacket):
        deframer.feed(frame_one(b"good"))


def test_an_impossible_length_is_told_before_its_bytes_come() -> None:
    deframer = Deframer(10)
    assert deframer.feed(b"\0") == []
    with pytest.raises(MalformedPacket):
        deframer.feed(b"\x0b")
    with pytest.raises(MalformedPacket):
        deframer.feed(b"x")


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_datagrams_or_malformed(fed: list[bytes]) -> None:
    deframer = Deframer(20)
    for data in fed:
        try:
            received = deframer.feed(data)
        except MalformedPacket:
            return
        assert all(0 < len(datagram) <= 20 for datagram in received)


def test_largest_datagram() -> None:
    datagram = bytes(65535)
    assert Deframer(65535).feed(frame_one(datagram)) == [datagram]


@given(st.binary(min_size=1, max_size=200), st.integers(1, 60))
def test_a_framed_run_is_its_datagrams_framed(data: bytes, size: int) -> None:
    run = Run(bytearray(data), size)
    assert frame_run(run) == b"".join(map(frame_one, run.datagrams()))
    assert Deframer(60).feed(frame_run(run)) == [data[start : start + size] for start in range(0, len(data), size)]


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=12))
def test_runs_hold_the_same_datagrams_in_order(datagrams: list[bytes]) -> None:
    runs = runs_of(datagrams)
    assert [bytes(datagram) for run in runs for datagram in run.datagrams()] == datagrams


def test_neighbours_of_one_size_and_a_shorter_last_one_share_a_run() -> None:
    assert runs_of([b"abc", b"def", b"g", b"hi", b"jk", b"lmn"]) == [(b"abcdefg", 3), (b"hijk", 2), (b"lmn", 3)]
