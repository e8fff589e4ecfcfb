"""Which release of OpenVPN the stock peer is, which tests need a newer one, and how its configuration is written.

Tests are written for a current release.  What an older one spells in another way is translated here, so that they say
the same to it; what it does not have is said by a test's `stock_since` mark.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STOCK_BINARY = os.environ.get("INTEROP_STOCK") or shutil.which("openvpn") or "/usr/sbin/openvpn"
"""INTEROP_STOCK names another release's openvpn to be the stock peer."""


def _numbers(release: str) -> tuple[int, ...]:
    """(2, 6) of '2.6.14', '2.6_rc1' or '2.6'."""
    major, minor = release.replace("_", ".").split(".")[:2]
    return int(major), int(minor)


def _stock_release() -> str:
    """The stock peer's release, such as '2.6.14'; of a machine without one, where no test runs, '0.0'."""
    if shutil.which(STOCK_BINARY) is None:
        return "0.0"
    told = subprocess.run([STOCK_BINARY, "--version"], capture_output=True, text=True, check=False).stdout
    return told.split()[1]


STOCK_RELEASE = _stock_release()


def stock_is_since(release: str) -> bool:
    """Whether the stock peer is of that release or a newer one."""
    return _numbers(STOCK_RELEASE) >= _numbers(release)


def stock_since(release: str, novelty: str) -> pytest.MarkDecorator:
    """The mark of a test that needs what stock OpenVPN has from `release` on."""
    reason = f"OpenVPN has {novelty} from {release} on, and the stock peer is {STOCK_RELEASE}"
    return pytest.mark.skipif(not stock_is_since(release), reason=reason)


def stock_before(release: str, change: str) -> pytest.MarkDecorator:
    """The mark of a test of how stock OpenVPN was until `release`, which brought the `change`."""
    reason = f"OpenVPN {release} brought {change}, and the stock peer is {STOCK_RELEASE}"
    return pytest.mark.skipif(stock_is_since(release), reason=reason)


def _ciphers(*words: str) -> list[str]:
    """2.4 negotiates between some of these, and otherwise has the first."""
    return [f"ncp-ciphers {words[0]}", f"cipher {words[0].partition(':')[0]}"]


_OLDER: dict[str, dict[str, Callable[..., list[str]]]] = {
    "2.6": {
        "auth-gen-token": lambda lifetime="", *_: [f"auth-gen-token {lifetime}"],
        "fragment": lambda size, *_: [f"fragment {size}"],
    },
    "2.5": {
        "data-ciphers": _ciphers,
        "data-ciphers-fallback": lambda cipher: [f"cipher {cipher}"],
        "allow-compression": lambda *_: [],
        "reneg-sec": lambda most, *_: [f"reneg-sec {most}"],
    },
}
"""By the release that brought a spelling, what says the same to those before it."""


def for_stock(options: Iterable[str]) -> list[str]:
    """The options, in the spelling of the stock peer's release."""
    lines = list(options)
    for release, spellings in _OLDER.items():
        if not stock_is_since(release):
            lines = [new for line in lines for new in _respelt(line, spellings)]
    return lines


def _respelt(line: str, spellings: dict[str, Callable[..., list[str]]]) -> list[str]:
    name, *words = line.split() or [""]
    return spellings[name](*words) if name in spellings else [line]
