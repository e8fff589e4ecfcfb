"""The construction that tls-crypt and the wrapped keys of tls-crypt-v2 share: the tag is the cipher's IV.

HMAC-SHA256 over everything in the clear gives the tag; AES-256-CTR with the tag's first 16 bytes as its IV encrypts.
Source: wire-protocol draft, "TLS-Crypt"; RFC 5297 for the idea.
"""

from __future__ import annotations

import hmac as rfc2104
from typing import TYPE_CHECKING, Protocol, cast

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from twistvpn.compiled import wanted

if TYPE_CHECKING:
    from collections.abc import Callable

TAG_SIZE = 32
_IV_SIZE = 16
_KEY_SIZE = 32


class SivKeys(Protocol):
    """One direction's keys for cipher and HMAC, which are kept worked in.  Not for several threads at once."""

    def seal(self, associated: bytes, text: bytes, /) -> bytes:
        """Return the tag (`TAG_SIZE` bytes) of both pieces, and behind it as much ciphertext as `text` is long."""

    def open(self, associated: bytes, sealed: bytes, /) -> bytes | None:
        """Return the text of what `seal` has made, None where that is not authentic or shorter than a tag."""


class PureSivKeys:
    """The same in Python; it raises `ValueError` for keys of fewer than 32 bytes, of which the first 32 count."""

    __slots__ = ("_cipher", "_hmac")

    def __init__(self, cipher: bytes, hmac: bytes) -> None:
        if min(len(cipher), len(hmac)) < _KEY_SIZE:
            raise ValueError(f"a key is shorter than {_KEY_SIZE} bytes")
        self._cipher = Cipher(AES256(cipher[:_KEY_SIZE]), CTR(bytes(_IV_SIZE))).encryptor()
        self._hmac = HMAC(hmac[:_KEY_SIZE], SHA256())

    def seal(self, associated: bytes, text: bytes, /) -> bytes:
        """See `SivKeys`."""
        tag = self._tag(associated, text)
        return tag + self._crypt(tag, text)

    def open(self, associated: bytes, sealed: bytes, /) -> bytes | None:
        """See `SivKeys`."""
        tag = sealed[:TAG_SIZE]
        if len(tag) < TAG_SIZE:
            return None
        text = self._crypt(tag, sealed[TAG_SIZE:])
        return text if rfc2104.compare_digest(self._tag(associated, text), tag) else None

    def _tag(self, associated: bytes, text: bytes) -> bytes:
        keyed = self._hmac.copy()
        keyed.update(associated)
        keyed.update(text)
        return keyed.finalize()

    def _crypt(self, tag: bytes, text: bytes) -> bytes:
        self._cipher.reset_nonce(tag[:_IV_SIZE])
        return self._cipher.update(text)


_compiled = wanted("twistvpn.crypto._siv")
siv_keys: Callable[[bytes, bytes], SivKeys] = (
    PureSivKeys if _compiled is None else cast("Callable[[bytes, bytes], SivKeys]", _compiled.SivKeys)
)
"""Make keys of a cipher's and an HMAC's bytes, compiled where that could be built; see `PureSivKeys`."""
