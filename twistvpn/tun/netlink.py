"""Addresses, MTU and routes of the host, set over rtnetlink and taken back when we end.

Sources: rtnetlink(7), linux/rtnetlink.h, linux/if_addr.h.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from twistvpn.errors import EnvironmentRefusal
from twistvpn.tun.rtnetlink import FAMILY, NextHop, in_words, index_of, interface_of, network_of, next_hop, run
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.tun.rtnetlink import IPAddress, IPInterface, IPNetwork, Netlink

_Result = TypeVar("_Result")

IFA_F_NODAD = 0x02
IFA_F_NOPREFIXROUTE = 0x200
RT_TABLE_MAIN = 254
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253

DEFAULT_METRIC = {4: 0, 6: 1024}
"""What the kernel takes for a route without a metric, by IP version."""

VANISHED = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL})
"""What the removal of something that is gone already fails with."""

UNREACHABLE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL})


class InterfaceAddress(NamedTuple):
    """An address of this host, with its prefix length, and the interface that has it."""

    interface: IPInterface
    ifname: str


class LocalNetwork(NamedTuple):
    """A network that one of this host's interfaces is in."""

    network: IPNetwork
    ifname: str


class NetworkConfigurator:
    """Configures interfaces and routes of the host, and remembers what it added.

    Every method blocks for as long as the kernel takes to answer and raises
    `twistvpn.errors.EnvironmentRefusal` where the kernel, or a route that exists, stands against it.
    It needs CAP_NET_ADMIN for what changes something, also after privileges were shed.
    """

    _log = Logger()

    def __init__(self, open_netlink: Callable[[], Netlink] = IPRoute) -> None:
        self._open_netlink = open_netlink
        self._undo: list[tuple[str, Callable[[Netlink], object]]] = []

    def add_address(self, ifname: str, interface: IPInterface, path_mtu: int | None = None) -> None:
        """Give `ifname` the address and its network; IPv6 without duplicate address detection.

        `path_mtu` (bytes) bounds packets to the network, where that is less than the interface's MTU; the interface
        is up then.  An address that the interface has already stays its own: `undo` leaves it.
        """

        def operation(netlink: Netlink) -> None:
            address = {"index": index_of(netlink, ifname), "address": str(interface.ip)}
            address["prefixlen"] = interface.network.prefixlen
            flags = IFA_F_NODAD if interface.version == 6 else 0
            if path_mtu is not None:
                flags |= IFA_F_NOPREFIXROUTE
            try:
                netlink.addr("add", **address, flags=flags)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise
                return
            self._remember(f"address {interface} of {ifname}", lambda link: link.addr("del", **address))
            if path_mtu is not None:
                # The kernel's own route to the network would not have the MTU.
                route = _route_request(netlink, interface.network, None, ifname, None, path_mtu)
                netlink.route("add", **route, prefsrc=str(interface.ip))
                # The kernel takes an IPv4 route back together with its address, an IPv6 route it does not.
                self._remember(f"route to {interface.network}", lambda link: link.route("del", **route))

        self._change(f"cannot give {ifname} the address {interface}", operation)

    def set_mtu(self, ifname: str, mtu: int) -> None:
        """Set the largest IP packet, in bytes, that the interface takes."""
        self._set_link(ifname, f"cannot set the MTU of {ifname} to {mtu}", mtu=mtu)

    def set_lladdr(self, ifname: str, lladdr: str) -> None:
        """Set the interface's Ethernet address, 'aa:bb:cc:dd:ee:ff'."""
        self._set_link(ifname, f"cannot set the address of {ifname} to {lladdr}", address=lladdr)

    def lladdrs(self, ifname: str) -> list[bytes]:
        """Return the Ethernet addresses, 6 bytes, of the interface and of the bridge that it is a port of."""

        def operation(netlink: Netlink) -> list[bytes]:
            links = list(netlink.get_links(index_of(netlink, ifname)))
            master = links[0].get_attr("IFLA_MASTER")
            if master is not None:
                links += netlink.get_links(master)
            texts = [link.get_attr("IFLA_ADDRESS") for link in links]
            return [bytes.fromhex(text.replace(":", "")) for text in texts if text]

        return self._change(f"cannot ask for the address of {ifname}", operation)

    def has_master(self, ifname: str) -> bool:
        """Tell whether the interface is a port of a bridge (or another interface's part)."""

        def operation(netlink: Netlink) -> bool:
            return netlink.get_links(index_of(netlink, ifname))[0].get_attr("IFLA_MASTER") is not None

        return self._change(f"cannot ask for the bridge of {ifname}", operation)

    def set_up(self, ifname: str) -> None:
        """Bring the interface up."""
        self._set_link(ifname, f"cannot bring {ifname} up", state="up")

    def set_txqueuelen(self, ifname: str, packets: int) -> None:
        """Set how many packets the interface queues for us."""
        self._set_link(ifname, f"cannot set the queue length of {ifname} to {packets}", txqlen=packets)

    def add_route(
        self,
        network: IPNetwork,
        gateway: IPAddress | None = None,
        ifname: str | None = None,
        metric: int | None = None,
        path_mtu: int | None = None,
    ) -> None:
        """Route `network` through `gateway`, through `ifname`, or through a gateway on that interface.

        `path_mtu` (bytes) bounds packets on this route, where that is less than the interface's MTU.
        The same route there already stays: `undo` leaves it.  Another one for the same network and metric is refused.
        """
        if gateway is None and ifname is None:
            raise ValueError("a route needs a gateway or an interface")
        described = _describe_route(network, gateway, ifname, metric)

        def operation(netlink: Netlink) -> None:
            route = _route_request(netlink, network, gateway, ifname, metric, path_mtu)
            try:
                netlink.route("add", **route)
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise
                _refuse_another(netlink, network, route, described)
                return
            self._remember(described, lambda link: link.route("del", **route))

        self._change(f"cannot add the {described}", operation)

    def route_to(self, address: IPAddress) -> NextHop | None:
        """Tell how this host reaches `address` now; None where it does not."""

        def operation(netlink: Netlink) -> NextHop | None:
            try:
                answers = netlink.route("get", dst=str(address), family=FAMILY[address.version])
            except NetlinkError as error:
                if error.code in UNREACHABLE:
                    return None
                raise
            return next_hop(netlink, answers[0]) if answers else None

        return self._change(f"cannot ask for the route to {address}", operation)

    def default_gateway(self, version: int = 4) -> NextHop | None:
        """Return the next hop of the default route with the lowest metric for IP `version` 4 or 6, None without one."""

        def operation(netlink: Netlink) -> NextHop | None:
            routes = netlink.get_routes(family=FAMILY[version], table=RT_TABLE_MAIN, dst_len=0)
            hops = [(route.get_attr("RTA_PRIORITY") or 0, next_hop(netlink, route)) for route in routes]
            usable = [(metric, hop) for metric, hop in hops if hop is not None]
            return min(usable, key=lambda item: item[0])[1] if usable else None

        return self._change("cannot ask for the default route", operation)

    def addresses(self) -> list[InterfaceAddress]:
        """Return every address of this host."""

        def operation(netlink: Netlink) -> list[InterfaceAddress]:
            names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
            return [
                InterfaceAddress(interface_of(message), names[message["index"]])
                for message in netlink.get_addr()
                if message["index"] in names
            ]

        return self._change("cannot ask for the addresses of this host", operation)

    def local_networks(self) -> list[LocalNetwork]:
        """Return the networks of this host's addresses, link-local ones left out."""
        return [
            LocalNetwork(interface.network, ifname)
            for interface, ifname in self.addresses()
            if not interface.is_link_local
        ]

    def check_overlap(self, network: IPNetwork, ifname: str | None = None) -> None:
        """Refuse `network` where it overlaps one that this host is in by another interface than `ifname`."""
        for local, other in self.local_networks():
            if other != ifname and local.version == network.version and _overlap(local, network):
                running = "if that is this server, running already, stop it first; else " if local == network else ""
                raise EnvironmentRefusal(
                    f"the network {network} overlaps {local}, which this host is in by {other}: "
                    f"{running}choose another network for the tunnel"
                )

    def undo(self) -> None:
        """Remove what was added, the last first.  What has vanished already, as with its interface, is no error."""
        entries, self._undo = self._undo[::-1], []
        if not entries:
            return

        def operation(netlink: Netlink) -> None:
            for described, remove in entries:
                try:
                    remove(netlink)
                except NetlinkError as error:
                    if error.code not in VANISHED:
                        self._log.warn("cannot remove the {what}: {why}", what=described, why=in_words(error))

        try:
            run(self._open_netlink, operation)
        except OSError as error:
            self._log.warn("cannot remove what was configured: {why}", why=error.strerror)

    def _remember(self, described: str, remove: Callable[[Netlink], object]) -> None:
        self._undo.append((described, remove))

    def _set_link(self, ifname: str, failing: str, **values: int | str) -> None:
        self._change(failing, lambda netlink: netlink.link("set", index=index_of(netlink, ifname), **values))

    def _change(self, failing: str, operation: Callable[[Netlink], _Result]) -> _Result:
        try:
            return run(self._open_netlink, operation)
        except NetlinkError as error:
            raise EnvironmentRefusal(f"{failing}: {in_words(error)}") from error
        except OSError as error:
            raise EnvironmentRefusal(f"{failing}: no netlink socket: {error.strerror}") from error


