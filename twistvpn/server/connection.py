"""One client of a server, from its first key exchange until it leaves."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from twistvpn.consistency import option_differences, useless_difference
from twistvpn.control.session import KeyEstablished, MessageReceived, RenegotiationFailed, SessionFailed
from twistvpn.control.verify import tls_failure_words
from twistvpn.errors import AuthenticationRejected, NegotiationError, PoolExhausted, TemporarilyRejected
from twistvpn.overrides import ALIKE
from twistvpn.server.authentication import refusal
from twistvpn.server.framing import choose_framing
from twistvpn.server.offers import Agreement, agree
from twistvpn.verbosity import Logger, tells_all
from twistvpn.wire.messages import (
    CrResponse,
    Exit,
    Halt,
    Info,
    PushRequest,
    Restart,
    decode_message,
    encode_message,
    split_push,
)
from twistvpn.wire.options import IvProto, iv_proto, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from cryptography import x509
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from twistvpn.config.settings import DataSettings, Settings
    from twistvpn.control.session import Event
    from twistvpn.interfaces import Buffer, Lease
    from twistvpn.overrides import ClientOverrides
    from twistvpn.peer import Peer
    from twistvpn.server.authentication import Admission, Examination, Examiner
    from twistvpn.server.roster import Roster

MAX_NAME = 64
"""Characters of a username that are logged."""

PUSH_REPEAT_INTERVAL = 30.0
"""Seconds after a reply in which the client's repeated requests are not answered, as in stock servers."""


class Stage(Enum):
    """How far a client has come."""

    NEGOTIATING = auto()
    UNWELCOME = auto()
    """It is to be sent away as soon as there is a key to say so under."""
    AUTHENTICATING = auto()
    ADMITTED = auto()
    """It has its addresses and may ask for its options."""
    CONNECTED = auto()
    ENDED = auto()


class ConnectionHost(Protocol):
    """The server, as one client's connection sees it."""

    data: DataSettings
    settings: Settings
    own_certificate: x509.Certificate | None
    peer_address: IPv4Address | None
    """The other end's address inside, in point-to-point mode."""
    examiner: Examiner
    roster: Roster

    def make_room(self, connection: ServerConnection) -> None:
        """Let go of every other session that is connected: there is only one other end."""

    def options_for(self, connection: ServerConnection) -> list[str]:
        """What the client is pushed about the network."""

    def connected(self, connection: ServerConnection) -> None:
        """The client has its options: route to it."""

    def packets_received(self, connection: ServerConnection, packets: list[Buffer]) -> None:
        """IP packets from the client."""

    def ended(self, connection: ServerConnection, reason: str) -> None:
        """The client is gone: take back what it had."""


