"""The data channel's ciphers, under OpenVPN's names."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.decrepit.ciphers.algorithms import Blowfish
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm

AES_BLOCK_SIZE = 16
"""Bytes; ciphers with smaller blocks are good for little data."""

Aead: TypeAlias = AESGCM | ChaCha20Poly1305
"""An opened cipher: `encrypt`, `encrypt_into`, `decrypt`, `decrypt_into`; the tag stands behind the ciphertext."""


@dataclass(frozen=True)
class AeadCipher:
    """An authenticated cipher; sizes in bytes."""

    name: str
    key_size: int
    constructor: Callable[[bytes], Aead]
    tag_size: int = 16
    nonce_size: int = 12

    def open(self, key: bytes) -> Aead:
        """Key the cipher with the first `key_size` bytes of `key`."""
        return self.constructor(key[: self.key_size])


@dataclass(frozen=True)
class CbcCipher:
    """A block cipher in CBC mode, which needs a digest (`auth`) beside it; sizes in bytes."""

    name: str
    key_size: int
    block_size: int
    algorithm: Callable[[bytes], BlockCipherAlgorithm]

    def open(self, key: bytes) -> BlockCipherAlgorithm:
        """Key the cipher with the first `key_size` bytes of `key`."""
        return self.algorithm(key[: self.key_size])


AEAD_CIPHERS: Mapping[str, AeadCipher] = {
    cipher.name: cipher
    for cipher in (
        AeadCipher("AES-256-GCM", 32, AESGCM),
        AeadCipher("AES-128-GCM", 16, AESGCM),
        AeadCipher("AES-192-GCM", 24, AESGCM),
        AeadCipher("CHACHA20-POLY1305", 32, ChaCha20Poly1305),
    )
}
CBC_CIPHERS: Mapping[str, CbcCipher] = {
    cipher.name: cipher
    for cipher in (
        CbcCipher("AES-256-CBC", 32, AES_BLOCK_SIZE, AES),
        CbcCipher("AES-192-CBC", 24, AES_BLOCK_SIZE, AES),
        CbcCipher("AES-128-CBC", 16, AES_BLOCK_SIZE, AES),
        CbcCipher("BF-CBC", 16, 8, Blowfish),
    )
}
CIPHERS: Mapping[str, AeadCipher | CbcCipher] = {**AEAD_CIPHERS, **CBC_CIPHERS}
"""Every cipher we have, by canonical name."""

SUPPORTED: tuple[str, ...] = tuple(CIPHERS)


def canonical_name(text: str) -> str:
    """OpenVPN's upper-case name of the cipher.  Raises `ConfigError` with the nearest names where we have none."""
    name = text.upper()
    if name in CIPHERS:
        return name
    near = difflib.get_close_matches(name, SUPPORTED, 2, 0.5) or SUPPORTED
    raise ConfigError(f"there is no cipher {text!r}; near: {', '.join(near)}")
