"""Both ends of a link: where a server listens, where a client connects to, and through what."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from twistvpn.config.settings.material import Material, Origin


@dataclass(frozen=True)
class Listen:
    """One local end of a server.

    `endpoint` is None for UDP and for plain TCP; otherwise it is a Twisted server endpoint description
    (`ssl:443:...`, `haproxy:tcp:1194`, `systemd:...`, `unix:...`) that carries the stream.
    """

    proto: str
    """'udp' or 'tcp'."""
    host: str
    """Address or host name to bind; '' means every address, IPv4 and IPv6; '0.0.0.0' and '::' are one family alone."""
    port: int
    endpoint: str | None = None
    origin: Origin | None = None


@dataclass(frozen=True)
class PortSharing:
    """The server that takes what comes to our TCP ports and is not OpenVPN (`port-share`)."""

    host: str
    port: int
    journal: str | None = None
    """A directory with a file for each such connection: its name is our end of it, its text the client's address."""


class ProxyKind(Enum):
    """How a proxy is asked."""

    HTTP = "http-proxy"
    SOCKS = "socks-proxy"


@dataclass(frozen=True)
class Proxy:
    """What connects to a server for us."""

    kind: ProxyKind
    host: str
    port: int
    credentials: tuple[str, str] | None = field(default=None, repr=False)
    http_version: str = "1.0"
    http_headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class OuterTls:
    """TLS around the link (`proto tls`), for networks that let only HTTPS through."""

    name: str
    """What the certificate of who ends that TLS is for: a host name or an IP address."""
    ca: Material | None = None
    """PEM, who has signed it; None for the authorities that this host trusts."""


@dataclass(frozen=True)
class Remote:
    """One server a client may connect to.

    `endpoint` is a Twisted client endpoint description where the link is neither UDP nor plain TCP.
    """

    host: str
    port: int
    proto: str
    """'udp' or 'tcp'."""
    family: int = 0
    """socket.AF_INET, socket.AF_INET6, or 0 for either."""
    endpoint: str | None = None
    proxy: Proxy | None = None
    outer: OuterTls | None = None
    origin: Origin | None = None
