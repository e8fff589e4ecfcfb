"""One connection to a server, from the reset to its end: asks for options and follows the server's messages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from OpenSSL import SSL
from service_identity import VerificationError
from zope.interface import implementer

from twistvpn.client.data_format import choose_compression, data_terms
from twistvpn.client.point_to_point import agreed_options
from twistvpn.client.pulling import Pull
from twistvpn.client.questions import Questions
from twistvpn.client.remotes import Ending
from twistvpn.consistency import lone_fragment, option_differences, useless_difference
from twistvpn.control.push import PushedOptions, parse_pushed
from twistvpn.control.session import KeyEstablished, MessageReceived, RenegotiationFailed, SessionFailed
from twistvpn.control.verify import tls_failure_words
from twistvpn.errors import ConfigError, KeyGone, NegotiationError, PushRejected
from twistvpn.interfaces import ILinkReceiver
from twistvpn.link.addresses import readable
from twistvpn.link.connections import cancel
from twistvpn.point_to_point import is_for_many
from twistvpn.runs import is_data, uniform_parts
from twistvpn.verbosity import Logger
from twistvpn.wire.challenges import parse_dynamic
from twistvpn.wire.messages import (
    AuthFailed,
    AuthPending,
    Exit,
    Halt,
    Info,
    InfoPre,
    PushReply,
    PushUpdate,
    Restart,
    decode_message,
    encode_message,
)
from twistvpn.wire.options import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from twistvpn.client.host import ClientHost
    from twistvpn.client.login import Login
    from twistvpn.client.lookup import PulledNames
    from twistvpn.config.settings import Settings
    from twistvpn.control.session import Event
    from twistvpn.interfaces import Address, Buffer, ILink, Run
    from twistvpn.peer import Peer

MOST_GOODBYES = 10
"""Tries of an `explicit-exit-notify`; a server that pushes more does not keep us from leaving."""


_ADVANCES = {"no": Ending.SAME, "addr": Ending.ADDRESS, "remote": Ending.NEXT}
"""What AUTH_FAILED,TEMP says of the next try; as stock clients we stay where we are unless told otherwise."""


UNKNOWN_SOURCE = "unknown-source"
"""The reason that datagrams from elsewhere than the server are dropped for."""


class ConnectionOwner(Protocol):
    """The client service, as its connection sees it."""

    own_certificate: x509.Certificate | None
    login: Login
    host: ClientHost

    def connected(self, pushed: PushedOptions) -> None:
        """The server has told its options; the data channel stands."""

    def updated(self, pushed: PushedOptions) -> None:
        """The server has changed its options."""

    def link_broken(self) -> None:
        """The link itself has failed, and says why: an answer was not to be expected."""

    def renegotiation_failed(self, reason: str) -> None:
        """The last key has begun to run out; there is no other to come."""

    def connection_ended(self, reason: str, ending: Ending, least_wait: float) -> None:
        """It is over; the server wants the next try to wait `least_wait` seconds."""


def _why_lost(reason: Failure) -> str:
    """Why a stream has closed; TLS around it may not have come about."""
    error = reason.value
    if isinstance(error, VerificationError):
        return "the TLS around the link: the certificate is for another host; outer-name says what it must be for"
    if isinstance(error, SSL.Error):
        words = tls_failure_words(error, None)
        mend = "; outer-ca names a file with who signs it" if "certificate verify failed" in words else ""
        return f"the TLS around the link: {words}{mend}"
    return f"the connection closed ({reason.getErrorMessage()})"


@implementer(ILinkReceiver)
class ClientConnection:
    """Follows one server.  It is the peer's handler and the link's receiver."""

    log = Logger()

    def __init__(
        self, owner: ConnectionOwner, settings: Settings, clock: IReactorTime, names: PulledNames | None = None
    ) -> None:
        """`names` looks up those that `allow-pull-fqdn` lets the server push."""
        self.pushed: PushedOptions | None = None
        self._owner = owner
        assert settings.client is not None
        self._settings = settings
        self._client = settings.client
        self._clock = clock
        self._ending = Ending.RETRY
        self._least_wait = 0.0
        self._silence_ending = Ending.RETRY
        """What the server's silence means: with `ping-exit` it ends the client."""
        self._why: str | None = None
        self._server_occ = ""
        self._goodbyes: IDelayedCall | None = None
        self._pull = Pull(settings, clock, self._say, self._no_options, names)
        self._questions = Questions(owner.login.prompt, self._say)
        self._peer: Peer | None = None

    @property
    def peer(self) -> Peer:
        """The server; `attach` has been called."""
        assert self._peer is not None
        return self._peer

    @property
    def unknown_sources(self) -> int:
        """Datagrams from elsewhere than the server, dropped."""
        return self.peer.drops[UNKNOWN_SOURCE]

    def _say(self, text: str) -> None:
        if self.peer.is_open:
            self.peer.send_message(text)

    def hand_over(self, owner: ConnectionOwner) -> None:
        """Report to another from now on."""
        self._owner = owner

    def attach(self, peer: Peer) -> None:
        """Say which peer this is the handler of."""
        self._peer = peer

    # The link (`interfaces.ILinkReceiver`)

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        """Hand what comes from the server to its peer."""
        peer = self.peer
        for run, address in batch:
            if address != peer.address and not self._client.floats:
                peer.drops[UNKNOWN_SOURCE] += len(run.datagrams())
                continue
            for part in uniform_parts(run):
                if is_data(part):
                    peer.answer()
                    if peer.data_received(part) and address != peer.address:
                        self._move(address)
                else:
                    peer.control_received(part.data)
        peer.answer()
        self._owner.host.batch_ended()

    def _move(self, address: Address) -> None:
        """Data that is authentic has come from elsewhere: the server is there now (`float`)."""
        self.log.info("the server answers from {address}: following it", address=readable(address))
        self.peer.address = address

    def link_lost(self, link: ILink, reason: Failure) -> None:
        """The stream has closed."""
        if reason.check(VerificationError, SSL.Error):
            self._owner.link_broken()
        self.peer.close(_why_lost(reason))

    # What the peer reports (`peer.PeerHandler`)

    def session_event(self, peer: Peer, event: Event) -> None:
        """See `PeerHandler`."""
        if isinstance(event, KeyEstablished):
            self._key_established(event)
        elif isinstance(event, MessageReceived):
            self._message_received(event.text)
        elif isinstance(event, RenegotiationFailed):
            self._renegotiation_failed(event)
        else:
            self._session_failed(event)

    def packets_received(self, peer: Peer, packets: list[Buffer]) -> None:
        """See `PeerHandler`."""
        if self.pushed is not None:
            self._owner.host.packets_received(packets)

    def time_is_up(self, peer: Peer, reason: str) -> None:
        """See `PeerHandler`: as in stock clients it is the end, not a pause."""
        self._ending = Ending.FATAL
        self.say_goodbye(reason)

    def peer_lost(self, peer: Peer, reason: str) -> None:
        """See `PeerHandler`."""
        self._say_no_more()
        ending = self._silence_ending if peer.is_silent else self._ending
        self._questions.cancel()
        self._owner.connection_ended(self._why or reason, ending, self._least_wait)

    def _session_failed(self, event: SessionFailed) -> None:
        if self._client.tls_exit:
            self._ending = Ending.FATAL
        if event.refusal is not None:
            self._why = f"the server's certificate is refused: {event.refusal}"
        else:
            self._why = f"the session failed: {tls_failure_words(event.error, self._owner.own_certificate)}"

    def _key_established(self, event: KeyEstablished) -> None:
        self.log.info("key {key_id} established, {tls}", key_id=event.key_id, tls=event.description)
        if self.pushed is not None:
            self._rekeyed(event)
            return
        self._server_occ = event.remote.options
        for difference in option_differences(self._settings, self.peer.link, self._server_occ):
            self.log.debug("the server's options: {difference}", difference=printable(difference))
        useless = useless_difference(self._settings, self.peer.link, self._server_occ)
        if useless is not None:
            self.log.warn("the server's options: {difference}", difference=printable(useless))
        mode = self._settings.point_to_point
        if mode is not None:
            if is_for_many(event.peer_info, self._server_occ):
                self.log.warn(
                    "the other end seems to be a server for many, which lets nothing through to who does not ask for "
                    "its options; if so, write client in the place of tls-client and ifconfig"
                )
            self._use(partial(agreed_options, self._settings, mode, event, self.peer.session.export))
            return
        self._pull.begin()

    def _no_options(self) -> None:
        self._end("the server sent no options (PUSH_REPLY)", Ending.RETRY)

    def _rekeyed(self, event: KeyEstablished) -> None:
        try:
            self.peer.rekeyed(event)
        except KeyGone as error:
            self._end(str(error), Ending.RETRY)

    def _renegotiation_failed(self, event: RenegotiationFailed) -> None:
        if self._why is not None:
            return  # we are leaving already
        words = tls_failure_words(event.error, self._owner.own_certificate)
        self._owner.renegotiation_failed(f"renegotiation failed: {words}")

    # Messages

    def _message_received(self, text: str) -> None:
        message = decode_message(text)
        if isinstance(message, (PushReply, PushUpdate)):
            self._pushed(message)
        elif isinstance(message, AuthFailed):
            self._auth_failed(message)
        elif isinstance(message, AuthPending):
            self._auth_pending(message)
        elif isinstance(message, Restart):
            self._restart(message)
        elif isinstance(message, Halt):
            self._end(f"the server sends us away: {message.reason or 'HALT'}", Ending.FATAL)
        elif isinstance(message, Exit):
            self._end("the server has said goodbye", Ending.RETRY)
        elif isinstance(message, (Info, InfoPre)):
            self._questions.received(message)

    def _auth_pending(self, message: AuthPending) -> None:
        wait = self._pull.be_patient(message.timeout)
        self.log.info("the server takes its time to decide, {wait:.0f} s at most (AUTH_PENDING)", wait=wait)

    def _restart(self, message: Restart) -> None:
        flags = message.params[1:].partition("]")[0] if message.params.startswith("[") else ""
        if "P" not in flags:
            self._owner.login.forget()
        words = message.params.partition("]")[2].lstrip(":, ") if flags else message.params
        why = f"the server asks for a restart{f': {words}' if words else ''}"
        self._end(why, Ending.NEXT if "N" in flags else Ending.RETRY)

    def _auth_failed(self, message: AuthFailed) -> None:
        why = f"the server refuses us (AUTH_FAILED): {message.reason or 'the server gives no reason'}"
        if message.temporary is not None:
            backoff = message.temporary.get("backoff", "")
            self._least_wait = float(backoff) if backoff.isascii() and backoff.isdigit() else 0.0
            self._end(why, _ADVANCES.get(message.temporary.get("advance", ""), Ending.SAME))
        elif self._owner.login.refused(message.reason):
            challenge = parse_dynamic(message.reason)
            self._end(why if challenge is None else f"the server asks: {challenge.text}", Ending.SAME)
        else:
            self._end(why, Ending.FATAL)

    def _pushed(self, message: PushReply | PushUpdate) -> None:
        if self._settings.point_to_point is not None:
            self.log.warn("the other end pushes options; in point-to-point mode it has none to push")
        elif isinstance(message, PushReply):
            self._push_reply(message)
        else:
            self._push_update(message)

    def _push_reply(self, reply: PushReply) -> None:
        if self.pushed is not None or self._pull.is_looking:
            self._token_pushed(reply)
            return
        try:
            wanted = self._pull.replied(reply)
        except PushRejected as error:
            self._end(str(error), Ending.RETRY)
            return
        if wanted is not None:
            self._pull.with_addresses(wanted, lambda options: self._use(partial(self._pull.read, options)))

    def _use(self, read: Callable[[], PushedOptions]) -> None:
        """Open the data channel with the options that `read` gives, or end the connection."""
        try:
            pushed = read()
            self._open_data(pushed)
        except (KeyGone, PushRejected) as error:
            self._end(str(error), Ending.RETRY)
            return
        except (NegotiationError, ConfigError) as error:
            self._end(str(error), Ending.FATAL)
            return
        self.pushed = pushed
        self._owner.login.token_pushed(pushed.auth_token, pushed.auth_token_user)
        for option in pushed.unknown:
            self.log.info("the server pushes {option!r}, which changes nothing here", option=option)
        self._owner.connected(pushed)

    def _token_pushed(self, reply: PushReply) -> None:
        """All that a further reply may change is the token."""
        try:
            pushed = parse_pushed([option for option in reply.options if option.startswith("auth-token")])
        except NegotiationError as error:
            self.log.warn("{error}", error=error)
            return
        self._owner.login.token_pushed(pushed.auth_token, pushed.auth_token_user)

    def _push_update(self, message: PushUpdate) -> None:
        if self.pushed is None:
            return
        try:
            wanted = self._pull.updated(message)
        except NegotiationError as error:
            self._end(str(error), Ending.RETRY)
            return
        if wanted is None:
            return
        for option in self._pull.ignored:
            self.log.info("the server's PUSH_UPDATE has {option!r}, which is ignored", option=option)
        self._pull.with_addresses(wanted, self._updated)

    def _updated(self, options: Sequence[str]) -> None:
        try:
            self.pushed = self._pull.read(options)
        except NegotiationError as error:
            self._end(str(error), Ending.RETRY)
            return
        self._set_keepalive(self.pushed)
        self._owner.updated(self.pushed)

    def _open_data(self, pushed: PushedOptions) -> None:
        data = self._settings.data
        terms = data_terms(data, pushed, self._server_occ)
        fragment = pushed.fragment or data.fragment
        useless = lone_fragment(self._settings, self.peer.link, self._server_occ) if fragment is None else None
        if useless is not None:
            self.log.warn("the server's options: {difference}", difference=useless)
        self.peer.begin_data(terms, choose_compression(data, pushed), fragment)
        self._set_keepalive(pushed)

    def _set_keepalive(self, pushed: PushedOptions) -> None:
        data = self._settings.data
        ping = data.ping if pushed.ping is None else pushed.ping
        # One timer, as in stock: what the server pushes takes the place of either of ours.
        told = (pushed.ping_restart, pushed.ping_exit)
        restart, end = (data.ping_restart, data.ping_exit) if told == (None, None) else told
        self._silence_ending = Ending.FATAL if end else Ending.RETRY
        self.peer.set_keepalive(ping, end or restart or 0.0, "ping-exit" if end else "ping-restart")
        inactive, inactive_bytes = pushed.inactive or (data.inactive, data.inactive_bytes)
        lasting = data.session_timeout if pushed.session_timeout is None else pushed.session_timeout
        self.peer.set_limits(inactive, inactive_bytes, lasting)

    # The end

    def unanswered(self, why: str, ending: Ending) -> None:
        """The server has not answered at all."""
        self._ending = self._silence_ending = ending
        self.peer.close(why)

    def _say_no_more(self) -> None:
        self._pull.stop()
        cancel(self._goodbyes)

    def _end(self, why: str, ending: Ending) -> None:
        self._say_no_more()
        self._why, self._ending = why, ending
        # The server waits for the acknowledgement of what it has just said.
        self.peer.linger(why)

    def say_goodbye(self, why: str = "we have said goodbye") -> None:
        """Tell the server that we leave, and end once it has heard."""
        self._say_no_more()
        self._why = why
        if self.pushed is None:
            self.peer.close(self._why)
            return
        if "cc-exit" in self.pushed.protocol_flags:
            self.peer.send_message(encode_message(Exit()))
            self.peer.linger(self._why)
            return
        if self.goodbyes:
            self._say_goodbye_in_data(self.goodbyes)
        else:
            self.peer.close(self._why)

    @property
    def goodbyes(self) -> int:
        """How often goodbye is said on the data channel, once there are options.

        A server only lets its client go. In point-to-point mode stock peers up to 2.5 that hear it end for good: to
        those it is said where the admin wants it.
        """
        assert self.pushed is not None
        wanted = self.pushed.explicit_exit_notify
        tries = self._client.explicit_exit_notify if wanted is None else wanted
        if self._settings.point_to_point is None:
            tries = max(1, tries)
        return min(tries, 1 if self.peer.link.is_stream else MOST_GOODBYES)

    def _say_goodbye_in_data(self, tries: int) -> None:
        """Nothing acknowledges an OCC message: `explicit-exit-notify` says how often it is said, once a second."""
        self.peer.say_goodbye()
        if tries > 1:
            self._goodbyes = self._clock.callLater(1, self._say_goodbye_in_data, tries - 1)
        else:
            self.peer.linger(self._why or "")
