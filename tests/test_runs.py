"""Runs are cut where the first byte changes, and nowhere else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twistvpn.interfaces import Run, single
from twistvpn.runs import is_data, uniform_parts
from twistvpn.wire.opcodes import DATA_OPCODES, OPCODE_SHIFT, Opcode, first_byte

DATA0 = bytes([first_byte(Opcode.P_DATA_V2, 0)])
DATA1 = bytes([first_byte(Opcode.P_DATA_V2, 1)])
CONTROL = bytes([first_byte(Opcode.P_CONTROL_V1, 0)])


def run(*datagrams: bytes) -> Run:
    return Run(b"".join(datagrams), len(datagrams[0]))


def test_a_run_of_one_keys_data_stays_whole() -> None:
    whole = run(DATA0 + b"aaa", DATA0 + b"bbb", DATA0 + b"c")
    assert uniform_parts(whole) == [whole]
    assert is_data(whole)


def test_a_single_datagram_stays_as_it_is() -> None:
    assert uniform_parts(single(CONTROL + b"x")) == [single(CONTROL + b"x")]
    assert not is_data(single(CONTROL))


def test_keys_are_parted_and_control_packets_come_one_by_one() -> None:
    mixed = run(DATA0 + b"a", DATA0 + b"b", DATA1 + b"c", CONTROL + b"d", CONTROL + b"e", DATA1)
    assert uniform_parts(mixed) == [
        Run(DATA0 + b"a" + DATA0 + b"b", 2),
        Run(DATA1 + b"c", 2),
        single(CONTROL + b"d"),
        single(CONTROL + b"e"),
        Run(DATA1, 2),
    ]


def test_nothing_is_no_run() -> None:
    assert uniform_parts(Run(b"", 10)) == []
    assert uniform_parts(Run(b"abc", 0)) == []


@given(st.binary(min_size=1, max_size=200), st.integers(1, 50))
def test_nothing_is_lost_or_moved(data: bytes, size: int) -> None:
    parts = uniform_parts(Run(data, size))
    assert b"".join(bytes(part.data) for part in parts) == data
    for part in parts:
        assert len({datagram[0] for datagram in part.datagrams()}) == 1
        if len(part.datagrams()) > 1:
            assert part.data[0] >> OPCODE_SHIFT in DATA_OPCODES
            assert is_data(part)
