"""Routes, in both syntaxes."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from twistvpn.config.settings import BY_DHCP, EndRoute, Route
from twistvpn.config.values import any_network, integer, ipv4, ipv4_network, ipv6, ipv6_interface, ipv6_network

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

_GATEWAYS = ("vpn_gateway", "net_gateway")
_ENDS = (*_GATEWAYS, "remote_host")


def openvpn_routes(directives: Directives) -> tuple[Route, ...]:
    """`route NETWORK [NETMASK [GATEWAY [METRIC]]]` and `route-ipv6 NETWORK/BITS [GATEWAY [METRIC]]`, in order."""
    gateway, metric = directives.last("route-gateway"), directives.last("route-metric")
    gateway6 = directives.last("route-ipv6-gateway")
    through6 = str(ipv6(gateway6, gateway6.args[0])) if gateway6 is not None else None
    defaults = Route(
        IPv4Network("0.0.0.0/0"),
        _gateway4(gateway, gateway.args[0]) if gateway is not None and gateway.args[0] != BY_DHCP else None,
        integer(metric, metric.args[0]) if metric is not None else None,
    )
    return tuple(
        _openvpn_route(item, defaults) if item.name == "route" else _openvpn_route6(item, defaults, through6)
        for item in directives.items
        if item.name in {"route", "route-ipv6"} and item.args[0] not in _ENDS
    )


def openvpn_end_routes(directives: Directives) -> tuple[EndRoute, ...]:
    """Those `route` options whose destination is an end of the tunnel, as `route remote_host default net_gateway`."""
    routes = []
    for item in directives.every("route"):
        end, _, gateway, metric = (*item.args, *("default",) * 4)[:4]
        if end in _ENDS:
            through = None if gateway in {"", "default"} else _gateway4(item, gateway)
            routes.append(EndRoute(end, through, None if metric in {"", "default"} else integer(item, metric)))
    return tuple(routes)


def refuse_end_routes(directives: Directives) -> None:
    """Raise `ConfigError` for such a route of a server."""
    for item in directives.every("route"):
        if item.args[0] in _ENDS:
            raise item.error(f"{item.args[0]} is different for each client; write the network's address")


def _openvpn_route(directive: Directive, defaults: Route) -> Route:
    address, netmask, gateway, metric = (*directive.args, *("default",) * 4)[:4]
    return Route(
        ipv4_network(directive, address, "255.255.255.255" if netmask in {"", "default"} else netmask),
        defaults.gateway if gateway in {"", "default"} else _gateway4(directive, gateway),
        defaults.metric if metric in {"", "default"} else integer(directive, metric),
    )


def _openvpn_route6(directive: Directive, defaults: Route, through: str | None) -> Route:
    network, gateway, metric = (*directive.args, *("default",) * 3)[:3]
    return Route(
        ipv6_network(directive, network),
        through if gateway in {"", "default"} else str(ipv6(directive, gateway)),
        defaults.metric if metric in {"", "default"} else integer(directive, metric),
    )


def read_own_options(directives: Directives) -> tuple[str, ...]:
    """What a client says of its own addresses and gateway, in the syntax of pushed options."""
    lines = []
    for name in ("ifconfig", "ifconfig-ipv6", "route-gateway"):
        directive = directives.last(name)
        if directive is None:
            continue
        if name == "ifconfig-ipv6":
            ipv6_interface(directive, directive.args[0])
            ipv6(directive, directive.args[1])
        elif directive.args != (BY_DHCP,):
            for text in directive.args:
                ipv4(directive, text)
        lines.append(" ".join((name, *directive.args)))
    return tuple(lines)


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
