"""A server and its clients in memory, on one clock and one network."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from twistvpn.crypto.clientkey import ServerKey, timestamp_metadata
from twistvpn.crypto.statickey import StaticKey
from twistvpn.memory import MemoryNetwork
from twistvpn.pki.authority import Authority
from twistvpn.pki.profile import ControlBlock, RemoteEntry, client_profile
from twistvpn.testing.ends import ClientEnd, ServerEnd, ServerParts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from twisted.internet.defer import Deferred

    from twistvpn.interfaces import (
        IUserPrompt,
    )
    from twistvpn.nameservers import IDnsConfigurator
    from twistvpn.pki.authority import Issued

CONNECT_WITHIN = 120.0
"""Seconds of the clock that clients are given to connect, faults included."""

_SERVER_OPTIONS = """\
dev tun
port 1194
server 10.8.0.0 255.255.255.0
server-ipv6 fd00:8::/64
keepalive 10 60
"""


class Pair:
    """A server and its clients on one clock and one network; `pair` makes it.

    `clients` are by name.  `authority` signs certificates, `network` carries (and loses) datagrams.
    """

    def __init__(
        self,
        network: MemoryNetwork,
        clock: Clock,
        *,
        proto: str,
        control: str,
        server_options: str,
        server_parts: ServerParts,
        offloads: Collection[int],
    ) -> None:
        self.clock = clock
        self.network = network
        self.valid_from = datetime.now(timezone.utc) - timedelta(days=1)
        """When certificates begin to be valid; TLS goes by the real time."""
        self.authority = Authority.create("Memory CA", self.valid_from)
        self.clients: dict[str, ClientEnd] = {}
        self._proto = proto
        self._control = control
        self._static_key = StaticKey.generate().to_text()
        self.server_key = ServerKey.generate()
        """What the clients' own keys are wrapped under with tls-crypt-v2."""
        self._offloads = offloads
        text = self._server_text() + server_options
        self.server = ServerEnd(self, text, proto, server_parts, offloads)

    def _server_text(self) -> str:
        issued = self.authority.issue_server("server", ["vpn.example.org"], self.valid_from)
        blocks = {"ca": self.authority.certificate_pem, "cert": issued.certificate_pem, "key": issued.key_pem}
        direction = ""
        if self._control == "tls-crypt-v2":
            blocks[self._control] = self.server_key.to_text()
        elif self._control != "none":
            blocks[self._control] = self._static_key
            direction = "key-direction 0\n" if self._control == "tls-auth" else ""
        inline = "".join(f"<{tag}>\n{text.strip()}\n</{tag}>\n" for tag, text in blocks.items())
        return f"proto {self._proto}\n{_SERVER_OPTIONS}{direction}{inline}"

    def _client_text(self, issued: Issued) -> str:
        return client_profile(
            issued,
            remotes=[RemoteEntry("192.0.2.1", 1194, self._proto)],
            ca=self.authority.certificate_pem,
            server_name="server",
            control=self._control_block(),
            ciphers=self.server.service.settings.data.ciphers,
        )

    def _control_block(self) -> ControlBlock | None:
        if self._control == "none":
            return None
        if self._control == "tls-crypt-v2":
            own = self.server_key.new_client_key(timestamp_metadata(self.clock.seconds()))
            return ControlBlock(self._control, own.to_text())
        return ControlBlock(self._control, self._static_key, 1 if self._control == "tls-auth" else None)

    @property
    def client(self) -> ClientEnd:
        """The first client."""
        return next(iter(self.clients.values()))

    def add_client(
        self,
        name: str,
        options: str = "",
        issued: Issued | None = None,
        prompt: IUserPrompt | None = None,
        dns: IDnsConfigurator | None = None,
    ) -> ClientEnd:
        """Make another client, not yet started; `issued` replaces the certificate that is made for `name`.

        `prompt` speaks for its user, `dns` is told which name servers it shall have.
        """
        if issued is None:
            issued = self.authority.issue_client(name, self.valid_from)
        host = f"198.51.100.{len(self.clients) + 1}"
        client = ClientEnd(self, name, self._client_text(issued) + options, host, self._offloads, prompt, dns)
        self.clients[name] = client
        return client

    def connect(self, within: float = CONNECT_WITHIN) -> None:
        """Start what does not run and let the clock run until every client is connected."""
        if not self.server.service.running:
            self.server.start()
        for client in self.clients.values():
            if not client.service.running:
                client.start()
        self.wait_until(lambda: all(client.is_connected for client in self.clients.values()), self._missing, within)

    def _missing(self) -> str:
        states = {name: client.fatal or client.service.state.name for name, client in self.clients.items()}
        return f"every client is connected: {states}"

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and everything happen that is due in them, in its order."""
        end = self.clock.seconds() + seconds
        while self._step(end):
            pass
        self.clock.advance(max(0.0, end - self.clock.seconds()))

    def wait_until(
        self,
        condition: Callable[[], object],
        what: str | Callable[[], str] = "the condition holds",
        within: float = 60.0,
    ) -> None:
        """Let the clock run until `condition` holds; raises `AssertionError` if it does not `within` seconds."""
        end = self.clock.seconds() + within
        while not condition():
            if not self._step(end):
                words = what if isinstance(what, str) else what()
                raise AssertionError(f"it did not happen within {within:g} s that {words}")

    def wait_for(self, done: Deferred[Any], what: str = "the Deferred fires", within: float = 60.0) -> Any:
        """Let the clock run until `done` fires; returns its result or raises its failure."""
        results: list[Any] = []
        failures: list[BaseException] = []
        done.addCallbacks(results.append, lambda failure: failures.append(failure.value))
        self.wait_until(lambda: results or failures, what, within)
        if failures:
            raise failures[0]
        return results[0]

    def _step(self, end: float) -> bool:
        """Go to the next moment at which something is due; False if there is none until `end`."""
        due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=None)
        if due is None or due > end:
            return False
        self.clock.advance(max(0.0, due - self.clock.seconds()))
        return True

    def stop(self) -> None:
        """Stop the clients and the server, each with its goodbye."""
        for client in self.clients.values():
            if client.service.running:
                client.stop()
        if self.server.service.running:
            self.server.stop()
        # What is on its way still arrives.
        self.advance(self.network.delay)
