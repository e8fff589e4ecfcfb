"""The two kinds of ends of a VPN in memory: real services, with the test's devices and links."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from twistvpn.client.service import ClientState, VpnClientService
from twistvpn.config.client_config import configured_client_settings
from twistvpn.config.load import parse
from twistvpn.memory import MemoryLink, MemoryNetwork, MemoryTun
from twistvpn.server.factory import VpnFactory
from twistvpn.server.service import VpnServerService, own_addresses
from twistvpn.service import make_authenticator

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

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
    from twistvpn.testing.vpn import Pair

SERVER_ADDRESS: Address = ("192.0.2.1", 1194)
"""Where the server listens in the memory network."""


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


@dataclass(frozen=True)
class ServerParts:
    """What takes the place of a server's own parts; None leaves them."""

    factory_class: type[VpnFactory] = VpnFactory
    authenticator: IAuthenticator | None = None
    pool: IPool | None = None
    client_key_verifier: IClientKeyVerifier | None = None


class ServerEnd:
    """The server of a `Pair`; `service` and `factory` are the real ones."""

    def __init__(
        self,
        vpn: Pair,
        text: str,
        proto: str,
        parts: ServerParts,
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
            parts.authenticator or make_authenticator(settings.server),
            self._give_up,
            factory_class=parts.factory_class,
            pool=parts.pool,
            client_key_verifier=parts.client_key_verifier,
            client_settings=configured_client_settings(settings),
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
