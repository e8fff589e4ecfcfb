"""The server's own addresses and its pools: `server` and `server-ipv6`, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING

from twistvpn.config.settings import PoolPersistence, ServerSettings
from twistvpn.config.values import choice, ipv4, ipv4_network, ipv6_interface, ipv6_network, is_netmask, seconds
from twistvpn.interfaces import DeviceType

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives

TOPOLOGIES = ("subnet", "net30", "p2p")

_POOL6_OFFSET = 0x1000
"""Where `server-ipv6` lets its pool begin in a network with room for it; stock does the same."""


@dataclass(frozen=True)
class Subnet:
    """What a server hands out addresses from; `ServerSettings` has the fields' meaning."""

    network: IPv4Network | None = None
    network6: IPv6Network | None = None
    topology: str = ServerSettings.topology
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    peer_address: IPv4Address | None = None
    pool: tuple[IPv4Address, IPv4Address] | None = None
    pool_netmask: IPv4Address | None = None
    pool6: IPv6Interface | None = None

    @property
    def own_addresses(self) -> dict[IPv4Address | IPv6Address, str]:
        """The addresses that no client can have, with who has them, for messages."""
        own: dict[IPv4Address | IPv6Address, str] = {}
        if self.address is not None or self.network is not None:
            own[self.address or _first(self.network)] = "the server"
        if self.peer_address is not None:
            own[self.peer_address] = "the server's device"
        if self.network6 is not None:
            own[self.address6 or self.network6.network_address + 1] = "the server"
        return own


def _first(network: IPv4Network | None) -> IPv4Address:
    assert network is not None
    return network.network_address + 1


def topology_of(directives: Directives, dev_type: DeviceType) -> str:
    """The server's topology; subnet, as in stock 2.7, where nothing is said, and on a tap."""
    directive = directives.last("topology")
    topology = ServerSettings.topology if directive is None else choice(directive, directive.args[0], *TOPOLOGIES)
    return topology if dev_type is DeviceType.TUN else "subnet"


def check_network(directive: Directive, network: IPv4Network, topology: str) -> IPv4Network:
    """The network, where it has room for the server and a client."""
    if topology == "subnet":
        if network.prefixlen > 30:
            raise directive.error(
                f"{network} has no room for the server and a client; use at most /30 (255.255.255.252)"
            )
    elif network.prefixlen > 29:
        raise directive.error(f"{network} has no room for a client in topology {topology}; use at most /29")
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
    directive: Directive, pool: tuple[IPv4Address, IPv4Address], subnet: Subnet
) -> tuple[IPv4Address, IPv4Address]:
    """First and last address of the pool, in order and with room for a client.

    As in stock the pool may lie outside of the server's network, the way to it is then the admin's affair; where it
    lies inside, the network's ends are nobody's address.
    """
    first, last = pool
    if last < first:
        raise directive.error(f"the pool ends ({last}) before it begins ({first})")
    network = subnet.network
    if subnet.topology == "subnet" and network is not None:
        for end in pool:
            if end in (network.network_address, network.broadcast_address):
                raise directive.error(f"the pool's {end} is not the address of a host in {network}")
    if first == last and first in subnet.own_addresses:
        raise directive.error(f"the pool has no address but the server's own ({first})")
    return pool


def with_own_peer(subnet: Subnet) -> Subnet:
    """The subnet of `server`, in whose point-to-point topologies the server's device has another end."""
    if subnet.network is None or subnet.topology == "subnet":
        return subnet
    first = subnet.network.network_address
    return replace(subnet, address=first + 1, peer_address=first + 2)


def with_whole_pool(subnet: Subnet) -> Subnet:
    """The subnet with the pool that `server` stands for: all that its network has room for."""
    network = subnet.network
    if network is None:
        return subnet
    if subnet.topology == "subnet":
        second = subnet.address in {None, network.network_address + 1}
        first, last = network.network_address + (2 if second else 1), network.broadcast_address - 1
    else:
        # Stock leaves the last /30 out too, but for the smallest network.
        reserve = 0 if network.prefixlen == 29 else 4
        first, last = network.network_address + 4, network.broadcast_address - reserve
    return replace(subnet, pool=(first, last))


def with_whole_pool6(subnet: Subnet) -> Subnet:
    """The subnet with the pool that `server-ipv6` stands for."""
    network = subnet.network6
    if network is None:
        return subnet
    offset = _POOL6_OFFSET if network.prefixlen < 112 else 2
    return replace(subnet, pool6=IPv6Interface(f"{network.network_address + offset}/{network.prefixlen}"))


