"""A relay as it stands in front of servers: `python -m tests.interop.relay LISTEN TARGET [v1|v2]`.

LISTEN and TARGET are endpoints of Twisted's, so it ends TLS where LISTEN is `ssl:...`; v1 and v2 put the header of the
PROXY protocol in front.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress

READY = "relaying"


def header_v1(source: Any, destination: Any) -> bytes:
    return f"PROXY TCP4 {source.host} {destination.host} {source.port} {destination.port}\r\n".encode()


def header_v2(source: Any, destination: Any) -> bytes:
    body = b"".join(socket.inet_aton(end.host) for end in (source, destination))
    body += int(source.port).to_bytes(2, "big") + int(destination.port).to_bytes(2, "big")
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + len(body).to_bytes(2, "big") + body


HEADERS: dict[str, Callable[[Any, Any], bytes]] = {"": lambda *_: b"", "v1": header_v1, "v2": header_v2}


class End(Protocol):
    """One of the two connections; what comes before the other one is there waits."""

    def __init__(self) -> None:
        self.other: End | None = None
        self.waiting = b""

    def join(self, other: End) -> None:
        self.other = other
        assert self.transport is not None
        self.transport.write(other.waiting)
        self.transport.registerProducer(other.transport, True)  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        if self.other is None or self.other.transport is None:
            self.waiting += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.loseConnection()


class Relay(Factory):
    noisy = False

    def __init__(self, target: str, header: str) -> None:
        self._target = target
        self._header = HEADERS[header]

    def buildProtocol(self, addr: IAddress | None) -> End:
        near, far = End(), End()

        def reached(_: Any) -> None:
            assert near.transport is not None
            assert far.transport is not None
            far.transport.write(self._header(near.transport.getPeer(), near.transport.getHost()))
            far.join(near)
            near.join(far)

        def failed(_: Any) -> None:
            assert near.transport is not None
            near.transport.loseConnection()

        clientFromString(reactor, self._target).connect(_Only(far)).addCallbacks(reached, failed)
        return near


class _Only(Factory):
    noisy = False

    def __init__(self, end: End) -> None:
        self._end = end

    def buildProtocol(self, addr: IAddress | None) -> End:
        return self._end


def main(listen: str, target: str, header: str = "") -> None:
    listening = serverFromString(reactor, listen).listen(Relay(target, header))
    listening.addCallbacks(lambda _: READY, str).addCallback(lambda line: sys.stdout.write(f"{line}\n"))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
