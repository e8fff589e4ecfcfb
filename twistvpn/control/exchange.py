"""The key exchange (key method 2) and the control messages behind it: the protocol above TLS.

Both ends send random material and what they are; from then on every TLS record is one message.
See the wire-protocol draft, sections "Key method 2" and "Control channel messages".
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from zope.interface import implementer

from twistvpn.errors import MalformedPacket, NegotiationError
from twistvpn.wire.keymethod import (
    IncompleteMessage,
    KeyMethod2,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
)

if TYPE_CHECKING:
    from cryptography import x509
    from twisted.python.failure import Failure

MAX_RECORD = 2048
"""Bytes that stock peers accept, and send, in one message."""

_MAX_PENDING = 2 * MAX_RECORD
"""Bytes of an unfinished message that are kept before the peer counts as broken."""


class ExchangeListener(Protocol):
    """The session, told what the exchange has come to."""

    def answer(self, local: KeyMethod2, remote: KeyMethod2) -> KeyMethod2:
        """What a server that would say `local` says to the client that has said `remote`."""

    def exchange_done(self, exchange: KeyExchange) -> None:
        """Both ends' key material is there."""

    def message_received(self, text: str) -> None:
        """A control message has arrived, without its NUL."""

    def exchange_lost(self, exchange: KeyExchange, reason: BaseException, refusal: str | None) -> None:
        """TLS has ended; `refusal` tells what we had against the peer's certificate, if that is why."""


class _State(Enum):
    HANDSHAKE = auto()
    AWAITING_KEYS = auto()
    DONE = auto()


@implementer(IHandshakeListener)
class KeyExchange(TwistedProtocol):
    """One key's exchange.  `local` is our message, `remote` the peer's once it is there."""

    def __init__(self, local: KeyMethod2, listener: ExchangeListener) -> None:
        self.local = local
        self.remote: KeyMethod2 | None = None
        self.certificate: x509.Certificate | None = None
        """The certificate that the peer has shown and TLS has verified."""
        self._listener = listener
        self._state = _State.HANDSHAKE
        self._pending = b""
        self._refusal: str | None = None

    @property
    def _is_client(self) -> bool:
        return bool(self.local.source.pre_master)

    def certificate_verified(self, certificate: x509.Certificate) -> None:
        """Keep it (`verify.VerificationListener`)."""
        self.certificate = certificate

    def certificate_refused(self, why: str) -> None:
        """Keep the first reason why the peer's certificate is not accepted (`verify.VerificationListener`)."""
        self._refusal = self._refusal or why

    def handshakeCompleted(self) -> None:
        """TLS stands: the client speaks first."""
        self._state = _State.AWAITING_KEYS
        if self._is_client:
            try:
                self._write(encode_client(self.local))
            except NegotiationError as error:
                self._fail(str(error))

    def dataReceived(self, data: bytes) -> None:
        """Take the plaintext of one TLS record."""
        self._pending += data
        if self._state is _State.AWAITING_KEYS and not self._read_keys():
            return
        self._read_messages()

    def _read_keys(self) -> bool:
        decode = decode_server if self._is_client else decode_client
        try:
            self.remote, self._pending = decode(self._pending)
        except IncompleteMessage:
            self._refuse_flood()
            return False
        except MalformedPacket as error:
            self._fail(f"the peer's key exchange message is malformed: {error}")
            return False
        self._state = _State.DONE
        if not self._is_client:
            self._write(encode_server(self._listener.answer(self.local, self.remote)))
        self._listener.exchange_done(self)
        return True

    def _read_messages(self) -> None:
        while (end := self._pending.find(b"\0")) >= 0:
            text, self._pending = self._pending[:end], self._pending[end + 1 :]
            if text:
                self._listener.message_received(text.decode("utf-8", "replace").rstrip("\r\n"))
        self._refuse_flood()

    def _refuse_flood(self) -> None:
        if len(self._pending) > _MAX_PENDING:
            self._fail("the peer's message is too long")

    def _fail(self, why: str) -> None:
        self._pending = b""
        self._listener.exchange_lost(self, NegotiationError(why), None)

    def send(self, text: str) -> None:
        """Send one control message in a TLS record of its own."""
        self._write(text.encode("utf-8", "replace") + b"\0")

    def _write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """TLS is over: a failed handshake, a fatal alert or close_notify."""
        self._listener.exchange_lost(self, reason.value or NegotiationError("the TLS session ended"), self._refusal)
