"""What `twistvpn init` finds out about the machine it runs on: its address and the networks it is in."""

from __future__ import annotations

import socket
import sys
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from twistvpn.errors import EnvironmentRefusal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

Network: TypeAlias = IPv4Network | IPv6Network

_PRIVATE = (IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12"), IPv4Network("192.168.0.0/16"))
"""RFC 1918, the roomiest first."""

_UNIQUE_LOCAL = IPv6Network("fd00::/8")
"""RFC 4193, 3.1: locally assigned."""

_DESTINATIONS = ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1"))
"""Documentation addresses (RFC 5737, RFC 3849): only the default route leads there."""

_ATTEMPTS = 512


def own_address() -> str | None:
    """Tell the address packets to the Internet leave from, IPv4 rather than IPv6; None without a default route.

    Connecting a datagram socket sends nothing: the kernel only chooses a route and a source address.
    """
    for family, destination in _DESTINATIONS:
        address = _source_address(family, destination)
        if address is not None and not (address.is_loopback or address.is_link_local or address.is_unspecified):
            return str(address)
    return None


def _source_address(family: socket.AddressFamily, destination: str) -> IPv4Address | IPv6Address | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((destination, 9))
            return ip_address(probe.getsockname()[0])
    except OSError:
        return None


def local_networks(proc: Path = Path("/proc/net")) -> list[Network]:
    """Read the networks the machine has routes to; default routes are not among them.

    Neither are the halves of one that a VPN client puts in its place (0.0.0.0/1 and 128.0.0.0/1): they cover
    everything and own nothing.
    """
    routes = [_parse_route(line) for line in _lines(proc / "route")[1:]]
    routes6 = [_parse_route6(line) for line in _lines(proc / "ipv6_route")]
    return [network for network in [*routes, *routes6] if network.prefixlen >= 8]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:  # no /proc, or a kernel without IPv6
        return []


def _parse_route(line: str) -> Network:
    # proc(5): addresses and masks are 32-bit words in hexadecimal, in host byte order.
    fields = line.split()
    destination, mask = (int(fields[place], 16).to_bytes(4, sys.byteorder) for place in (1, 7))
    return IPv4Network((destination, int.from_bytes(mask, "big").bit_count()), strict=False)


def _parse_route6(line: str) -> Network:
    destination, prefix_length = line.split()[:2]
    return IPv6Network((bytes.fromhex(destination), int(prefix_length, 16)), strict=False)


def overlapping(network: Network, taken: Iterable[Network]) -> Network | None:
    """Find the first of `taken` that shares an address with `network`."""
    return next((other for other in taken if other.version == network.version and network.overlaps(other)), None)


def choose_network(taken: Iterable[Network], random: Random) -> IPv4Network:
    """Choose a private /24 that overlaps nothing in `taken`: one in 10.0.0.0/8 if there is any.

    It is random so that it is unlikely to be the network of a client's home or of another VPN.  Raises
    `EnvironmentRefusal` if none can be found.
    """
    taken = list(taken)
    for block in _PRIVATE:
        # Never the block's first /24: 10.0.0.0 and 192.168.0.0 are what many a router hands out.
        for _ in range(_ATTEMPTS):
            number = random.randrange(1, 1 << (24 - block.prefixlen))
            network = IPv4Network((int(block.network_address) + (number << 8), 24))
            if overlapping(network, taken) is None:
                return network
    raise EnvironmentRefusal("this machine has routes to every private IPv4 network; choose one with --network")


def has_ipv6(switch: Path = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")) -> bool:
    """Whether the interfaces of this machine take IPv6 addresses (`switch`: ip-sysctl, disable_ipv6)."""
    try:
        return switch.read_text().strip() == "0"
    except OSError:
        return False


def choose_network6(taken: Iterable[Network], random: Random) -> IPv6Network:
    """Choose a random unique local /64 (RFC 4193) that overlaps nothing in `taken`."""
    taken = list(taken)
    for _ in range(_ATTEMPTS):
        network = IPv6Network((int(_UNIQUE_LOCAL.network_address) | random.getrandbits(56) << 64, 64))
        if overlapping(network, taken) is None:
            return network
    raise EnvironmentRefusal("this machine has routes to every unique local IPv6 network; choose one with --network6")
