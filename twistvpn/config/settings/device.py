"""The device at our end, and routes to what is behind the other one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twistvpn.interfaces import DeviceType

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network


BY_DHCP = "dhcp"
"""A gateway that a DHCP server inside the tunnel names."""


@dataclass(frozen=True)
class DeviceSettings:
    """The tun or tap device at our end."""

    dev: str = "tun"
    """An interface name, or 'tun' or 'tap' for the first free tunN or tapN."""
    dev_type: DeviceType = DeviceType.TUN
    mtu: int = 1500
    offload: bool = True
    """Ask the kernel for segmentation and checksum offload where it has them."""
    txqueuelen: int = 1000
    lladdr: str | None = None
    """The Ethernet address of a tap, 'aa:bb:cc:dd:ee:ff'; None leaves it to the kernel."""
    ifconfig_noexec: bool = False
    """Addresses, MTU and state of the interface are left to others."""
    route_noexec: bool = False
    """Routes are left to others."""
    block_ipv6: bool = False
    """IPv6 packets that would go into the tunnel, at a server those that come out of it, are answered with an error."""


@dataclass(frozen=True)
class Route:
    """A network that lies behind the other end; no gateway means the tunnel's."""

    network: IPv4Network | IPv6Network
    gateway: str | None = None
    """An address, or 'net_gateway' / 'vpn_gateway' as OpenVPN has them."""
    metric: int | None = None


@dataclass(frozen=True)
class EndRoute:
    """A client's route to an address that is known only once it is connected."""

    end: str
    """'remote_host', the server's address outside; 'vpn_gateway' or 'net_gateway'."""
    gateway: str | None = None
    metric: int | None = None
