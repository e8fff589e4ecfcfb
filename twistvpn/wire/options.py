"""The textual values inside the TLS channel: peer info, the OCC string, pushed options.

Source: wire-protocol draft, "Peer info" and "Options"; the reference's behaviour for quoting and the OCC string.
"""

from __future__ import annotations

import re
from enum import IntFlag
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from twistvpn.errors import MalformedPacket
from twistvpn.interfaces import DeviceType
from twistvpn.wire.compression import Compression
from twistvpn.wire.fragments import HEADER_SIZE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from twistvpn.wire.roles import Role

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DECIMAL = re.compile(r"[0-9]{1,9}")
_IV_PROTOS = 64
"""Read capabilities that are kept: one client's are asked for at every step, and most clients have the same."""


class IvProto(IntFlag):
    """IV_PROTO: what a peer can do."""

    DATA_V2 = 1 << 1
    REQUEST_PUSH = 1 << 2
    TLS_KEY_EXPORT = 1 << 3
    AUTH_PENDING_KW = 1 << 4
    NCP_P2P = 1 << 5
    DNS_OPTION = 1 << 6
    CC_EXIT = 1 << 7
    AUTH_FAIL_TEMP = 1 << 8
    DYN_TLS_CRYPT = 1 << 9
    EPOCH = 1 << 10
    DNS_V2 = 1 << 11
    PUSH_UPDATE = 1 << 12


_KNOWN_ABILITIES = sum(IvProto)


def parse_peer_info(text: str) -> dict[str, str]:
    """Read the `KEY=value` lines of a peer's info; the first of a repeated key counts.

    Lines that are not of that form are left out; what cannot be printed becomes '_', for these
    values end up in logs.
    """
    info: dict[str, str] = {}
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals and _KEY.fullmatch(key):
            info.setdefault(key, printable(value))
    return info


def printable(text: str) -> str:
    """Make a peer's words fit for a line of a log or a file: what cannot be printed becomes '_'."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "_" for char in text)


def format_peer_info(info: Mapping[str, str]) -> str:
    """Write the lines of `info`, each closed by a newline."""
    return "".join(f"{key}={value}\n" for key, value in info.items())


def iv_proto(info: Mapping[str, str]) -> IvProto:
    """Read the capabilities in a peer's info that are known here; none when they are missing or no decimal number."""
    return _iv_proto(info.get("IV_PROTO", ""))


@lru_cache(_IV_PROTOS)
def _iv_proto(text: str) -> IvProto:
    # An IntFlag keeps each value that it ever had, and these are a stranger's.
    return IvProto(int(text) & _KNOWN_ABILITIES) if _DECIMAL.fullmatch(text) else IvProto(0)


def split_options(text: str) -> list[str]:
    """Cut a comma-separated list into its options, empty ones left out.  There is no way to quote a comma."""
    return [option for option in text.split(",") if option]