class ServerConnection:
    """Lets one client in: authenticates it, gives it addresses, pushes its options, and follows it to its end.

    `identity` names it once it is authenticated; `lease` and `peer_id` are there once it is admitted.
    """

    log = Logger()

    def __init__(self, host: ConnectionHost, clock: IReactorTime, described: str) -> None:
        self.identity: str | None = None
        self.lease: Lease | None = None
        self.overrides: ClientOverrides = ALIKE
        """What is different for this client, as its settings were when it was admitted."""
        self.peer_id: int | None = None
        self.peer_info: dict[str, str] = {}
        self.certificate_serial: int | None = None
        self.since = clock.seconds()
        """Seconds since the epoch when its first packet came."""
        self.described = described
        """The link and address it came from, for people."""
        self.stage = Stage.NEGOTIATING
        self._host = host
        self._clock = clock
        self._occ = ""
        self._tls = ""
        self._common_name: str | None = None
        self._username = ""
        self._agreement: Agreement | None = None
        self._examination: Examination | None = None
        self._admission: Admission | None = None
        self._push_requested = False
        self._pushed_at: float | None = None
        self._parting: tuple[Restart | Halt, str] = (Restart(""), "it came too late")
        """What an unwelcome one is told, and why."""
        self._peer: Peer | None = None

    @property
    def portrait(self) -> str:
        """What it has shown of itself in the key exchange, for people."""
        info = self.peer_info
        return (
            f"{self._tls}, {self._shown_name}, "
            f"{info.get('IV_VER', 'an unknown version')} on {info.get('IV_PLAT', 'an unknown platform')}"
        )

    @property
    def _shown_name(self) -> str:
        name = self._common_name
        certificate = f"certificate of {printable(name)}" if name else "no certificate"
        # A username is whatever has been typed, before anybody has looked at it.
        return f"{certificate}, user {printable(self._username)[:MAX_NAME]!r}" if self._username else certificate

    @property
    def peer(self) -> Peer:
        """The remote; `attach` has been called."""
        assert self._peer is not None
        return self._peer

    def attach(self, peer: Peer) -> None:
        """Say which peer this is the handler of."""
        self._peer = peer

    @property
    def networks(self) -> list[IPv4Address | IPv6Address | IPv4Network | IPv6Network]:
        """Its addresses and the networks behind it; it has been admitted."""
        assert self.lease is not None
        return [*self.lease.addresses, *self.overrides.iroutes]

    def __str__(self) -> str:
        return f"{printable(self.identity)}/{self.described}" if self.identity else self.described

    # What the peer reports (`peer.PeerHandler`)

    def session_event(self, peer: Peer, event: Event) -> None:
        """See `PeerHandler`."""
        if isinstance(event, KeyEstablished):
            self._key_established(event)
        elif isinstance(event, MessageReceived):
            self._message_received(event.text)
        elif isinstance(event, RenegotiationFailed):
            self.log.warn(
                "{client}: renegotiation failed, the key before lives on: {why}",
                client=self,
                why=tls_failure_words(event.error, self._host.own_certificate),
            )
        else:
            self._session_failed(event)

    def packets_received(self, peer: Peer, packets: list[Buffer]) -> None:
        """See `PeerHandler`."""
        if self.stage is Stage.CONNECTED:
            self._host.packets_received(self, packets)

    def time_is_up(self, peer: Peer, reason: str) -> None:
        """See `PeerHandler`."""
        self.disconnect(reason)

    def peer_lost(self, peer: Peer, reason: str) -> None:
        """See `PeerHandler`."""
        self.stage = Stage.ENDED
        if self._examination is not None:
            self._examination.abandon()
        if self._admission is not None and self._admission.badge is not None:
            self._admission.badge.discard()
        self._host.ended(self, reason)

    def _session_failed(self, event: SessionFailed) -> None:
        self.stage = Stage.ENDED
        if event.refusal is not None:
            self.log.warn("{client}: certificate refused: {why}", client=self, why=event.refusal)
            return
        words = tls_failure_words(event.error, self._host.own_certificate)
        self.log.warn("{client}: the session failed: {why}", client=self, why=words)

    # Authentication

    def _key_established(self, event: KeyEstablished) -> None:
        if self.stage is Stage.NEGOTIATING:
            self._begin(event)
        elif self.stage is Stage.UNWELCOME:
            self._begin(event)
            self._send_away(*self._parting)
            return
        elif self.stage is not Stage.CONNECTED:
            return
        self._username = event.remote.username
        if self._examination is not None:
            self._examination.abandon()
        examiner = self._host.examiner
        examination = examiner.examine(event, self.peer.address, self.peer.send_message, self._admission)
        self._examination = examination
        decided = examination.decide()
        if self.stage is Stage.CONNECTED:
            decided.addCallbacks(self._accepted_again, self._refused, callbackArgs=(event,))
        else:
            decided.addCallbacks(self._accepted, self._refused)
        decided.addErrback(self._broken)

    def _begin(self, event: KeyEstablished) -> None:
        self.stage = Stage.AUTHENTICATING
        self._common_name = event.common_name
        self.peer_info = event.peer_info
        self.certificate_serial = None if event.certificate is None else event.certificate.serial_number
        self._occ = event.remote.options
        if tells_all():
            for difference in option_differences(self._host.settings, self.peer.link, self._occ):
                self.log.debug("{client}: {difference}", client=self, difference=printable(difference))
        useless = useless_difference(self._host.settings, self.peer.link, self._occ)
        if useless is not None:
            self.log.warn("{client}: {difference}", client=self, difference=printable(useless))
        self._tls = event.description

    def _accepted(self, admission: Admission) -> None:
        if self.stage is not Stage.AUTHENTICATING:
            return
        self._admission = admission
        self.identity = admission.identity
        try:
            self._let_in(admission)
        except NegotiationError as error:
            self._turn_away(error)
        except PoolExhausted as error:
            self._turn_away(TemporarilyRejected(str(error)))

    def _let_in(self, admission: Admission) -> None:
        self._host.roster.admit(self, admission.identity)
        assert self.peer_id is not None
        self._agreement = agree(self._host.data, self.peer_info, self._occ, self.peer_id)
        self.stage = Stage.ADMITTED
        if self._push_requested or IvProto.REQUEST_PUSH in iv_proto(self.peer_info):
            self._push()

    def _accepted_again(self, admission: Admission, event: KeyEstablished) -> None:
        if self.stage is not Stage.CONNECTED:
            return
        assert self._admission is not None
        if admission.identity != self.identity or event.common_name != self._common_name:
            self._turn_away(NegotiationError(f"renegotiated as {admission.identity}"))
            return
        if admission.username != self._admission.username:
            self._turn_away(NegotiationError(f"renegotiated with the name {admission.username or 'of nobody'}"))
            return
        try:
            self._host.roster.check_welcome(admission.identity)
            self.peer.rekeyed(event)
        except NegotiationError as error:
            self._turn_away(error)
            return
        self._admission = admission
        self.certificate_serial = None if event.certificate is None else event.certificate.serial_number
        self.log.info(
            "{client}: renegotiated, key {key_id}, {tls}", client=self, key_id=event.key_id, tls=event.description
        )
        if admission.badge is not None:
            admission.badge.renew()

    def _refused(self, failure: Failure) -> None:
        failure.trap(AuthenticationRejected)
        assert isinstance(failure.value, AuthenticationRejected)
        self._turn_away(failure.value)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("{client}: authentication broke", failure, client=self)
        self._turn_away(NegotiationError("internal error"))

    def _turn_away(self, why: NegotiationError) -> None:
        """Refuse the client and tell it so (AUTH_FAILED)."""
        if self.stage is Stage.ENDED:
            return
        error = why if isinstance(why, AuthenticationRejected) else AuthenticationRejected(str(why))
        words = printable(str(error)) or type(error).__name__
        self.log.warn("{client}: refused: {why} ({portrait})", client=self, why=words, portrait=self.portrait)
        self.stage = Stage.ENDED
        self.peer.send_message(encode_message(refusal(error, self.peer_info)))
        self.peer.linger(f"refused: {words}")

    # Messages

    def _message_received(self, text: str) -> None:
        message = decode_message(text)
        if isinstance(message, PushRequest):
            self._push_request()
        elif isinstance(message, CrResponse):
            self._cr_response(message)
        elif isinstance(message, Exit):
            self.stage = Stage.ENDED
            self.peer.linger("the client has said goodbye")
        else:
            self.log.debug("{client}: control message {kind} ignored", client=self, kind=type(message).__name__)

    def _cr_response(self, message: CrResponse) -> None:
        if self._examination is None or not self._examination.answered(message.text):
            self.log.debug("{client}: an answer (CR_RESPONSE) to no question", client=self)

    def _push_request(self) -> None:
        self._push_requested = True
        now = self._clock.seconds()
        recently = self._pushed_at is not None and now < self._pushed_at + PUSH_REPEAT_INTERVAL
        if self.stage in {Stage.ADMITTED, Stage.CONNECTED} and not recently:
            self._push()

    def _push(self) -> None:
        agreement, admission, peer = self._agreement, self._admission, self.peer
        assert agreement is not None
        assert admission is not None
        badge = admission.badge
        self._pushed_at = self._clock.seconds()
        is_first = self.stage is Stage.ADMITTED
        data, options = self._host.data, self._host.options_for(self)
        try:
            compression, framing = choose_framing(data, self.overrides, options, self.peer_info, self._occ)
        except NegotiationError as error:
            self._turn_away(error)
            return
        if is_first:
            try:
                peer.begin_data(agreement.terms, compression, data.fragment)
            except NegotiationError as error:
                self._turn_away(error)
                return
            self.stage = Stage.CONNECTED
        shown = [] if badge is None else [*badge.options(), *badge.user_option()]
        for reply in split_push([*options, *agreement.pushed, *framing, *shown]):
            peer.send_message(encode_message(reply))
        if is_first and self.stage is Stage.CONNECTED:
            if badge is not None:
                badge.keep_fresh()
            # Last, so that what an application sends now finds the client ready.
            self._host.connected(self)

    def tell(self, text: str) -> None:
        """Show the client's user a text (INFO)."""
        if self.peer.is_open and self.stage is Stage.CONNECTED:
            self.peer.send_message(encode_message(Info(printable(text))))

    @property
    def can_update(self) -> bool:
        """Whether the client takes other options while it is connected (IV_PROTO, 2.7)."""
        is_there = self.stage is Stage.CONNECTED and self.peer.is_open
        return is_there and IvProto.PUSH_UPDATE in iv_proto(self.peer_info)

    def push_update(self, options: Sequence[str]) -> bool:
        """Send it changed options, in which `control.push_update.checked_changes` has found nothing wrong.

        False where it does not take them.
        """
        if not self.can_update:
            return False
        for update in split_push(options, "PUSH_UPDATE"):
            self.peer.send_message(encode_message(update))
        return True

    def disconnect(self, reason: str, params: str = "") -> None:
        """Send the client away and let it come back.

        `params` may begin with flags: "[N]" sends it to its next remote, "[P]" lets it keep its password.
        """
        self._send_away(Restart(printable(params)), reason)

    def halt(self, reason: str) -> None:
        """Send the client away for good: it ends."""
        self._send_away(Halt(printable(reason)), reason)

    def _send_away(self, message: Restart | Halt, reason: str) -> None:
        if self.stage in {Stage.NEGOTIATING, Stage.UNWELCOME}:
            # Were it left alone, it would wait for the rest of its hand-window.
            self.stage, self._parting = Stage.UNWELCOME, (message, reason)
            return
        if self.peer.is_open and self.stage in {Stage.AUTHENTICATING, Stage.ADMITTED, Stage.CONNECTED}:
            self.peer.send_message(encode_message(message))
        # Whoever examines it may yet come to like it.
        self.stage = Stage.ENDED
        self.peer.linger(reason)
