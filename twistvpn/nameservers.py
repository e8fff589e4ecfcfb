"""Whom a client's host is to ask for names, and who tells it so.

Embedders implement `IDnsConfigurator` for the resolver of their host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zope.interface import Interface

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


class DnsServer(NamedTuple):
    """One of the name servers that a VPN server wants asked, with what it says of it."""

    priority: int
    """The lowest is asked first."""
    addresses: tuple[tuple[IPv4Address | IPv6Address, int | None], ...] = ()
    """With the port of each, None for the usual one."""
    domains: tuple[str, ...] = ()
    """It is asked for names in these alone; without any, for all names."""
    dnssec: str = ""
    """'yes', 'optional' or 'no'; nothing where nothing is said."""
    transport: str = ""
    """'DoH', 'DoT', 'plain' or nothing."""
    sni: str = ""
    """What the server is called in TLS."""


class DnsSettings(NamedTuple):
    """How a VPN server wants names resolved."""

    servers: tuple[DnsServer, ...] = ()
    """The lowest priority first."""
    search_domains: tuple[str, ...] = ()


class IDnsConfigurator(Interface):
    """Tells a client's host whom to ask for names."""

    def apply(ifname: str, settings: DnsSettings) -> None:
        """The tunnel by `ifname` is up, and this is how its server wants names resolved.

        It takes the place of what was said before for this interface.  Raises `twistvpn.errors.EnvironmentRefusal`
        where the host does not play along: that is logged, and the client goes on.
        """

    def undo() -> None:
        """Take back what was applied; nothing was where nothing was wanted."""
