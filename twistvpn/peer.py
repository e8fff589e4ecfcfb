"""One remote: its control session, its data channel, and the link and address it is reached at.

All wiring of a remote is in `build_peer`.  What the remote means to us (a client that wants an address,
the server that gives us one) is its handler's affair.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, TypeVar

from twistvpn.consistency import OccAnswers, local_occ_string
from twistvpn.control.events import RenegotiationBegun, RenegotiationFailed, SessionFailed
from twistvpn.control.round_trips import RoundTrips
from twistvpn.control.session import ControlSession
from twistvpn.data.channel import Channel
from twistvpn.data.keyring import KeyLifetime
from twistvpn.data.layers import LAYERS
from twistvpn.data.messages import OccKind
from twistvpn.data.mss import ETHERNET_MTU
from twistvpn.data.tos import TOS_OF, split_by_tos
from twistvpn.errors import WireError
from twistvpn.keying import Keying
from twistvpn.precedence import PAUSE, Precedence
from twistvpn.sizes import fit_link, largest_packet
from twistvpn.timers import Keepalive, PeerTimers
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime

    from twistvpn.config.settings import FragmentLimit, Settings
    from twistvpn.control.events import Event, KeyEstablished
    from twistvpn.control.tls import ControlTlsFactory
    from twistvpn.crypto.wrapping import Opened, Wrapping
    from twistvpn.deadlines import DeadlineQueue
    from twistvpn.interfaces import Address, Buffer, Frame, ILink, Run
    from twistvpn.keying import DataTerms
    from twistvpn.wire.compression import Compression
    from twistvpn.wire.keymethod import KeyMethod2
    from twistvpn.wire.roles import Role

_Packet = TypeVar("_Packet")

LINGER = 5.0
"""Seconds that a last message is retransmitted before the peer is let go; stock peers take as long."""


class PeerHandler(Protocol):
    """Who a peer belongs to."""

    def session_event(self, peer: Peer, event: Event) -> None:
        """Something has happened on the control channel."""

    def packets_received(self, peer: Peer, packets: list[Buffer]) -> None:
        """Packets of one batch, authentic and in order."""

    def time_is_up(self, peer: Peer, reason: str) -> None:
        """`inactive` or `session-timeout` says that it is time to part."""

    def peer_lost(self, peer: Peer, reason: str) -> None:
        """The peer is gone; nothing more comes of it.  Called once."""


class PeerState(Enum):
    """Where a peer is in its life."""

    OPEN = auto()
    LINGERING = auto()
    """A last message is on its way; data is no longer taken."""
    CLOSED = auto()


class Peer:
    """One remote.  `link` and `address` say where it is reached now."""

    _log = Logger()

    __slots__ = (
        "__weakref__",
        "_clock",
        "_deadlines",
        "_handler",
        "_keying",
        "_linger_until",
        "_look_at",
        "_occ",
        "_precedence",
        "_pumping",
        "_settings",
        "_state",
        "_unanswered",
        "_why",
        "address",
        "channel",
        "drops",
        "link",
        "session",
        "timers",
    )

    def __init__(
        self,
        role: Role,
        link: ILink,
        address: Address,
        session: ControlSession,
        channel: Channel,
        settings: Settings,
        handler: PeerHandler,
        deadlines: DeadlineQueue,
        clock: IReactorTime,
    ) -> None:
        self.link = link
        self.address = address
        self.session = session
        self.channel = channel
        self.timers = PeerTimers(settings.control, channel, clock.seconds())
        self.drops: Counter[str] = Counter()
        self._keying = Keying(role, session, channel, settings)
        self._settings = settings
        self._handler = handler
        self._deadlines = deadlines
        self._clock = clock
        self._state = PeerState.OPEN
        self._pumping = self._unanswered = False
        self._linger_until = 0.0
        self._precedence = Precedence()
        self._occ = OccAnswers(settings.device.mtu)
        self._why = ""
        self._look_at = channel.lifetime.look_every

    @property
    def is_open(self) -> bool:
        """True until the peer is closed or about to be."""
        return self._state is PeerState.OPEN

    # Control in and out

    def control_received(self, datagram: Buffer) -> None:
        """Take one control packet; a bad one is counted in `drops`.

        What comes of it waits for `answer`: to be called after the last of a batch, and before data behind it.
        """
        self._take(self.session.receive_datagram, datagram)

    def opened_received(self, opened: Opened) -> None:
        """The same for a packet that the static key alone has opened."""
        self._take(self.session.receive_opened, opened)

    def _take(self, receive: Callable[[_Packet, float], None], packet: _Packet) -> None:
        if self._state is PeerState.CLOSED:
            return
        self._unanswered = True
        now = self._clock.seconds()
        try:
            receive(packet, now)
        except WireError as error:
            self.drops[error.reason] += 1
        except Exception:  # noqa: BLE001  a fault that one peer finds must not touch the others
            self._break()
        else:
            self.timers.control_heard(now)

    def _break(self) -> None:
        self._log.failure("a control packet from {peer} could not be processed", peer=self.address)
        self.close("internal error")

    def answer(self) -> None:
        """Do what the control packets that have come since the last time ask for."""
        if self._unanswered:
            self.pump()

    def send_message(self, text: str) -> None:
        """Send a control message."""
        self.session.send_message(text, self._clock.seconds())
        self.pump()

    def pump(self) -> None:
        """Hand on what the session has come to, send what it wants sent, and see to its deadline.

        A handler that sends a message from within an event comes here too: all but the sending waits for the call
        that has brought the event.
        """
        if self._pumping:
            self._flush()
            return
        self._pumping = True
        try:
            self._read()
            self._hand_on_events()
            self._confirm_key()
            self._flush()
        except Exception:  # noqa: BLE001  a fault that one peer finds must not touch the others
            self._break()
        finally:
            self._pumping = False
        if self._state is PeerState.LINGERING and self.session.settled:
            self.close(self._why)
        else:
            self._reschedule()

    def _read(self) -> None:
        if self._unanswered:
            self._unanswered = False
            try:
                self.session.read(self._clock.seconds())
            except WireError as error:
                self.drops[error.reason] += 1

    def _hand_on_events(self) -> None:
        while events := self.session.take_events():
            for event in events:
                if isinstance(event, RenegotiationBegun):
                    self._renegotiation_begun()
                elif isinstance(event, RenegotiationFailed):
                    self._renegotiation_failed(event)
                else:
                    self._hand_on(event)

    def _hand_on(self, event: Event) -> None:
        if self._state is PeerState.OPEN:
            self._handler.session_event(self, event)
        if isinstance(event, SessionFailed):
            self._session_failed(event)

    def _renegotiation_begun(self) -> None:
        # A stock peer keeps two keys: the one that is being made, and the one that was newest until now.
        self.channel.settle()
        if self.link.is_stream:
            self.session.silence_old_keys()

    def _renegotiation_failed(self, event: RenegotiationFailed) -> None:
        """As in stock peers: datagrams go on under the key before until that expires, a stream is closed."""
        if self.link.is_stream or event.refusal is not None:
            self._hand_on(SessionFailed(event.error, event.refusal))
            return
        self.timers.renegotiation_failed(event.began, self._clock.seconds())
        self._hand_on(event)

    def _flush(self) -> None:
        if self._state is PeerState.CLOSED:
            return
        if self.channel.is_confirmed and self.session.can_renegotiate:
            # Nobody sends under a key before all that it is made of was acknowledged.
            self.session.silence_echoes()
        now = self._clock.seconds()
        precedence = self._precedence
        precedence.put(self.session.datagrams_to_send(now), now)
        if precedence.until is not None and (now >= precedence.until or not self._is_behind_data(now)):
            precedence.leave(self.link, self.address)

    def _is_behind_data(self, now: float) -> bool:
        """Whether a datagram that leaves now would come right behind data."""
        last = self.channel.last_sent
        return self._state is PeerState.OPEN and not self.link.is_stream and last is not None and now < last + PAUSE

    def _reschedule(self) -> None:
        """Tell the queue that the deadline may have moved earlier; `pump` does so at its end."""
        if not self._pumping and self._state is not PeerState.CLOSED:
            self._deadlines.schedule(self)

    def _session_failed(self, event: SessionFailed) -> None:
        if isinstance(event.error, TimeoutError):
            self.close("session failed")
        else:
            # TLS has left an alert that tells the peer why.
            self.linger("session failed")

    # Data in and out

    def data_received(self, run: Run) -> bool:
        """Open a run of data packets and hand on what was in it; true if any of it was authentic."""
        if self._state is not PeerState.OPEN:
            return False
        before = self.channel.packets_in
        packets = self.channel.open(run, self._clock.seconds())
        authentic = self.channel.packets_in != before
        if self.channel.packets_in + self.channel.packets_out >= self._look_at:
            self._look(sum(map(len, packets)))
        if packets:
            self._handler.packets_received(self, packets)
        return authentic

    def occ_received(self, kind: int, rest: Buffer) -> None:
        """Take an OCC message: the peer's goodbye, or a question to be answered."""
        if kind == OccKind.EXIT:
            self.close("the peer has said goodbye")
            return
        overhead = ETHERNET_MTU - self.channel.largest_packet(ETHERNET_MTU, self._clock.seconds())
        answer = self._occ.answer(kind, rest, overhead, local_occ_string(self._settings, self.link))
        if answer is not None:
            self._send_occ(answer)

    def say_goodbye(self) -> None:
        """Tell the peer in a data packet that we leave, as peers without `cc-exit` understand it."""
        self._send_occ(bytes((OccKind.EXIT,)))

    def _send_occ(self, message: bytes) -> None:
        self.link.send_runs(self.channel.seal_occ(message, self._clock.seconds()), self.address)

    def send_frames(self, frames: Sequence[Frame]) -> None:
        """Seal packets and send them; there is nobody to take them once the peer is about to be closed."""
        if self._state is not PeerState.OPEN:
            self.drops["closed"] += len(frames)
            return
        runs = self.channel.seal(frames, self._clock.seconds())
        if runs:
            if self._precedence.until is not None:
                self._precedence.leave(self.link, self.address)
            self.link.send_runs(runs, self.address)
            if self.channel.packets_in + self.channel.packets_out >= self._look_at:
                self._look(sum([len(run[0]) for run in runs]))

    def set_keepalive(self, ping: float, ping_restart: float, option: str = "ping-restart") -> None:
        """Ping after `ping` seconds of sending nothing, give up after `ping_restart` of hearing nothing; 0 is never.

        `option` is what has set the latter.
        """
        self.timers.keepalive = Keepalive(ping, ping_restart, option)
        self._reschedule()

    def set_limits(self, inactive: float, inactive_bytes: int, session_timeout: float) -> None:
        """Part after `inactive` seconds with fewer bytes, and after `session_timeout` in all; 0 is never."""
        self.timers.limit(inactive, inactive_bytes, session_timeout, self._clock.seconds())
        self._look_at = 0
        self._reschedule()

    # Keys

    def begin_data(self, terms: DataTerms, compression: Compression, fragment: FragmentLimit | None) -> None:
        """Make data keys of the first established key and begin to send with them; raises `KeyGone`.

        `compression` and, but on a stream, `fragment` say what lies between packets and sealing.
        """
        now = self._clock.seconds()
        self._keying.begin(terms, compression, None if self.link.is_stream else fragment, now)
        self._key_installed(now)

    @property
    def protection(self) -> str:
        """What data packets are protected by, for people; there is a key."""
        return self._keying.description

    def rekeyed(self, event: KeyEstablished) -> None:
        """Make data keys of a renegotiated key; raises `KeyGone`."""
        now = self._clock.seconds()
        self._keying.succeed(event.key_id, now, event.began + self.timers.overlap)
        self._key_installed(now)
        self._confirm_key()

    def _confirm_key(self) -> None:
        if self._keying.confirm() and self._state is PeerState.OPEN:
            self._ping(self._clock.seconds())

    def _key_installed(self, now: float) -> None:
        fit_link(self._settings.data, self.channel, self.link, self.address, now)
        self.timers.key_installed(now)
        self._reschedule()

    def _look(self, moved: int) -> None:
        """Look at what a batch with `moved` bytes of payload has come to: most batches only count.

        Each is looked at where `inactive` is asked for, else now and then.
        """
        channel, activity = self.channel, self.timers.activity
        if activity is None:
            self._look_at = channel.packets_in + channel.packets_out + channel.lifetime.look_every
        elif moved:
            activity.moved(moved, self._clock.seconds())
        if channel.must_renegotiate:
            self._reschedule()

    def path_mtu(self, tun_mtu: int) -> int | None:
        """See `sizes.largest_packet`."""
        return largest_packet(self.channel, self.link, self.address, tun_mtu, self._clock.seconds())

    # Time

    def deadline(self) -> float | None:
        """See `deadlines.Waiter`."""
        if self._state is PeerState.CLOSED:
            return None
        times = [self.session.deadline(), self._precedence.until]
        if self._state is PeerState.LINGERING:
            times.append(self._linger_until)
        else:
            times.append(self.timers.deadline())
            if self.session.can_renegotiate:
                times.append(self.timers.worn_key_due)
        return min([when for when in times if when is not None], default=None)

    def tick(self, now: float) -> None:
        """See `deadlines.Waiter`."""
        if self._state is PeerState.OPEN:
            self._keep_alive(now)
        elif self._state is PeerState.LINGERING and now >= self._linger_until:
            self.close(self._why)
        if self._state is not PeerState.CLOSED:
            self.session.tick(now)
            self.pump()

    @property
    def is_silent(self) -> bool:
        """Whether the peer has not been heard for as long as the keepalive allows."""
        return self.timers.is_silent(self._clock.seconds())

    def _keep_alive(self, now: float) -> None:
        timers = self.timers
        if timers.is_silent(now):
            self.close(f"nothing heard for {now - timers.last_heard:.0f} s ({timers.keepalive.option})")
            return
        if timers.has_expired(now):
            self.close("the last key has expired after a renegotiation that failed")
            return
        if (reason := timers.parting(now)) is not None:
            self._handler.time_is_up(self, reason)
            return
        if timers.wants_ping(now):
            self._ping(now)
        if timers.wants_new_key(now):
            timers.renegotiated()
            self.session.renegotiate(now)

    def _ping(self, now: float) -> None:
        self.timers.pinged(now)
        self.link.send_runs(self.channel.seal_ping(now), self.address)

    # The end

    def linger(self, reason: str) -> None:
        """Close once the peer has acknowledged our last words, or after `LINGER` seconds."""
        if self._state is not PeerState.OPEN:
            return
        self._state = PeerState.LINGERING
        self._why = reason
        self._linger_until = self._clock.seconds() + LINGER
        self.pump()

    def close(self, reason: str) -> None:
        """End it without another word and tell the handler.  Calling it twice is harmless."""
        if self._state is PeerState.CLOSED:
            return
        why = self._why if self._state is PeerState.LINGERING else reason
        self._precedence.leave(self.link, self.address)
        self._state = PeerState.CLOSED
        self._deadlines.forget(self)
        self.session.close()
        self._handler.peer_lost(self, why)


