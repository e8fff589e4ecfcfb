"""Keys that follow from each other within one key of the data channel: epochs 1, 2, ... of one direction.

    E_1 = the first 32 bytes of the direction's cipher key      E_n+1 = expand(E_n, "datakey upd", 32)
    key of epoch n = expand(E_n, "data_key", key size)          IV of epoch n = expand(E_n, "data_iv", 12)

`expand` is the HKDF-Expand-Label of TLS 1.3 (RFC 8446 section 7.1) with the prefix "ovpn " and SHA-256.  From a key
nobody can compute the keys before it.  Source: wire-protocol draft, "Epoch data keys".
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SECRET_SIZE = 32
IV_SIZE = 12

FUTURE_EPOCHS = 16
"""How far ahead of the last one heard a peer's epoch may be."""
MAX_EPOCH = 0xFFFF - FUTURE_EPOCHS - 1
"""The last epoch in use: stock peers take none whose successors would not have 16 bits."""


def expand_label(secret: bytes, label: bytes, length: int, context: bytes = b"") -> bytes:
    """`length` bytes that follow from `secret` (32 bytes) and the label."""
    label = b"ovpn " + label
    info = length.to_bytes(2, "big") + bytes((len(label),)) + label + bytes((len(context),)) + context
    return HKDFExpand(SHA256(), length, info).derive(secret)


@dataclass(frozen=True)
class EpochSecret:
    """What the keys of one epoch, and of all after it, follow from."""

    epoch: int
    """1 to `MAX_EPOCH`."""
    secret: bytes = field(repr=False)
    """32 bytes."""

    @classmethod
    def first(cls, cipher_key: bytes) -> EpochSecret:
        """Begin with epoch 1; of the direction's cipher key only the first 32 bytes count."""
        return cls(1, cipher_key[:SECRET_SIZE])

    def at(self, epoch: int) -> EpochSecret:
        """Go on to an epoch that is this one or a later one."""
        secret = self.secret
        for _ in range(epoch - self.epoch):
            secret = expand_label(secret, b"datakey upd", SECRET_SIZE)
        return EpochSecret(epoch, secret)

    def key(self, size: int) -> bytes:
        """Return the cipher's key, `size` bytes."""
        return expand_label(self.secret, b"data_key", size)

    def iv(self) -> bytes:
        """Return the 12 bytes that a packet's nonce is XORed with."""
        return expand_label(self.secret, b"data_iv", IV_SIZE)
