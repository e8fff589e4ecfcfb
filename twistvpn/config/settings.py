"""The one frozen value that both configuration syntaxes are read into.

Names follow OpenVPN's options where the thing is OpenVPN's.  Durations are seconds, sizes are
bytes.  Material that a file holds (certificates, keys) is read when the configuration
is read, so that a wrong path is told with its line; only what is meant to change under a running
server (the CRL) stays a path.  Secrets never show in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from twistvpn.interfaces import NOTHING_ASKED, DeviceType, SocketOptions
from twistvpn.overrides import ClientOverrides
from twistvpn.wire.compression import Compression

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

    from twistvpn.wire.roles import Role


BY_DHCP = "dhcp"
"""A gateway that a DHCP server inside the tunnel names."""


class ControlWrapping(Enum):
    """What protects control packets before TLS does."""

    NONE = "none"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"


@dataclass(frozen=True)
class Origin:
    """Where a value was written, for messages: path as the admin wrote it, line from 1, option's name."""

    file: str
    line: int | None
    option: str


@dataclass(frozen=True)
class Material:
    """The bytes of a file or an inline block, and where they came from."""

    data: bytes = field(repr=False)
    origin: Origin


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
    persist: bool = False
    """The device may exist already and stays when we end (persist-tun leaves this alone; it is ours anyway)."""


@dataclass(frozen=True)
class TlsSettings:
    """Certificates and what is asked of the peer's."""

    ca: Material | None = None
    """PEM, one or more certificates."""
    cert: Material | None = None
    """PEM, our certificate, perhaps followed by intermediates."""
    key: Material | None = None
    """PEM, the private key of `cert`."""
    extra_certs: Material | None = None
    crl: str | Material | None = None
    """Path of a PEM CRL, read anew when the file changes; Material when it was given inline."""
    verify_client_cert: str = "require"
    """'require', 'optional' or 'none'; servers only."""
    remote_cert_tls: str | None = None
    """'server' or 'client': the extended key usage the peer's certificate must have."""
    verify_x509_name: tuple[str, str] | None = None
    """(name, type) with type 'subject', 'name' or 'name-prefix' as OpenVPN has them, or 'host': service-identity."""
    version_min: str = "1.2"
    version_max: str | None = None
    cipher_list: str | None = None
    """`tls-cipher`, in OpenSSL's names."""
    ciphersuites: str | None = None
    """`tls-ciphersuites` (TLS 1.3)."""
    groups: str | None = None
    """`tls-groups`: colon separated, in OpenSSL's names."""


@dataclass(frozen=True)
class ControlSettings:
    """The control channel."""

    wrapping: ControlWrapping = ControlWrapping.NONE
    key: Material | None = None
    """The static key file of tls-auth or tls-crypt."""
    crypt_v2: Material | None = None
    """The key file of tls-crypt-v2: a client's own key, or what a server's clients have theirs wrapped under.  A server
    may have `wrapping` beside it for its other clients; with NONE all must have a key of their own."""
    force_cookie: bool = False
    """Refuse tls-crypt-v2 clients before 2.6, which make a server keep state for their first packet."""
    client_key_max_age: float | None = None
    """Seconds that a client's tls-crypt-v2 key is good for (`tls-crypt-v2-max-age`); None is for ever."""
    key_direction: int | None = None
    """0 or 1 for tls-auth with a key direction, None for both ways the same."""
    auth: str = "SHA1"
    """Digest of tls-auth's HMAC, and of data ciphers' that do not authenticate; in hashlib's or OpenVPN's spelling."""
    tls_timeout: float = 2.0
    max_packet_size: int = 1250
    """Bytes of a control packet at most, wrapping included: it must pass every path unfragmented."""
    hand_window: float = 60.0
    tran_window: float = 3600.0
    disable_occ: bool = False
    """The options that the peer tells are not compared with ours."""
    reneg_sec: float = 3600.0
    """Seconds after which this end renegotiates; 0 leaves that to the other end."""
    reneg_jitter: float = 0.0
    """Seconds, drawn anew for each key, by which that comes earlier at most: not everybody at once."""
    reneg_bytes: int = 0
    reneg_pkts: int = 0
    """Bytes and datagrams, both directions together, after which this end renegotiates; 0 is never."""


@dataclass(frozen=True)
class FragmentLimit:
    """The `fragment` option."""

    size: int
    """Bytes of a datagram at most; packets that need more leave in parts."""
    mode: str = "payload"
    """What counts: 'payload' (the link's datagram) or 'mtu' (with its IP and UDP headers)."""


@dataclass(frozen=True)
class DataSettings:
    """The data channel."""

    ciphers: tuple[str, ...] = ("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
    """`data-ciphers`, the most wanted first, OpenVPN's upper-case names."""
    ciphers_fallback: str | None = None
    """`data-ciphers-fallback` (or `cipher`): for peers that negotiate nothing."""
    epochs: bool = True
    """Whether keys may change by epochs (`protocol-flags aead-epoch`) with peers that can; as stock has no option for
    it, only a program that embeds us can say no."""
    replay_window: int = 64
    replay_time: float = 15.0
    ping: float = 0.0
    """Seconds of silence after which we ping; 0 is never."""
    ping_restart: float = 0.0
    """Seconds without anything from the peer after which it counts as gone; 0 is never."""
    ping_exit: float = 0.0
    inactive: float = 0.0
    inactive_bytes: int = 0
    """Seconds after which a session ends in which fewer bytes of payload have moved; 0 is never."""
    session_timeout: float = 0.0
    """Seconds after which a session ends in any case; 0 is never."""
    mssfix: int | None = None
    """None is stock's default (1492 bytes outside); 0 is off."""
    mssfix_mode: str = "payload"
    """What `mssfix` bounds: 'payload' (the link's datagram), 'mtu' (with its IP and UDP headers) or 'fixed' (the
    packet inside the tunnel)."""
    compression: Compression = Compression.NONE
    """What frames packets (`compress`, `comp-lzo`) where the other end does not want another framing."""
    allow_compression: str = "no"
    """'no': compressed packets are refused; 'asym' and 'yes': they are decompressed.  None is ever sent."""
    fragment: FragmentLimit | None = None


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
    status: str | None = None
    """Path of a status file, written every `status_interval` seconds."""
    status_interval: float = 60.0
    notes: tuple[str, ...] = ()
    """One line for each option that was accepted and changes nothing; for the log."""
