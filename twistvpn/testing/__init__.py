"""A whole VPN in memory, for our tests and for trial suites of programs that embed twistvpn.

`pair` joins a server and its clients: real services, real TLS, certificates made for the occasion; only the devices,
the sockets and the time are the test's.  Nothing needs root, a reactor or a real second:

    class GreetingTest(SynchronousTestCase):
        def test_a_packet_goes_through(self) -> None:
            vpn = pair()
            hello = udp_packet(vpn.client.address, vpn.server.address, b"hello")
            self.assertEqual(transfer(vpn.client, vpn.server, hello), [hello])

Options are in OpenVPN's own syntax, added to a configuration that works, and the network can have faults:

    vpn = pair("alice", "bob", server="client-to-client", client="ping-restart 30", loss=0.3, reordering=0.1)
    vpn.clients["alice"].stop()
    vpn.advance(60)

`MemoryTun`, `MemoryNetwork` and `MemoryLink` (see `twistvpn.memory`) serve alone as well.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from twisted.internet.task import Clock

from twistvpn.client.service import ClientState, VpnClientService
from twistvpn.config.client_config import configured_client_settings
from twistvpn.config.load import parse
from twistvpn.crypto.clientkey import ServerKey, timestamp_metadata
from twistvpn.crypto.statickey import StaticKey
from twistvpn.memory import MemoryLink, MemoryNetwork, MemoryTun
from twistvpn.pki.authority import Authority
from twistvpn.pki.profile import ControlBlock, RemoteEntry, client_profile
from twistvpn.server.factory import VpnFactory
from twistvpn.server.service import VpnServerService, own_addresses
from twistvpn.service import make_authenticator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, Literal

    from twisted.internet.defer import Deferred

    from twistvpn.config.settings import Remote
    from twistvpn.control.push import PushedOptions
    from twistvpn.errors import EnvironmentRefusal
    from twistvpn.interfaces import (
        Address,
        Buffer,
        Frame,
        IAuthenticator,
        IClientKeyVerifier,
        ILink,
        ILinkReceiver,
        IPool,
        IUserPrompt,
    )
    from twistvpn.nameservers import IDnsConfigurator
    from twistvpn.pki.authority import Issued

__all__ = [
    "ClientEnd",
    "MemoryLink",
    "MemoryNetwork",
    "MemoryTun",
    "Pair",
    "ServerEnd",
    "pair",
    "transfer",
    "udp_packet",
]

SERVER_ADDRESS: Address = ("192.0.2.1", 1194)
"""Where the server listens in the memory network."""

CONNECT_WITHIN = 120.0
"""Seconds of the clock that clients are given to connect, faults included."""

_SERVER_OPTIONS = """\
dev tun
port 1194
server 10.8.0.0 255.255.255.0
server-ipv6 fd00:8::/64
keepalive 10 60
"""


class _Listening:
    """The server's one port (`server.listening.Listening`)."""

    def __init__(self, network: MemoryNetwork, proto: str, receiver: ILinkReceiver) -> None:
        self._network = network
        self._proto = proto
        self._receiver = receiver
        self._link: MemoryLink | None = None
        self.accepts: ILinkReceiver | None = None
        """Who is told of stream connections, None while nobody listens."""

    def bind(self) -> None:
        """Nothing needs privileges."""

    def start(self, on_refusal: Callable[[EnvironmentRefusal], None]) -> None:
        """See `Listening`."""
        if self._proto == "tcp":
            self.accepts = self._receiver
        else:
            self._link = self._network.link(self._receiver, SERVER_ADDRESS)

    def described(self) -> list[str]:
        """See `Listening`."""
        return [f"memory:{self._proto}"]

    def stop(self) -> None:
        """See `Listening`."""
        self.accepts = None
        if self._link is not None:
            self._link.close()


