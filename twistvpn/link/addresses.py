"""Socket addresses as people write them."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from twistvpn.interfaces import Address


def readable(address: Address) -> str:
    """Write an address as people do: '192.0.2.1:1194', '[2001:db8::1]:1194', IPv4-mapped ones as IPv4."""
    host, port = address[0], address[1]
    if ":" not in host:
        return f"{host}:{port}"
    if host.startswith("::ffff:"):
        mapped = IPv6Address(host).ipv4_mapped
        if mapped is not None:
            return f"{mapped}:{port}"
    return f"[{host}]:{port}"


def written(address: IPv4Address | IPv6Address) -> str:
    """An address without a scope as the C library writes it, in a seventh of the time that `str` takes for IPv6.

    The last part of one that holds an IPv4 address is written as that.
    """
    return inet_ntop(AF_INET6 if address.version == 6 else AF_INET, address.packed)


def is_address(host: str) -> bool:
    """Whether it is an IP address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def canonical_host(host: str) -> str:
    """An IP address in its one shortest spelling; raises `ValueError` for what is none.  A scope stays.

    On a socket for both versions an IPv4 address comes as one of IPv6; it is IPv4 here.
    """
    address = ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
