"""A control channel session: one pair of session ids, and the keys negotiated under it.

Bytes and the time go in; bytes, a deadline and events come out.  Nothing here owns a socket or a timer.
"""

from __future__ import annotations

import os
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from twistvpn.control.events import (
    Event,
    KeyEstablished,
    MessageReceived,
    RenegotiationBegun,
    RenegotiationFailed,
    SessionFailed,
)
from twistvpn.control.exchange import KeyExchange
from twistvpn.control.negotiation import Input, Negotiation, State
from twistvpn.control.negotiations import Negotiations
from twistvpn.control.reliable import ACKS_WITH_MESSAGE, Message, Reliable
from twistvpn.control.session_wrapping import SessionWrapping
from twistvpn.crypto.derive import EXPORTER_LABEL, EXPORTER_LENGTH, key_expansion_prf
from twistvpn.crypto.statickey import KEY_SIZE
from twistvpn.crypto.wrapping import DYNAMIC_LABEL
from twistvpn.errors import MalformedPacket, UnknownKey, WireError
from twistvpn.wire.opcodes import Opcode
from twistvpn.wire.packets import SESSION_ID_SIZE, ControlPacket
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.config.settings import ControlSettings
    from twistvpn.control.round_trips import RoundTrips
    from twistvpn.control.tls import ControlTlsFactory
    from twistvpn.crypto.wrapping import Opened, Wrapping
    from twistvpn.interfaces import Buffer
    from twistvpn.wire.keymethod import KeyMethod2

__all__ = [
    "ControlSession",
    "Event",
    "KeyDerivation",
    "KeyEstablished",
    "MessageReceived",
    "RenegotiationBegun",
    "RenegotiationFailed",
    "SessionFailed",
    "WrongSession",
]

_FIXED_HEADER = 1 + SESSION_ID_SIZE + 1 + 4 * ACKS_WITH_MESSAGE + SESSION_ID_SIZE + 4
"""Opcode, session id, acknowledgements with the peer's session id, message id."""

MAX_PAYLOAD = 2048
"""Bytes of a control message that is taken; no peer sends more, and strangers may make us keep a window of them."""


class WrongSession(WireError):
    """A control packet under a session id that is not this session's."""

    reason = "session-id"


class KeyDerivation(Enum):
    """Where data channel keys come from."""

    EXPORTER = auto()
    """The TLS exporter (`key-derivation tls-ekm`)."""
    PRF = auto()
    """The PRF of TLS 1.0 over both ends' random material; peers before 2.6."""


