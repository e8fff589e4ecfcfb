"""A relay: two stream connections joined, so that what one end says the other hears."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from twistvpn.link.connections import abort, cancel

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

CLOSING = 120.0
"""Seconds that the last bytes for one end may take once the other end has gone."""


@implementer(IHalfCloseableProtocol)
class RelayEnd(Protocol):
    """One of the two.  Each reads only as fast as the other takes it; the end of a stream is passed on as such.

    `on_lost` is called once its connection is gone.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self.on_lost: Callable[[], None] | None = None
        self._other: RelayEnd | None = None
        self._waiting: list[bytes] | None = []
        """What came before the ends were joined; None from then on."""
        self._has_ended = False
        """Its stream towards us has come to its end."""
        self._timer: IDelayedCall | None = None

    @property
    def _connection(self) -> Any:
        # ITransport does not promise half of what is needed, yet every stream transport has it.
        return cast("Any", self.transport)

    def hold(self) -> None:
        """Read no more until the ends are joined."""
        self._connection.pauseProducing()

    def join(self, other: RelayEnd) -> None:
        """Join two ends that are both connected."""
        for here, there in ((self, other), (other, self)):
            here._other = there
            here._connection.registerProducer(there._connection, True)
        for here, there in ((self, other), (other, self)):
            waiting, here._waiting = here._waiting, None
            there._connection.write(b"".join(waiting or ()))
            here._connection.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Pass it on, or keep it until there is somebody."""
        if self._other is not None:
            self._other._connection.write(data)
        elif self._waiting is not None:
            self._waiting.append(data)

    def readConnectionLost(self) -> None:
        """There is nothing more to pass on."""
        self._has_ended = True
        other = self._other
        if other is None:
            self.abort()
        elif other._has_ended:
            other._part()
            self._part()
        else:
            other._finish()

    def writeConnectionLost(self) -> None:
        """All that was to be passed on to here has left."""

    def _finish(self) -> None:
        """Send the end of the stream behind what is written already; TLS knows no half of an end."""
        self._connection.unregisterProducer()
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self._connection.loseConnection()
        else:
            self._connection.loseWriteConnection()

    def _part(self) -> None:
        """The other end has gone: let what it has said leave."""
        self._other = None
        self._connection.unregisterProducer()
        self._connection.loseConnection()
        if self._timer is None:
            self._timer = self._clock.callLater(CLOSING, self.abort)

    def abort(self) -> None:
        """End this connection at once, and the other one when it has had all."""
        abort(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The other end has nobody to talk to any more."""
        cancel(self._timer)
        other, self._other, self._waiting = self._other, None, None
        if other is not None:
            other._part()
        if self.on_lost is not None:
            self.on_lost()