class _TosPassingPeer(Peer):
    """A peer whose packets hand their type of service on to what carries them (`passtos`)."""

    __slots__ = ()

    def send_frames(self, frames: Sequence[Frame]) -> None:
        """See `Peer`: a send for each run of equal TOS.  What is sent beside packets has none, over datagrams."""
        self._precedence.leave(self.link, self.address)
        for tos, part in split_by_tos(frames, TOS_OF[self._settings.device.dev_type]):
            self.link.set_tos(tos)
            super().send_frames(part)
        if not self.link.is_stream:
            self.link.set_tos(0)


def build_peer(
    role: Role,
    link: ILink,
    address: Address,
    *,
    settings: Settings,
    wrapping: Wrapping,
    tls: ControlTlsFactory,
    offer: Callable[[], KeyMethod2],
    handler: PeerHandler,
    deadlines: DeadlineQueue,
    clock: IReactorTime,
    session_id: bytes | None = None,
) -> Peer:
    """Wire one remote together.  Its session has not begun: call `connect`, `accept` or `resume` on it."""
    control = settings.control
    of_link = RoundTrips.of_stream if link.is_stream else RoundTrips.of_datagrams
    session = ControlSession(role, wrapping, tls, offer, control, of_link(control.tls_timeout), session_id)
    layer = LAYERS[settings.device.dev_type]
    lifetime = KeyLifetime(control.reneg_bytes, control.reneg_pkts)
    channel = Channel(tran_window=control.tran_window, layer=layer, lifetime=lifetime)
    kind = _TosPassingPeer if settings.data.passtos else Peer
    peer = kind(role, link, address, session, channel, settings, handler, deadlines, clock)
    channel.on_occ = peer.occ_received
    return peer
