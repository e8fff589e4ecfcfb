"""From a remote of the settings to a connection: the link that is opened, and the peer at its other end."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import ensureDeferred

from twistvpn import point_to_point
from twistvpn.client.connection import ClientConnection
from twistvpn.client.link import LinkOpener
from twistvpn.client.lookup import PulledNames
from twistvpn.client.peer_info import peer_info
from twistvpn.config.settings import Remote
from twistvpn.consistency import local_occ_string
from twistvpn.control.keys import control_key
from twistvpn.control.tls import ControlTlsFactory
from twistvpn.control.verify import TlsContexts, validity_problem
from twistvpn.deadlines import DeadlineQueue
from twistvpn.link.stream import largest_frame
from twistvpn.peer import build_peer
from twistvpn.verbosity import Logger
from twistvpn.wire.keymethod import KeyMethod2, KeySource
from twistvpn.wire.options import format_peer_info
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from typing import Any

    from twisted.internet.defer import Deferred

    from twistvpn.client.connection import ConnectionOwner
    from twistvpn.client.link import Links
    from twistvpn.client.remotes import RemoteList
    from twistvpn.config.settings import Settings
    from twistvpn.interfaces import ILink


class Connector:
    """Connects with servers as the settings say.  `links` replaces the sockets."""

    log = Logger()

    def __init__(self, reactor: Any, settings: Settings, links: Links | None) -> None:
        assert settings.client is not None
        self.deadlines = DeadlineQueue(reactor)
        self._reactor = reactor
        self._settings = settings
        self._client = settings.client
        self._key = control_key(settings.control, Role.CLIENT)
        contexts = TlsContexts(settings.tls, Role.CLIENT)
        self.own_certificate = contexts.own_certificate
        self._tls = ControlTlsFactory(contexts, reactor, client=True)
        self._links: Links = links or LinkOpener(
            reactor, settings.client, settings.sockets, largest_frame(settings.device.mtu)
        )

    async def connect(self, remotes: RemoteList, owner: ConnectionOwner) -> tuple[ClientConnection, ILink]:
        """Open a link to the remote whose turn it is; its session has not begun.

        Raises whatever endpoints fail with, `NameNotFound`, and `NobodyToAskError`.
        """
        remote = remotes.current()
        problem = validity_problem(self.own_certificate, self._reactor.seconds())
        if problem is not None:
            self.log.warn("{problem}", problem=problem)
        await owner.login.prepare()
        if remote.endpoint is not None:
            remotes.hosts = [remote.host]
        elif not remotes.hosts:
            remotes.hosts = await self._links.addresses(remote)
        host = remotes.take_host()
        if remote.endpoint is None:
            owner.host.prepare(host)
        self.log.info(
            "connecting to {proto}:{way} ({name})",
            proto=remote.proto if remote.outer is None else "tls",
            way=f"{host}:{remote.port}" if remote.proxy is None else remotes.way,
            name=(remote.proxy or remote).host,
        )
        names = PulledNames(self._look_up, self._reactor) if self._client.allow_pull_fqdn else None
        connection = ClientConnection(owner, self._settings, self._reactor, names)
        link, address = await self._links.open(remote, host, connection)
        if link.relay is not None:
            owner.host.prepare(link.relay)
        peer = build_peer(
            Role.CLIENT,
            link,
            address,
            settings=self._settings,
            wrapping=self._key.new_wrapping(),
            tls=self._tls,
            offer=partial(self._offer, owner, link),
            handler=connection,
            deadlines=self.deadlines,
            clock=self._reactor,
        )
        connection.attach(peer)
        return connection, link

    def _look_up(self, name: str) -> Deferred[list[str]]:
        return ensureDeferred(self._links.addresses(Remote(name, 0, "udp", socket.AF_INET)))

    def _offer(self, owner: ConnectionOwner, link: ILink) -> KeyMethod2:
        username, password = owner.login.shown()
        options = local_occ_string(self._settings, link)
        prompt = owner.login.prompt
        if self._settings.point_to_point is not None:
            info = point_to_point.peer_info(self._settings.data)
        else:
            hardware = owner.host.hardware_address() if self._client.push_peer_info else None
            info = peer_info(self._settings, () if prompt is None else prompt.methods, hardware)
        return KeyMethod2(KeySource.generate_client(), options, username, password, format_peer_info(info))