class ServerEnd:
    """The server of a `Pair`; `service` and `factory` are the real ones."""

    def __init__(
        self,
        vpn: Pair,
        text: str,
        proto: str,
        authenticator: IAuthenticator | None,
        pool: IPool | None,
        client_key_verifier: IClientKeyVerifier | None,
        factory_class: type[VpnFactory],
        offloads: Collection[int],
    ) -> None:
        settings = parse(text, "server.conf", "/")
        assert settings.server is not None
        self.tun = MemoryTun(offloads=offloads)
        self.fatal: str | None = None
        """Why the service could not go on."""
        self._vpn = vpn
        self._proto = proto
        self._offloads = offloads
        self._listening: _Listening | None = None
        self._own = own_addresses(settings.server)
        self.service = VpnServerService(
            vpn.clock,
            settings,
            self._open_tun,
            None,
            authenticator or make_authenticator(settings.server),
            self._give_up,
            factory_class=factory_class,
            pool=pool,
            client_key_verifier=client_key_verifier,
            client_settings=configured_client_settings(settings.server),
            listen=self._listen,
        )

    def _open_tun(self) -> MemoryTun:
        self.tun = MemoryTun(offloads=self._offloads)
        return self.tun

    def _listen(self, receiver: ILinkReceiver) -> _Listening:
        self._listening = _Listening(self._vpn.network, self._proto, receiver)
        return self._listening

    def _give_up(self, why: str) -> None:
        self.fatal = why

    @property
    def factory(self) -> VpnFactory:
        """The running server's factory."""
        assert self.service.factory is not None
        return self.service.factory

    @property
    def address(self) -> IPv4Address:
        """The server's address inside the tunnel."""
        assert self._own[0] is not None
        return self._own[0]

    @property
    def address6(self) -> IPv6Address:
        """The same for IPv6."""
        assert self._own[1] is not None
        return self._own[1]

    def accept(self, receiver: ILinkReceiver, address: Address) -> MemoryLink:
        """Connect a stream to the server, as a TCP client does from `address`; raises `ConnectionRefusedError`."""
        accepts = None if self._listening is None else self._listening.accepts
        if accepts is None:
            raise ConnectionRefusedError("nobody listens")
        return self._vpn.network.stream(receiver, address, accepts, SERVER_ADDRESS)[0]

    def start(self) -> None:
        """Open the device and listen."""
        self.service.privilegedStartService()
        self.service.startService()

    def stop(self) -> None:
        """Stop the service and let the clock run until it has said goodbye."""
        self._vpn.wait_for(self.service.stopService(), "the server has stopped")

    def inject(self, *packets: Buffer | Frame) -> None:
        """Let the server's host send IP packets into the tunnel, as one batch."""
        self.tun.inject(*packets)


class ClientEnd:
    """A client of a `Pair`; `service` is the real one."""

    def __init__(
        self,
        vpn: Pair,
        name: str,
        text: str,
        host: str,
        offloads: Collection[int],
        prompt: IUserPrompt | None,
        dns: IDnsConfigurator | None,
    ) -> None:
        self.name = name
        self.tun = MemoryTun(offloads=offloads)
        self.fatal: str | None = None
        """Why the client has given up."""
        self.pushed: PushedOptions | None = None
        """What the server has told it last."""
        self.times_connected = 0
        self._vpn = vpn
        self._host = host
        self._port = 40000
        self._offloads = offloads
        self._link: MemoryLink | None = None
        settings = parse(text, f"{name}.ovpn", "/")
        self.service = VpnClientService(
            vpn.clock, settings, self._open_tun, None, self._give_up, links=self, prompt=prompt, dns=dns
        )
        self.service.on_connected = self._connected
        self.service.on_updated = self._updated

    def _open_tun(self) -> MemoryTun:
        self.tun = MemoryTun(offloads=self._offloads)
        return self.tun

    def _give_up(self, why: str) -> None:
        self.fatal = why

    def _updated(self, pushed: PushedOptions) -> None:
        self.pushed = pushed

    def _connected(self, pushed: PushedOptions) -> None:
        self.pushed = pushed
        self.times_connected += 1

    async def addresses(self, remote: Remote) -> list[str]:
        """See `client.link.Links`."""
        return [remote.host]

    async def open(self, remote: Remote, host: str, receiver: ILinkReceiver) -> tuple[ILink, Address]:
        """See `client.link.Links`: each connection comes from a port of its own, as from a host."""
        self._port += 1
        address = (self._host, self._port)
        if remote.proto == "tcp":
            self._link = self._vpn.server.accept(receiver, address)
        else:
            self._link = self._vpn.network.link(receiver, address)
        return self._link, SERVER_ADDRESS

    @property
    def is_connected(self) -> bool:
        """Whether the server has let it in."""
        return self.service.state is ClientState.CONNECTED

    @property
    def link(self) -> MemoryLink:
        """The client's end of its latest connection, for example to let it roam: `network.move(client.link, ...)`."""
        assert self._link is not None
        return self._link

    @property
    def address(self) -> IPv4Address:
        """The address it has been given inside the tunnel."""
        assert self.pushed is not None
        assert self.pushed.ipv4 is not None
        return self.pushed.ipv4.ip

    @property
    def address6(self) -> IPv6Address:
        """The same for IPv6."""
        assert self.pushed is not None
        assert self.pushed.ipv6 is not None
        return self.pushed.ipv6.ip

    def start(self) -> None:
        """Begin to connect."""
        self.service.privilegedStartService()
        self.service.startService()

    def stop(self) -> None:
        """Stop the service and let the clock run until it has said goodbye."""
        self._vpn.wait_for(self.service.stopService(), f"{self.name} has stopped")

    def inject(self, *packets: Buffer | Frame) -> None:
        """Let the client's host send IP packets into the tunnel, as one batch."""
        self.tun.inject(*packets)


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
        authenticator: IAuthenticator | None,
        pool: IPool | None,
        client_key_verifier: IClientKeyVerifier | None,
        factory_class: type[VpnFactory],
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
        self.server = ServerEnd(self, text, proto, authenticator, pool, client_key_verifier, factory_class, offloads)

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


