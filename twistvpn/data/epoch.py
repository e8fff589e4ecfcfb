"""Data packets under keys that change by epochs, in pure Python (wire-protocol draft, "Data channel packets").

    P_DATA_V2:  op | key id (1) · peer id (3) · epoch (2) · counter (6) · ciphertext · tag (16)

Epoch and counter together are the packet id.  The associated data is everything before the ciphertext; with the first
byte alone as prefix (P_DATA_V1, which no peer sends in this format) it is the packet id.  The nonce is the epoch's IV
XOR the packet id and four zero bytes.  All integers are big-endian.  `crypto.epoch` tells where keys come from.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from twistvpn.crypto.ciphers import AEAD_CIPHERS
from twistvpn.crypto.epoch import FUTURE_EPOCHS, IV_SIZE, MAX_EPOCH, EpochSecret
from twistvpn.data.aead import TAG_SIZE
from twistvpn.data.batches import BatchOpener, BatchSealer, ReceivingKey
from twistvpn.data.limits import MAX_EPOCH_PACKET_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.crypto.ciphers import Aead
    from twistvpn.interfaces import Buffer

PACKET_ID_SIZE = 8
_COUNTER_BITS = 48
_NONCE_SHIFT = 8 * (IV_SIZE - PACKET_ID_SIZE)


def _keyed(cipher: str, secret: EpochSecret) -> tuple[Aead, int]:
    """Return the cipher and the IV, as a number, of one epoch."""
    kind = AEAD_CIPHERS[cipher]
    return kind.open(secret.key(kind.key_size)), int.from_bytes(secret.iv(), "big")


class EpochSealer(BatchSealer):
    """See `BatchSealer`; `packet_id` and `blocks` are those of the present epoch."""

    __slots__ = ("_associated_from", "_cipher", "_encrypt", "_iv", "_prefix", "_secret")

    max_packet_id = MAX_EPOCH_PACKET_ID

    def __init__(self, cipher: str, key: bytes, prefix: bytes) -> None:
        """Seal under `prefix` as `aead.Sealer` does, beginning with epoch 1; of `key` the first 32 bytes are used."""
        super().__init__(len(prefix) + PACKET_ID_SIZE + TAG_SIZE)
        self._cipher = cipher
        self._prefix = prefix
        self._associated_from = 0 if len(prefix) == 4 else len(prefix)
        self._begin(EpochSecret.first(key))

    def _begin(self, secret: EpochSecret) -> None:
        self._secret = secret
        opened, self._iv = _keyed(self._cipher, secret)
        self._encrypt = opened.encrypt
        self.packet_id = self.blocks = 0

    @property
    def epoch(self) -> int:
        """The present epoch."""
        return self._secret.epoch

    def advance(self, epoch: int, /) -> None:
        """Seal under a later epoch from now on; `packet_id` and `blocks` begin anew.

        Raises `ValueError` where it is not later, or beyond the last one.
        """
        if not self.epoch < epoch <= MAX_EPOCH:
            raise ValueError(f"from epoch {self.epoch} there is no way to epoch {epoch}")
        self._begin(self._secret.at(epoch))

    def _sealed(self, packets: list[Buffer]) -> list[bytes]:
        encrypt, iv, prefix, associated_from = self._encrypt, self._iv, self._prefix, self._associated_from
        sealed: list[bytes] = []
        for packet_id, packet in enumerate(packets, (self.epoch << _COUNTER_BITS) + self.packet_id + 1):
            header = prefix + packet_id.to_bytes(PACKET_ID_SIZE, "big")
            nonce = (iv ^ packet_id << _NONCE_SHIFT).to_bytes(IV_SIZE, "big")
            sealed += (header, encrypt(nonce, packet, header[associated_from:]))
        return sealed


def _by_epoch(wire: bytes, starts: Sequence[int], prefix_size: int) -> list[tuple[int, Sequence[int]]]:
    """Cut a run where the epoch changes: epochs, and where their datagrams start."""
    epoch_to = prefix_size + 2
    if len({wire[at + prefix_size : at + epoch_to] for at in starts}) == 1:
        return [(int.from_bytes(wire[prefix_size:epoch_to], "big"), starts)]
    groups = groupby(starts, lambda at: wire[at + prefix_size : at + epoch_to])
    return [(int.from_bytes(epoch, "big"), list(group)) for epoch, group in groups]


class _Key(ReceivingKey):
    """The key of one epoch of the peer's; its packet ids are counters."""

    __slots__ = ("_decrypt", "_iv", "epoch")

    def __init__(self, cipher: str, secret: EpochSecret, replay_window: int, replay_time: float) -> None:
        super().__init__(replay_window, replay_time)
        opened, self._iv = _keyed(cipher, secret)
        self._decrypt = opened.decrypt
        self.epoch = secret.epoch

    def _decrypted(
        self, wire: bytes, starts: Sequence[int], size: int, prefix_size: int
    ) -> tuple[list[int], list[Buffer]]:
        decrypt, iv = self._decrypt, self._iv
        associated_from = 0 if prefix_size == 4 else prefix_size
        text_from = prefix_size + PACKET_ID_SIZE
        counters: list[int] = []
        texts: list[Buffer] = []
        for start in starts:
            text_at = start + text_from
            packet_id = int.from_bytes(wire[start + prefix_size : text_at], "big")
            try:
                text = decrypt(
                    (iv ^ packet_id << _NONCE_SHIFT).to_bytes(IV_SIZE, "big"),
                    wire[text_at : start + size],
                    wire[start + associated_from : text_at],
                )
            except InvalidTag:
                continue
            texts.append(text)
            counters.append(packet_id & MAX_EPOCH_PACKET_ID)
        return counters, texts


