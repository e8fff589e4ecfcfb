"""What a server wants resolved by whom: `dns` options of OpenVPN 2.6 and later, and `dhcp-option`, which came before.

Sources: openvpn(8), "--dns" and "--dhcp-option".
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twistvpn.nameservers import DnsServer, DnsSettings
from twistvpn.wire.options import split_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv6Address

_DNSSEC = frozenset({"yes", "optional", "no"})
_TRANSPORTS = frozenset({"DoH", "DoT", "plain"})
_PRIORITY = re.compile(r"-?\d{1,3}", re.ASCII)
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(\d{1,5}))?", re.ASCII)
_DOMAIN = re.compile(r"[\w.-]+")


def read_dns(options: Sequence[str]) -> DnsSettings:
    """Read `dns` and `dhcp-option` options; where there are `dns` servers those of `dhcp-option` do not count.

    Options of either that say nothing of name servers or domains (NTP, WINS and the like) are left out, and so is a
    server without an address.  Raises `ValueError` or `MalformedPacket`, saying why, for one that does not parse.
    """
    servers: dict[int, DnsServer] = {}
    search: list[str] = []
    old_addresses: list[tuple[IPv4Address | IPv6Address, int | None]] = []
    old_search: list[str] = []
    for option in options:
        name, *words = split_words(option)
        if name == "dhcp-option":
            _read_dhcp_option(words, old_addresses, old_search)
        elif words[:1] == ["search-domains"] and len(words) > 1:
            search += map(_domain, words[1:])
        elif words[:1] == ["server"] and len(words) > 3:
            priority = _priority(words[1])
            servers[priority] = _with(servers.get(priority, DnsServer(priority)), words[2], words[3:])
        else:
            raise ValueError("a dns option is 'search-domains DOMAIN' or 'server NUMBER WHAT VALUE'")
    chosen = tuple(servers[priority] for priority in sorted(servers) if servers[priority].addresses)
    if not chosen and old_addresses:
        chosen = (DnsServer(0, tuple(old_addresses)),)
    return DnsSettings(chosen, tuple(search or old_search))


def _read_dhcp_option(
    words: Sequence[str], addresses: list[tuple[IPv4Address | IPv6Address, int | None]], search: list[str]
) -> None:
    if not words:
        raise ValueError("has too few words")
    kind = words[0]
    if kind in {"DNS", "DNS6"}:
        if len(words) < 2:
            raise ValueError("has too few words")
        addresses.append((ip_address(words[1]), None))
    elif kind in {"DOMAIN", "ADAPTER_DOMAIN_SUFFIX", "DOMAIN-SEARCH"}:
        search += [domain for domain in map(_domain, words[1:]) if domain not in search]


def _priority(word: str) -> int:
    if not _PRIORITY.fullmatch(word) or not -128 <= int(word) <= 127:
        raise ValueError("a dns server's number is from -128 to 127")
    return int(word)


def _with(server: DnsServer, what: str, values: Sequence[str]) -> DnsServer:
    if what == "address":
        return server._replace(addresses=(*server.addresses, *map(_address, values)))
    if what == "resolve-domains":
        return server._replace(domains=(*server.domains, *map(_domain, values)))
    if len(values) != 1:
        raise ValueError(f"a dns server's {what} takes one value")
    (value,) = values
    if what == "dnssec" and value in _DNSSEC:
        return server._replace(dnssec=value)
    if what == "transport" and value in _TRANSPORTS:
        return server._replace(transport=value)
    if what == "sni":
        return server._replace(sni=_domain(value))
    raise ValueError(f"a dns server has no {what} {value}")


def _address(text: str) -> tuple[IPv4Address | IPv6Address, int | None]:
    """ADDRESS, IPV4:PORT or [IPV6]:PORT."""
    match = _WITH_PORT.fullmatch(text)
    if match is None:
        return ip_address(text), None
    port = None if match[3] is None else int(match[3])
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"{text} has no port from 1 to 65535")
    return ip_address(match[1] or match[2]), port


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise ValueError(f"{text!r} is not a domain")
    return text
