"""Addresses inside the tunnel: the server's networks and pool, and routes."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

from twistvpn.config.settings import Route
from twistvpn.config.values import any_network, integer, ipv4, ipv4_network, ipv6, ipv6_network

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_GATEWAYS = ("vpn_gateway", "net_gateway")


@dataclass(frozen=True)
class Subnet:
    """What a server hands out addresses from; `ServerSettings` has the fields' meaning."""

    network: IPv4Network | None = None
    network6: IPv6Network | None = None
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    pool: tuple[IPv4Address, IPv4Address] | None = None


def check_network(directive: Directive, network: IPv4Network) -> IPv4Network:
    """The network, where it has room for the server and a client."""
    if network.prefixlen > 30:
        raise directive.error(f"{network} has no room for the server and a client; use at most /30 (255.255.255.252)")
    return network


def check_network6(directive: Directive, network: IPv6Network) -> IPv6Network:
    """The network, where clients can take it: OpenVPN allows /64 to /124."""
    if not 64 <= network.prefixlen <= 124:
        raise directive.error(f"{network} must be between /64 and /124")
    return network


def check_address(directive: Directive, address: IPv4Address, network: IPv4Network) -> IPv4Address:
    """The server's own address, where it is a host's address in the network."""
    if address not in network or address in (network.network_address, network.broadcast_address):
        raise directive.error(f"{address} is not the address of a host in {network}")
    return address


def check_address6(directive: Directive, address: IPv6Address, network: IPv6Network) -> IPv6Address:
    """The same for IPv6, where the network's first address is for routers."""
    if address not in network or address == network.network_address:
        raise directive.error(f"{address} is not the address of a host in {network}")
    return address


def check_pool(
    directive: Directive, pool: tuple[IPv4Address, IPv4Address], network: IPv4Network
) -> tuple[IPv4Address, IPv4Address]:
    """First and last address of the pool, in order and inside the network."""
    first, last = pool
    if last < first:
        raise directive.error(f"the pool ends ({last}) before it begins ({first})")
    for end in pool:
        if end not in network or end in (network.network_address, network.broadcast_address):
            raise directive.error(f"the pool's {end} is not the address of a host in {network}")
    return pool


def check_pool_without_server(directive: Directive, subnet: Subnet) -> None:
    """A pool of the server's own address alone has nothing to hand out."""
    if subnet.pool is None or subnet.network is None:
        return
    own = subnet.address or subnet.network.network_address + 1
    if subnet.pool == (own, own):
        raise directive.error(f"the pool has no address but the server's own ({own})")


def openvpn_routes(directives: Directives) -> tuple[Route, ...]:
    """`route NETWORK [NETMASK [GATEWAY [METRIC]]]` and `route-ipv6 NETWORK/BITS [GATEWAY [METRIC]]`, in order."""
    gateway, metric = directives.last("route-gateway"), directives.last("route-metric")
    defaults = Route(
        IPv4Network("0.0.0.0/0"),
        _gateway4(gateway, gateway.args[0]) if gateway is not None else None,
        integer(metric, metric.args[0]) if metric is not None else None,
    )
    return tuple(
        _openvpn_route(item, defaults) if item.name == "route" else _openvpn_route6(item, defaults)
        for item in directives.items
        if item.name in {"route", "route-ipv6"}
    )


def _openvpn_route(directive: Directive, defaults: Route) -> Route:
    address, netmask, gateway, metric = (*directive.args, *("default",) * 4)[:4]
    if address in {*_GATEWAYS, "remote_host"}:
        raise directive.error(f"{address} is not known before the connection; write the network's address")
    return Route(
        ipv4_network(directive, address, "255.255.255.255" if netmask in {"", "default"} else netmask),
        defaults.gateway if gateway in {"", "default"} else _gateway4(directive, gateway),
        defaults.metric if metric in {"", "default"} else integer(directive, metric),
    )


def _openvpn_route6(directive: Directive, defaults: Route) -> Route:
    network, gateway, metric = (*directive.args, *("default",) * 3)[:3]
    return Route(
        ipv6_network(directive, network),
        None if gateway in {"", "default"} else str(ipv6(directive, gateway)),
        defaults.metric if metric in {"", "default"} else integer(directive, metric),
    )


def _gateway4(directive: Directive, text: str) -> str:
    return text if text in _GATEWAYS else str(ipv4(directive, text))


def ini_route(directive: Directive) -> Route:
    """`NETWORK/BITS [via ADDRESS] [metric N]`, either family."""
    network = any_network(directive, directive.args[0])
    words = dict(zip(directive.args[1::2], directive.args[2::2], strict=False))
    if (
        len(directive.args) % 2 == 0
        or not words.keys() <= {"via", "metric"}
        or 2 * len(words) + 1 != len(directive.args)
    ):
        raise directive.error("a route is written NETWORK/BITS [via ADDRESS] [metric N]")
    gateway = words.get("via")
    if gateway is not None and gateway not in _GATEWAYS:
        gateway = str(ipv4(directive, gateway) if network.version == 4 else ipv6(directive, gateway))
    metric = words.get("metric")
    return Route(network, gateway, None if metric is None else integer(directive, metric))
