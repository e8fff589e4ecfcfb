"""What only a server has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twistvpn.config.settings.device import Route
from twistvpn.config.settings.links import Listen, PortSharing
from twistvpn.config.settings.material import Material
from twistvpn.overrides import ClientOverrides

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network


@dataclass(frozen=True)
class AuthTokenSettings:
    """Tokens that clients show in the place of their passwords (`auth-gen-token`)."""

    lifetime: float = 0.0
    """Seconds for which a session's tokens are good; 0 is for ever."""
    renewal: float = 0.0
    """Seconds after which a token is renewed; 0 is `reneg-sec`."""
    external_auth: bool = False
    """The authenticator is asked for a token's bearer too."""
    secret: Material | None = None
    """What tokens are signed with; None makes a new one for this process."""


@dataclass(frozen=True)
class BridgeSettings:
    """`server-bridge`: the tap is a port of a bridge, and our host's addresses are the bridge's."""

    gateway: str | None = None
    """The `route-gateway` that clients are told: an address, or 'dhcp'; None: none."""
    pool: tuple[IPv4Address, IPv4Address] | None = None
    """First and last address for clients; None: they ask a DHCP server on the bridged network."""
    netmask: IPv4Address | None = None
    """Of the bridged network, there with `pool`."""


@dataclass(frozen=True)
class PoolPersistence:
    """`ifconfig-pool-persist`: where the pool remembers who had which address."""

    path: str
    interval: float = 600.0
    """Seconds between two looks whether there is something new to write; 0: the file is only read."""


@dataclass(frozen=True)
class VlanSettings:
    """`vlan-tagging`: each client is in one VLAN, and the tap in one or in all."""

    accept: str = "all"
    """`vlan-accept`, the frames that the tap gives and takes: 'all', 'tagged' or 'untagged'."""
    pvid: int = 1
    """`vlan-pvid`: the VLAN of frames without a tag, and of clients that nothing is said about."""


@dataclass(frozen=True)
class ServerSettings:
    """What only a server has."""

    listen: tuple[Listen, ...]
    network: IPv4Network | None
    """What the server's device is in; in topologies net30 and p2p what `server` names, None without it."""
    network6: IPv6Network | None
    topology: str = "subnet"
    """'subnet', 'net30' or 'p2p'; a tap has no other than 'subnet'."""
    address: IPv4Address | None = None
    """The server's own address; the network's first one when None."""
    address6: IPv6Address | None = None
    peer_address: IPv4Address | None = None
    """The other end of the server's device, in topologies net30 and p2p alone."""
    pool: tuple[IPv4Address, IPv4Address] | None = None
    """First and last address of the pool, which may lie outside of `network`; None: there is none."""
    pool_netmask: IPv4Address | None = None
    """The netmask that goes with an address of the pool in topology subnet; that of `network` when None."""
    pool6: IPv6Interface | None = None
    """First address of the IPv6 pool, and the network that it reaches to the end of; None: there is none."""
    pool_persist: PoolPersistence | None = None
    bridge: BridgeSettings | None = None
    vlan: VlanSettings | None = None
    address_aging: float = 300.0
    """`stale-routes-check`: seconds of silence after which an Ethernet address is forgotten."""
    push: tuple[str, ...] = ()
    """Options in OpenVPN's syntax that every client is sent, without the ones the server adds by itself."""
    routes: tuple[Route, ...] = ()
    """Networks our own host reaches through the tun."""
    clients: Mapping[str, ClientOverrides] = field(default_factory=dict)
    """What is different for single clients, by identity (common name); 'DEFAULT' is for all that are not named."""
    client_config_dir: str | None = None
    """Folder with a file of options for each client, read when it connects."""
    ccd_exclusive: bool = False
    """Only clients that have a section or a file of their own come in."""
    push_constraint: IPv4Network | None = None
    """Where the IPv4 addresses must lie that single clients are given (`ifconfig-push-constraint`)."""
    max_routes_per_client: int = 256
    """Addresses and networks of one client at most."""
    client_to_client: bool = False
    duplicate_cn: bool = False
    max_clients: int = 1024
    connect_freq: tuple[int, float] | None = None
    """New sessions at most, and in how many seconds; None is no limit."""
    connect_freq_initial: tuple[int, float] = (100, 10.0)
    """Answers to first packets over UDP that nothing has come of, and in how many seconds."""
    single_session: bool = False
    """Whether a connected client's address begins no other session."""
    authenticators: tuple[str, ...] = field(default=(), repr=False)
    """Twisted cred descriptions (`file:/etc/...`), tried in order; empty: the certificate alone decides."""
    username_as_common_name: bool = False
    password_optional: bool = False
    """Who shows a certificate and no password is let in by the certificate (`auth-user-pass-optional`)."""
    auth_tokens: AuthTokenSettings | None = None
    push_ping: float = 0.0
    push_ping_restart: float = 0.0
    """What `keepalive` makes the server push."""
    port_share: PortSharing | None = None
    explicit_exit_notify: int = 0
    """What connected clients are told on exit: 0 nothing, 1 to connect again, 2 to go on to their next remote."""


def own_addresses(server: ServerSettings) -> tuple[IPv4Address | None, IPv6Address | None]:
    """The server's addresses inside: the configured ones, or each network's first."""
    ipv4 = server.address
    if ipv4 is None and server.network is not None:
        ipv4 = server.network.network_address + 1
    ipv6 = server.address6
    if ipv6 is None and server.network6 is not None:
        ipv6 = server.network6.network_address + 1
    return ipv4, ipv6
