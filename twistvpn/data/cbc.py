"""Data packets of block ciphers in CBC mode with an HMAC, in pure Python (wire-protocol draft, "Data channel packets").

    P_DATA_V2:  op | key id (1) · peer id (3) · HMAC · IV (a block) · ciphertext
    P_DATA_V1:  op | key id (1) · HMAC · IV (a block) · ciphertext

The ciphertext is that of packet id (4) · packet, padded as PKCS #7 has it.  The HMAC covers IV and ciphertext; its key
is as long as the digest.  IVs are random.  All integers are big-endian.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC

from twistvpn.crypto.ciphers import CBC_CIPHERS
from twistvpn.crypto.digests import digest_size
from twistvpn.data.batches import BatchOpener, BatchSealer, ReceivingKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer

PACKET_ID_SIZE = 4


class CbcSealer(BatchSealer):
    """See `BatchSealer`."""

    __slots__ = ("_algorithm", "_block", "_digest", "_hmac_key", "_prefix")

    def __init__(self, cipher: str, key: bytes, digest: str, hmac_key: bytes, prefix: bytes) -> None:
        """Seal under `prefix` as `aead.Sealer` does.

        `digest` is a name of hashlib's.  Of `key` and `hmac_key` only the first bytes are used, as many as the cipher
        takes and the digest has.
        """
        kind = CBC_CIPHERS[cipher]
        size = digest_size(digest)
        super().__init__(len(prefix) + size + kind.block_size)
        self._algorithm = kind.open(key)
        self._block = kind.block_size
        self._digest = digest
        self._hmac_key = hmac_key[:size]
        self._prefix = prefix

    def largest_text(self, datagram_size: int, /) -> int:
        """See `BatchSealer`."""
        return (datagram_size - self._overhead) // self._block * self._block - 1 - PACKET_ID_SIZE

    def _sealed_sizes(self, sizes: list[int]) -> list[int]:
        block = self._block
        return [self._overhead + ((size + PACKET_ID_SIZE) // block + 1) * block for size in sizes]

    def _sealed(self, packets: list[Buffer]) -> list[bytes]:
        algorithm, block, prefix = self._algorithm, self._block, self._prefix
        hmac_key, digest = self._hmac_key, self._digest
        ivs = os.urandom(block * len(packets))
        sealed: list[bytes] = []
        for index, packet in enumerate(packets):
            iv = ivs[index * block : (index + 1) * block]
            padding = block - (len(packet) + PACKET_ID_SIZE) % block
            packet_id = (self.packet_id + 1 + index).to_bytes(PACKET_ID_SIZE, "big")
            text = b"".join((packet_id, packet, bytes((padding,)) * padding))
            body = iv + Cipher(algorithm, CBC(iv)).encryptor().update(text)
            sealed += (prefix, hmac.digest(hmac_key, body, digest), body)
        return sealed


class _Key(ReceivingKey):
    """See `CbcOpener`."""

    __slots__ = ("_algorithm", "_block", "_digest", "_digest_size", "_hmac_key")

    def __init__(
        self, cipher: str, key: bytes, digest: str, hmac_key: bytes, replay_window: int, replay_time: float
    ) -> None:
        super().__init__(replay_window, replay_time)
        kind = CBC_CIPHERS[cipher]
        self._algorithm = kind.open(key)
        self._block = kind.block_size
        self._digest = digest
        self._digest_size = digest_size(digest)
        self._hmac_key = hmac_key[: self._digest_size]

    def _decrypted(
        self, wire: bytes, starts: Sequence[int], size: int, prefix_size: int
    ) -> tuple[list[int], list[Buffer]]:
        packet_ids: list[int] = []
        texts: list[Buffer] = []
        for start in starts:
            body_at = start + prefix_size + self._digest_size
            body = wire[body_at : start + size]
            if not hmac.compare_digest(
                hmac.digest(self._hmac_key, body, self._digest), wire[start + prefix_size : body_at]
            ):
                continue
            text = self._unpadded(body)
            if text is None:
                continue
            packet_ids.append(int.from_bytes(text[:PACKET_ID_SIZE], "big"))
            texts.append(text[PACKET_ID_SIZE:])
        return packet_ids, texts

    def _unpadded(self, body: bytes) -> bytes | None:
        """Return packet id and packet; None where they are not what a peer could have sealed."""
        block = self._block
        if len(body) % block:
            return None
        text = Cipher(self._algorithm, CBC(body[:block])).decryptor().update(body[block:])
        padding = text[-1]
        if not 0 < padding <= block or text[-padding:] != bytes((padding,)) * padding:
            return None
        return text[:-padding] if len(text) - padding > PACKET_ID_SIZE else None


class CbcOpener(BatchOpener):
    """See `BatchOpener`."""

    __slots__ = ("shortest",)

    def __init__(
        self, cipher: str, key: bytes, digest: str, hmac_key: bytes, replay_window: int, replay_time: float
    ) -> None:
        """Take cipher, digest and keys as `CbcSealer` does, the window as `crypto.replay.ReplayWindow` does."""
        super().__init__(_Key(cipher, key, digest, hmac_key, replay_window, replay_time))
        self.shortest = digest_size(digest) + 2 * CBC_CIPHERS[cipher].block_size
