"""The digests that `auth` may name."""

from __future__ import annotations

import difflib
import hashlib
from functools import cache

from twistvpn.errors import ConfigError

_ALIASES = {"blake2b512": "blake2b", "blake2s256": "blake2s"}
_MAX_DIGEST_SIZE = 64
"""A static key has 64 bytes for an HMAC key, which is as long as the digest."""


def hashlib_name(name: str) -> str:
    """Find the name in hashlib of a digest in OpenVPN's or hashlib's spelling, in any case.

    Raises `ConfigError` with the nearest names where there is no such digest.
    """
    lower = name.lower().removeprefix("rsa-").replace("-", "_")
    candidate = _ALIASES.get(lower, lower)
    if candidate in _usable():
        return candidate
    near = difflib.get_close_matches(candidate, _usable(), 2, 0.5)
    hint = f"; near: {', '.join(text.replace('_', '-').upper() for text in near)}" if near else ""
    raise ConfigError(f"there is no digest {name!r}{hint}", option="auth")


@cache
def digest_size(name: str) -> int:
    """Return the bytes of a digest under either name; raises `ConfigError` where there is none."""
    return hashlib.new(hashlib_name(name), usedforsecurity=False).digest_size


@cache
def _usable() -> tuple[str, ...]:
    """Asked for once, as each digest has to be tried."""
    return tuple(sorted(candidate for candidate in hashlib.algorithms_available if _has_fixed_size(candidate)))


def _has_fixed_size(candidate: str) -> bool:
    try:
        return 0 < hashlib.new(candidate, usedforsecurity=False).digest_size <= _MAX_DIGEST_SIZE
    except ValueError:  # listed, yet switched off in this build of OpenSSL
        return False