def _route_request(
    netlink: Netlink,
    network: IPNetwork,
    gateway: IPAddress | None,
    ifname: str | None,
    metric: int | None,
    path_mtu: int | None,
) -> dict[str, Any]:
    request: dict[str, Any] = {
        "dst": str(network),
        "family": FAMILY[network.version],
        "table": RT_TABLE_MAIN,
        "priority": DEFAULT_METRIC[network.version] if metric is None else metric,
    }
    if ifname is not None:
        request["oif"] = index_of(netlink, ifname)
    if gateway is not None:
        request["gateway"] = str(gateway)
    elif network.version == 4:
        # Without this scope no other route could have a gateway in the network.
        request["scope"] = RT_SCOPE_LINK
    if path_mtu is not None:
        request["metrics"] = {"mtu": path_mtu}
    return request


def _refuse_another(netlink: Netlink, network: IPNetwork, request: dict[str, Any], described: str) -> None:
    """Raise unless the route that made the kernel say EEXIST is the one that `request` asks for."""
    twins = [
        route
        for route in netlink.get_routes(family=FAMILY[network.version], table=RT_TABLE_MAIN)
        if network_of(route) == network and (route.get_attr("RTA_PRIORITY") or 0) == request["priority"]
    ]
    if any(_same_hop(route, request) for route in twins):
        return
    hop = next_hop(netlink, twins[0]) if twins else None
    raise EnvironmentRefusal(
        f"cannot add the {described}: a route to {network} {_describe_hop(hop)} exists already; "
        "remove that one or give ours another metric"
    )


def _same_hop(route: Any, request: dict[str, Any]) -> bool:
    same_gateway = route.get_attr("RTA_GATEWAY") == request.get("gateway")
    return same_gateway and request.get("oif") in {None, route.get_attr("RTA_OIF")}


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    return one.network_address in other or other.network_address in one


def _describe_route(network: IPNetwork, gateway: IPAddress | None, ifname: str | None, metric: int | None) -> str:
    parts = [f"route to {network}"]
    if gateway is not None:
        parts.append(f"via {gateway}")
    if ifname is not None:
        parts.append(f"dev {ifname}")
    if metric is not None:
        parts.append(f"metric {metric}")
    return " ".join(parts)


def _describe_hop(hop: NextHop | None) -> str:
    if hop is None:
        return "with the same metric"
    return f"via {hop.gateway} dev {hop.ifname}" if hop.gateway else f"dev {hop.ifname}"
