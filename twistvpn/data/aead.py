"""Sealing and opening runs of data packets, in pure Python (wire-protocol draft, "Data channel packets").

    P_DATA_V2:  op | key id (1) · peer id (3) · packet id (4) · tag (16) · ciphertext
    P_DATA_V1:  op | key id (1) · packet id (4) · tag (16) · ciphertext

The associated data is everything before the tag for V2 and the packet id alone for V1.  The nonce
is the packet id and the first 8 bytes of the direction's HMAC key.  All integers are big-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import InvalidTag

from twistvpn.errors import PacketIdExhausted
from twistvpn.interfaces import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer

TAG_SIZE = 16
PACKET_ID_SIZE = 4
IMPLICIT_IV_SIZE = 8

MAX_RUN_DATAGRAMS = 64
"""UDP_MAX_SEGMENTS of linux/udp.h, as kernels before 6.9 have it."""
MAX_RUN_SIZE = 65507
"""Largest UDP payload over IPv4 in bytes, which also bounds a send with UDP_SEGMENT."""

MAX_PACKET_ID = 0xFFFFFFFF


class Aead(Protocol):
    """One AEAD key, as `cryptography` has it: the tag is the last 16 bytes of what it makes."""

    def encrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, /) -> bytes:
        """Return the ciphertext and the tag behind it."""

    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None, /) -> bytes:
        """Return the plaintext; raises `cryptography.exceptions.InvalidTag`."""


class Sealer:
    """One direction of one key: plaintext packets in, runs of data packets out, each under its own packet id."""

    __slots__ = ("_associated_from", "_encrypt", "_implicit_iv", "_prefix", "blocks", "packet_id")

    def __init__(self, aead: Aead, implicit_iv: bytes, prefix: bytes) -> None:
        """Seal under `prefix`: 4 bytes (opcode, key id and peer id) for P_DATA_V2, 1 byte for P_DATA_V1."""
        self._encrypt = aead.encrypt
        self._implicit_iv = implicit_iv[:IMPLICIT_IV_SIZE]
        self._prefix = prefix
        self._associated_from = 0 if len(prefix) == 4 else len(prefix)
        self.packet_id = 0
        """The packet id used last, 0 before the first."""
        self.blocks = 0
        """Plaintext blocks of 16 bytes sealed so far, for the AEAD limit."""

    @property
    def overhead(self) -> int:
        """Bytes that sealing adds to a packet."""
        return len(self._prefix) + PACKET_ID_SIZE + TAG_SIZE

    def seal(self, packets: Sequence[Buffer]) -> list[Run]:
        """Seal `packets` in order.

        Neighbours of one size, and a shorter one behind them, share a run of at most 64 datagrams and 65507 bytes.
        Raises `PacketIdExhausted`, with nothing sealed, where there are not packet ids enough for all.
        """
        packet_id = self.packet_id
        if packet_id + len(packets) > MAX_PACKET_ID:
            raise PacketIdExhausted("the key has no packet id left")
        encrypt, implicit_iv, prefix, associated_from = (
            self._encrypt,
            self._implicit_iv,
            self._prefix,
            self._associated_from,
        )
        overhead = self.overhead
        runs = []
        sealed: list[bytes] = []
        size = room = length = blocks = 0
        for packet in packets:
            length = len(packet)
            if room <= 0 or length > size:
                if sealed:
                    runs.append(Run(b"".join(sealed), size + overhead))
                sealed = []
                size = length
                room = min(MAX_RUN_DATAGRAMS, MAX_RUN_SIZE // (size + overhead))
            packet_id += 1
            wire_id = packet_id.to_bytes(PACKET_ID_SIZE, "big")
            header = prefix + wire_id
            ciphertext = encrypt(wire_id + implicit_iv, packet, header[associated_from:])
            sealed += (header, ciphertext[-TAG_SIZE:], ciphertext[:-TAG_SIZE])
            room = room - 1 if length == size else 0
            blocks += (length + 15) >> 4
        if sealed:
            runs.append(Run(b"".join(sealed), size + overhead))
        self.packet_id = packet_id
        self.blocks += blocks
        return runs


class Opener:
    """The other direction of one key: runs of data packets in, plaintext packets with their packet ids out."""

    __slots__ = ("_decrypt", "_implicit_iv", "blocks", "failures", "highest_packet_id")

    def __init__(self, aead: Aead, implicit_iv: bytes) -> None:
        self._decrypt = aead.decrypt
        self._implicit_iv = implicit_iv[:IMPLICIT_IV_SIZE]
        self.blocks = 0
        """Plaintext blocks of 16 bytes opened so far, for the AEAD limit."""
        self.failures = 0
        """Datagrams whose tag did not verify."""
        self.highest_packet_id = 0
        """The highest packet id that was authentic."""

    def open(self, data: Buffer, size: int, prefix_size: int) -> tuple[list[int], list[Buffer]]:
        """Open the datagrams of one run, which all have the same opcode and key id.

        `prefix_size` is 4 for P_DATA_V2 and 1 for P_DATA_V1.  Returns packet ids and plaintexts, in order, of
        the authentic ones; the others are left out and counted in `failures`.  Every datagram, the last too, is
        longer than its header and tag.
        """
        decrypt, implicit_iv = self._decrypt, self._implicit_iv
        wire = bytes(data)
        associated_from = 0 if prefix_size == 4 else prefix_size
        tag_from = prefix_size + PACKET_ID_SIZE
        text_from = tag_from + TAG_SIZE
        packet_ids: list[int] = []
        packets: list[Buffer] = []
        blocks = 0
        for start in range(0, len(wire), size):
            wire_id = wire[start + prefix_size : start + tag_from]
            text = start + text_from
            try:
                packet = decrypt(
                    wire_id + implicit_iv,
                    wire[text : start + size] + wire[start + tag_from : text],
                    wire[start + associated_from : start + tag_from],
                )
            except InvalidTag:
                self.failures += 1
                continue
            packets.append(packet)
            packet_ids.append(int.from_bytes(wire_id, "big"))
            blocks += (len(packet) + 15) >> 4
        self.blocks += blocks
        if packet_ids:
            self.highest_packet_id = max(self.highest_packet_id, *packet_ids)
        return packet_ids, packets