def openvpn_subnet(directives: Directives, dev_type: DeviceType) -> Subnet:
    """`server` and `server-ipv6`, or what they stand for written out (`ifconfig`, `ifconfig-pool` and the like)."""
    short, short6 = directives.last("server"), directives.last("server-ipv6")
    long, long6 = directives.last("ifconfig"), directives.last("ifconfig-ipv6")
    for short_form, long_form in ((short, long), (short6, long6)):
        if short_form is not None and long_form is not None:
            raise long_form.contradiction(short_form)
    needs_none = dev_type is DeviceType.TAP or "server-bridge" in directives
    if not any((short, short6, long, long6)) and not needs_none:
        raise directives.missing("server", "is missing; write server NETWORK NETMASK")
    subnet = Subnet(topology=topology_of(directives, dev_type))
    if short is not None:
        network = check_network(short, ipv4_network(short, *short.args[:2]), subnet.topology)
        subnet = with_own_peer(replace(subnet, network=network))
    elif long is not None:
        subnet = with_ifconfig(subnet, long)
    if short6 is not None:
        subnet = replace(subnet, network6=check_network6(short6, ipv6_network(short6, short6.args[0])))
    elif long6 is not None:
        subnet = with_ifconfig_ipv6(subnet, long6)
    return _with_pool6(directives, _with_pool(directives, subnet, short), short6)


def with_ifconfig(subnet: Subnet, directive: Directive) -> Subnet:
    """The subnet with what `ifconfig` says of our own device."""
    address, second = (ipv4(directive, text) for text in directive.args)
    if subnet.topology != "subnet":
        if is_netmask(second):
            raise directive.error(
                f"the second argument must be the other end's address, as topology {subnet.topology} has it"
            )
        return replace(subnet, address=address, peer_address=second)
    if not is_netmask(second):
        raise directive.error("the second argument must be the netmask, as topology subnet has it")
    network = ipv4_network(directive, str(IPv4Address(int(address) & int(second))), str(second))
    check_network(directive, network, subnet.topology)
    return replace(subnet, network=network, address=check_address(directive, address, network))


def with_ifconfig_ipv6(subnet: Subnet, directive: Directive) -> Subnet:
    """The same for `ifconfig-ipv6`."""
    interface = ipv6_interface(directive, directive.args[0])
    network = check_network6(directive, interface.network)
    return replace(subnet, network6=network, address6=check_address6(directive, interface.ip, network))


def _with_pool(directives: Directives, subnet: Subnet, short: Directive | None) -> Subnet:
    pool = directives.last("ifconfig-pool")
    flags = short.args[2:] if short is not None else ()
    if short is not None and flags:
        choice(short, flags[0], "nopool")
    if short is not None and not flags:
        if pool is not None:
            raise pool.error(f"contradicts {short.place}, which makes the pool; add nopool there, or remove this")
        return with_whole_pool(subnet)
    if pool is None:
        if short is not None and "client-config-dir" not in directives:
            raise short.error("nopool leaves clients without addresses; add ifconfig-pool or client-config-dir")
        return subnet
    ends = ipv4(pool, pool.args[0]), ipv4(pool, pool.args[1])
    netmask = ipv4(pool, pool.args[2]) if len(pool.args) > 2 else None
    if netmask is not None and subnet.topology != "subnet":
        raise pool.error(f"there is no netmask in topology {subnet.topology}; remove it")
    if netmask is None and subnet.topology == "subnet" and subnet.network is None:
        raise pool.error("needs a netmask as third argument")
    if subnet.address is None and subnet.topology == "p2p":
        raise pool.error("needs ifconfig: the server's address is the other end of every client's device")
    if netmask is not None:
        ipv4_network(pool, "0.0.0.0", str(netmask))  # noqa: S104  a network, not a socket
    return replace(subnet, pool=check_pool(pool, ends, subnet), pool_netmask=netmask)


def _with_pool6(directives: Directives, subnet: Subnet, short: Directive | None) -> Subnet:
    pool = directives.last("ifconfig-ipv6-pool")
    if short is not None:
        if pool is not None:
            raise pool.contradiction(short)
        return with_whole_pool6(subnet)
    if pool is None:
        return subnet
    if subnet.network6 is None:
        raise pool.error("needs ifconfig-ipv6")
    interface = ipv6_interface(pool, pool.args[0])
    check_network6(pool, interface.network)
    return replace(subnet, pool6=interface)


def read_pool_persist(directives: Directives, subnet: Subnet) -> PoolPersistence | None:
    """`ifconfig-pool-persist FILE [SECONDS]`, the same in both syntaxes."""
    directive = directives.last("ifconfig-pool-persist")
    if directive is None:
        return None
    if subnet.pool is None and subnet.pool6 is None and "server-bridge" not in directives:
        raise directive.error("there is no pool; add ifconfig-pool, or remove this")
    if "duplicate-cn" in directives:
        directives.note(directive, "changes nothing here: with duplicate-cn a name has no address of its own")
        return None
    path = directives.path(directive.args[0])
    if len(directive.args) == 1:
        return PoolPersistence(path)
    return PoolPersistence(path, seconds(directive, directive.args[1]))
