"""What a server has pushed, as addresses and routes of this host."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from twistvpn.control.push import NET_GATEWAY, VPN_GATEWAY, PushedRoute
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import DeviceType
from twistvpn.tun.rtnetlink import NextHop
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from twistvpn.config.settings import EndRoute, Settings
    from twistvpn.control.push import PushedOptions
    from twistvpn.tun.netlink import LocalNetwork, NetworkConfigurator

_KEYWORDS = frozenset({None, VPN_GATEWAY, NET_GATEWAY})
"""Gateways of routes that are no addresses."""
_EVERYWHERE4 = ("0.0.0.0/1", "128.0.0.0/1")
_EVERYWHERE6 = ("::/3", "2000::/4", "3000::/4", "fc00::/7")
"""Networks that together cover all addresses and win over a default route without replacing it."""


_OF_THE_HOST = (
    "ipv4",
    "ipv6",
    "peer_address",
    "peer_address6",
    "gateway",
    "gateway6",
    "gateway_by_dhcp",
    "routes",
    "end_routes",
    "redirect_gateway",
    "route_metric",
    "tun_mtu",
)
"""What of the pushed options the host is configured by: where only others change, nothing of it is touched."""


class ClientNetwork:
    """Configures the tun and the routes, and takes all of it back.

    Everything raises `EnvironmentRefusal` where the host does not play along with the addresses; a single route that
    cannot be set is logged and left out, as stock clients do.
    """

    log = Logger()

    def __init__(self, settings: Settings, configurator: NetworkConfigurator, ifname: str) -> None:
        self._settings = settings
        self._host = configurator
        self._ifname = ifname
        self._applied: tuple[object, ...] | None = None
        self._path_mtu: int | None = None
        self._outside: dict[int, NextHop] = {}
        self._gateways: dict[int, IPv4Address | IPv6Address | None] = {}
        """What routes into a tap go through, by IP version.  A tun has no neighbours: the device is the way."""
        self._is_waiting = False
        self._waiting: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        """Routes into the tap, with their metrics, for which a DHCP server has yet to name the gateway."""

    def prepare(self, server: str) -> None:
        """See to it that a server (an address) can be reached although all traffic goes into the tunnel already."""
        address = _plain(server)
        hop = self._outside.get(address.version)
        if hop is not None:
            self._try_route(_host_network(address), hop.gateway, hop.ifname)

    def apply(self, pushed: PushedOptions, server: str, path_mtu: int | None = None, relay: str | None = None) -> None:
        """Configure addresses, MTU and routes for what was pushed; the same options again change nothing.

        `relay` is the address that datagrams to the server go by, where that is another than `server` (an address).
        `path_mtu` (bytes) bounds what goes into the tunnel so that nothing is fragmented outside.
        """
        comparable = (*(getattr(pushed, name) for name in _OF_THE_HOST), server, relay, path_mtu)
        if self._applied == comparable:
            return
        self.undo()
        self._applied = comparable
        self._path_mtu = path_mtu
        device = self._settings.device
        if device.lladdr is not None:
            self._host.set_lladdr(self._ifname, device.lladdr)
        if not device.ifconfig_noexec:
            self._set_up(pushed)
        if not device.route_noexec:
            self._set_routes(pushed, server, relay)

    def _set_up(self, pushed: PushedOptions) -> None:
        device = self._settings.device
        self._host.set_mtu(self._ifname, pushed.tun_mtu or device.mtu)
        self._host.set_txqueuelen(self._ifname, device.txqueuelen)
        self._host.set_up(self._ifname)
        self._add_addresses(pushed)
        self._add_peer_routes(pushed)

    def _set_routes(self, pushed: PushedOptions, server: str, relay: str | None) -> None:
        self._gateways, self._is_waiting = self._inner_gateways(pushed), self.awaits_router(pushed)
        self._redirect(pushed, [server] if relay is None else [server, relay])
        client = self._settings.client
        assert client is not None
        configured = [PushedRoute(route.network, route.gateway, route.metric) for route in client.routes]
        default = client.route_metric if client.route_nopull else pushed.route_metric
        ends = (*client.end_routes, *(() if client.route_nopull else pushed.end_routes))
        routes = [
            *configured,
            *(() if client.route_nopull else pushed.routes),
            *self._known_ends(ends, pushed, server),
        ]
        self._warn_without_ipv6(pushed, routes)
        self._add_routes(routes, client.route_metric if default is None else default)

    def _warn_without_ipv6(self, pushed: PushedOptions, routes: Iterable[PushedRoute]) -> None:
        """Say that IPv6 is led to where it gets no further, as stock clients do; to block it that may be meant."""
        device = self._settings.device
        if pushed.ipv6 is not None or device.block_ipv6 or device.ifconfig_noexec or device.dev_type is DeviceType.TAP:
            return
        inside = any(route.network.version == 6 and route.gateway != NET_GATEWAY for route in routes)
        if inside or "ipv6" in (self._redirect_flags(pushed) or ()):
            self.log.warn(
                "IPv6 routes lead into {tun}, which the server gives no IPv6 address: what they lead to is cut off",
                tun=self._ifname,
            )

    def undo(self) -> None:
        """Take back every address and route."""
        self._host.undo()
        self._outside.clear()
        self._waiting.clear()
        self._applied = None

    def _add_addresses(self, pushed: PushedOptions) -> None:
        if pushed.ipv4 is None and pushed.ipv6 is None:
            if self._settings.device.dev_type is DeviceType.TAP:
                self.log.info("the server pushes no address: {tap} is left to a DHCP client", tap=self._ifname)
                return
            raise EnvironmentRefusal("the server pushes no address (ifconfig); is it a server with an address pool?")
        if pushed.ipv4 is not None:
            own = pushed.ipv4 if pushed.peer_address is None else IPv4Interface(f"{pushed.ipv4.ip}/32")
            self._host.check_overlap(own.network, self._ifname)
            self._host.add_address(self._ifname, own, self._path_mtu)
        if pushed.ipv6 is not None:
            self._host.check_overlap(pushed.ipv6.network, self._ifname)
            self._add_address6(pushed.ipv6, is_only=pushed.ipv4 is None)

    def _add_address6(self, address: IPv6Interface, *, is_only: bool) -> None:
        """A host may have IPv6 switched off: then the tunnel is for IPv4, if it has that."""
        try:
            self._host.add_address(self._ifname, address, self._path_mtu)
        except EnvironmentRefusal as error:
            if is_only:
                raise
            self.log.warn("{error}; going on with IPv4 alone", error=error)

    def _add_peer_routes(self, pushed: PushedOptions) -> None:
        """In point-to-point topologies the other end is a neighbour of its own."""
        if pushed.peer_address is not None:
            self._try_route(IPv4Network(pushed.peer_address), None, self._ifname)

    def _inner_gateways(self, pushed: PushedOptions) -> dict[int, IPv4Address | IPv6Address | None]:
        if self._settings.device.dev_type is DeviceType.TUN:
            return {}
        return {4: pushed.vpn_gateway, 6: pushed.gateway6 or pushed.peer_address6}

    def awaits_router(self, pushed: PushedOptions) -> bool:
        """Whether a DHCP server inside the tap tells the gateway (`route-gateway dhcp`)."""
        return self._settings.device.dev_type is DeviceType.TAP and pushed.gateway_by_dhcp

    def router_found(self, router: IPv4Address) -> None:
        """Set the routes that have waited for the gateway, which gets one first: the host may have no address yet."""
        if self._gateways.get(4) == router:
            return
        self._gateways[4] = router
        self.log.info("a DHCP server inside the tunnel names the gateway {router}", router=router)
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._try_route(IPv4Network(router), None, self._ifname)
        for network, metric in waiting:
            self._try_route(network, router, self._ifname, metric)

    def _redirect(self, pushed: PushedOptions, hosts: Sequence[str]) -> None:
        """Lead all traffic inside, but for what the tunnel itself sends to `hosts`."""
        flags = self._redirect_flags(pushed)
        if flags is None:
            return
        outside = dict.fromkeys(_plain(host) for host in hosts)
        if "local" not in flags:
            for address in outside:
                self._keep_outside(address)
        if "block-local" in flags:
            self._block_local(outside)
        if "!ipv4" not in flags:
            for network in _EVERYWHERE4:
                self._route_inside(ip_network(network))
        if "ipv6" in flags:
            for network in _EVERYWHERE6:
                self._route_inside(ip_network(network))

    def _block_local(self, outside: Iterable[IPv4Address | IPv6Address]) -> None:
        """Lead the networks by the default gateway's interface into the tunnel, all but the gateway and the server."""
        hop = self._host.default_gateway(4)
        if hop is None or hop.gateway is None:
            return
        for network, ifname in self._host.local_networks():
            if ifname != hop.ifname or not isinstance(network, IPv4Network):
                continue
            for address in {hop.gateway, *outside}:
                if address in network:
                    self._try_route(_host_network(address), None, ifname)
            for half in network.subnets() if network.prefixlen < 31 else ():
                # A half wins over the whole, which has its route from the interface's address.
                self._route_inside(half)

    def _redirect_flags(self, pushed: PushedOptions) -> frozenset[str] | None:
        """The flags of `redirect-gateway`, our own and the pushed ones; None where neither end wants it."""
        client = self._settings.client
        assert client is not None
        own = client.redirect_gateway
        theirs = None if client.route_nopull else pushed.redirect_gateway
        if own is None and theirs is None:
            return None
        return frozenset(own or ()) | (theirs or frozenset())

    def _keep_outside(self, address: IPv4Address | IPv6Address) -> None:
        """The tunnel's own packets must not go into the tunnel."""
        hop = self._host.route_to(address)
        for version in (4, 6):
            default = self._host.default_gateway(version)
            if default is not None:
                self._outside[version] = default
        if hop is not None and hop.gateway is not None:
            self._try_route(_host_network(address), hop.gateway, hop.ifname)

    def _known_ends(self, routes: Iterable[EndRoute], pushed: PushedOptions, server: str) -> Iterator[PushedRoute]:
        """The routes to ends of the tunnel, now that their addresses are known."""
        for route in routes:
            address: IPv4Address | IPv6Address | None = _plain(server)
            if route.end == VPN_GATEWAY:
                address = pushed.vpn_gateway
            elif route.end == NET_GATEWAY:
                hop = self._host.default_gateway()
                address = None if hop is None else hop.gateway
            if address is None:
                self.log.warn("no route to {end}: there is none", end=route.end)
            else:
                yield PushedRoute(_host_network(address), route.gateway, route.metric)

    def _add_routes(self, routes: Iterable[PushedRoute], default_metric: int | None) -> None:
        # Once each, however often: that a route is there already takes the kernel long to tell where there are many.
        wanted = list(dict.fromkeys(routes))
        # Asked once, and only where a gateway is an address.
        local = self._host.local_networks() if any(route.gateway not in _KEYWORDS for route in wanted) else []
        for route in wanted:
            metric = default_metric if route.metric is None else route.metric
            neighbour = self._outer_neighbour(route.gateway, local)
            if neighbour is not None:
                self._try_route(route.network, neighbour.gateway, neighbour.ifname, metric)
                continue
            if route.gateway != NET_GATEWAY:
                self._route_inside(route.network, route.gateway, metric)
                continue
            hop = self._host.default_gateway(route.network.version)
            if hop is None:
                self.log.warn("no route to {network}: this host has no default gateway", network=route.network)
            else:
                self._try_route(route.network, hop.gateway, hop.ifname, metric)

    def _outer_neighbour(self, gateway: str | None, local: Sequence[LocalNetwork]) -> NextHop | None:
        """A gateway that is this host's neighbour by another interface than the tunnel's."""
        if gateway is None or gateway in _KEYWORDS:
            return None
        address = ip_address(gateway)
        for network, ifname in local:
            is_outside = ifname != self._ifname and not network.is_loopback
            if is_outside and network.version == address.version and address in network:
                return NextHop(address, ifname)
        return None

    def _route_inside(
        self, network: IPv4Network | IPv6Network, gateway: str | None = None, metric: int | None = None
    ) -> None:
        if not self._gateways:
            self._try_route(network, None, self._ifname, metric)
            return
        named = None if gateway in {None, VPN_GATEWAY} else ip_address(gateway)
        through = named or self._gateways[network.version]
        if through is None and network.version == 4 and self._is_waiting:
            self._waiting.append((network, metric))
        elif through is None:
            self.log.warn("no route to {network}: no gateway inside the tunnel is known", network=network)
        else:
            self._try_route(network, through, self._ifname, metric)

    def _try_route(
        self,
        network: IPv4Network | IPv6Network,
        gateway: IPv4Address | IPv6Address | None,
        ifname: str,
        metric: int | None = None,
    ) -> None:
        try:
            self._host.add_route(network, gateway, ifname, metric, self._path_mtu if ifname == self._ifname else None)
        except EnvironmentRefusal as error:
            self.log.warn("{error}", error=error)


def _plain(server: str) -> IPv4Address | IPv6Address:
    """A socket address's host as an IP address, IPv4-mapped ones as IPv4, without a scope."""
    address = ip_address(server.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _host_network(address: IPv4Address | IPv6Address) -> IPv4Network | IPv6Network:
    return ip_network(f"{address}/{address.max_prefixlen}")
