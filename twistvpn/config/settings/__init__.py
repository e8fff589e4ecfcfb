"""The one frozen value that both configuration syntaxes are read into.

Names follow OpenVPN's options where the thing is OpenVPN's.  Durations are seconds, sizes are
bytes.  Material that a file holds (certificates, keys) is read when the configuration
is read, so that a wrong path is told with its line; only what is meant to change under a running
server (the CRL) stays a path.  Secrets never show in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twistvpn.config.settings.channels import ControlSettings, ControlWrapping, DataSettings, FragmentLimit, TlsSettings
from twistvpn.config.settings.client import ClientSettings, LoginSettings, StaticChallenge
from twistvpn.config.settings.device import BY_DHCP, DeviceSettings, EndRoute, Route
from twistvpn.config.settings.links import Listen, OuterTls, PortSharing, Proxy, ProxyKind, Remote
from twistvpn.config.settings.material import Material, Origin
from twistvpn.config.settings.server import (
    AuthTokenSettings,
    BridgeSettings,
    PoolPersistence,
    ServerSettings,
    VlanSettings,
    own_addresses,
)
from twistvpn.interfaces import NOTHING_ASKED, SocketOptions

if TYPE_CHECKING:
    from twistvpn.wire.roles import Role

__all__ = [
    "BY_DHCP",
    "AuthTokenSettings",
    "BridgeSettings",
    "ClientSettings",
    "ControlSettings",
    "ControlWrapping",
    "DataSettings",
    "DeviceSettings",
    "EndRoute",
    "FragmentLimit",
    "Listen",
    "LoginSettings",
    "Material",
    "Origin",
    "OuterTls",
    "PointToPoint",
    "PoolPersistence",
    "PortSharing",
    "Proxy",
    "ProxyKind",
    "Remote",
    "Route",
    "ServerSettings",
    "Settings",
    "StaticChallenge",
    "TlsSettings",
    "VlanSettings",
    "own_addresses",
]


@dataclass(frozen=True)
class PointToPoint:
    """A tunnel between two ends whose admins have agreed on the addresses: nothing is pushed, nobody else comes in."""

    options: tuple[str, ...] = ()
    """Our own device's addresses, in the syntax of pushed options."""
    remotes: tuple[Remote, ...] = ()
    """From where alone the other end may come to a TLS server; from anywhere when there are none."""


@dataclass(frozen=True)
class Settings:
    """A whole configuration: exactly one of `server` and `client` is there, as `role` says."""

    file: str
    role: Role
    device: DeviceSettings
    tls: TlsSettings
    control: ControlSettings
    data: DataSettings
    server: ServerSettings | None = None
    client: ClientSettings | None = None
    point_to_point: PointToPoint | None = None
    """There in point-to-point mode, where `role` is the one in TLS."""
    sockets: SocketOptions = NOTHING_ASKED
    """What the sockets that carry the tunnel are asked for."""
    verb: int = 3
    user: str | None = None
    group: str | None = None
    user_origin: Origin | None = None
    group_origin: Origin | None = None
    """Where they stand; only the host knows whether there are such."""
    status: str | None = None
    """Path of a status file, written every `status_interval` seconds."""
    status_interval: float = 60.0
    notes: tuple[str, ...] = ()
    """One line for each option that was accepted and changes nothing; for the log."""