_SPACE = " \t\n\v\f\r\0"
_WORD = re.compile(
    rf"""
    "(?P<double>(?:[^"\\]|\\.)*)"
    | '(?P<single>[^']*)'
    | (?P<plain>(?:[^{_SPACE}"'\\]|\\.)(?:[^{_SPACE}\\]|\\.)*)
    """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def split_words(option: str, comment_marks: str = "") -> list[str]:
    r"""Cut an option into words as OpenVPN's own parser does.

    Words are parted by white space.  A word that begins with `"` or `'` reaches to the closing one; a
    quote inside a plain word is a character.  A backslash escapes `\`, `"` and white space and
    stands for itself only in single quotes.  A word that begins with one of `comment_marks` ends
    the option.  Raises `MalformedPacket` for an unclosed quote and for any other backslash.
    """
    words: list[str] = []
    start = _skip_space(option, 0)
    while start < len(option) and option[start] not in comment_marks:
        match = _WORD.match(option, start)
        if match is None:
            problem = "no closing quotation mark" if option[start] in "\"'" else "a backslash escapes nothing"
            raise MalformedPacket(f"{problem}: {option}")
        words.append(_word_of(match))
        start = _skip_space(option, match.end())
    return words


def _skip_space(text: str, start: int) -> int:
    while start < len(text) and text[start] in _SPACE:
        start += 1
    return start


def _word_of(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"]
    return _ESCAPE.sub(_unescape, match["plain"] if match["double"] is None else match["double"])


def _unescape(match: re.Match[str]) -> str:
    char = match[1]
    if char not in '\\"' + _SPACE:
        raise MalformedPacket(f"a backslash before {char!r}: write two for one")
    return char


NCP_2_CIPHERS = ("AES-256-GCM", "AES-128-GCM")
"""What IV_NCP=2 without IV_CIPHERS stands for (2.4)."""


def negotiates_with_2_4(ciphers: Collection[str]) -> bool:
    """Whether one that takes `ciphers` says IV_NCP=2; others name one in their OCC string for peers of 2.4.

    Servers of 2.4 push the first of their own list to whoever says so, and that is AES-256-GCM by default.
    """
    return NCP_2_CIPHERS[0] in ciphers


class _OccCipher(NamedTuple):
    """What a cipher adds to the OCC string: sizes in bits and bytes."""

    key_bits: int
    overhead: int
    is_aead: bool


_GCM_OVERHEAD = 4 + 16 + 12 + 16
"""Packet id and tag, and the IV and block that the first AEAD releases added by mistake."""
_AES_CBC_OVERHEAD = 4 + 16 + 16
_OCC_CIPHERS = {
    "AES-128-GCM": _OccCipher(128, _GCM_OVERHEAD, is_aead=True),
    "AES-192-GCM": _OccCipher(192, _GCM_OVERHEAD, is_aead=True),
    "AES-256-GCM": _OccCipher(256, _GCM_OVERHEAD, is_aead=True),
    "CHACHA20-POLY1305": _OccCipher(256, 4 + 16 + 12 + 1, is_aead=True),
    "AES-128-CBC": _OccCipher(128, _AES_CBC_OVERHEAD, is_aead=False),
    "AES-192-CBC": _OccCipher(192, _AES_CBC_OVERHEAD, is_aead=False),
    "AES-256-CBC": _OccCipher(256, _AES_CBC_OVERHEAD, is_aead=False),
    "BF-CBC": _OccCipher(128, 4 + 8 + 8, is_aead=False),
}
_UNNAMED_CIPHER = _OCC_CIPHERS["BF-CBC"]
"""What peers that have not named any count with."""
_TAP_EXTRA = 32
"""Bytes that peers count to the MTU of a tap, for the Ethernet header and what may stand beside it."""
_OCC_STRINGS = 64
"""OCC strings that are kept, written and read ones: a handshake has the same few as the one before."""


@lru_cache(_OCC_STRINGS)
def occ_string(
    role: Role,
    transport: Literal["udp", "tcp"],
    *,
    cipher: str | None = None,
    wanted: str | None = None,
    auth: str = "SHA1",
    auth_size: int = 20,
    dev_type: DeviceType = DeviceType.TUN,
    tun_mtu: int = 1500,
    wrapping: str = "none",
    key_direction: int | None = None,
    compression: Compression = Compression.NONE,
    fragment: int | None = None,
    ifconfig: str | None = None,
) -> str:
    """Write the options as stock 2.6 tells them to its peer, for comparison ("occ").

    `cipher` is that of peers that negotiate none (`data-ciphers-fallback`); without one the string is that of a stock
    peer that has not named any, but for `wanted`, which peers without IV_CIPHERS may follow.  `auth_size` is that of
    the digest `auth` in bytes, `wrapping` 'tls-auth', 'tls-crypt' or 'none'.  Any compression framing goes by the name
    comp-lzo, and `fragment`, whatever its limit, by mtu-dynamic.  `ifconfig` is told in point-to-point mode.
    """
    sizes = _OCC_CIPHERS.get(cipher or "", _UNNAMED_CIPHER)
    overhead = sizes.overhead + (0 if sizes.is_aead else auth_size)
    if dev_type is DeviceType.TAP:
        tun_mtu += _TAP_EXTRA
    overhead += 1 + (2 if transport == "tcp" else 0)  # opcode, length prefix
    overhead += compression.header_size + (0 if fragment is None else HEADER_SIZE)
    proto = "UDPv4" if transport == "udp" else f"TCPv4_{role.name}"
    items = [
        "V4",
        f"dev-type {dev_type.value}",
        f"link-mtu {tun_mtu + overhead}",
        f"tun-mtu {tun_mtu}",
        f"proto {proto}",
        None if ifconfig is None else f"ifconfig {ifconfig}",
        "comp-lzo" if compression is not Compression.NONE else None,
        "mtu-dynamic" if fragment is not None else None,
        None if key_direction is None or wrapping != "tls-auth" else f"keydir {key_direction}",
        f"cipher {cipher or wanted}" if cipher or wanted else None,
        f"auth {'[null-digest]' if sizes.is_aead else auth.upper()}",
        f"keysize {sizes.key_bits}",
        "tls-auth" if wrapping == "tls-auth" else None,
        "key-method 2",
        f"tls-{role.value}",
    ]
    return ",".join(item for item in items if item)


def with_comp_lzo(occ: str) -> str:
    """The OCC string of an end that has a compression framing beside what it has in `occ`, without one."""
    items = []
    for item in split_options(occ):
        name, _, value = item.partition(" ")
        items.append(f"link-mtu {int(value) + 1}" if name == "link-mtu" and _DECIMAL.fullmatch(value) else item)
        if name == "proto":
            items.append("comp-lzo")
    return ",".join(items)


@lru_cache(_OCC_STRINGS)
def parse_occ(text: str) -> Mapping[str, str]:
    """Read the items of an OCC string, name to value ('' where there is none); the first of a repeated one counts."""
    items: dict[str, str] = {}
    for item in split_options(text):
        name, _, value = item.partition(" ")
        items.setdefault(name, value)
    return MappingProxyType(items)
