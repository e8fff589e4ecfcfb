"""Data packets of authenticated ciphers, in pure Python (wire-protocol draft, "Data channel packets").

    P_DATA_V2:  op | key id (1) · peer id (3) · packet id (4) · tag (16) · ciphertext
    P_DATA_V1:  op | key id (1) · packet id (4) · tag (16) · ciphertext

The associated data is everything before the tag for V2 and the packet id alone for V1.  The nonce
is the packet id and the first 8 bytes of the direction's HMAC key.  All integers are big-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from twistvpn.crypto.ciphers import AEAD_CIPHERS
from twistvpn.data.batches import BatchOpener, BatchSealer, ReceivingKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer

TAG_SIZE = 16
PACKET_ID_SIZE = 4
IMPLICIT_IV_SIZE = 8


class Sealer(BatchSealer):
    """See `BatchSealer`."""

    __slots__ = ("_associated_from", "_encrypt", "_implicit_iv", "_prefix")

    def __init__(self, cipher: str, key: bytes, implicit_iv: bytes, prefix: bytes) -> None:
        """Seal under `prefix`: 4 bytes (opcode, key id and peer id) for P_DATA_V2, 1 byte for P_DATA_V1.

        `cipher` is OpenVPN's upper-case name.  Of `key` and `implicit_iv` only the first bytes are used, as many as
        the cipher takes and 8.
        """
        super().__init__(len(prefix) + PACKET_ID_SIZE + TAG_SIZE)
        self._encrypt = AEAD_CIPHERS[cipher].open(key).encrypt
        self._implicit_iv = implicit_iv[:IMPLICIT_IV_SIZE]
        self._prefix = prefix
        self._associated_from = 0 if len(prefix) == 4 else len(prefix)

    def _sealed(self, packets: list[Buffer]) -> list[bytes]:
        encrypt, implicit_iv, prefix = self._encrypt, self._implicit_iv, self._prefix
        associated_from = self._associated_from
        sealed: list[bytes] = []
        for packet_id, packet in enumerate(packets, self.packet_id + 1):
            wire_id = packet_id.to_bytes(PACKET_ID_SIZE, "big")
            header = prefix + wire_id
            ciphertext = encrypt(wire_id + implicit_iv, packet, header[associated_from:])
            sealed += (header, ciphertext[-TAG_SIZE:], ciphertext[:-TAG_SIZE])
        return sealed


class _Key(ReceivingKey):
    """See `Opener`."""

    __slots__ = ("_decrypt", "_implicit_iv")

    def __init__(self, cipher: str, key: bytes, implicit_iv: bytes, replay_window: int, replay_time: float) -> None:
        super().__init__(replay_window, replay_time)
        self._decrypt = AEAD_CIPHERS[cipher].open(key).decrypt
        self._implicit_iv = implicit_iv[:IMPLICIT_IV_SIZE]

    def _decrypted(
        self, wire: bytes, starts: Sequence[int], size: int, prefix_size: int
    ) -> tuple[list[int], list[Buffer]]:
        decrypt, implicit_iv = self._decrypt, self._implicit_iv
        associated_from = 0 if prefix_size == 4 else prefix_size
        tag_from = prefix_size + PACKET_ID_SIZE
        text_from = tag_from + TAG_SIZE
        packet_ids: list[int] = []
        texts: list[Buffer] = []
        for start in starts:
            wire_id = wire[start + prefix_size : start + tag_from]
            text_at = start + text_from
            try:
                text = decrypt(
                    wire_id + implicit_iv,
                    wire[text_at : start + size] + wire[start + tag_from : text_at],
                    wire[start + associated_from : start + tag_from],
                )
            except InvalidTag:
                continue
            texts.append(text)
            packet_ids.append(int.from_bytes(wire_id, "big"))
        return packet_ids, texts


class Opener(BatchOpener):
    """See `BatchOpener`."""

    __slots__ = ()

    shortest = PACKET_ID_SIZE + TAG_SIZE + 1

    def __init__(self, cipher: str, key: bytes, implicit_iv: bytes, replay_window: int, replay_time: float) -> None:
        """Take cipher, key and IV as `Sealer` does, the window's size and time as `crypto.replay.ReplayWindow` does."""
        super().__init__(_Key(cipher, key, implicit_iv, replay_window, replay_time))
