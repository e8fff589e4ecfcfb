"""The server as a Twisted service: device, addresses, listening, and everything taken back at the end."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistvpn.control.keys import control_key
from twistvpn.server.factory import VpnFactory
from twistvpn.server.listening import Listeners
from twistvpn.server.pool import AddressPool, pool_range
from twistvpn.server.status import write_status
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from twistvpn.config.settings import ServerSettings, Settings
    from twistvpn.interfaces import IAuthenticator, ITun
    from twistvpn.tun.netlink import NetworkConfigurator

CRL_INTERVAL = 5.0
"""Seconds between two looks whether a connected client has been revoked."""

FAREWELL = 1.0
"""Seconds that a stopping server gives its clients to acknowledge its goodbye."""


def own_addresses(server: ServerSettings) -> tuple[IPv4Address | None, IPv6Address | None]:
    """The server's addresses inside: the configured ones, or each network's first."""
    ipv4 = server.address
    if ipv4 is None and server.network is not None:
        ipv4 = server.network.network_address + 1
    ipv6 = server.address6
    if ipv6 is None and server.network6 is not None:
        ipv6 = server.network6.network_address + 1
    return ipv4, ipv6


class VpnServerService(Service):
    """Runs one server.

    `open_tun` makes the device; `configurator` sets its addresses and routes on the host, None leaves the host
    alone, for applications that take packets themselves.  `on_fatal` is told why the server cannot go on.
    `factory`, made by `factory_class`, is there once the service has opened its device.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        open_tun: Callable[[], ITun],
        configurator: NetworkConfigurator | None,
        authenticator: IAuthenticator,
        on_fatal: Callable[[str], None],
        *,
        factory_class: type[VpnFactory] = VpnFactory,
    ) -> None:
        assert settings.server is not None
        self.settings = settings
        self.factory: VpnFactory | None = None
        self.factory_class = factory_class
        self._server = settings.server
        self._reactor = reactor
        self._open_tun = open_tun
        self._configurator = configurator
        self._authenticator = authenticator
        self._on_fatal = on_fatal
        self._key = control_key(settings.control, Role.SERVER)
        self._own = own_addresses(settings.server)
        self._listeners: Listeners | None = None
        self._chores: list[LoopingCall] = []

    @property
    def listeners(self) -> Listeners:
        """Where the server listens; there once the service has been started."""
        assert self._listeners is not None
        return self._listeners

    def privilegedStartService(self) -> None:
        """Open the device, configure it and bind the ports while we may."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._open()

    def _open(self) -> None:
        if self.factory is not None:
            return
        server = self._server
        if self._configurator is not None:
            for network in (server.network, server.network6):
                if network is not None:
                    self._configurator.check_overlap(network)
        tun = self._open_tun()
        try:
            self._configure(tun)
            ipv4, ipv6 = self._own
            taken = frozenset(address for address in (ipv4, ipv6) if address is not None)
            pool = AddressPool(pool_range(server), taken, server.fixed_addresses)
            self.factory = self.factory_class(
                self.settings, self._key, tun, pool, self._authenticator, self._own, self._reactor
            )
            self._listeners = Listeners(self._reactor, server.listen, self.factory.demux)
            self._listeners.bind()
        except BaseException:
            self.factory = None
            self._unconfigure()
            tun.close()
            raise

    def _configure(self, tun: ITun) -> None:
        host, server, device = self._configurator, self._server, self.settings.device
        if host is None:
            return
        ipv4, ipv6 = self._own
        host.set_mtu(tun.name, device.mtu)
        host.set_txqueuelen(tun.name, device.txqueuelen)
        if ipv4 is not None and server.network is not None:
            host.add_address(tun.name, IPv4Interface(f"{ipv4}/{server.network.prefixlen}"))
        if ipv6 is not None and server.network6 is not None:
            host.add_address(tun.name, IPv6Interface(f"{ipv6}/{server.network6.prefixlen}"))
        host.set_up(tun.name)
        for route in server.routes:
            host.add_route(route.network, None, tun.name, route.metric)
        self.log.info("{tun} is up, address {ipv4} {ipv6}", tun=tun.name, ipv4=ipv4 or "", ipv6=ipv6 or "")

    def _unconfigure(self) -> None:
        if self._configurator is not None:
            self._configurator.undo()

    def startService(self) -> None:
        """Begin to serve."""
        self._open()
        super().startService()  # type: ignore[no-untyped-call]
        assert self.factory is not None
        self.factory.tun.start(self.factory)
        self.listeners.start(lambda refusal: self._on_fatal(str(refusal)))
        self._chore(CRL_INTERVAL, self.factory.enforce_crl)
        if self.settings.status is not None:
            self._chore(self.settings.status_interval, self._write_status)

    def _chore(self, interval: float, call: Callable[[], None]) -> None:
        chore = LoopingCall(call)
        chore.clock = self._reactor
        self._chores.append(chore)
        chore.start(interval, now=False).addErrback(lambda failure: self.log.failure("a regular chore broke", failure))

    def _write_status(self) -> None:
        assert self.factory is not None
        assert self.settings.status is not None
        try:
            write_status(self.settings.status, self.factory, self._reactor.seconds())
        except OSError as error:
            self.log.warn("cannot write the status file {path}: {why}", path=self.settings.status, why=error.strerror)

    def stopService(self) -> Deferred[None]:
        """Send everybody away, stop listening, and take back addresses, routes and the device; fires when done."""
        super().stopService()  # type: ignore[no-untyped-call]
        done: Deferred[None] = Deferred()
        for chore in self._chores:
            if chore.running:
                chore.stop()
        self._chores.clear()
        factory = self.factory
        if factory is None:
            done.callback(None)
            return done
        factory.disconnect_all("the server is stopping")
        self._await_farewell(done, factory, self._reactor.seconds() + FAREWELL)
        return done

    def _await_farewell(self, done: Deferred[None], factory: VpnFactory, until: float) -> None:
        if factory.connections and self._reactor.seconds() < until:
            self._reactor.callLater(0.05, self._await_farewell, done, factory, until)
            return
        factory.stop()
        self.listeners.stop()
        self._unconfigure()
        factory.tun.close()
        self.factory = None
        done.callback(None)
