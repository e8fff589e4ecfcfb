"""How much one key may do before it wants a successor.

Sources: draft-irtf-cfrg-aead-limits (AES-GCM), RFC 9147 section 4.5.3 (forgeries), the reference's behaviour for packet
ids and for ciphers with blocks of 64 bits.
"""

from __future__ import annotations

from twistvpn.crypto.ciphers import AES_BLOCK_SIZE, CBC_CIPHERS

MAX_PACKET_ID = 0xFFFFFFFF
MAX_EPOCH_PACKET_ID = (1 << 48) - 1
"""The last packet id of a key, and of an epoch of one."""

PACKET_ID_WRAP = 0xFF000000
"""The packet id from which on new keys are wanted."""
EPOCH_WRAP = 0xF000
"""The same for epochs."""

GCM_LIMIT = (1 << 36) - 1
"""Blocks of 16 bytes and packets together that one AES-GCM key may protect."""
_SMALL_BLOCKS_LIMIT = (64 << 20) // 16
"""The same for ciphers with blocks of 64 bits, where blocks soon collide (SWEET32): 64 MiB."""
_PLENTY = 1 << 47
"""Packets of one epoch where the cipher sets no limit."""

FAILURES_RENEGOTIATE = 1 << 35
FAILURES_LIMIT = 1 << 36
"""Forgeries a key may see before it must be replaced, and before it receives no more."""


def usage_limit(cipher: str) -> int | None:
    """Blocks of 16 bytes and packets together after which a key of `cipher` is replaced; None is any number."""
    if cipher.endswith("-GCM"):
        return GCM_LIMIT // 8 * 7
    old = CBC_CIPHERS.get(cipher)
    return _SMALL_BLOCKS_LIMIT if old is not None and old.block_size < AES_BLOCK_SIZE else None


def epoch_limit(cipher: str) -> int:
    """Do the same for one epoch."""
    return usage_limit(cipher) or _PLENTY
