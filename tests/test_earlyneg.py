"""Early negotiation: what a server's reset may ask, and what nobody has defined."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.errors import MalformedPacket
from twistvpn.wire.earlyneg import FIRST_PACKET_ID, EarlyFlag, decode_early_flags, encode_early_flags, is_announced

RESEND = bytes.fromhex("000100020001")


def test_the_one_flag_is_what_stock_sends() -> None:
    assert encode_early_flags(EarlyFlag.RESEND_WKC) == RESEND
    assert decode_early_flags(RESEND) is EarlyFlag.RESEND_WKC


@pytest.mark.parametrize("payload", ["", "000100020000", "00010002fffe", "0777000401020304", "00070000"])
def test_what_asks_for_nothing_known_asks_for_nothing(payload: str) -> None:
    assert decode_early_flags(bytes.fromhex(payload)) is EarlyFlag.NONE


def test_flags_behind_an_unknown_type_are_found() -> None:
    assert decode_early_flags(bytes.fromhex("077700020304") + RESEND) is EarlyFlag.RESEND_WKC


@pytest.mark.parametrize("payload", ["00", "000100", "00010002", "0001000200", "000100010001", "0777ffff00"])
def test_what_ends_early_is_malformed(payload: str) -> None:
    with pytest.raises(MalformedPacket):
        decode_early_flags(bytes.fromhex(payload))


@given(st.binary(max_size=64))
def test_any_bytes_are_flags_or_malformed(payload: bytes) -> None:
    with contextlib.suppress(MalformedPacket):
        assert decode_early_flags(payload) in {EarlyFlag.NONE, EarlyFlag.RESEND_WKC}


def test_a_client_announces_it_by_its_packet_ids() -> None:
    assert FIRST_PACKET_ID == 0x0F000001
    assert is_announced(FIRST_PACKET_ID)
    assert is_announced(0x0F0000FF)
    assert not is_announced(1)
    assert not is_announced(0x07000001)
