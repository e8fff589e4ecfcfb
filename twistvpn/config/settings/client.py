"""What only a client has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twistvpn.config.settings.device import EndRoute, Route
from twistvpn.config.settings.links import Remote

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class StaticChallenge:
    """A question that goes with the password."""

    text: str
    echo: bool = False
    """The answer may be seen as it is typed."""
    concatenate: bool = False
    """The answer is written behind the password; else both are encoded (SCRV1)."""


@dataclass(frozen=True)
class LoginSettings:
    """The name and the password that a client shows; who is there to be asked says what is None."""

    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    path: str | None = None
    """The file that both are in, read anew for each connection where nothing is kept."""
    cache: bool = True
    """Keep what was shown, for renegotiations and other connections (`auth-nocache` does not)."""
    static_challenge: StaticChallenge | None = None


@dataclass(frozen=True)
class ClientSettings:
    """What only a client has."""

    remotes: tuple[Remote, ...]
    remote_random: bool = False
    connect_timeout: float = 120.0
    """Seconds for a remote to be reached and to answer; a first packet is without answer for a hand-window at most."""
    connect_retry: tuple[float, float] = (1.0, 300.0)
    """First and longest wait between two rounds through the remotes."""
    connect_retry_max: int | None = None
    login: LoginSettings | None = None
    """`auth-user-pass`; None shows the certificate alone."""
    push_peer_info: bool = False
    peer_info: Mapping[str, str] = field(default_factory=dict)
    """What `setenv` adds to what the server is told: UV_... with `push_peer_info`, IV_GUI_VER and IV_SSO anyway."""
    topology: str = "net30"
    """Until the server says otherwise."""
    pull_filters: tuple[tuple[str, str], ...] = ()
    """'accept', 'ignore' or 'reject', and how pushed options begin that it is for; the first that fits decides."""
    allow_pull_fqdn: bool = False
    """Names of hosts that the server pushes in the place of addresses are looked up."""
    route_nopull: bool = False
    routes: tuple[Route, ...] = ()
    end_routes: tuple[EndRoute, ...] = ()
    route_metric: int | None = None
    """For pushed routes without one of their own."""
    dns: tuple[str, ...] = ()
    """`dns` and `dhcp-option` options of our own."""
    explicit_exit_notify: int = 0
    local: str | None = None
    """Address to bind the link to."""
    local_port: int = 0
    floats: bool = False
    """The server may answer from another address than it is written to, and move (`float`)."""
    own_options: tuple[str, ...] = ()
    """Our own `ifconfig`, `ifconfig-ipv6` and `route-gateway`, which hold where the server pushes none."""
    redirect_gateway: tuple[str, ...] | None = None
    """The flags of a `redirect-gateway` of our own; None when there is none (it may still be pushed)."""
    tls_exit: bool = False
    """Whether a TLS handshake that fails ends the client."""
    auth_retry: str = "none"
    """After AUTH_FAILED: 'none' ends the client, 'nointeract' lets it try again, 'interact' asks the user anew."""
