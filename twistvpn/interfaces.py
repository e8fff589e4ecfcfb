"""What one part of the package may rely on in another, and the two shapes that data travels in.

A `Frame` is what one read of a tun device yields; a `Run` is what one send on a link takes.
Embedders implement these interfaces to put their own device, link, pool or authentication in
place of ours; `twistvpn.testing` has in-memory twins of the device and the link.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections import Counter

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes that are only read."""

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int] | tuple[str, int, int, int, bytes]
"""A remote's socket address as the kernel gives it: (host, port) or (host, port, flowinfo, scope id).

On a multihomed socket a path: five values for both IP versions, the last the in_pktinfo or in6_pktinfo that makes a
datagram leave from the address of ours that the remote has written to.
"""

_TIMESTAMP_SIZE = 8

VNET_HEADER_SIZE = 10
"""Bytes of struct virtio_net_hdr (linux/virtio_net.h) without the num_buffers field."""

NO_OFFLOAD = bytes(VNET_HEADER_SIZE)
"""The virtio-net header of a plain packet: whole, its checksum complete."""


class DeviceType(Enum):
    """`dev-type`: what a device reads and writes, and so what is inside the tunnel.

    Where "packet" is said of a tunnel, one of these is meant.
    """

    TUN = "tun"
    """IP packets, from the first header byte."""
    TAP = "tap"
    """Ethernet frames, from the destination address; without preamble and check sequence."""


class Frame(NamedTuple):
    """One packet at the device's edge, or one super-packet that its virtio-net header tells how to segment."""

    packet: Buffer
    """An IPv4 or IPv6 packet; of a tap device an Ethernet frame."""

    vnet: bytes = NO_OFFLOAD
    """10 bytes of struct virtio_net_hdr in host byte order; all zero for a plain packet."""


class Run(NamedTuple):
    """Datagrams lying one behind the other in one buffer: what one send with UDP_SEGMENT takes.

    Each is `size` bytes long, only the last may be shorter.  One datagram is a run of one.
    """

    data: Buffer
    size: int

    def datagrams(self) -> list[Buffer]:
        """The datagrams of the run, in order, as slices of its buffer."""
        data, size = self.data, self.size
        if len(data) <= size:
            return [data]
        view = memoryview(data)
        return [view[start : start + size] for start in range(0, len(view), size)]


def single(datagram: Buffer) -> Run:
    """The run that holds just `datagram`."""
    return Run(datagram, len(datagram))


class Multihome(IntEnum):
    """Which of a host's addresses answers a datagram, OpenVPN's `multihome`."""

    NO = 0
    """The one that the kernel chooses."""
    ADDRESS = 1
    """The one that the datagram came to."""
    INTERFACE = 2
    """That one, by the interface that the datagram came by."""


@dataclass(frozen=True)
class SocketOptions:
    """What an admin asks of the UDP and TCP sockets that carry the tunnel; the defaults ask for nothing."""

    mark: int = 0
    """SO_MARK of outgoing packets; 0 sets none."""
    device: str = ""
    """The only interface that packets come and go by (SO_BINDTODEVICE); '' for any."""
    send_buffer: int | None = None
    """Bytes of the kernel's buffer; 0 leaves the host's default, None is 4 MiB on UDP and the host's on TCP."""
    receive_buffer: int | None = None
    mtu_discover: int | None = None
    """IP_PMTUDISC_* of linux/in.h: 0 never sets Don't Fragment, 1 sets it and fragments here what is known to be too
    long, 2 sets it and refuses to send that; None leaves the kernel's choice."""
    multihome: Multihome = Multihome.NO
    """UDP only."""


NOTHING_ASKED = SocketOptions()
"""Sockets as they are without an admin's word."""


class IFrameReceiver(Interface):
    """Takes what a tun device reads."""

    def frames_received(frames: Sequence[Frame]) -> None:
        """All frames of one wake-up, in order.  Their buffers are the receiver's to keep."""


