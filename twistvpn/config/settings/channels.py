"""What both roles have: certificates, the control channel and the data channel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from twistvpn.config.settings.material import Material
from twistvpn.wire.compression import Compression


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


class ControlWrapping(Enum):
    """What protects control packets before TLS does."""

    NONE = "none"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"


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
    passtos: bool = False
    """Datagrams have the type of service of the packets inside them."""
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