def pair(
    *names: str,
    server: str = "",
    client: str = "",
    proto: Literal["udp", "tcp"] = "udp",
    control: Literal["tls-crypt-v2", "tls-crypt", "tls-auth", "none"] = "tls-crypt",
    seed: int = 0,
    loss: float = 0.0,
    duplication: float = 0.0,
    reordering: float = 0.0,
    delay: float = 0.01,
    authenticator: IAuthenticator | None = None,
    pool: IPool | None = None,
    client_key_verifier: IClientKeyVerifier | None = None,
    factory_class: type[VpnFactory] = VpnFactory,
    offloads: Collection[int] = (),
    prompt: IUserPrompt | None = None,
    connect: bool = True,
) -> Pair:
    """Make a server and a client of each name (one called 'client' if none is given), connected.

    `server` and `client` are options in OpenVPN's syntax, added to configurations that work; the networks inside are
    10.8.0.0/24 and fd00:8::/64.  `control` protects the control channel.  `seed`, `loss`, `duplication`,
    `reordering` and `delay` (seconds) are the network's, as in `MemoryNetwork`.  `authenticator`, `pool`,
    `client_key_verifier` and `factory_class` are the server's, `offloads` the TUN_F_* flags that the devices claim.
    `prompt` speaks for the clients' users.  With `connect` False nothing is started: call `Pair.connect`, or `start` on
    the ends.

    Raises `ConfigError` for options that do not work, `AssertionError` if a client cannot connect.
    """
    clock = Clock()
    network = MemoryNetwork(clock, seed=seed, loss=loss, duplication=duplication, reordering=reordering, delay=delay)
    vpn = Pair(
        network,
        clock,
        proto=proto,
        control=control,
        server_options=server,
        authenticator=authenticator,
        pool=pool,
        client_key_verifier=client_key_verifier,
        factory_class=factory_class,
        offloads=offloads,
    )
    for name in names or ("client",):
        vpn.add_client(name, client, prompt=prompt)
    if connect:
        vpn.connect()
    return vpn


def transfer(
    source: ServerEnd | ClientEnd, destination: ServerEnd | ClientEnd, *packets: Buffer | Frame, within: float = 5.0
) -> list[bytes]:
    """Send IP packets from one end's host through the tunnel; returns what the other's host was handed.

    The clock runs until as many packets have arrived, `within` seconds at most: what was lost or refused is missing.
    """
    vpn = source._vpn
    wanted = len(destination.tun.written) + len(packets)
    source.inject(*packets)
    end = vpn.clock.seconds() + within
    while len(destination.tun.written) < wanted and vpn._step(end):
        pass
    return destination.tun.take()


def udp_packet(
    source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address, payload: bytes = b""
) -> bytes:
    """An IP packet with a UDP datagram (RFC 768) in it, from port 7 to port 7."""
    size = 8 + len(payload)
    ends = source.packed + destination.packed
    pseudo = ends + struct.pack(">IHBB", size, 0, 0, 17)
    datagram = struct.pack(">HHHH", 7, 7, size, 0) + payload
    check = _checksum(pseudo + datagram) or 0xFFFF
    datagram = datagram[:6] + check.to_bytes(2, "big") + datagram[8:]
    if source.version == 6:
        return struct.pack(">IHBB", 6 << 28, size, 17, 64) + ends + datagram
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0, 64, 17, 0) + ends
    return header[:10] + _checksum(header).to_bytes(2, "big") + header[12:] + datagram


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(word for (word,) in struct.iter_unpack(">H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total
