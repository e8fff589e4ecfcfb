"""One port for OpenVPN and for another protocol, mostly HTTPS: `port-share`.

The first bytes of a connection tell (`wire.framing.judge_opening`).  OpenVPN goes on as a `StreamLink`; everything else
is handed through to a server behind us.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocolNegotiationFactory, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from zope.interface import implementer

from twistvpn.link.addresses import readable
from twistvpn.link.connections import abort, cancel
from twistvpn.link.relay import RelayEnd
from twistvpn.link.single import SingleFactory
from twistvpn.link.stream import IDLE_TIMEOUT, StreamLink, link_address
from twistvpn.verbosity import Logger
from twistvpn.wire.framing import Opening, judge_opening

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from twistvpn.link.stream import StreamLinkFactory

MAX_SHARED = 400
"""Connections handed on at a time: each takes two descriptors, and a process has 1024 unless somebody raises that."""


class PortShare:
    """Where everything that is not OpenVPN goes; one for all ports of a server.

    `described` names `endpoint` for people.  `journal` is a directory in which each connection there has a file, named
    as our end of it and holding the client's address, as stock has it; None for none.
    """

    _log = Logger()

    def __init__(
        self, endpoint: IStreamClientEndpoint, described: str, clock: IReactorTime, journal: str | None = None
    ) -> None:
        self._endpoint = endpoint
        self._described = described
        self._clock = clock
        self._journal = journal
        self._ends: set[RelayEnd] = set()
        self._has_complained = False

    def hand_on(self, transport: Any) -> RelayEnd | None:
        """Connect a client's `transport` with the server behind us; returns what takes its bytes from now on.

        None where too many connections are handed on already.
        """
        if len(self._ends) >= MAX_SHARED:
            self._complain(f"{MAX_SHARED} connections are handed on already: others are closed")
            return None
        if ITCPTransport.providedBy(transport):
            with suppress(AttributeError, OSError):  # TLS says it is TCP, whatever is below
                transport.setTcpKeepAlive(True)
        near = RelayEnd(self._clock)
        near.makeConnection(transport)  # type: ignore[no-untyped-call]  # it is Twisted's
        near.hold()
        far = RelayEnd(self._clock)
        self._ends.add(near)
        attempt = self._endpoint.connect(SingleFactory(far))
        near.on_lost = partial(self._left, near, attempt.cancel)
        attempt.addCallbacks(lambda _: self._reached(near, far), lambda failure: self._not_reached(near, failure))
        return near

    def _reached(self, near: RelayEnd, far: RelayEnd) -> None:
        self._has_complained = False
        client, ours = (cast("Any", end.transport) for end in (near, far))
        name = readable(link_address(client.getPeer()))
        self._log.debug("tcp:{client}: not OpenVPN, handed on to {target}", client=name, target=self._described)
        near.on_lost = partial(self._left, near, self._enter(ours.getHost(), client.getPeer()))
        near.join(far)

    def _not_reached(self, near: RelayEnd, failure: Failure) -> None:
        if near in self._ends:
            self._complain(f"cannot reach {self._described}: {failure.getErrorMessage()}")
            near.abort()

    def _left(self, near: RelayEnd, undo: Any) -> None:
        self._ends.discard(near)
        undo()

    def _complain(self, problem: str) -> None:
        """Log a problem, once: strangers may knock as often as they like."""
        if not self._has_complained:
            self._has_complained = True
            self._log.warn("port-share: {problem}", problem=problem)

    def _enter(self, ours: Any, client: Any) -> Any:
        """Note in the journal whom the connection from our address `ours` is for; returns what removes that again."""
        if self._journal is None or getattr(ours, "port", None) is None:
            return _nothing
        path = os.path.join(self._journal, _in_journal(ours))  # noqa: PTH118  text in, text out
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(path, flags, 0o640), "w") as file:
                file.write(_in_journal(client))
        except OSError as error:
            self._complain(f"cannot write the journal {path}: {error.strerror}")
            return _nothing
        return partial(_remove, path)

    def close(self) -> None:
        """End every connection that is handed on."""
        for end in list(self._ends):
            end.abort()


def _in_journal(address: Any) -> str:
    """The address as stock writes it."""
    host, port = link_address(address)[:2]
    family = "AF_INET6" if ":" in host else "AF_INET"
    return f"[{family}]{host}:{port}"


def _remove(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108


def _nothing() -> None:
    """There is nothing to undo."""


@implementer(IProtocolNegotiationFactory)
class SharedPortFactory(Factory):
    """Makes of each connection a link of `links`, or hands it on to `share`."""

    noisy = False

    def __init__(self, links: StreamLinkFactory, share: PortShare, clock: IReactorTime) -> None:
        self.links = links
        self.share = share
        self.clock = clock

    def acceptableProtocols(self) -> list[bytes]:
        """What is spoken inside of TLS by those that are not OpenVPN: plain HTTP, which knows no HTTP/2."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> SharedConnection:
        """Return the protocol that waits for the first bytes."""
        return SharedConnection(self.links, self.share, self.clock)


@implementer(IHalfCloseableProtocol)
class SharedConnection(Protocol):
    """A connection to a shared port: undecided, then a link's or a relay's."""

    def __init__(self, links: StreamLinkFactory, share: PortShare, clock: IReactorTime) -> None:
        self._links = links
        self._share = share
        self._clock = clock
        self._opening = b""
        self._taker: StreamLink | RelayEnd | None = None
        self._timer: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Wait for the first bytes, not for ever."""
        self._links.strangers.enter(self)
        self._timer = self._clock.callLater(IDLE_TIMEOUT, self._abort)

    def dataReceived(self, data: bytes) -> None:
        """Pass on, or decide where to."""
        if self._taker is not None:
            self._taker.dataReceived(data)
            return
        self._opening += data
        verdict = judge_opening(self._opening)
        if verdict is Opening.UNDECIDED:
            return
        self._stop_timer()
        self._taker = self._link() if verdict is Opening.OPENVPN else self._share.hand_on(self.transport)
        if self._taker is None:
            self._abort()
            return
        opening, self._opening = self._opening, b""
        self._taker.dataReceived(opening)

    def _link(self) -> StreamLink:
        link = self._links.buildProtocol(None)
        link.makeConnection(self.transport)  # type: ignore[no-untyped-call]  # it is Twisted's
        return link

    def readConnectionLost(self) -> None:
        """The client has nothing more to say, which ends a link."""
        if isinstance(self._taker, RelayEnd):
            self._taker.readConnectionLost()
        elif self._taker is not None:
            self._taker.close()
        else:
            self._abort()

    def writeConnectionLost(self) -> None:
        """The client has all that the server behind us had to say."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell whoever has it."""
        self._stop_timer()
        if self._taker is not None:
            self._taker.connectionLost(reason)

    def give_way(self) -> None:
        """See `strangers.Connection`."""
        self._abort()

    def _abort(self) -> None:
        abort(self.transport)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        cancel(timer)
        self._links.strangers.leave(self)
