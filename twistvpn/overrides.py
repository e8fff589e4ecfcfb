"""What may be different for single clients of a server, and who knows it.

Embedders implement `IClientSettings` to keep such settings elsewhere than in files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from zope.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Collection
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network


class Ifconfig(NamedTuple):
    """`ifconfig-push`: an IPv4 address that is one client's."""

    address: IPv4Address
    second: IPv4Address
    """The netmask in topology subnet, the other end's address in net30 and p2p."""
    alias: IPv4Address | None = None
    """What the client is told in the place of `address`, where a router on the way translates one to the other."""


class Ifconfig6(NamedTuple):
    """`ifconfig-ipv6-push`: an IPv6 address that is one client's, and its network."""

    interface: IPv6Interface
    gateway: IPv6Address | None = None
    """The other end's address; the server's own when None."""


@dataclass(frozen=True)
class ClientOverrides:
    """What is different for one client; without arguments, nothing is."""

    is_disabled: bool = False
    """The client is refused."""
    ifconfig: Ifconfig | None = None
    """In the place of addresses of the pool, of both families."""
    ifconfig6: Ifconfig6 | None = None
    """In the place of the pool's IPv6 address."""
    iroutes: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks behind the client."""
    is_push_reset: bool = False
    """Nothing that all clients are pushed is pushed to this one, but for its addresses and the data channel."""
    push_remove: tuple[str, ...] = ()
    """What all clients are pushed and this one is not, by the beginning of the option; 'ifconfig' and 'ifconfig-ipv6'
    are the client's addresses."""
    push: tuple[str, ...] = ()
    """Options that only this client is pushed."""
    vlan_pvid: int | None = None
    """The VLAN that the client is in; None: that of the tap."""
    max_routes: int | None = None
    """Addresses and networks of the client at most; None: as for all."""
    ping: float | None = None
    ping_restart: float | None = None
    inactive: tuple[float, int] | None = None
    """Seconds and bytes."""
    session_timeout: float | None = None
    """Seconds, as in `DataSettings`; None: as for all."""
    framing: str | None = None
    """How packets are framed: a `compress` or `comp-lzo` option in OpenVPN's syntax; None: as for all."""

    @property
    def addresses(self) -> list[IPv4Address | IPv6Address]:
        """The addresses that are kept for the client."""
        kept: list[IPv4Address | IPv6Address] = []
        if self.ifconfig is not None:
            kept.append(self.ifconfig.address)
        if self.ifconfig6 is not None:
            kept.append(self.ifconfig6.interface.ip)
        return kept


ALIKE = ClientOverrides()
"""What is different for a client that nothing is said about."""


class IClientSettings(Interface):
    """Knows what is different for single clients.  It is asked anew for each client that comes."""

    def overrides(identity: str) -> ClientOverrides:
        """What is different for the client called `identity`.

        Raises `twistvpn.errors.AuthenticationRejected` where it must not come in, and `twistvpn.errors.ConfigError`
        where its settings cannot be used: then it is refused too, and the log says why.
        """

    def kept_addresses() -> Collection[IPv4Address | IPv6Address]:
        """The addresses that the pool must not hand out since they are some client's own, as far as they are known."""