class EpochOpener(BatchOpener):
    """See `BatchOpener`.

    The peer's present epoch is the highest that an authentic packet has come under.  The one before it still
    receives, and so do the next `FUTURE_EPOCHS`, whose keys are made when the first packet asks for them.
    """

    __slots__ = ("_cipher", "_future", "_replay_time", "_replay_window", "_retiring", "_secret")

    _current: _Key
    shortest = PACKET_ID_SIZE + TAG_SIZE + 1

    def __init__(self, cipher: str, key: bytes, replay_window: int, replay_time: float) -> None:
        """Take cipher and key as `EpochSealer` does, each epoch's window as `crypto.replay.ReplayWindow` does."""
        self._cipher = cipher
        self._replay_window = replay_window
        self._replay_time = replay_time
        self._secret = EpochSecret.first(key)
        super().__init__(self._made(self._secret))
        self._retiring: _Key | None = None
        self._future: dict[int, _Key] = {}

    def _made(self, secret: EpochSecret) -> _Key:
        return _Key(self._cipher, secret, self._replay_window, self._replay_time)

    @property
    def epoch(self) -> int:
        """The peer's present epoch; the rest is about it alone."""
        return self._current.epoch

    def _opened(
        self, wire: bytes, starts: Sequence[int], size: int, prefix_size: int, now: float
    ) -> tuple[int, list[Buffer]]:
        self._current.window.expire(now)
        if self._retiring is not None:
            self._retiring.window.expire(now)
        authentic = 0
        texts: list[Buffer] = []
        for epoch, its_starts in _by_epoch(wire, starts, prefix_size):
            key = self._key(epoch)
            if key is None:
                continue
            counters, opened = key.authentic(wire, its_starts, size, prefix_size)
            if opened and key.epoch > self._current.epoch:
                self._advance(key)
                key.window.expire(now)
            authentic += len(opened)
            texts += key.fresh(counters, opened)
        return authentic, texts

    def _key(self, epoch: int) -> _Key | None:
        current, retiring = self._current, self._retiring
        if epoch == current.epoch:
            return current
        if retiring is not None and epoch == retiring.epoch:
            return retiring
        if not current.epoch < epoch <= min(current.epoch + FUTURE_EPOCHS, MAX_EPOCH):
            return None
        key = self._future.get(epoch)
        if key is None:
            key = self._future[epoch] = self._made(self._secret.at(epoch))
        return key

    def _advance(self, key: _Key) -> None:
        """Make the key of a future epoch, which the peer has, the present one."""
        self._secret = self._secret.at(key.epoch)
        self._retiring, self._current = self._current, key
        self._future = {epoch: future for epoch, future in self._future.items() if epoch > key.epoch}
