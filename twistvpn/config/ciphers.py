"""The options that say which ciphers protect data, the same in both syntaxes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twistvpn.config.settings import DataSettings
from twistvpn.crypto.ciphers import AES_BLOCK_SIZE, CBC_CIPHERS, canonical_name
from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.config.directive import Directive, Directives

_KNOWN_TO_STOCK = re.compile(
    r"((AES|ARIA|CAMELLIA)-(128|192|256)|BF|CAST5|DES(-EDE3?)?|IDEA|RC2(-40|-64)?|SEED|SM4)-(CBC|CFB[18]?|OFB|CTR)",
    re.IGNORECASE,
)
"""Ciphers of stock OpenVPN's, of which we have a few."""
_NO_CIPHER = {"none", "[null-cipher]"}
NO_DIGEST = {"none", "[null-digest]"}
_VERSION = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}", re.ASCII)
_NEWEST = (999,)


def read_ciphers(directives: Directives) -> tuple[tuple[str, ...], str | None]:
    """The ciphers that are negotiated, the most wanted first, and the one for peers that negotiate nothing.

    As in stock, `compat-mode` before 2.5 offers `cipher` too, and before 2.4 has Blowfish for a default.
    """
    compat = _compat_mode(directives)
    ciphers, fallback = _offered(directives), _fallback(directives, compat)
    if compat < (2, 5) and fallback is not None and fallback not in ciphers:
        ciphers += (fallback,)
    used = dict.fromkeys((*ciphers, fallback or ""))
    _check_unauthenticated(directives, [cipher for cipher in used if cipher in CBC_CIPHERS])
    return ciphers, fallback


def _compat_mode(directives: Directives) -> tuple[int, ...]:
    directive = directives.last("compat-mode")
    if directive is None:
        return _NEWEST
    if not _VERSION.fullmatch(directive.args[0]):
        raise directive.error(f"{directive.args[0]!r} is not a version; write it as 2.4.0")
    return tuple(map(int, directive.args[0].split(".")))


def _offered(directives: Directives) -> tuple[str, ...]:
    directive = directives.last("data-ciphers")
    if directive is None:
        return DataSettings.ciphers
    chosen: list[str] = []
    for item in directive.args[0].split(":"):
        names = DataSettings.ciphers if item == "DEFAULT" else _supported(directives, directive, item)
        chosen.extend(name for name in names if name not in chosen)
    if not chosen:
        raise directive.error(f"none of these is offered; use {':'.join(DataSettings.ciphers)}")
    return tuple(chosen)


def _supported(directives: Directives, directive: Directive, item: str) -> tuple[str, ...]:
    """The cipher of one item of a list; nothing, and a note, where stock knows it or a `?` makes it optional."""
    name = item.removeprefix("?")
    if name.lower() in _NO_CIPHER:
        raise directive.error("data is never sent in the clear; take it out of the list")
    try:
        return (canonical_name(name),)
    except ConfigError as error:
        if not _KNOWN_TO_STOCK.fullmatch(name) and not item.startswith("?"):
            raise directive.error(error.message) from None
    directives.note(directive, f"{name} is left out: there is no such cipher here")
    return ()


def _fallback(directives: Directives, compat: tuple[int, ...]) -> str | None:
    directive = directives.last("data-ciphers-fallback") or directives.last("cipher")
    if directive is None:
        return "BF-CBC" if compat < (2, 4) else None
    name = directive.args[0]
    if name.lower() in _NO_CIPHER:
        raise directive.error("data is never sent in the clear; remove it")
    try:
        return canonical_name(name)
    except ConfigError as error:
        if not _KNOWN_TO_STOCK.fullmatch(name):
            raise directive.error(error.message) from None
    directives.note(directive, f"{name} changes nothing here: there is no such cipher, and others are negotiated")
    return None


def _check_unauthenticated(directives: Directives, ciphers: Sequence[str]) -> None:
    """Ciphers that do not authenticate need `auth`; small blocks are no good."""
    auth = directives.last("auth")
    if ciphers and auth is not None and auth.args[0].lower() in NO_DIGEST:
        raise auth.error(f"{ciphers[0]} needs a digest, as it does not authenticate by itself; use SHA256 at both ends")
    directive = directives.last_of("data-ciphers", "data-ciphers-fallback", "cipher", "compat-mode")
    for cipher in ciphers:
        if CBC_CIPHERS[cipher].block_size < AES_BLOCK_SIZE and directive is not None:
            directives.note(
                directive,
                f"{cipher} has blocks of 64 bits, which attackers make use of (SWEET32); change to AES-256-GCM",
            )
