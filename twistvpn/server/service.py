"""The server as a Twisted service: device, addresses, listening, and everything taken back at the end."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, ip_address
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from twistvpn.config.settings import own_addresses
from twistvpn.control.push import NET_GATEWAY, VPN_GATEWAY
from twistvpn.control.verify import validity_problem
from twistvpn.data import kernel
from twistvpn.data.bridge import MacTable
from twistvpn.data.formats import largest_packet
from twistvpn.data.inet import IPV6_HEADER_SIZE
from twistvpn.data.layers import LAYERS
from twistvpn.data.mss import ETHERNET_MTU, link_overhead
from twistvpn.data.vlan import VlanTable
from twistvpn.interfaces import DeviceType
from twistvpn.link.stream import largest_frame
from twistvpn.server.control_keys import control_keyring
from twistvpn.server.factory import VpnFactory
from twistvpn.server.lease_file import LeaseFile
from twistvpn.server.listening import Listeners, make_port_share
from twistvpn.server.pool import AddressPool, pool_range
from twistvpn.server.status import format_status
from twistvpn.status_file import refresh_status_file
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from twistvpn.config.settings import DeviceSettings, Route, Settings
    from twistvpn.interfaces import IAuthenticator, IClientKeyVerifier, ILinkReceiver, IPool, ITun
    from twistvpn.overrides import IClientSettings
    from twistvpn.peer import Peer
    from twistvpn.server.listening import Listening
    from twistvpn.tun.netlink import NetworkConfigurator

__all__ = ["VpnServerService", "own_addresses"]

CRL_INTERVAL = 5.0
"""Seconds between two looks whether a connected client has been revoked."""

LLADDR_INTERVAL = 30.0
"""Seconds between two looks for the Ethernet addresses of a tap and of the bridge that it may have become a port of."""

FAREWELL = 1.0
"""Seconds that a stopping server gives its clients to acknowledge its goodbye."""


def _path_mtu(settings: Settings) -> int | None:
    """The largest packet, in bytes, that leaves whole over UDP and IPv6 to any client, whatever it negotiates.

    None where the device's MTU is no more than that, or larger packets leave in parts.
    """
    data = settings.data
    if data.fragment is not None:
        return None
    datagram = ETHERNET_MTU - link_overhead(IPV6_HEADER_SIZE, is_stream=False)
    ciphers = {*data.ciphers, data.ciphers_fallback or data.ciphers[0]}
    largest = min(largest_packet(datagram, cipher, settings.control.auth) for cipher in ciphers)
    largest -= LAYERS[settings.device.dev_type].header_size + data.compression.header_size
    return largest if largest < settings.device.mtu else None


def _gateway(route: Route, device: DeviceSettings) -> IPv4Address | IPv6Address | None:
    """What a route into the tunnel goes through: a tun has no neighbours, the device is the way."""
    if device.dev_type is DeviceType.TUN or route.gateway in {None, VPN_GATEWAY, NET_GATEWAY}:
        return None
    return ip_address(route.gateway)


class VpnServerService(Service):
    """Runs one server.

    `open_tun` makes the device; `configurator` sets its addresses and routes on the host, None leaves the host
    alone, for applications that take packets themselves.  `on_fatal` is told why the server cannot go on; what keeps
    it from starting is raised.
    `factory`, made by `factory_class`, is there once the service has opened its device.  `pool` replaces the
    configured addresses, `listen` the sockets: it is given the receiver of every link.  `client_key_verifier` is asked
    about clients with tls-crypt-v2 keys.  `client_settings` knows what is different for single clients; None: nothing.
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
        pool: IPool | None = None,
        client_key_verifier: IClientKeyVerifier | None = None,
        client_settings: IClientSettings | None = None,
        listen: Callable[[ILinkReceiver], Listening] | None = None,
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
        self._keyring = control_keyring(settings.control, client_key_verifier)
        self._own = own_addresses(settings.server)
        self._pool = pool
        if client_settings is None and (settings.server.clients or settings.server.client_config_dir):
            # Nobody must come in because what refuses them was left out.
            raise ValueError("the settings for single clients need client_settings; make_server_service provides it")
        self._client_settings = client_settings
        self._leases: LeaseFile | None = None
        self._listen = listen or partial(
            Listeners,
            reactor,
            settings.server.listen,
            options=settings.sockets,
            share=make_port_share(reactor, settings.server),
            max_frame=largest_frame(settings.device.mtu),
        )
        self._listeners: Listening | None = None
        self._chores: list[LoopingCall] = []

    @property
    def listeners(self) -> Listening:
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
            pool = self._pool or self._configured_pool()
            self.factory = self.factory_class(
                self.settings,
                self._keyring,
                tun,
                pool,
                self._authenticator,
                self._own,
                self._reactor,
                self._client_settings,
            )
            self._listeners = self._listen(self.factory.demux)
            self._listeners.bind()
        except BaseException:
            self.factory = None
            self._unconfigure()
            tun.close()
            raise

    def _configured_pool(self) -> IPool | None:
        places = pool_range(self._server)
        if places is None:
            return None
        own = [address for address in (*self._own, self._server.peer_address) if address is not None]
        if self._server.bridge is not None and self._server.bridge.pool is not None:
            own.append(IPv4Address(self._server.bridge.gateway))
        kept = self._client_settings.kept_addresses() if self._client_settings is not None else ()
        pool = AddressPool(places, frozenset((*own, *kept)))
        if self._server.pool_persist is not None:
            self._leases = LeaseFile(self._server.pool_persist, pool)
            self._leases.load()
        return pool

    def _configure(self, tun: ITun) -> None:
        host, server, device = self._configurator, self._server, self.settings.device
        if host is None:
            return
        mtu = _path_mtu(self.settings)
        if device.lladdr is not None:
            host.set_lladdr(tun.name, device.lladdr)
        if not device.ifconfig_noexec:
            self._set_up(host, tun, mtu)
        if not device.route_noexec:
            for route in server.routes:
                host.add_route(route.network, _gateway(route, device), tun.name, route.metric, mtu)

    def _set_up(self, host: NetworkConfigurator, tun: ITun, mtu: int | None) -> None:
        server, device = self._server, self.settings.device
        ipv4, ipv6 = self._own
        host.set_mtu(tun.name, device.mtu)
        host.set_txqueuelen(tun.name, device.txqueuelen)
        host.set_up(tun.name)
        if server.peer_address is not None:
            host.add_address(tun.name, IPv4Interface(f"{ipv4}/32"), mtu)
            host.add_route(IPv4Network(server.peer_address), None, tun.name, None, mtu)
        elif ipv4 is not None and server.network is not None:
            host.add_address(tun.name, IPv4Interface(f"{ipv4}/{server.network.prefixlen}"), mtu)
        if ipv6 is not None and server.network6 is not None:
            host.add_address(tun.name, IPv6Interface(f"{ipv6}/{server.network6.prefixlen}"), mtu)
        addresses = ", ".join(str(address) for address in (ipv4, ipv6) if address is not None)
        self.log.info("{tun} is up, address {addresses}", tun=tun.name, addresses=addresses or "none")

    def _learn_own_lladdrs(self, tap: ITun, table: MacTable[Peer] | VlanTable[Peer], host: NetworkConfigurator) -> None:
        """See to it that no client takes our own Ethernet addresses, the bridge's neither, which may come later."""

        def learn() -> None:
            table.own = frozenset(host.lladdrs(tap.name))

        self._chore(LLADDR_INTERVAL, learn)()

    def _look_for_bridge(self, tap: ITun, host: NetworkConfigurator) -> None:
        if not host.has_master(tap.name):
            self.log.warn(
                "server-bridge: {tap} is not yet a port of a bridge, so clients reach nobody there; "
                "ip link set {tap} up master BRIDGE makes it one (dev is to name a tap that was made before)",
                tap=tap.name,
            )

    def _unconfigure(self) -> None:
        if self._configurator is not None:
            self._configurator.undo()

    def startService(self) -> None:
        """Begin to serve."""
        self._open()
        super().startService()  # type: ignore[no-untyped-call]
        self.log.info("data path: {kernel}", kernel=kernel.NAME)
        assert self.factory is not None
        problem = validity_problem(self.factory.own_certificate, self._reactor.seconds())
        if problem is not None:
            self.log.warn("{problem}", problem=problem)
        self.factory.tun.start(self.factory)
        self.listeners.start(lambda refusal: self._on_fatal(str(refusal)))
        self._chore(CRL_INTERVAL, self.factory.enforce_crl)
        if isinstance(self.factory.routes, MacTable | VlanTable) and self._configurator is not None:
            self._learn_own_lladdrs(self.factory.tun, self.factory.routes, self._configurator)
        if self._server.bridge is not None and self._configurator is not None:
            self._look_for_bridge(self.factory.tun, self._configurator)
        persist = self._server.pool_persist
        if self._leases is not None and persist is not None and persist.interval:
            self._chore(persist.interval, self._leases.save)
        if self.settings.status is not None:
            self._chore(self.settings.status_interval, self._write_status)

    def _chore(self, interval: float, call: Callable[[], None]) -> Callable[[], None]:
        """Call it every `interval` seconds from now on; returns it, for a first time, with its faults logged."""

        def guarded() -> None:
            try:
                call()
            except Exception:  # noqa: BLE001  it may work the next time; a LoopingCall would stop for good
                self.log.failure("a regular chore broke")

        chore = LoopingCall(guarded)
        chore.clock = self._reactor
        self._chores.append(chore)
        chore.start(interval, now=False)
        return guarded

    def _write_status(self) -> None:
        assert self.factory is not None
        assert self.settings.status is not None
        refresh_status_file(self.settings.status, format_status(self.factory, self._reactor.seconds()))

    def log_status(self) -> None:
        """Log who is connected and what was dropped, as the status file tells it."""
        if self.factory is not None:
            for line in format_status(self.factory, self._reactor.seconds()).splitlines():
                self.log.info("{line}", line=line)

    def reload(self) -> None:
        """Look at once for what may change in a file under a running server: the CRL."""
        if self.factory is not None:
            self.log.info("reading the CRL anew; everything else of the configuration needs a restart")
            self.factory.enforce_crl()

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
        factory.say_goodbye("the server is stopping")
        self._await_farewell(done, factory, self._reactor.seconds() + FAREWELL)
        return done

    def _await_farewell(self, done: Deferred[None], factory: VpnFactory, until: float) -> None:
        if factory.connections and self._reactor.seconds() < until:
            self._reactor.callLater(0.05, self._await_farewell, done, factory, until)
            return
        factory.stop()
        if self._leases is not None:
            self._leases.save()
        self.listeners.stop()
        self._unconfigure()
        factory.tun.close()
        self.factory = None
        done.callback(None)
