"""A crowd of clients in one process: `python -m bench.generator CONFIG`.

Each line on standard input is the number of clients to connect besides those that are there; when they all are, a
line of JSON tells the seconds it took, or what went wrong.  The end of the input ends the crowd without a goodbye.

The clients are ours without a tun device: only their server is measured, so it may be any.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver

from twistvpn.client.service import VpnClientService
from twistvpn.config.load import load
from twistvpn.service import make_service
from twistvpn.testing import MemoryTun

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from twistvpn.config.settings import Settings
    from twistvpn.control.push import PushedOptions

AT_ONCE = 16
"""Handshakes under way at a time: enough to keep a server busy, few enough that none has to repeat itself."""


class Crowd(LineOnlyReceiver):
    """Connects clients on demand and keeps them."""

    delimiter = b"\n"

    def __init__(self, reactor: Any, settings: Settings, gone: Deferred[None]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._gone = gone
        self._waiting: list[VpnClientService] = []
        self._joined: list[VpnClientService] = []
        self._under_way = 0
        self._began = 0.0

    def lineReceived(self, line: bytes) -> None:
        """Make the clients first, so that only their handshakes are timed, then let them go."""
        self._waiting = [self._client() for _ in range(int(line))]
        self._began = self._reactor.seconds()
        for _ in range(AT_ONCE):
            self._next()

    def _client(self) -> VpnClientService:
        client = make_service(self._reactor, self._settings, self._refused, open_device=MemoryTun)
        assert isinstance(client, VpnClientService)

        def connected(_pushed: PushedOptions) -> None:
            client.on_connected = None
            self._connected(client)

        client.on_connected = connected
        return client

    def _next(self) -> None:
        if self._waiting:
            self._under_way += 1
            self._waiting.pop().startService()

    def _connected(self, client: VpnClientService) -> None:
        self._joined.append(client)
        self._under_way -= 1
        self._next()
        if not self._under_way:
            self._say({"seconds": self._reactor.seconds() - self._began, "clients": len(self._joined)})

    def _refused(self, reason: str) -> None:
        self._say({"error": reason})

    def _say(self, answer: dict[str, Any]) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(answer).encode() + self.delimiter)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Whoever wanted the crowd has gone."""
        self._gone.callback(None)


def main(reactor: Any, config: str) -> Deferred[None]:
    """Serve standard input until it ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gone: Deferred[None] = Deferred()
    StandardIO(Crowd(reactor, load(config), gone), reactor=reactor)
    return gone


if __name__ == "__main__":
    react(main, sys.argv[1:])
