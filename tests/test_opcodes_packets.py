from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_strategies import control_packets
from twistvpn.errors import MalformedPacket
from twistvpn.wire.opcodes import (
    CLIENT_RESETS,
    CONTROL_OPCODES,
    DATA_OPCODES,
    Opcode,
    first_byte,
    split_first_byte,
)
from twistvpn.wire.packets import (
    HEADER_SIZE,
    ControlPacket,
    decode_body,
    decode_header,
    encode_body,
    encode_header,
)


def decode(datagram: bytes) -> ControlPacket:
    return decode_body(*decode_header(datagram), datagram[HEADER_SIZE:])


@pytest.mark.parametrize(
    ("opcode", "key_id", "byte"),
    [
        (Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, 0x38),
        (Opcode.P_CONTROL_HARD_RESET_SERVER_V2, 0, 0x40),
        (Opcode.P_CONTROL_V1, 1, 0x21),
        (Opcode.P_ACK_V1, 0, 0x28),
        (Opcode.P_DATA_V2, 7, 0x4F),
        (Opcode.P_CONTROL_HARD_RESET_CLIENT_V3, 0, 0x50),
        (Opcode.P_CONTROL_WKC_V1, 0, 0x58),
    ],
)
def test_first_byte_is_what_stock_sends(opcode: Opcode, key_id: int, byte: int) -> None:
    assert first_byte(opcode, key_id) == byte
    assert split_first_byte(byte) == (opcode, key_id)


@given(st.integers(0, 255))
def test_every_first_byte_is_an_opcode_or_malformed(byte: int) -> None:
    try:
        opcode, key_id = split_first_byte(byte)
    except MalformedPacket:
        assert byte >> 3 not in set(Opcode)
    else:
        assert first_byte(opcode, key_id) == byte


def test_the_sets_of_opcodes_are_apart() -> None:
    assert not CONTROL_OPCODES & DATA_OPCODES
    assert CLIENT_RESETS < CONTROL_OPCODES


def test_a_hard_reset_is_14_bytes() -> None:
    packet = ControlPacket(Opcode.P_CONTROL_HARD_RESET_CLIENT_V2, 0, bytes(range(8)), message_id=0)
    assert encode_header(packet) + encode_body(packet) == bytes.fromhex("38 0001020304050607 00 00000000")


def test_acknowledgements_carry_the_remote_session_id() -> None:
    datagram = bytes.fromhex("28 1111111111111111 02 00000001 00000002 2222222222222222")
    assert decode(datagram) == ControlPacket(Opcode.P_ACK_V1, 0, b"\x11" * 8, (1, 2), b"\x22" * 8)


def test_what_follows_the_acknowledgements_of_an_ack_is_ignored() -> None:
    plain = ControlPacket(Opcode.P_ACK_V1, 0, b"\x11" * 8, (1,), b"\x22" * 8)
    assert decode(encode_header(plain) + encode_body(plain) + b"more") == plain


@given(control_packets())
def test_packets_survive_the_wire(packet: ControlPacket) -> None:
    assert decode(encode_header(packet) + encode_body(packet)) == packet


@given(control_packets())
def test_views_and_bytearrays_decode_alike(packet: ControlPacket) -> None:
    datagram = bytearray(encode_header(packet) + encode_body(packet))
    view = memoryview(datagram)
    decoded = decode_body(*decode_header(view), view[HEADER_SIZE:])
    datagram[:] = bytes(len(datagram))
    assert decoded == packet


@given(control_packets(), st.data())
def test_a_truncated_packet_is_malformed_or_shorter(packet: ControlPacket, data: st.DataObject) -> None:
    datagram = encode_header(packet) + encode_body(packet)
    cut = data.draw(st.integers(0, len(datagram) - 1))
    try:
        decoded = decode(datagram[:cut])
    except MalformedPacket:
        return
    assert packet.payload.startswith(decoded.payload)
    assert len(decoded.payload) < len(packet.payload)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_packet_or_malformed(datagram: bytes) -> None:
    try:
        packet = decode(datagram)
    except MalformedPacket:
        return
    assert datagram.startswith(encode_header(packet) + encode_body(packet))


def test_nine_acknowledgements_are_refused() -> None:
    with pytest.raises(MalformedPacket, match="9 acknowledgements"):
        decode(bytes.fromhex("20 1111111111111111 09") + bytes(100))


@pytest.mark.parametrize("opcode", [*DATA_OPCODES, Opcode.P_CONTROL_HARD_RESET_CLIENT_V1])
def test_other_opcodes_are_no_control_packets(opcode: Opcode) -> None:
    with pytest.raises(MalformedPacket, match=opcode.name):
        decode_header(bytes((first_byte(opcode, 0),)) + bytes(20))
