"""Hypothesis strategies for what travels on the wire."""

from __future__ import annotations

from hypothesis import strategies as st

from twistvpn.wire.opcodes import CONTROL_OPCODES, Opcode
from twistvpn.wire.packets import MAX_ACKS, SESSION_ID_SIZE, ControlPacket

U32 = st.integers(0, 0xFFFFFFFF)
SESSION_IDS = st.binary(min_size=SESSION_ID_SIZE, max_size=SESSION_ID_SIZE)


@st.composite
def control_packets(draw: st.DrawFn) -> ControlPacket:
    opcode = draw(st.sampled_from(sorted(CONTROL_OPCODES)))
    acks = tuple(draw(st.lists(U32, max_size=MAX_ACKS)))
    is_ack = opcode is Opcode.P_ACK_V1
    return ControlPacket(
        opcode,
        draw(st.integers(0, 7)),
        draw(SESSION_IDS),
        acks,
        draw(SESSION_IDS) if acks else None,
        None if is_ack else draw(U32),
        b"" if is_ack else draw(st.binary(max_size=64)),
    )
