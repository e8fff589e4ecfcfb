"""INI's `fixed-address`: addresses that are kept for one client each."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from twistvpn.config.networks import check_address, check_address6
from twistvpn.interfaces import Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.config.directive import Directive
    from twistvpn.config.networks import Subnet


def read_fixed_addresses(lines: Sequence[Directive], subnet: Subnet) -> dict[str, Lease]:
    """`NAME ADDRESS [ADDRESS6]` lines as leases by name.

    Raises `ConfigError` where a name or an address comes twice, or an address is not free for a client.
    """
    fixed: dict[str, Lease] = {}
    wanted = _own_addresses(subnet)
    for line in lines:
        if len(line.args) not in {2, 3}:
            raise line.error("is written NAME ADDRESS [ADDRESS6]")
        name = line.args[0]
        if name in fixed:
            raise line.error(f"{name} has an address already; keep one of the lines")
        fixed[name] = lease = _lease(line, subnet)
        for address in lease:
            if address is None:
                continue
            if address in wanted:
                raise line.error(f"{name} and {wanted[address]} want one address, {address}; give each its own")
            wanted[address] = name
    return fixed


def _own_addresses(subnet: Subnet) -> dict[IPv4Address | IPv6Address, str]:
    own: dict[IPv4Address | IPv6Address, str] = {}
    if subnet.network is not None:
        own[subnet.address or subnet.network.network_address + 1] = "the server"
    if subnet.network6 is not None:
        own[subnet.address6 or subnet.network6.network_address + 1] = "the server"
    return own


def _lease(line: Directive, subnet: Subnet) -> Lease:
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    for text in line.args[1:]:
        try:
            address = ip_address(text)
        except ValueError:
            raise line.error(f"{text!r} is not an address") from None
        if isinstance(address, IPv4Address) and ipv4 is None and subnet.network is not None:
            ipv4 = check_address(line, address, subnet.network)
        elif isinstance(address, IPv6Address) and ipv6 is None and subnet.network6 is not None:
            ipv6 = check_address6(line, address, subnet.network6)
        else:
            raise line.error(f"{address} has no network of its family left to be in")
    return Lease(ipv4, ipv6)