class ControlSession:
    """One end of a control channel.

    `offer` makes our key method 2 message, afresh for each key.  All times are seconds since the epoch:
    wrapped packets carry them.  After packets were received call `read`.  After any call, send what `datagrams_to_send`
    gives, look at `take_events`, and call `tick` again at `deadline`.
    """

    def __init__(
        self,
        role: Role,
        wrapping: Wrapping,
        tls: ControlTlsFactory,
        offer: Callable[[], KeyMethod2],
        settings: ControlSettings,
        round_trips: RoundTrips,
        session_id: bytes | None = None,
    ) -> None:
        self.session_id = os.urandom(SESSION_ID_SIZE) if session_id is None else session_id
        self.remote_session_id: bytes | None = None
        self.adapt: Callable[[KeyMethod2, KeyMethod2], KeyMethod2] | None = None
        """Called by a server's session with its message and the client's; returns what it says to that client."""
        self.is_proven = False
        """Whether the peer has shown that it receives what is sent to its address."""
        self._role = role
        self._wrapping = SessionWrapping(wrapping, role)
        self._tls = tls
        self._offer = offer
        self._settings = settings
        self._round_trips = round_trips
        self._keys = Negotiations()
        self._held: list[str] = []
        """Messages that wait for the key that is being negotiated."""
        self._events: list[Event | RenegotiationBegun] = []
        self._heard_key = 0
        """The key id of the last packet."""
        self._now = 0.0

    # Beginning

    def connect(self, now: float) -> None:
        """Begin as the client: a hard reset goes out."""
        self._now = now
        self._open(0, self._wrapping.first.key.client_reset, Reliable(self._round_trips))

    def accept(self, remote_session_id: bytes, now: float) -> None:
        """Begin as the server on a stream, where the client's hard reset is about to be taken."""
        self._now = now
        self.remote_session_id = remote_session_id
        self._open(0, Opcode.P_CONTROL_HARD_RESET_SERVER_V2, Reliable(self._round_trips))

    def resume(self, remote_session_id: bytes, now: float) -> None:
        """Begin as the server where resets were exchanged statelessly (`cookie.CookieJar`)."""
        self._now = now
        self.remote_session_id = remote_session_id
        reliable = Reliable(self._round_trips, first_outgoing=1, first_incoming=1)
        self._negotiation(0, reliable).advance(Input.PEER_RESET)

    def _open(self, key_id: int, reset: Opcode, reliable: Reliable) -> Negotiation:
        reliable.enqueue(reset, b"")
        return self._negotiation(key_id, reliable)

    def _negotiation(self, key_id: int, reliable: Reliable) -> Negotiation:
        wrapping = self._wrapping.of(key_id)
        negotiation = Negotiation(
            key_id,
            reliable,
            KeyExchange(self._offer(), self),
            self._tls,
            max_payload=self._settings.max_packet_size - _FIXED_HEADER - wrapping.overhead,
            wrapped_size=wrapping.key.wrapped_size,
            began=self._now,
            give_up_at=self._now + self._settings.hand_window,
        )
        self._keys.add(negotiation)
        return negotiation

    # Renegotiation

    def use_dynamic_tls_crypt(self) -> None:
        """Wrap what renegotiates under a key that only the two ends of this session know.

        To be called when both ends have agreed on it, once, after the first key exchange.  Raises `KeyGone`.
        """
        self._wrapping.use_dynamic(partial(self._keys.established(0).export, DYNAMIC_LABEL, KEY_SIZE))

    @property
    def can_renegotiate(self) -> bool:
        """Whether there is a key in use, and no other is about to replace it."""
        return self._keys.has_key_in_use and not self._keys.is_renegotiating

    def data_keys_made(self, key_id: int) -> None:
        """Data keys were made of an established key: either end may renegotiate from now on."""
        self._keys.established(key_id).advance(Input.DATA_KEYS_MADE)

    def is_acknowledged(self, key_id: int) -> bool:
        """Whether the peer has all that we have said under an established key, and so can derive its data keys."""
        negotiation = self._keys.get(key_id)
        return negotiation is not None and not negotiation.is_unfinished and negotiation.reliable.settled

    def silence_old_keys(self) -> None:
        """Say no more under any key but the newest.

        For streams, where all that was sent has arrived, and where a stock peer that renegotiates takes a packet under
        the key before for a broken session.
        """
        self._keys.silence_old()

    def silence_echoes(self) -> None:
        """Repeat no acknowledgements by themselves: the peer has shown that it has them."""
        for negotiation in self._keys:
            negotiation.reliable.silence_echoes()

    def renegotiate(self, now: float) -> None:
        """Start the next key with a soft reset; nothing happens while one is under way."""
        self._now = now
        if self.can_renegotiate:
            self._soft_reset()

    def _soft_reset(self) -> Negotiation:
        # The first key has no data to compete with.
        reliable = Reliable(self._round_trips, echoes=self._round_trips.echoes)
        return self._open(self._keys.next_key_id, Opcode.P_CONTROL_SOFT_RESET_V1, reliable)

    # What arrives

    def receive_datagram(self, datagram: Buffer, now: float) -> None:
        """Unwrap and take one control packet; raises `WireError` for one that is to be dropped."""
        self.receive(self._wrapping.unwrap(datagram), now)

    def receive_opened(self, opened: Opened, now: float) -> None:
        """The same for a packet that the static key alone has opened, before there was a session."""
        self.receive(self._wrapping.first.admit(opened), now)

    def receive(self, packet: ControlPacket, now: float) -> None:
        """Take one control packet that is already unwrapped; raises `WireError` for one that is to be dropped."""
        self._now = now
        if len(packet.payload) > MAX_PAYLOAD:
            raise MalformedPacket(f"a control message of {len(packet.payload)} bytes")
        self._check_session_ids(packet)
        if packet.key_id != self._heard_key or _is_soft_reset(packet):
            # What has come before is read first: what this packet may be depends on how far other keys are.
            self._heard_key = packet.key_id
            self.read(now)
        negotiation = self._keys.get(packet.key_id)
        if negotiation is None or (negotiation.state is State.ENDED and _is_soft_reset(packet)):
            # The second is another try after one that has come to nothing.
            negotiation = self._answer_soft_reset(packet)
        negotiation.reliable.acknowledged(packet.acks, now)
        if packet.message_id is None:
            return
        for message in negotiation.reliable.receive(Message(packet.message_id, packet.opcode, packet.payload)):
            self._deliver(negotiation, message)

    def _deliver(self, negotiation: Negotiation, message: Message) -> None:
        before = negotiation.state
        negotiation.deliver(message)
        if before is State.RESETTING and negotiation.key_id:
            self._events.append(RenegotiationBegun(negotiation.key_id))

    def read(self, now: float) -> None:
        """Let TLS have what the packets of a batch have brought; raises `WireError` where that may not be."""
        self._now = now
        for negotiation in list(self._keys):
            negotiation.read()

    def _check_session_ids(self, packet: ControlPacket) -> None:
        if packet.remote_session_id not in {None, self.session_id}:
            raise WrongSession("acknowledges another session's messages")
        self.is_proven |= packet.remote_session_id is not None
        if self.remote_session_id is None:
            if packet.opcode is not Opcode.P_CONTROL_HARD_RESET_SERVER_V2 or packet.remote_session_id is None:
                raise WrongSession("not the answer to our reset")
            self.remote_session_id = packet.session_id
        elif packet.session_id != self.remote_session_id:
            raise WrongSession("from another session")

    def _answer_soft_reset(self, packet: ControlPacket) -> Negotiation:
        if not _is_soft_reset(packet) or not self._keys.has_key_in_use or packet.key_id != self._keys.next_key_id:
            raise UnknownKey(f"no negotiation of key {packet.key_id}")
        return self._soft_reset()

    # What leaves

    def send_message(self, text: str, now: float) -> None:
        """Send a control message; before the first key exchange is complete there is no one to hear it.

        While a key is being renegotiated it waits for that: a stock peer hears nothing under the one before.
        """
        self._now = now
        if self._keys.is_renegotiating:
            self._held.append(text)
        elif self._keys.current is not None:
            self._keys.current.send(text)

    def _send_held(self) -> None:
        held, self._held = self._held, []
        if self._keys.current is not None:
            for text in held:
                self._keys.current.send(text)

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """The control packets to put on the wire at `now`, wrapped."""
        out: list[bytes] = []
        for negotiation in self._keys:
            reliable = negotiation.reliable
            out += [
                self._wrap(negotiation.key_id, message, reliable.take_acks(ACKS_WITH_MESSAGE), now)
                for message in reliable.due(now)
            ]
            while reliable.acks_due(now):
                out.append(self._wrap(negotiation.key_id, None, reliable.take_lone_acks(now), now))
        return out

    def _wrap(self, key_id: int, message: Message | None, acks: tuple[int, ...], now: float) -> bytes:
        packet = ControlPacket(
            opcode=Opcode.P_ACK_V1 if message is None else message.opcode,
            key_id=key_id,
            session_id=self.session_id,
            acks=acks,
            remote_session_id=self.remote_session_id if acks else None,
            message_id=None if message is None else message.message_id,
            payload=b"" if message is None else message.payload,
        )
        return self._wrapping.of(key_id).wrap(packet, now)

    @property
    def settled(self) -> bool:
        """True when the peer has acknowledged everything."""
        return not self._held and self._keys.settled

    # Time

    def deadline(self) -> float | None:
        """When `tick` wants to be called if nothing else happens; None for never."""
        return self._keys.deadline()

    def tick(self, now: float) -> None:
        """Give up what has taken too long, and let go of keys that newer ones have replaced."""
        self._now = now
        for negotiation in self._keys.overdue(now):
            waited = self._settings.hand_window
            step = "TLS handshake" if negotiation.state is State.HANDSHAKE else "answer"
            negotiation.reliable.abandon()
            self._failed(negotiation, TimeoutError(f"no {step} within {waited:g} s (hand-window)"), None)

    def take_events(self) -> list[Event | RenegotiationBegun]:
        """What has happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End every TLS session in silence."""
        self._keys.close(self._now)

    # Keys

    def key_material(self, key_id: int, derivation: KeyDerivation) -> bytes:
        """The 256 bytes that the data keys of an established key are cut from (`crypto.derive.split_keys`).

        Raises `KeyGone` where the key is there no longer: its TLS has ended, or others have replaced it.
        """
        negotiation = self._keys.established(key_id)
        remote = negotiation.exchange.remote
        assert remote is not None
        if derivation is KeyDerivation.EXPORTER:
            return negotiation.export(EXPORTER_LABEL, EXPORTER_LENGTH)
        assert self.remote_session_id is not None
        ours, theirs = negotiation.exchange.local.source, remote.source
        if self._role is Role.CLIENT:
            return key_expansion_prf(ours, theirs, self.session_id, self.remote_session_id)
        return key_expansion_prf(theirs, ours, self.remote_session_id, self.session_id)

    def export(self, label: bytes, length: int) -> bytes:
        """Keying material of the first key's TLS session, `length` bytes; raises `KeyGone`."""
        return self._keys.established(0).export(label, length)

    # What the exchanges report (`exchange.ExchangeListener`)

    def answer(self, local: KeyMethod2, remote: KeyMethod2) -> KeyMethod2:
        """What a server says, with the client's own words in view."""
        return local if self.adapt is None else self.adapt(local, remote)

    def exchange_done(self, exchange: KeyExchange) -> None:
        """Make the key the one that messages go under, and let the one before it retire."""
        negotiation = self._keys.of(exchange)
        if negotiation is None or exchange.remote is None:
            raise MalformedPacket("a key exchange of a key that is gone")
        negotiation.advance(Input.EXCHANGE_DONE)
        # Peers before 2.6 acknowledge once: where that was lost, the reset would come again and be taken for another.
        negotiation.reliable.take_for_arrived(0)
        self._keys.promote(negotiation, self._now + self._settings.hand_window)
        self._events.append(
            KeyEstablished(
                negotiation.key_id,
                exchange.remote,
                exchange.certificate,
                self._describe(negotiation),
                negotiation.began,
                self._wrapping.first.key.metadata,
            )
        )
        self._send_held()

    def _describe(self, negotiation: Negotiation) -> str:
        wrapping = self._wrapping.of(negotiation.key_id).key.name
        tls = negotiation.tls_description()
        return f"{tls} in {wrapping}" if wrapping else tls

    def message_received(self, text: str) -> None:
        """Pass a control message on."""
        self._events.append(MessageReceived(text))

    def exchange_lost(self, exchange: KeyExchange, reason: BaseException, refusal: str | None) -> None:
        """A key's TLS is over: the session's end, unless a newer key has replaced that one."""
        negotiation = self._keys.of(exchange)
        if negotiation is None or negotiation.retire_at is not None:
            return
        if negotiation.state is not State.ENDED:
            self._failed(negotiation, reason, refusal)

    def _failed(self, negotiation: Negotiation, error: BaseException, refusal: str | None) -> None:
        negotiation.advance(Input.TLS_ENDED)
        if self._keys.current in {None, negotiation}:
            self._events.append(SessionFailed(error, refusal))
        else:
            self._events.append(RenegotiationFailed(negotiation.key_id, negotiation.began, error, refusal))
            self._send_held()


def _is_soft_reset(packet: ControlPacket) -> bool:
    return packet.opcode is Opcode.P_CONTROL_SOFT_RESET_V1 and packet.message_id == 0
