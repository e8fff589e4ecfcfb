"""OpenVPN's static key: 256 bytes that tls-auth and tls-crypt cut their keys from.

The bytes are two key pairs, each 64 bytes for a cipher and 64 for an HMAC; the key direction says
which pair is for which way.  Source: wire-protocol draft, "Static keys".
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum

from twistvpn.errors import ConfigError

KEY_SIZE = 256
PART_SIZE = 64
HEAD = "-----BEGIN OpenVPN Static key V1-----"
FOOT = "-----END OpenVPN Static key V1-----"

_LINE_BYTES = 16
_BLOCK = re.compile(rf"^[ \t]*{re.escape(HEAD)}(.*?)^[ \t]*{re.escape(FOOT)}", re.DOTALL | re.MULTILINE)


class KeyDirection(Enum):
    """Which key pair protects what we send and what we receive: (outgoing, incoming)."""

    BIDIRECTIONAL = (0, 0)
    NORMAL = (0, 1)
    INVERSE = (1, 0)

    @property
    def outgoing(self) -> int:
        """Index of the pair for what we send."""
        return self.value[0]

    @property
    def incoming(self) -> int:
        """Index of the pair for what we receive."""
        return self.value[1]

    @classmethod
    def from_option(cls, key_direction: int | None) -> KeyDirection:
        """Give the meaning of `key-direction` 0, 1 or (None) its absence."""
        return {None: cls.BIDIRECTIONAL, 0: cls.NORMAL, 1: cls.INVERSE}[key_direction]


@dataclass(frozen=True, repr=False)
class StaticKey:
    """256 bytes of shared secret."""

    data: bytes

    def __post_init__(self) -> None:
        if len(self.data) != KEY_SIZE:
            raise ConfigError(f"a static key has {KEY_SIZE} bytes, this one has {len(self.data)}")

    @classmethod
    def generate(cls) -> StaticKey:
        """Make a new random key."""
        return cls(os.urandom(KEY_SIZE))

    @classmethod
    def from_text(cls, text: bytes | str) -> StaticKey:
        """Read a key file: hex lines between `HEAD` and `FOOT`, whatever stands around them.

        Raises `ConfigError` (without a place: the caller knows it) for anything else.
        """
        if not isinstance(text, str):
            text = text.decode("ascii", "replace")
        block = _BLOCK.search(text)
        if block is None:
            raise ConfigError(f"no static key: the lines {HEAD!r} and {FOOT!r} are not there")
        digits = "".join(block[1].split())
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            raise ConfigError("the static key has characters that are no pairs of hexadecimal digits") from None
        return cls(data)

    def to_text(self) -> str:
        """Write the key as `openvpn --genkey secret` does."""
        lines = [self.data[start : start + _LINE_BYTES].hex() for start in range(0, KEY_SIZE, _LINE_BYTES)]
        return "\n".join(("#", f"# {KEY_SIZE * 8} bit OpenVPN static key", "#", HEAD, *lines, FOOT, ""))

    def xor(self, other: StaticKey) -> StaticKey:
        """Mix two keys into one that needs both."""
        mixed = int.from_bytes(self.data, "big") ^ int.from_bytes(other.data, "big")
        return StaticKey(mixed.to_bytes(KEY_SIZE, "big"))

    def cipher(self, pair: int) -> bytes:
        """Cut out the 64 cipher bytes of pair 0 or 1."""
        start = 2 * pair * PART_SIZE
        return self.data[start : start + PART_SIZE]

    def hmac(self, pair: int) -> bytes:
        """Cut out the 64 HMAC bytes of pair 0 or 1."""
        start = (2 * pair + 1) * PART_SIZE
        return self.data[start : start + PART_SIZE]
