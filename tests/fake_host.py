"""A host to configure that only writes down what it is told."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from twistvpn.errors import EnvironmentRefusal
from twistvpn.tun.netlink import LocalNetwork
from twistvpn.tun.rtnetlink import NextHop

OUTSIDE = NextHop(ip_address("192.168.0.1"), "eth0")
OUTSIDE6 = NextHop(ip_address("fe80::1"), "eth0")


class FakeHost:
    """Stands for `tun.netlink.NetworkConfigurator`: keeps what was done, and forgets it on `undo`."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.routes: list[str] = []
        self.added: list[str] = []
        """Addresses and routes in the order they came, `undo` notwithstanding."""
        self.mtu = 0
        self.is_up = False
        self.is_port = False
        self.lladdr = "02:00:00:00:00:fe"
        self.undone = 0
        self.refuse: set[str] = set()
        self.networks = [
            LocalNetwork(ip_network("192.168.0.0/24"), "eth0"),
            LocalNetwork(ip_network("10.1.0.0/16"), "lan"),
        ]
        self.hops: dict[int, NextHop | None] = {4: OUTSIDE, 6: OUTSIDE6}

    def check_overlap(self, network: object, ifname: str | None = None) -> None:
        if str(network) in self.refuse:
            raise EnvironmentRefusal(f"the network {network} overlaps another")

    def add_address(self, ifname: str, interface: object, path_mtu: int | None = None) -> None:
        if str(interface) in self.refuse:
            raise EnvironmentRefusal(f"cannot give {ifname} the address {interface}")
        self.addresses.append(f"{interface} dev {ifname}")
        self.added.append(self.addresses[-1])

    def set_mtu(self, ifname: str, mtu: int) -> None:
        self.mtu = mtu

    def set_txqueuelen(self, ifname: str, packets: int) -> None:
        pass

    def set_lladdr(self, ifname: str, lladdr: str) -> None:
        self.lladdr = lladdr

    def lladdrs(self, ifname: str) -> list[bytes]:
        return [bytes.fromhex(self.lladdr.replace(":", ""))]

    def has_master(self, ifname: str) -> bool:
        return self.is_port

    def set_up(self, ifname: str) -> None:
        self.is_up = True

    def add_route(
        self,
        network: object,
        gateway: object,
        ifname: str,
        metric: int | None = None,
        path_mtu: int | None = None,
    ) -> None:
        if str(network) in self.refuse:
            raise EnvironmentRefusal(f"cannot add the route to {network}")
        via = f" via {gateway}" if gateway is not None else ""
        self.routes.append(f"{network}{via} dev {ifname}" + (f" metric {metric}" if metric is not None else ""))
        self.added.append(self.routes[-1])

    def route_to(self, address: IPv4Address | IPv6Address) -> NextHop | None:
        return self.hops[address.version]

    def local_networks(self) -> list[LocalNetwork]:
        return self.networks

    def default_gateway(self, version: int = 4) -> NextHop | None:
        return self.hops[version]

    def undo(self) -> None:
        self.undone += 1
        self.addresses.clear()
        self.routes.clear()
