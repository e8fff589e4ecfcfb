"""The client as a Twisted service: connect, stay connected, and leave nothing behind."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from twistvpn.client.connector import Connector
from twistvpn.client.host import ClientHost
from twistvpn.client.login import Login, NobodyToAskError
from twistvpn.client.predecessor import Predecessor
from twistvpn.client.remotes import Ending, RemoteList, out_of_reach
from twistvpn.client.status import format_status
from twistvpn.client.unanswered import Unanswered
from twistvpn.data import kernel
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import IFrameReceiver
from twistvpn.link.addresses import readable
from twistvpn.link.connections import cancel
from twistvpn.status_file import refresh_status_file
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from twistvpn.client.connection import ClientConnection
    from twistvpn.client.link import Links
    from twistvpn.config.settings import Remote, Settings
    from twistvpn.control.push import PushedOptions
    from twistvpn.interfaces import Frame, ILink, ITun, IUserPrompt
    from twistvpn.nameservers import IDnsConfigurator
    from twistvpn.peer import Peer
    from twistvpn.tun.netlink import NetworkConfigurator


class ClientState(Enum):
    """What the client is about."""

    STOPPED = auto()
    OPENING = auto()
    """Resolving the server's name or opening the link."""
    JOINING = auto()
    """Handshake, authentication, options."""
    CONNECTED = auto()
    WAITING = auto()
    """Before the next try."""
    STOPPING = auto()


_S = ClientState
TRANSITIONS: dict[ClientState, frozenset[ClientState]] = {
    _S.STOPPED: frozenset({_S.OPENING}),
    _S.OPENING: frozenset({_S.JOINING, _S.WAITING, _S.STOPPING, _S.STOPPED}),
    _S.JOINING: frozenset({_S.CONNECTED, _S.WAITING, _S.STOPPING, _S.STOPPED}),
    _S.CONNECTED: frozenset({_S.WAITING, _S.STOPPING, _S.STOPPED}),
    _S.WAITING: frozenset({_S.OPENING, _S.STOPPING, _S.STOPPED}),
    _S.STOPPING: frozenset({_S.STOPPED}),
}
"""Which state may follow which."""


