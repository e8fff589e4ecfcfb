from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.data.fragment import BAD_FRAGMENT, INCOMPLETE, TIME_TO_LIVE, TOO_LARGE, WINDOW, Fragmenter
from twistvpn.wire.fragments import MAX_PARTS, Part, decode_header, encode_header

LARGEST = 1618


def fragmenter(limit: int = 100, sequence: int = 255) -> Fragmenter:
    made = Fragmenter(LARGEST, sequence)
    made.limit = limit
    return made


def part(kind: Part, sequence: int, index: int, size: int, data: bytes) -> bytes:
    return encode_header(kind, sequence, index, size) + data


def test_headers_have_the_references_layout() -> None:
    assert encode_header(Part.WHOLE, 0, 0, 0) == bytes(4)
    assert encode_header(Part.NOT_LAST, 0xA5, 3, 1000).hex() == "00000e95"
    assert encode_header(Part.LAST, 0xA5, 31, 1000).hex() == "007d7e96"
    assert decode_header(0x007D7E96) == (Part.LAST, 0xA5, 31, 1000)


@given(st.sampled_from(Part), st.integers(0, 255), st.integers(0, 31), st.integers(0, 0x3FFF))
def test_headers_come_back(kind: Part, sequence: int, index: int, quarter: int) -> None:
    size = quarter * 4 if kind is Part.LAST else 0
    header = encode_header(kind, sequence, index, size)
    assert decode_header(int.from_bytes(header, "big")) == (kind, sequence, index, size)


def test_small_packets_leave_whole_and_large_ones_in_equal_parts() -> None:
    drops: Counter[str] = Counter()
    packets = [b"a" * 100, b"b" * 101, b"c" * 250]
    texts = fragmenter().split(packets, drops)
    assert [text[4:] for text in texts] == [
        b"a" * 100,
        *(b"b" * 52, b"b" * 49),
        *(b"c" * 84, b"c" * 84, b"c" * 82),
    ]
    assert [decode_header(int.from_bytes(text[:4], "big")) for text in texts] == [
        (Part.WHOLE, 0, 0, 0),
        (Part.NOT_LAST, 0, 0, 0),
        (Part.LAST, 0, 1, 52),
        (Part.NOT_LAST, 1, 0, 0),
        (Part.NOT_LAST, 1, 1, 0),
        (Part.LAST, 1, 2, 84),
    ]
    assert fragmenter().join(texts, 0.0, drops) == packets
    assert not drops


