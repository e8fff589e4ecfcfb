"""Operations on rtnetlink: how one is run, what its errors mean, and what is read from its messages.

pyroute2 drives its own asyncio event loop and cannot do so in a thread where one runs already, which is
the case under Twisted's asyncio reactor.  So each operation runs in a short-lived thread of its own
while the caller waits (about 2 ms).  Such a thread inherits the caller's capabilities and network
namespace of that moment, which a thread started earlier, before privileges were shed, would not.
Each operation opens its own socket and closes it, so there is nothing to close here.

Sources: rtnetlink(7), linux/rtnetlink.h.
"""

from __future__ import annotations

import errno
import socket
import threading
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
)
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from twistvpn.errors import EnvironmentRefusal

if TYPE_CHECKING:
    from collections.abc import Callable

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPInterface: TypeAlias = IPv4Interface | IPv6Interface
IPNetwork: TypeAlias = IPv4Network | IPv6Network

_Result = TypeVar("_Result")
Netlink: TypeAlias = Any
"""A pyroute2 IPRoute; the package has no types."""

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

MENDS = {
    errno.EPERM: "run as root or give the process CAP_NET_ADMIN",
    errno.EACCES: "is IPv6 disabled on this host (sysctl net.ipv6.conf.*.disable_ipv6)? Then leave network6 out",
    errno.EOPNOTSUPP: "does the kernel have this address family?",
    errno.ENODEV: "there is no such interface",
    errno.ENETUNREACH: "the gateway cannot be reached directly from any interface",
    errno.EHOSTUNREACH: "the gateway cannot be reached directly from any interface",
    errno.ENETDOWN: "the interface is down",
    errno.EINVAL: "the kernel finds the value out of range",
}


class NextHop(NamedTuple):
    """Where packets go next: through `gateway`, or straight to the neighbour when it is None."""

    gateway: IPAddress | None
    ifname: str


def run(open_netlink: Callable[[], Netlink], operation: Callable[[Netlink], _Result]) -> _Result:
    """Run an operation in a thread and on a socket made for it; returns or raises what it does.

    Raises `OSError` where there is no socket to be had, and what pyroute2 raises (`NetlinkError`).
    """
    results: list[_Result] = []
    errors: list[BaseException] = []

    def session() -> None:
        try:
            with open_netlink() as netlink:
                results.append(operation(netlink))
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=session, name="netlink")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_words(error: NetlinkError) -> str:
    """Say what the kernel has against it, and the mend where there is one."""
    reason = str(error.args[1]) if len(error.args) > 1 else str(error)
    mend = MENDS.get(error.code)
    return f"{reason}; {mend}" if mend else reason


def index_of(netlink: Netlink, ifname: str) -> int:
    """Return the index of an interface; raises `EnvironmentRefusal` where there is none of that name."""
    try:
        indexes = netlink.link_lookup(ifname=ifname)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise
        indexes = []
    if not indexes:
        raise EnvironmentRefusal(f"there is no interface {ifname}")
    index: int = indexes[0]
    return index


def network_of(route: Any) -> IPNetwork:
    """Return the network that an RTM_NEWROUTE message is about."""
    any_address = "0.0.0.0" if route["family"] == socket.AF_INET else "::"  # noqa: S104  a route, not a socket
    destination = route.get_attr("RTA_DST") or any_address
    return ip_interface(f"{destination}/{route['dst_len']}").network


def interface_of(message: Any) -> IPInterface:
    """Return the address that an RTM_NEWADDR message is about, with its prefix length."""
    # On a point-to-point interface IFA_ADDRESS is the other end's address and IFA_LOCAL ours.
    address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    return ip_interface(f"{address}/{message['prefixlen']}")


def next_hop(netlink: Netlink, route: Any) -> NextHop | None:
    """Return where a route leads; None for one that leads nowhere, such as an unreachable or blackhole route."""
    gateway, index = route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF")
    hops = route.get_attr("RTA_MULTIPATH")
    if hops:
        gateway, index = hops[0].get_attr("RTA_GATEWAY"), hops[0]["oif"]
    if index is None:
        return None
    ifname = netlink.get_links(index)[0].get_attr("IFLA_IFNAME")
    return NextHop(ip_address(gateway) if gateway else None, ifname)
