"""The data channel's ciphers, under OpenVPN's names."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


CIPHERS: Mapping[str, AeadCipher] = {
    cipher.name: cipher
    for cipher in (
        AeadCipher("AES-256-GCM", 32, AESGCM),
        AeadCipher("AES-128-GCM", 16, AESGCM),
        AeadCipher("AES-192-GCM", 24, AESGCM),
        AeadCipher("CHACHA20-POLY1305", 32, ChaCha20Poly1305),
    )
}
"""Every cipher we have, by canonical name."""

SUPPORTED: tuple[str, ...] = tuple(CIPHERS)


def canonical_name(text: str) -> str:
    """OpenVPN's upper-case name of the cipher.  Raises `ConfigError` with the nearest names where we have none."""
    name = text.upper()
    if name in CIPHERS:
        return name
    near = difflib.get_close_matches(name, SUPPORTED, 2, 0.5) or SUPPORTED
    raise ConfigError(f"there is no cipher {text!r}; near: {', '.join(near)}")
