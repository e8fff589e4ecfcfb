"""Listening behind a proxy that says whom each connection is from (the PROXY protocol of HAProxy, versions 1 and 2).

Twisted parses the headers, but a few that are none make it raise; those end their connection and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

from twistvpn.link.addresses import readable
from twistvpn.link.stream import link_address
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory

    from twistvpn.link.strangers import Strangers

PREFIX = "haproxy:"


def server_endpoint(reactor: Any, description: str, strangers: Strangers) -> IStreamServerEndpoint:
    """The server endpoint that `description` asks Twisted for; raises what `serverFromString` raises.

    `strangers` bounds the lines about connections whose header is none.
    """
    if not description.startswith(PREFIX):
        return serverFromString(reactor, description)  # type: ignore[no-any-return]
    endpoint: IStreamServerEndpoint = proxyEndpoint(
        _Guarded(serverFromString(reactor, description[len(PREFIX) :]), strangers)
    )
    return endpoint


@implementer(IStreamServerEndpoint)
class _Guarded:
    def __init__(self, endpoint: IStreamServerEndpoint, strangers: Strangers) -> None:
        self._endpoint = endpoint
        self._strangers = strangers

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        cast("Any", protocolFactory).noisy = False
        factory = _GuardingFactory(protocolFactory)  # type: ignore[no-untyped-call]  # it is Twisted's
        factory.strangers = self._strangers
        return self._endpoint.listen(factory)


class _Guard(ProtocolWrapper):
    _log = Logger()

    def dataReceived(self, data: bytes) -> None:
        try:
            super().dataReceived(data)  # type: ignore[no-untyped-call]  # it is Twisted's
        except ValueError as error:
            if self._has_header:
                raise  # the header has been read: what broke is behind it
            self._tell(f": {error!r}")
            self.abortConnection()

    def loseConnection(self) -> None:
        """Twisted's parser closes in silence what does not begin as a header does."""
        if not self._has_header and not self.disconnecting:
            self._tell("; is it the proxy that connects here, with send-proxy?")
        super().loseConnection()  # type: ignore[no-untyped-call]

    @property
    def _has_header(self) -> bool:
        return cast("Any", self.wrappedProtocol)._proxyInfo is not None

    def _tell(self, why: str) -> None:
        peer = readable(link_address(self.getPeer()))  # type: ignore[no-untyped-call]
        strangers = cast("_GuardingFactory", self.factory).strangers
        line = strangers.line_about(f"{peer}: closing the connection: no PROXY header{why}")
        if line is not None:
            self._log.info("{line}", line=line)


class _GuardingFactory(WrappingFactory):
    protocol = _Guard
    noisy = False
    strangers: Strangers