@given(st.integers(4, 300), st.lists(st.integers(1, LARGEST), max_size=8), st.randoms(use_true_random=False))
def test_parts_in_any_order_make_the_packets(limit: int, sizes: list[int], order: random.Random) -> None:
    drops: Counter[str] = Counter()
    packets = [bytes((number + 1,)) * size for number, size in enumerate(sizes)]
    texts = fragmenter(limit).split(packets, drops)
    assert all(len(text) <= limit + 4 for text in texts)
    fit = [packet for packet in packets if len(packet) <= limit // 4 * 4 * MAX_PARTS or len(packet) <= limit]
    assert drops == ({TOO_LARGE: len(packets) - len(fit)} if len(fit) < len(packets) else {})
    order.shuffle(texts)
    joined = fragmenter().join(texts, 0.0, drops)
    assert sorted(map(bytes, joined)) == sorted(fit)


def test_a_packet_that_needs_too_many_parts_is_counted() -> None:
    drops: Counter[str] = Counter()
    assert fragmenter(41).split([bytes(40 * 32)], drops) != []
    assert fragmenter(41).split([bytes(40 * 32 + 1)], drops) == []
    assert drops == {TOO_LARGE: 1}


def test_parts_do_not_wait_forever() -> None:
    drops: Counter[str] = Counter()
    receiver = fragmenter()
    first, last = fragmenter().split([bytes(150)], drops)
    assert receiver.join([first], 0.0, drops) == []
    assert receiver.join([last], TIME_TO_LIVE, drops) == []
    assert drops == {INCOMPLETE: 1}
    assert receiver.join([first], TIME_TO_LIVE + 1, drops) == [bytes(150)]
    assert drops == {INCOMPLETE: 1}


def test_parts_of_later_packets_push_out_the_earlier() -> None:
    drops: Counter[str] = Counter()
    sender, receiver = fragmenter(), fragmenter()
    pairs = [sender.split([bytes((number % 256,)) * 150], drops) for number in range(300)]
    for first, _ in pairs:
        assert receiver.join([first], 0.0, drops) == []
    assert drops == {INCOMPLETE: 300 - WINDOW}
    for number, (_, last) in enumerate(pairs[-WINDOW:], 300 - WINDOW):
        assert receiver.join([last], 0.0, drops) == [bytes((number % 256,)) * 150]
    assert drops == {INCOMPLETE: 300 - WINDOW}
    assert receiver.join([pairs[0][1]], 0.0, drops) == []


def test_a_sequence_number_comes_round_again_without_mixing_packets() -> None:
    drops: Counter[str] = Counter()
    sender, receiver = fragmenter(), fragmenter()
    texts = [sender.split([bytes((number % 251,)) * 150], drops) for number in range(257)]
    assert receiver.join([texts[0][0]], 0.0, drops) == []
    joined = receiver.join([text for both in texts[1:] for text in both], 0.0, drops)
    assert joined == [bytes((number % 251,)) * 150 for number in range(1, 257)]
    assert drops == {INCOMPLETE: 1}


def test_a_sender_that_begins_anew_is_followed() -> None:
    drops: Counter[str] = Counter()
    receiver = fragmenter()
    for sequence in (10, 200, 90, 89, 250):
        assert receiver.join(fragmenter(sequence=sequence).split([bytes(150)], drops), 0.0, drops) == [bytes(150)]
    assert not drops


@pytest.mark.parametrize(
    "texts",
    [
        [b"E"],
        [b"\0\0\0"],
        [bytes(4)],
        [part(Part.WHOLE, 1, 0, 0, b"data")],
        [part(Part.WHOLE, 0, 1, 0, b"data")],
        [part(Part.TEST, 0, 0, 0, b"data")],
        [part(Part.NOT_LAST, 0, 0, 0, b"")],
        [part(Part.NOT_LAST, 0, 0, 0, b"odd")],
        [part(Part.NOT_LAST, 0, 31, 0, bytes(1500))],
        [part(Part.LAST, 0, 0, 0, b"data")],
        [part(Part.LAST, 0, 1, 4, b"data+")],
        [part(Part.LAST, 0, 31, 1000, b"data")],
        [part(Part.NOT_LAST, 0, 3, 0, b"data"), part(Part.LAST, 0, 2, 4, b"data")],
        [part(Part.LAST, 0, 2, 4, b"data"), part(Part.NOT_LAST, 0, 3, 0, b"data")],
    ],
)
def test_parts_that_cannot_be(texts: list[bytes]) -> None:
    drops: Counter[str] = Counter()
    receiver = fragmenter()
    assert receiver.join(texts, 0.0, drops) == []
    assert drops == {BAD_FRAGMENT: 1}
    assert receiver.join(fragmenter().split([bytes(300)], drops), 0.0, drops) == [bytes(300)]


def test_a_part_of_another_size_begins_the_packet_anew() -> None:
    drops: Counter[str] = Counter()
    texts = [part(Part.NOT_LAST, 0, 0, 0, bytes(8)), *fragmenter().split([bytes(150)], drops)]
    assert fragmenter().join(texts, 0.0, drops) == [bytes(150)]
    assert drops == {INCOMPLETE: 1}


@given(
    st.lists(
        st.binary(max_size=60)
        | st.builds(part, st.sampled_from(Part), st.integers(0, 40), st.integers(0, 31), st.just(40), st.binary()),
        max_size=60,
    )
)
def test_any_bytes_may_come(texts: list[bytes]) -> None:
    drops: Counter[str] = Counter()
    receiver = fragmenter()
    packets = receiver.join(texts, 0.0, drops)
    assert all(0 < len(packet) <= LARGEST for packet in packets)
