"""Control packets, apart from the wrapping that protects them.

A packet is a header (opcode and key id, session id: always in the clear) and a body, which is
what tls-auth signs and tls-crypt encrypts.  All numbers are big-endian.

    header   u8 opcode << 3 | key id, 8 bytes own session id
    body     u8 n, n * u32 acknowledged message ids, 8 bytes remote session id where n > 0,
             u32 message id and payload where this is not P_ACK_V1

Source: wire-protocol draft, "Control channel packets" and "Reliability layer".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.errors import MalformedPacket
from twistvpn.wire.opcodes import CONTROL_OPCODES, Opcode, first_byte, split_first_byte

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

SESSION_ID_SIZE = 8
HEADER_SIZE = 1 + SESSION_ID_SIZE
MAX_ACKS = 8
"""A receiver refuses more acknowledgements than this in one packet."""


_MESSAGE_IDS = [struct.Struct(f">{count}I") for count in range(MAX_ACKS + 1)]


class ControlPacket(NamedTuple):
    """One packet of the control channel.

    `message_id` is None exactly for P_ACK_V1; `remote_session_id` is there exactly when `acks` are.
    The payload is TLS bytes, or the extra TLVs of a hard reset.
    """

    opcode: Opcode
    key_id: int
    session_id: bytes
    acks: tuple[int, ...] = ()
    remote_session_id: bytes | None = None
    message_id: int | None = None
    payload: bytes = b""


def encode_header(packet: ControlPacket) -> bytes:
    """Encode the 9 bytes that every wrapping leaves in the clear."""
    return bytes((first_byte(packet.opcode, packet.key_id),)) + packet.session_id


def encode_body(packet: ControlPacket) -> bytes:
    """Encode everything behind the header."""
    _, _, _, acks, remote_session_id, message_id, payload = packet
    count = len(acks)
    head = b"".join((bytes((count,)), _MESSAGE_IDS[count].pack(*acks), remote_session_id or b""))
    return head if message_id is None else b"".join((head, message_id.to_bytes(4, "big"), payload))


def decode_header(datagram: Buffer) -> tuple[Opcode, int, bytes]:
    """Return opcode, key id and the sender's session id.  Raises `MalformedPacket` for what is no control packet."""
    if len(datagram) < HEADER_SIZE:
        raise MalformedPacket(f"{len(datagram)} bytes are too short for a control packet")
    opcode, key_id = split_first_byte(datagram[0])
    if opcode not in CONTROL_OPCODES:
        raise MalformedPacket(f"{opcode.name} is not of the control channel")
    return opcode, key_id, bytes(datagram[1:HEADER_SIZE])


def decode_body(opcode: Opcode, key_id: int, session_id: bytes, body: Buffer) -> ControlPacket:
    """Decode the packet whose header was read before.

    Raises `MalformedPacket` for more than `MAX_ACKS` acknowledgements or a body that ends early.
    What follows the acknowledgements of a P_ACK_V1 is ignored, as stock peers do.
    """
    if not body:
        raise MalformedPacket("the acknowledgement count is missing")
    count = body[0]
    if count > MAX_ACKS:
        raise MalformedPacket(f"{count} acknowledgements, {MAX_ACKS} are allowed")
    ids_end = 1 + 4 * count
    end = ids_end + (SESSION_ID_SIZE if count else 0)
    is_ack = opcode is Opcode.P_ACK_V1
    if len(body) < (end if is_ack else end + 4):
        raise MalformedPacket(f"the body of {opcode.name} ends early")
    acks = _MESSAGE_IDS[count].unpack_from(body, 1)
    remote = bytes(body[ids_end:end]) if count else None
    if is_ack:
        return ControlPacket(opcode, key_id, session_id, acks, remote)
    message_id = int.from_bytes(body[end : end + 4], "big")
    return ControlPacket(opcode, key_id, session_id, acks, remote, message_id, bytes(body[end + 4 :]))
