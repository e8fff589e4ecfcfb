"""The data channel's keys: 256 bytes from TLS (exporter) or from both ends' key sources (the older PRF).

Source: RFC 5705 (exporter), RFC 2246 section 5 (the PRF of TLS 1.0), wire-protocol draft, "Data channel keys".
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twistvpn.crypto.statickey import KeyDirection, StaticKey
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.wire.keymethod import KeySource

EXPORTER_LABEL = b"EXPORTER-OpenVPN-datakeys"
EXPORTER_LENGTH = 256
"""Bytes to export; the exporter's context is absent."""

_MASTER_SECRET_SIZE = 48


@dataclass(frozen=True, repr=False)
class DirectionKeys:
    """The keys of one direction; a cipher takes as many bytes of them as it needs."""

    cipher: bytes
    """64 bytes."""
    hmac: bytes
    """64 bytes; AEAD ciphers take their implicit IV from the start."""


@dataclass(frozen=True, repr=False)
class DataKeys:
    """One key generation of the data channel."""

    encrypt: DirectionKeys
    decrypt: DirectionKeys


def tls1_prf(secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """`length` bytes of the PRF of TLS 1.0: P_MD5 of the secret's first half XOR P_SHA1 of its second."""
    half = (len(secret) + 1) // 2
    seed = label + seed
    md5 = _p_hash("md5", secret[:half], seed, length)
    sha1 = _p_hash("sha1", secret[len(secret) - half :], seed, length)
    return bytes(left ^ right for left, right in zip(md5, sha1, strict=True))


def _p_hash(digest: str, secret: bytes, seed: bytes, length: int) -> bytes:
    output = b""
    link = seed
    while len(output) < length:
        link = hmac.digest(secret, link, digest)
        output += hmac.digest(secret, link + seed, digest)
    return output[:length]


def key_expansion_prf(
    client: KeySource, server: KeySource, client_session_id: bytes, server_session_id: bytes
) -> bytes:
    """Derive the 256 key bytes for peers that cannot export keys from TLS; session ids are those of the hard resets."""
    master = tls1_prf(client.pre_master, b"OpenVPN master secret", client.random1 + server.random1, _MASTER_SECRET_SIZE)
    seed = client.random2 + server.random2 + client_session_id + server_session_id
    return tls1_prf(master, b"OpenVPN key expansion", seed, EXPORTER_LENGTH)


def split_keys(key_bytes: bytes, role: Role) -> DataKeys:
    """Our two directions of 256 key bytes.  The client has direction NORMAL here, unlike in tls-crypt."""
    direction = KeyDirection.NORMAL if role is Role.CLIENT else KeyDirection.INVERSE
    key = StaticKey(key_bytes)
    outgoing, incoming = (
        DirectionKeys(key.cipher(pair), key.hmac(pair)) for pair in (direction.outgoing, direction.incoming)
    )
    return DataKeys(outgoing, incoming)