class ITun(Interface):
    """A network device, tun or tap, already open."""

    name: str = Attribute("The interface's name, for example 'tun0'.")
    mtu: int = Attribute("Largest IP packet in bytes; in a tap's frame it lies behind the Ethernet header.")
    offloads: Collection[int] = Attribute("The TUN_F_* flags (linux/if_tun.h) that super-packets written here may use.")

    def start(receiver: IFrameReceiver) -> None:
        """Begin to read; every batch goes to `receiver`."""

    def write_frames(frames: Sequence[Frame]) -> None:
        """Hand packets to the host's network stack.

        Never blocks and never raises for a full or vanished device: what the kernel
        does not take is dropped and counted.
        """

    def poll() -> None:
        """Read what is there at once instead of waiting for the reactor; nothing happens where nothing is.

        For when a packet has just been written that the host may have answered on the spot.
        """

    def close() -> None:
        """Stop reading and give the device back.  Calling it twice is harmless."""


class ILinkReceiver(Interface):
    """Takes what a link receives."""

    def runs_received(link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        """All runs of one wake-up, in order of arrival, each with the address it came from."""

    def link_lost(link: ILink, reason: Failure) -> None:
        """The link is gone (a stream was closed, a socket failed) and will receive nothing more."""


class ILink(Interface):
    """A local end that datagrams leave from and arrive at: a UDP socket, or one stream connection."""

    is_stream: bool = Attribute("True where bytes arrive in order and the kernel retransmits (TCP, TLS).")
    local: str = Attribute("The local end for people to read, for example 'udp:0.0.0.0:1194'.")
    header_size: int = Attribute("Bytes that it puts before each datagram, as proxies want it; 0 for a plain socket.")
    relay: str | None = Attribute("The IP address of whoever passes its datagrams on to the peer; None for nobody.")
    drops: Counter[str] = Attribute("Datagrams that were dropped, by reason.")

    def send_control(datagram: Buffer, address: Address) -> None:
        """Send one control packet.  It goes before data that waits, and is not dropped for it."""

    def send_runs(runs: Sequence[Run], address: Address) -> None:
        """Send data packets.  What the socket or the peer cannot take is dropped and counted."""

    def set_tos(tos: int) -> None:
        """Send with this type of service (a byte) from now on, where the link has one: `passtos`."""

    def close() -> None:
        """Stop receiving and release the socket.  Calling it twice is harmless."""


class Lease(NamedTuple):
    """The addresses of one client inside the tunnel."""

    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    peer4: IPv4Address | None = None
    """The other end's address, where the client's device has one of its own (topology net30)."""

    @property
    def addresses(self) -> list[IPv4Address | IPv6Address]:
        """The client's own addresses, those it has, IPv4 first."""
        return [address for address in (self.ipv4, self.ipv6) if address is not None]


class IPool(Interface):
    """Hands each client addresses that no other client has."""

    def lease(identity: str) -> Lease:
        """Free addresses for the client called `identity`, preferably those it had before.

        Raises `twistvpn.errors.PoolExhausted` when there is none.
        """

    def release(lease: Lease) -> None:
        """Give the addresses back."""


class Question(NamedTuple):
    """What a client wants to know of its user."""

    kind: str
    """'username', 'password' or 'challenge'."""
    text: str
    """For the user to read."""
    flags: Collection[str] = ()
    """'E' where the answer may be seen as it is typed."""


class IUserPrompt(Interface):
    """Who speaks for a client's user: a window, a terminal, a program that knows the answers."""

    methods: Collection[str] = Attribute(
        "What servers are told that can be done here (IV_SSO): 'crtext', 'openurl' ..."
    )

    def ask(question: Question) -> Deferred[str]:
        """Fires with the answer; fails where there will be none.  Cancelled when the answer is no longer wanted."""

    def open_url(url: str) -> None:
        """Show the user a web page on which to log in."""


class TokenState(Enum):
    """What a token that a client shows in the place of its password is worth (`auth-gen-token`)."""

    NONE = "Initial"
    """It shows none."""
    VALID = "Authenticated"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    VALID_EMPTY_USER = "AuthenticatedEmptyUser"
    """Good for an empty username, not for the client's: OpenVPN 3 clients may come to that."""
    EXPIRED_EMPTY_USER = "ExpiredEmptyUser"


class IConversation(Interface):
    """What an authenticator may say to a client while it makes up its mind.

    Each of these methods gives the client more time, `timeout` seconds at most or as much as the settings allow:
    the longer of `hand-window` and half of `reneg-sec`.  A client that has not been decided on by then is refused.
    """

    methods: Collection[str] = Attribute(
        "What the client has for its user (IV_SSO): 'crtext', 'openurl', 'webauth' ..."
    )

    def wait(timeout: float | None = None) -> None:
        """Tell the client that the decision takes longer."""

    def tell(text: str, timeout: float | None = None) -> None:
        """The same, with a text for the client's user to read (INFO_PRE)."""

    def ask(question: str, flags: Collection[str] = "R", timeout: float | None = None) -> Deferred[str]:
        """Ask the user; fires with the answer.  `flags` are 'R', and 'E' where the answer may be seen as it is typed.

        Fails with `twistvpn.errors.AuthenticationRejected` where the client has no 'crtext' among its `methods`.
        """

    def open_url(url: str, timeout: float | None = None) -> None:
        """Send the user to a web page.

        Raises `twistvpn.errors.AuthenticationRejected` where the client has neither 'webauth' nor 'openurl'.
        """


USER_METADATA = 0
"""Kind of a client key's metadata: the maker's own bytes."""

TIMESTAMP_METADATA = 1
"""Kind of a client key's metadata: the time of its making, u64 seconds since the epoch."""


class ClientKeyMetadata(NamedTuple):
    """What whoever made a client's tls-crypt-v2 key has put in, for the server alone to read."""

    kind: int | None
    """`USER_METADATA`, `TIMESTAMP_METADATA`, or a number that nobody has defined; None where nothing was put in."""

    data: bytes
    """At most 733 bytes."""

    @property
    def made(self) -> int | None:
        """When the key was made, in seconds since the epoch; None where that was not put in."""
        if self.kind != TIMESTAMP_METADATA or len(self.data) < _TIMESTAMP_SIZE:
            return None
        return int.from_bytes(self.data[:_TIMESTAMP_SIZE], "big", signed=True)


class IClientKeyVerifier(Interface):
    """Decides by a client's tls-crypt-v2 key alone whether it may even begin TLS; stock's tls-crypt-v2-verify."""

    def verify(metadata: ClientKeyMetadata, address: Address) -> None:
        """Return to let the client go on.

        Raises `twistvpn.errors.AuthenticationRejected` to refuse it; the text is for our log, the client hears
        nothing.  It is called between packets and must not block; who has to ask elsewhere does it in
        `IAuthenticator`.
        """


class Credentials(NamedTuple):
    """What a client has shown when it asks to be let in."""

    common_name: str | None
    """From its certificate, None when it has shown none."""

    username: str
    password: str
    address: Address
    peer_info: dict[str, str]
    """What the client says of itself: IV_VER, IV_PLAT, UV_..."""

    response: str = ""
    """The user's answer to `static-challenge`, or to what `twistvpn.errors.ChallengeRequired` has asked."""

    state_id: str = ""
    """Of the `ChallengeRequired` that `response` answers."""

    token: TokenState = TokenState.NONE
    """What the token is worth that the client has shown: with `auth-gen-token ... external-auth` alone it may be other
    than NONE, and `password` is the token then."""

    session_id: str = ""
    """Of the token's session, base64."""

    client_key: ClientKeyMetadata | None = None
    """What is in the client's own tls-crypt-v2 key; None where it has none."""

    conversation: IConversation | None = None
    """To keep the client waiting or to ask it something; None where nobody is there to be asked, as in tests."""

    def __repr__(self) -> str:
        return f"Credentials({self.common_name!r}, {self.username!r}, address={self.address!r})"


class IAuthenticator(Interface):
    """Decides who may come in, after TLS has verified the certificate where there is one.

    It may take its time: `credentials.conversation` tells the client so, or asks its user something meanwhile.
    """

    def authenticate(credentials: Credentials) -> Deferred[str]:
        """Fires with the identity (the name in logs, pools and routes).

        Fails with `twistvpn.errors.AuthenticationRejected` where the client is refused, with its `TemporarilyRejected`
        where it may come again, with its `ChallengeRequired` where it shall come again with an answer.  The Deferred is
        cancelled when the client goes away, and when it has been kept waiting for too long.
        """


class IIdentifier(Interface):
    """What an `IAuthenticator` provides besides if its clients may come back with a token (`auth-gen-token`).

    Without it tokens are good for renegotiations only; a client that comes back is asked for its password.
    """

    def identify(credentials: Credentials) -> str:
        """The identity of a client whose token has been verified in the place of its password.

        Raises `twistvpn.errors.AuthenticationRejected` where the client may not come in after all.
        """
