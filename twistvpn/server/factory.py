"""The server's heart: a Factory that lets clients in and makes a Protocol for each.

What a client's packets mean is its protocol's affair: the default, `ClientProtocol`, routes them to the tun and to
other clients.  An application that wants something else subclasses it.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from twistvpn.consistency import local_occ_string
from twistvpn.control.cookie import CookieJar
from twistvpn.control.push_update import checked_changes
from twistvpn.control.tls import ControlTlsFactory
from twistvpn.control.verify import TlsContexts
from twistvpn.data.bridge import PortSettings
from twistvpn.data.framing import LARGEST_PACKET, LINK_LAYER
from twistvpn.data.icmp6 import part_ipv6
from twistvpn.data.layers import LAYERS
from twistvpn.data.lone import LoneTable
from twistvpn.data.routes import RouteTable
from twistvpn.deadlines import DeadlineQueue
from twistvpn.errors import ConfigError
from twistvpn.interfaces import Frame, IFrameReceiver, Lease
from twistvpn.link.addresses import readable, written
from twistvpn.peer import Peer, build_peer
from twistvpn.point_to_point import peer_info
from twistvpn.server.addresses import changed_lease
from twistvpn.server.authentication import Examiner
from twistvpn.server.connection import ServerConnection, Stage
from twistvpn.server.demux import Demux
from twistvpn.server.framing import answer_in_kind
from twistvpn.server.gate import Gate
from twistvpn.server.limits import FrequencyLimit
from twistvpn.server.offers import NetworkOffer
from twistvpn.server.point_to_point import PointToPointConnection
from twistvpn.server.protocol import ClientAddress, ClientProtocol, TunnelTransport
from twistvpn.server.roster import Roster
from twistvpn.verbosity import Logger, tells_all
from twistvpn.wire.compression import Compression
from twistvpn.wire.keymethod import KeyMethod2, KeySource
from twistvpn.wire.options import format_peer_info
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from twisted.internet.interfaces import IReactorTime

    from twistvpn.config.settings import Settings
    from twistvpn.crypto.wrapping import Wrapping
    from twistvpn.data.layers import PeerTable
    from twistvpn.interfaces import Address, Buffer, IAuthenticator, ILink, IPool, ITun
    from twistvpn.overrides import ClientOverrides, IClientSettings
    from twistvpn.server.control_keys import ControlKeyring


__all__ = ["ClientAddress", "ClientProtocol", "TunnelTransport", "VpnFactory"]

_NEXT_REMOTE = 2
"""`explicit-exit-notify` of a server that wants its clients to go on to their next remote."""


@implementer(IFrameReceiver)
class VpnFactory(Factory):
    """Lets clients in and routes between them and the tun.

    `demux` is the receiver for every link the server listens on.  `drops` counts strangers that were turned away, and
    packets that no peer has counted.
    """

    protocol: type[ClientProtocol] = ClientProtocol  # type: ignore[assignment]  # a BaseProtocol, as there is no byte stream
    noisy = False
    log = Logger()

    def __init__(
        self,
        settings: Settings,
        keyring: ControlKeyring,
        tun: ITun,
        pool: IPool | None,
        authenticator: IAuthenticator,
        own_addresses: tuple[IPv4Address | None, IPv6Address | None],
        clock: IReactorTime,
        client_settings: IClientSettings | None = None,
    ) -> None:
        assert settings.server is not None
        self.settings = settings
        self.data = settings.data
        self.tun = tun
        self._layer = LAYERS[settings.device.dev_type]
        mode = settings.point_to_point
        self.routes: PeerTable[Peer] = (
            self._layer.make_table(settings.server, clock.seconds) if mode is None else LoneTable()
        )
        self._connection_class = ServerConnection if mode is None else PointToPointConnection
        self.peer_address = settings.server.peer_address
        """The other end's address, where the device has one."""
        self.drops: Counter[str] = Counter()
        self.past_drops: Counter[str] = Counter()
        """What the peers that have left had dropped."""
        self.udp_links: WeakSet[ILink] = WeakSet()
        """Those that sessions have begun on."""
        self.connections: dict[Peer, ServerConnection] = {}
        self._server = settings.server
        self.roster = Roster(settings.server, pool, client_settings, clock)
        self.own_addresses = own_addresses
        """The IPv4 and the IPv6 address of the server inside the tunnel."""
        self._datagram_offer = NetworkOffer(self._server, settings.device, *own_addresses, "udp")
        self._stream_offer = NetworkOffer(self._server, settings.device, *own_addresses, "tcp")
        if isinstance(self.routes, RouteTable):
            # Whatever networks lie behind clients, our own addresses are not among them.
            self.routes.join(None, [address for address in own_addresses if address is not None])
        self._largest = max(settings.device.mtu, LARGEST_PACKET) + (LINK_LAYER if self._layer.header_size else 0)
        """Bytes of a packet that one client may send another: a longer one would end the other's stream."""
        self._offloads = sum(tun.offloads)
        self._written = 0
        """Frames for the tun in the batch at hand."""
        self._clock = clock
        self._contexts = TlsContexts(settings.tls, Role.SERVER)
        self.own_certificate = self._contexts.own_certificate
        self._tls = ControlTlsFactory(self._contexts, clock, client=False)
        self.deadlines = DeadlineQueue(clock)
        self.examiner = Examiner(authenticator, settings, clock, self.deadlines)
        initial = FrequencyLimit(*self._server.connect_freq_initial)
        self.demux = Demux(keyring, CookieJar(settings.control.hand_window), self, clock, initial)
        self._gate = Gate(settings, keyring, self.demux, self.drops)
        self._protocols: dict[Peer, ClientProtocol] = {}
        self._told_crl_problem: str | None = None
        self.takes_strangers = True
        """False from the goodbye on: who came in then would never hear one."""

    @property
    def clients(self) -> list[ClientProtocol]:
        """The protocols of all clients that are connected, the earliest first."""
        return list(self._protocols.values())

    # Strangers (`demux.PeerOpener`)

    def open_peer(self, link: ILink, address: Address, wrapping: Wrapping, session_id: bytes | None) -> Peer | None:
        """Make a peer for a stranger, unless the gate turns it away."""
        sessions, now = len(self.connections), self._clock.seconds()
        if not self.takes_strangers or not self._gate.lets_in(link, address, wrapping, sessions, now):
            return None
        if not link.is_stream:
            self.udp_links.add(link)
        described = f"{'tcp' if link.is_stream else 'udp'}:{readable(address)}"
        connection = self._connection_class(self, self._clock, described)
        peer = build_peer(
            Role.SERVER,
            link,
            address,
            settings=self.settings,
            wrapping=wrapping,
            tls=self._tls,
            offer=partial(self._offer, link),
            handler=connection,
            deadlines=self.deadlines,
            clock=self._clock,
            session_id=session_id,
        )
        if self.settings.data.compression is Compression.NONE:
            peer.session.adapt = answer_in_kind
        connection.attach(peer)
        self.connections[peer] = connection
        self.log.debug("{client}: a new session begins", client=connection)
        return peer

    def may_displace(self, newcomer: Peer, holder: Peer) -> bool:
        """Whether both came with one certificate: as in stock servers, the address is then the newcomer's."""
        one, other = self.connections.get(newcomer), self.connections.get(holder)
        if one is None or other is None or one.certificate_serial is None:
            return False
        return (one.identity, one.certificate_serial) == (other.identity, other.certificate_serial)

    def _offer(self, link: ILink) -> KeyMethod2:
        # Only in point-to-point mode clients look at what a server tells of itself.
        info = peer_info(self.data) if self.settings.point_to_point is not None else {}
        return KeyMethod2(
            KeySource.generate_server(), local_occ_string(self.settings, link), peer_info=format_peer_info(info)
        )

    # Clients come (`connection.ConnectionHost`)

    def make_room(self, connection: ServerConnection) -> None:
        """See `ConnectionHost`."""
        for other in list(self.connections.values()):
            if other is not connection and other.stage is Stage.CONNECTED:
                other.peer.close("the other end has connected anew")

    def options_for(self, connection: ServerConnection) -> list[str]:
        """What the client is pushed about the network."""
        assert connection.lease is not None
        offer = self._stream_offer if connection.peer.link.is_stream else self._datagram_offer
        return offer.options(connection.lease, connection.overrides, connection.peer_info)

    def connected(self, connection: ServerConnection) -> None:
        """Route to a client and make its protocol."""
        peer, lease, peer_id = connection.peer, connection.lease, connection.peer_id
        assert lease is not None
        assert peer_id is not None
        before = self.demux.admit(peer, peer_id)
        if before is not None and before is not peer:
            before.close("another session has begun at its address")
        self.routes.join(peer, self._networks_of(connection), self._port_of(connection))
        self._set_timers(connection)
        client = ClientAddress(connection.identity or "", lease, connection.peer_info)
        protocol = self.buildProtocol(client)
        assert isinstance(protocol, ClientProtocol)
        self._protocols[peer] = protocol
        protocol.makeConnection(
            TunnelTransport(self, connection, client, ClientAddress("server", Lease(*self.own_addresses)))
        )
        leased = ", ".join((*map(written, lease.addresses), *map(str, connection.overrides.iroutes)))
        self.log.info(
            "{client}: connected, {leased}; data {protection}; {portrait}",
            client=connection,
            leased=f"address {leased}" if leased else "without an address of ours",
            protection=peer.protection,
            portrait=connection.portrait,
        )
        if tells_all():
            told = ", ".join(map("=".join, connection.peer_info.items()))
            self.log.debug("{client}: peer info: {told}", client=connection, told=told)

    def _set_timers(self, connection: ServerConnection) -> None:
        """The client's own keepalive and limits where it has them, else everybody's."""
        data, overrides = self.settings.data, connection.overrides
        silence = data.ping_restart or data.ping_exit
        connection.peer.set_keepalive(
            data.ping if overrides.ping is None else overrides.ping,
            silence if overrides.ping_restart is None else overrides.ping_restart,
        )
        inactive, least = overrides.inactive or (data.inactive, data.inactive_bytes)
        lasting = data.session_timeout if overrides.session_timeout is None else overrides.session_timeout
        connection.peer.set_limits(inactive, least, lasting)

    def _networks_of(self, connection: ServerConnection) -> list[IPv4Address | IPv6Address | IPv4Network | IPv6Network]:
        """What is routed to a client: its addresses and the networks behind it, as many as it may have."""
        overrides, wanted = connection.overrides, connection.networks
        most = self._most_routes(overrides)
        if overrides.iroutes and not isinstance(self.routes, RouteTable):
            self.log.warn(
                "{client}: iroute changes nothing, a tap learns what is behind its clients", client=connection
            )
        if len(wanted) > most:
            self.log.warn("{client}: max-routes-per-client ({most}) reached", client=connection, most=most)
        return wanted[:most]

    def _port_of(self, connection: ServerConnection) -> PortSettings:
        overrides = connection.overrides
        return PortSettings(self._most_routes(overrides), overrides.vlan_pvid)

    def _most_routes(self, overrides: ClientOverrides) -> int:
        return self._server.max_routes_per_client if overrides.max_routes is None else overrides.max_routes

    def ended(self, connection: ServerConnection, reason: str) -> None:
        """Take back what a client had."""
        peer = connection.peer
        self.connections.pop(peer, None)
        self.past_drops += peer.drops + peer.channel.drops
        if peer.link.is_stream:
            self.past_drops += peer.link.drops
        self.demux.remove(peer, connection.peer_id)
        self._gate.session_ended()
        self._disconnect(peer, reason)
        if connection.lease is not None:
            self.routes.leave(peer, connection.networks)
        self.roster.leave(connection)
        if peer.link.is_stream:
            peer.link.close()
        self.log.info("{client}: left: {why}", client=connection, why=reason)

    def _disconnect(self, peer: Peer, reason: str) -> None:
        protocol = self._protocols.pop(peer, None)
        try:
            if protocol is not None:
                protocol.connectionLost(Failure(ConnectionDone(reason)))
        except Exception:  # noqa: BLE001  an application's fault must not cost us the address
            self.log.failure("connectionLost of {protocol} broke", protocol=protocol)

    # Packets

    def packets_received(self, connection: ServerConnection, packets: list[Buffer]) -> None:
        """Hand a client's packets to its protocol, those with a source address not its own left out."""
        peer = connection.peer
        if self.settings.device.block_ipv6:
            packets = self._refuse_ipv6(peer, packets)
        allowed = self.routes.check_sources(peer, packets)
        if allowed:
            self._protocols[peer].packets_received(allowed)

    def _refuse_ipv6(self, peer: Peer, packets: list[Buffer]) -> list[Buffer]:
        kept, answers = part_ipv6(packets, self.settings.device.dev_type)
        self.drops["block-ipv6"] += len(packets) - len(kept)
        peer.send_frames([Frame(answer) for answer in answers])
        return [packets[place] for place in kept]

    def forward(self, packets: list[Buffer]) -> None:
        """Route a batch from a client: to other clients where `client-to-client` is on, else to the tun."""
        if self._server.client_to_client:
            for_peers, packets = self.routes.split_client_to_client(packets)
            for peer, frames in for_peers:
                peer.send_frames(self._fitting(frames))
        packets = self.routes.for_device(packets)
        if packets:
            frames = self._layer.coalesce(packets, self._offloads)
            self._written += len(frames)
            self.tun.write_frames(frames)

    def _fitting(self, frames: list[Frame]) -> list[Frame]:
        fitting = [frame for frame in frames if len(frame[0]) <= self._largest]
        if len(fitting) != len(frames):
            self.drops["too-long"] += len(frames) - len(fitting)
        return fitting

    def batch_ended(self) -> None:
        """See `demux.PeerOpener`: the host answers a lone packet on the spot more often than not."""
        lone, self._written = self._written == 1, 0
        if lone:
            self.tun.poll()

    def frames_received(self, frames: Sequence[Frame]) -> None:
        """Route a batch from the tun (`interfaces.IFrameReceiver`)."""
        for peer, batch in self.routes.split_by_peer(frames):
            peer.send_frames(batch)

    # The admin's wishes

    def push_update(self, options: Sequence[str]) -> int:
        """Change options of every connected client that takes them; returns how many do.

        Raises `ConfigError` for options that cannot be changed, and for addresses, which are one client's.
        """
        for change in checked_changes(options):
            if change.name in {"ifconfig", "ifconfig-ipv6"}:
                raise ConfigError(f"{change.name} is for one client; use push_update of its transport")
        return sum(connection.push_update(options) for connection in list(self.connections.values()))

    def push_update_to(self, connection: ServerConnection, options: Sequence[str]) -> bool:
        """The same for one client, addresses too; see `TunnelTransport.push_update`."""
        changes = checked_changes(options)
        if not connection.can_update:
            return False
        assert connection.lease is not None
        lease = changed_lease(connection.lease, changes)
        if lease != connection.lease:
            self._move(connection, lease)
        return connection.push_update(options)

    def _move(self, connection: ServerConnection, lease: Lease) -> None:
        """Give a connected client other addresses.  Raises `PoolExhausted` where one is somebody else's."""
        peer, before = connection.peer, connection.networks
        self.roster.change(connection, lease)
        self.routes.leave(peer, before)
        self.routes.join(peer, self._networks_of(connection), self._port_of(connection))
        self._protocols[peer].transport.getPeer().lease = lease

    def enforce_crl(self) -> None:
        """Send away clients whose certificate the CRL has come to name."""
        self._contexts.refresh()
        problem = self._contexts.crl_problem
        if problem != self._told_crl_problem:
            self._told_crl_problem = problem
            if problem is not None:
                self.log.warn("{problem}; the CRL read before stays in force", problem=problem)
        for connection in list(self.connections.values()):
            serial = connection.certificate_serial
            if serial is not None and self._contexts.revoked(serial):
                connection.disconnect("its certificate has been revoked")

    def disconnect_all(self, reason: str) -> None:
        """Send everybody away; they may come back, with the token they have where the next of us will know it."""
        flags = "P" if self.examiner.tokens_last else ""
        flags += "N" if self._server.explicit_exit_notify == _NEXT_REMOTE else ""
        # OpenVPN 3 knows its flag by the colon.
        params = f"[{flags}]:" if flags else ""
        for connection in list(self.connections.values()):
            connection.disconnect(reason, params)

    def say_goodbye(self, reason: str) -> None:
        """Send everybody away, who is still in the handshake at its end; nobody is let in from now on."""
        self.takes_strangers = False
        self.disconnect_all(reason)

    def stop(self) -> None:
        """Close every session without another word; there will be no others."""
        self.takes_strangers = False
        for peer in list(self.connections):
            peer.close("the server has stopped")
        self.deadlines.stop()
