"""The construction that tls-crypt and the wrapped keys of tls-crypt-v2 share: the tag is the cipher's IV.

HMAC-SHA256 over everything in the clear gives the tag; AES-256-CTR with the tag's first 16 bytes as its IV encrypts.
Source: wire-protocol draft, "TLS-Crypt"; RFC 5297 for the idea.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

TAG_SIZE = 32
_IV_SIZE = 16
_KEY_SIZE = 32


class SivKeys:
    """One direction's keys for cipher and HMAC: the first 32 bytes of each are used.

    Both are kept with their keys set, which costs more than a packet does.  Not for several threads.
    """

    __slots__ = ("_cipher", "_hmac")

    def __init__(self, cipher: bytes, hmac: bytes) -> None:
        self._cipher = Cipher(AES256(cipher[:_KEY_SIZE]), CTR(bytes(_IV_SIZE))).encryptor()
        self._hmac = HMAC(hmac[:_KEY_SIZE], SHA256())

    def tag(self, clear: bytes) -> bytes:
        """Return the HMAC of what is signed."""
        keyed = self._hmac.copy()
        keyed.update(clear)
        return keyed.finalize()

    def crypt(self, tag: bytes, body: bytes) -> bytes:
        """Encrypt or decrypt the body that has this tag."""
        self._cipher.reset_nonce(tag[:_IV_SIZE])
        return self._cipher.update(body)
