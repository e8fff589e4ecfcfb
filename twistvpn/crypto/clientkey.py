"""Keys of tls-crypt-v2: each client has a static key of its own, and brings it along wrapped under the server's key.

    server key   64 bytes for a cipher, 64 for an HMAC; the first 32 of each are used
    client key   256 bytes (a static key); in its file the wrapped key follows
    wrapped key  32 bytes tag | ciphertext of client key and metadata | u16 size of all this, itself included
                 tag = HMAC-SHA256 of size, client key, metadata; AES-256-CTR, its IV the tag's first 16 bytes
    metadata     u8 kind | 0: bytes of the admin's choice; 1: u64 time of the key's making, in seconds since the epoch

So the server keeps nothing for its clients.  Key files are PEM.  Source: wire-protocol draft, "TLS-Crypt v2".
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twistvpn.crypto.pem import find_block, from_pem, to_pem
from twistvpn.crypto.siv import TAG_SIZE, siv_keys
from twistvpn.crypto.statickey import KEY_SIZE, PART_SIZE, StaticKey
from twistvpn.errors import AuthenticationFailure, ConfigError, MalformedPacket
from twistvpn.interfaces import TIMESTAMP_METADATA, USER_METADATA, ClientKeyMetadata
from twistvpn.wire.packets import HEADER_SIZE

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

SERVER_KEY_SIZE = 2 * PART_SIZE
MAX_WRAPPED_SIZE = 1024
MAX_USER_METADATA = MAX_WRAPPED_SIZE - TAG_SIZE - KEY_SIZE - 2 - 1
"""Bytes of the admin's own choice that fit in a wrapped key."""

_SIZE = struct.Struct(">H")
_TIME = struct.Struct(">Q")
_MIN_WRAPPED_SIZE = TAG_SIZE + KEY_SIZE + _SIZE.size
_SERVER_NAME = "OpenVPN tls-crypt-v2 server key"
_CLIENT_NAME = "OpenVPN tls-crypt-v2 client key"


def user_metadata(data: bytes) -> ClientKeyMetadata:
    """Make metadata of the admin's own; raises `ConfigError` for more than `MAX_USER_METADATA` bytes."""
    if len(data) > MAX_USER_METADATA:
        raise ConfigError(f"{len(data)} bytes of metadata do not fit in a client key, {MAX_USER_METADATA} do")
    return ClientKeyMetadata(USER_METADATA, data)


def timestamp_metadata(seconds: float) -> ClientKeyMetadata:
    """Make metadata that tells when the key was made, as stock does by default (seconds since the epoch)."""
    return ClientKeyMetadata(TIMESTAMP_METADATA, _TIME.pack(int(seconds)))


def cut_wrapped_key(datagram: Buffer) -> tuple[bytes, bytes]:
    """Part a packet and the wrapped key behind it; raises `MalformedPacket` where there is no room for either."""
    data = bytes(datagram)
    size = _SIZE.unpack_from(data, len(data) - _SIZE.size)[0] if len(data) > HEADER_SIZE else 0
    if not _MIN_WRAPPED_SIZE <= size <= min(MAX_WRAPPED_SIZE, len(data) - HEADER_SIZE):
        raise MalformedPacket(f"no wrapped key of {size} bytes at the end of {len(data)}")
    return data[:-size], data[-size:]


@dataclass(frozen=True)
class ClientKey:
    """One client's key, in the clear and wrapped for its server."""

    key: StaticKey = field(repr=False)
    wrapped: bytes = field(repr=False)

    @classmethod
    def from_text(cls, text: bytes | str) -> ClientKey:
        """Read a client's key file; raises `ConfigError` (without a place: the caller knows it)."""
        data = _read(_CLIENT_NAME, text, other=_SERVER_NAME)
        key, wrapped = data[:KEY_SIZE], data[KEY_SIZE:]
        if not _MIN_WRAPPED_SIZE <= len(wrapped) <= MAX_WRAPPED_SIZE or wrapped[-2:] != _SIZE.pack(len(wrapped)):
            raise ConfigError("the client key is cut short, or has bytes that do not belong to it")
        return cls(StaticKey(key), wrapped)

    def to_text(self) -> str:
        """Write the key file as `openvpn --genkey tls-crypt-v2-client` does."""
        return to_pem(_CLIENT_NAME, self.key.data + self.wrapped)


class ServerKey:
    """What a server, or all servers of a group, wrap their clients' keys under."""

    def __init__(self, data: bytes) -> None:
        if len(data) != SERVER_KEY_SIZE:
            raise ConfigError(f"a tls-crypt-v2 server key has {SERVER_KEY_SIZE} bytes, this one has {len(data)}")
        self._data = data
        self._keys = siv_keys(data[:PART_SIZE], data[PART_SIZE:])

    @classmethod
    def generate(cls) -> ServerKey:
        """Make a new random key."""
        return cls(os.urandom(SERVER_KEY_SIZE))

    @classmethod
    def from_text(cls, text: bytes | str) -> ServerKey:
        """Read a server's key file; raises `ConfigError` (without a place: the caller knows it)."""
        return cls(_read(_SERVER_NAME, text, other=_CLIENT_NAME))

    def to_text(self) -> str:
        """Write the key file as `openvpn --genkey tls-crypt-v2-server` does."""
        return to_pem(_SERVER_NAME, self._data)

    def new_client_key(self, metadata: ClientKeyMetadata) -> ClientKey:
        """Make a random key for a client, and wrap it."""
        key = StaticKey.generate()
        return ClientKey(key, self.wrap(key, metadata))

    def wrap(self, key: StaticKey, metadata: ClientKeyMetadata) -> bytes:
        """Wrap a client's key with what is to be known of it."""
        kind = b"" if metadata.kind is None else bytes((metadata.kind,))
        clear = key.data + kind + metadata.data
        size = _SIZE.pack(TAG_SIZE + len(clear) + _SIZE.size)
        return self._keys.seal(size, clear) + size

    def unwrap(self, wrapped: bytes) -> tuple[StaticKey, ClientKeyMetadata]:
        """Open a wrapped key, whole as `cut_wrapped_key` gives it.  Raises `AuthenticationFailure`."""
        clear = self._keys.open(wrapped[-_SIZE.size :], wrapped[: -_SIZE.size])
        if clear is None:
            raise AuthenticationFailure("a client key that was not wrapped under this server's key")
        metadata = clear[KEY_SIZE:]
        return StaticKey(clear[:KEY_SIZE]), ClientKeyMetadata(metadata[0] if metadata else None, metadata[1:])


def _read(label: str, text: bytes | str, *, other: str) -> bytes:
    if find_block(label, text) is None and find_block(other, text) is not None:
        raise ConfigError(f"this is the {other.removeprefix('OpenVPN ')}, and here belongs the other one")
    return from_pem(label, text, label.removeprefix("OpenVPN "))