@implementer(IFrameReceiver)
class VpnClientService(Service):
    """Keeps one client connected.

    `open_tun` makes the device when the service starts; `network` configures the host for what is pushed, None
    leaves the host alone, for applications that take packets themselves.  `on_fatal` is told why the client has
    given up.  `drops` counts packets from the device while there was no server to take them.  `links` replaces the
    sockets.  `prompt` speaks for the user; None where everything is in the settings.  `dns` tells the host whom to ask
    for names; None leaves that to somebody else.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        open_tun: Callable[[], ITun],
        configurator: NetworkConfigurator | None,
        on_fatal: Callable[[str], None],
        *,
        links: Links | None = None,
        prompt: IUserPrompt | None = None,
        dns: IDnsConfigurator | None = None,
    ) -> None:
        assert settings.client is not None
        self.settings = settings
        self.state = ClientState.STOPPED
        self.host = ClientHost(settings, open_tun, configurator, dns)
        self.drops = self.host.drops
        self.on_connected: Callable[[PushedOptions], None] | None = None
        """Called with the pushed options each time a server has let us in."""
        self.on_updated: Callable[[PushedOptions], None] | None = None
        """Called with all options when a server has changed some of them."""
        self._client = settings.client
        self._reactor = reactor
        self._on_fatal = on_fatal
        self._connector = Connector(reactor, settings, links)
        self.own_certificate = self._connector.own_certificate
        self._remotes = RemoteList(settings.client)
        self.login = Login(settings.client, prompt)
        self._link: ILink | None = None
        self._connection: ClientConnection | None = None
        self._predecessor: Predecessor | None = None
        """Carries packets while another connection is made."""
        self._attempt: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._poll: IDelayedCall | None = None
        self._unanswered: Unanswered | None = None
        self._status_chore: LoopingCall | None = None
        self._stopped: Deferred[None] | None = None

    def _enter(self, state: ClientState) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"{self.state.name} does not lead to {state.name}")
        self.state = state

    # Service

    def privilegedStartService(self) -> None:
        """Open the device while we may."""
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self.host.open(self)

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()  # type: ignore[no-untyped-call]
        self.log.info("data path: {kernel}", kernel=kernel.NAME)
        self.host.open(self)
        if self.settings.status is not None:
            self._status_chore = LoopingCall(self._write_status)
            self._status_chore.clock = self._reactor
            self._status_chore.start(self.settings.status_interval, now=False)
        self._try_server()

    @property
    def peer(self) -> Peer | None:
        """The server that we are connected to or about to be."""
        return None if self._connection is None else self._connection.peer

    def log_status(self) -> None:
        """Log what the client is about and what was dropped, as the status file tells it."""
        for line in format_status(self, self._reactor.seconds()).splitlines():
            self.log.info("{line}", line=line)

    def reload(self) -> None:
        """Connect anew; addresses and routes stay until the server has pushed others."""
        if self.state is ClientState.WAITING:
            self._cancel_timers()
            self._try_server()
        elif self._connection is not None and self.state in {ClientState.JOINING, ClientState.CONNECTED}:
            self.link_broken()
            self._connection.say_goodbye("we were told to connect anew")

    def _write_status(self) -> None:
        assert self.settings.status is not None
        refresh_status_file(self.settings.status, format_status(self, self._reactor.seconds()))

    def stopService(self) -> Deferred[None]:
        """Say goodbye, take back routes, addresses and the device; fires when all is done."""
        super().stopService()  # type: ignore[no-untyped-call]
        done: Deferred[None] = Deferred()
        if self.state is ClientState.STOPPED:
            self._release()
            done.callback(None)
            return done
        self._stopped = done
        connected = self._connection
        self._cancel_timers()
        self._enter(ClientState.STOPPING)
        if self._attempt is not None:
            self._attempt.cancel()
        if connected is not None:
            connected.say_goodbye()
        else:
            self._finish()
        return done

    def _cancel_timers(self) -> None:
        cancel(self._retry)
        cancel(self._poll)
        self._retry = self._poll = None
        self.link_broken()

    def link_broken(self) -> None:
        """Do not guess why no answer has come."""
        if self._unanswered is not None:
            self._unanswered.abandon()
            self._unanswered = None

    def _release(self) -> None:
        self._retire_predecessor()
        self._connector.deadlines.stop()
        if self._status_chore is not None and self._status_chore.running:
            self._status_chore.stop()
        self.host.close()

    def _finish(self) -> None:
        if self.state is ClientState.STOPPED:
            return
        self._enter(ClientState.STOPPED)
        self._release()
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.callback(None)

    # Connecting

    def _try_server(self) -> None:
        self._enter(ClientState.OPENING)
        remote = self._remotes.current()
        self._attempt = ensureDeferred(self._connect())
        self._attempt.addErrback(self._not_opened, remote)

    async def _connect(self) -> None:
        connection, link = await self._connector.connect(self._remotes, self)
        self._attempt = None
        self._connection, self._link = connection, link
        self._enter(ClientState.JOINING)
        self._poll = self._await_answer()
        proxied = self._remotes.current().proxy is not None
        server = self._remotes.way if proxied else readable(connection.peer.address)
        self._unanswered = Unanswered(connection.peer, server, self.settings.control, self._reactor)
        connection.peer.session.connect(self._reactor.seconds())
        connection.peer.pump()

    def _not_opened(self, failure: Failure, remote: Remote) -> None:
        self._attempt = None
        if self.state is ClientState.OPENING:
            if failure.check(NobodyToAskError):
                self._fail(failure.getErrorMessage())
                return
            if failure.check(Exception) is None:
                failure.raiseException()
            self._retry_later(f"cannot reach {out_of_reach(remote, failure.value)}: {failure.getErrorMessage()}")

    def _await_answer(self) -> IDelayedCall:
        """As in stock our own `ping-exit` counts from the first packet on, until the server has another to push."""
        wait, leave = self._client.connect_timeout, self.settings.data.ping_exit
        if 0 < leave < wait:
            return self._reactor.callLater(leave, self._no_answer, f"{leave:g} s (ping-exit)", Ending.FATAL)  # type: ignore[no-any-return]
        return self._reactor.callLater(wait, self._no_answer, f"{wait:g} s", Ending.RETRY)  # type: ignore[no-any-return]

    def _no_answer(self, within: str, ending: Ending) -> None:
        connection = self._connection
        if connection is not None and connection.peer.session.remote_session_id is None:
            connection.unanswered(f"no answer within {within}", ending)

    # What the connection reports (`connection.ConnectionOwner`)

    def connected(self, pushed: PushedOptions) -> None:
        """The server has let us in: configure the host."""
        if not self._configure(pushed):
            return
        self._enter(ClientState.CONNECTED)
        self._retire_predecessor()
        self._remotes.succeeded()
        told = [str(address) for address in (pushed.ipv4, pushed.ipv6) if address is not None]
        addresses = ", ".join(told) or "not told"
        assert self._connection is not None
        self.log.info(
            "connected to {host}, our address is {addresses}; data {protection}",
            host=self._remotes.way,
            addresses=addresses,
            protection=self._connection.peer.protection,
        )
        if self.on_connected is not None:
            self.on_connected(pushed)

    def updated(self, pushed: PushedOptions) -> None:
        """The server has changed its options (PUSH_UPDATE): configure the host anew."""
        if not self._configure(pushed):
            return
        self.log.info("the server has changed its options")
        if self.on_updated is not None:
            self.on_updated(pushed)

    def _configure(self, pushed: PushedOptions) -> bool:
        """Configure the host; the client has given up where that is false."""
        assert self._connection is not None
        peer = self._connection.peer
        path_mtu = peer.path_mtu(pushed.tun_mtu or self.settings.device.mtu)
        try:
            self.host.configure(pushed, self._remotes.host, path_mtu, peer.link.relay)
        except EnvironmentRefusal as error:
            self._fail(str(error))
            return False
        return True

    def frames_received(self, frames: Sequence[Frame]) -> None:
        """Packets from the host go to the server (`interfaces.IFrameReceiver`)."""
        if self.state is ClientState.CONNECTED and self._connection is not None:
            send = self._connection.peer.send_frames
        elif self._predecessor is not None:
            send = self._predecessor.send_frames
        else:
            self.drops["not-connected"] += len(frames)
            return
        send(self.host.refuse_ipv6(frames) if self.host.blocks_ipv6 else frames)

    def renegotiation_failed(self, reason: str) -> None:
        """Begin another session; the present one carries packets until that stands."""
        connection, link = self._connection, self._link
        assert connection is not None
        assert link is not None
        self._predecessor = Predecessor(self, connection, link)
        self._connection = self._link = None
        self.login.disconnected()
        self._retry_later(reason, Ending.SAME)

    def predecessor_ended(self) -> None:
        """See `predecessor.Successor`."""
        self._predecessor = None

    def _retire_predecessor(self) -> None:
        if self._predecessor is not None:
            self._predecessor.retire()

    def connection_ended(self, reason: str, ending: Ending, least_wait: float) -> None:
        """Try again, or give up."""
        self._connection = None
        self.login.disconnected()
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._unanswered is not None and self.state is ClientState.JOINING:
            self._unanswered.ended()
        self._cancel_timers()
        if self.state is ClientState.STOPPED:
            return
        if self.state is ClientState.STOPPING:
            self._finish()
        elif ending is Ending.FATAL:
            self._fail(reason)
        else:
            self._retry_later(reason, ending, least_wait)

    def _retry_later(self, reason: str, ending: Ending = Ending.RETRY, least_wait: float = 0.0) -> None:
        self._enter(ClientState.WAITING)
        wait = self._remotes.ended(ending, least_wait)
        if wait is None:
            self._fail(f"{reason}; connect-retry-max reached")
            return
        self.log.warn("{reason}; trying again in {wait:.0f} s", reason=reason, wait=wait)
        self._retry = self._reactor.callLater(wait, self._try_server)

    def _fail(self, reason: str) -> None:
        connection = self._connection
        self._cancel_timers()
        self._enter(ClientState.STOPPED)
        if connection is not None:
            connection.say_goodbye()
            connection.peer.close(reason)
        self._release()
        self._on_fatal(reason)
