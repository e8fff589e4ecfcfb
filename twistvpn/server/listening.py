"""Where a server listens: UDP sockets, TCP ports, and any Twisted stream endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint

from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import NOTHING_ASKED, SocketOptions
from twistvpn.link.addresses import readable
from twistvpn.link.haproxy import server_endpoint
from twistvpn.link.sharing import PortShare, SharedPortFactory
from twistvpn.link.sockets import PreparedReactor, listen_tcp, open_udp_socket
from twistvpn.link.strangers import Strangers
from twistvpn.link.stream import MAX_FRAME, StreamLinkFactory, describe
from twistvpn.link.udp import UdpLink
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any

    from twisted.internet.interfaces import IListeningPort
    from twisted.python.failure import Failure

    from twistvpn.config.settings import Listen, ServerSettings
    from twistvpn.interfaces import ILinkReceiver


_REACHED_WITHIN = 10.0
"""Seconds in which a server behind us must take a connection."""


_AROUND = {"ssl": " in TLS", "tls": " in TLS", "haproxy": " behind a proxy (PROXY protocol)"}
"""What an endpoint of this kind has around its links."""


def make_port_share(reactor: Any, server: ServerSettings) -> PortShare | None:
    """Who gets what is not OpenVPN, None where `port-share` is not set."""
    sharing = server.port_share
    if sharing is None:
        return None
    endpoint = HostnameEndpoint(reactor, sharing.host, sharing.port, timeout=_REACHED_WITHIN)
    return PortShare(endpoint, readable((sharing.host, sharing.port)), reactor, sharing.journal)


class Listening(Protocol):
    """What makes a server's links: `Listeners`, or an application's own."""

    def bind(self) -> None:
        """Take what needs privileges; raises `EnvironmentRefusal`."""

    def start(self, on_refusal: Callable[[EnvironmentRefusal], None]) -> None:
        """Begin to receive; what turns out not to work later is told to `on_refusal`."""

    def described(self) -> list[str]:
        """Where it listens, for people."""

    def stop(self) -> None:
        """Stop listening and close the links."""


class Listeners:
    """Everything one server listens on.  `bind` may be called while we have privileges, `start` any time later.

    `options` are for every UDP and TCP socket but those that somebody else has opened (systemd).  What comes by a
    stream and is not OpenVPN goes to `share`.  `max_frame` is the bytes of a packet on a stream at most.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        listen: Sequence[Listen],
        receiver: ILinkReceiver,
        options: SocketOptions = NOTHING_ASKED,
        share: PortShare | None = None,
        max_frame: int = MAX_FRAME,
    ) -> None:
        self.links: list[UdpLink] = []
        self.ports: list[tuple[IListeningPort, str]] = []
        """Each with what is around the links on it, for people."""
        self._reactor = reactor
        self._listen = listen
        self._receiver = receiver
        self._options = options
        self._share = share
        self._max_frame = max_frame
        self._strangers = Strangers(reactor.seconds)
        self._sockets: list[socket.socket] = []
        self._opening: list[Deferred[None]] = []
        """What becomes of each endpoint."""
        self._refusals: list[EnvironmentRefusal] = []
        """Of endpoints, while there is nobody to tell."""
        self._on_refusal: Callable[[EnvironmentRefusal], None] | None = None
        self._bound = False

    def bind(self) -> None:
        """Bind every UDP and TCP port; what arrives on UDP waits in the socket until `start`.

        Raises `EnvironmentRefusal` where a port is taken, reserved or not ours, or an endpoint does not work; nothing
        stays bound then.  What becomes of an endpoint is not always known yet: `start` tells.
        """
        if self._bound:
            return
        try:
            for place in self._listen:
                if place.endpoint is None:
                    self._bind(place)
                else:
                    self._opening.append(self._listen_on(place.endpoint))
                if self._refusals:
                    raise self._refusals.pop()
        except EnvironmentRefusal:
            self.stop()
            raise
        self._bound = True

    def _bind(self, place: Listen) -> None:
        if place.proto == "udp":
            self._sockets.append(open_udp_socket(place.host, place.port, options=self._options))
            return
        port = listen_tcp(self._reactor, place.host, place.port, self._stream_factory(), self._options)
        self.ports.append((port, ""))

    def _stream_factory(self) -> StreamLinkFactory | SharedPortFactory:
        links = StreamLinkFactory(self._receiver, self._reactor, max_frame=self._max_frame, strangers=self._strangers)
        return links if self._share is None else SharedPortFactory(links, self._share, self._reactor)

    def start(self, on_refusal: Callable[[EnvironmentRefusal], None]) -> None:
        """Begin to receive.  Endpoints that turn out not to work are told to `on_refusal`."""
        self.bind()
        for sock in self._sockets:
            self.links.append(UdpLink(self._reactor, sock, self._receiver, multihome=self._options.multihome))
        self._sockets.clear()
        self._on_refusal = on_refusal
        refusals, self._refusals = self._refusals, []
        for refusal in refusals:
            on_refusal(refusal)
        for local in self.described():
            self.log.info("listening on {local}", local=local)

    def _listen_on(self, endpoint: str) -> Deferred[None]:
        def listens(port: IListeningPort) -> None:
            self.ports.append((port, _AROUND.get(endpoint.partition(":")[0], "")))

        def begin() -> Any:
            reactor = PreparedReactor(self._reactor, self._options)
            return server_endpoint(reactor, endpoint, self._strangers).listen(self._stream_factory())

        return maybeDeferred(begin).addCallback(listens).addErrback(self._refused, endpoint)

    def _refused(self, failure: Failure, endpoint: str) -> None:
        if failure.check(CancelledError):
            return
        refusal = failure.value
        if not isinstance(refusal, EnvironmentRefusal):
            refusal = EnvironmentRefusal(f"cannot listen on {endpoint}: {failure.getErrorMessage()}")
        if self._on_refusal is None:
            self._refusals.append(refusal)
        else:
            self._on_refusal(refusal)

    def described(self) -> list[str]:
        """Where it listens, for people."""
        return [link.local for link in self.links] + [describe(port.getHost()) + around for port, around in self.ports]

    def stop(self) -> None:
        """Stop listening; links that peers still use are closed."""
        for listening in self._opening:
            listening.cancel()
        for sock in self._sockets:
            sock.close()
        for link in self.links:
            link.close()
        for port, _ in self.ports:
            port.stopListening()
        if self._share is not None:
            self._share.close()
        self._sockets, self.links, self.ports, self._opening, self._refusals = [], [], [], [], []
        self._on_refusal = None
        self._bound = False
