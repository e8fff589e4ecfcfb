"""One key's negotiation: reset, TLS handshake, key exchange, and the table that says what may follow what."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from twistvpn.control.exchange import KeyExchange
from twistvpn.control.tls import ControlTlsFactory, ReliableTransport, drop
from twistvpn.errors import KeyGone, MalformedPacket
from twistvpn.wire.earlyneg import EarlyFlag, decode_early_flags
from twistvpn.wire.opcodes import Opcode

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    from twistvpn.control.reliable import Message, Reliable


class State(Enum):
    """Where a key's negotiation stands."""

    RESETTING = auto()
    """Awaiting the peer's reset."""
    HANDSHAKE = auto()
    """TLS runs, or the key exchange on it."""
    ESTABLISHED = auto()
    """Both ends' key material is there; control messages may flow."""
    IN_USE = auto()
    """Data keys were made of it: from now on it may have a successor."""
    ENDED = auto()
    """TLS is over; nothing more comes of this key."""


class Input(Enum):
    """What can happen to a negotiation."""

    PEER_RESET = auto()
    EXCHANGE_DONE = auto()
    DATA_KEYS_MADE = auto()
    TLS_ENDED = auto()


TRANSITIONS: dict[tuple[State, Input], State] = {
    (State.RESETTING, Input.PEER_RESET): State.HANDSHAKE,
    (State.RESETTING, Input.TLS_ENDED): State.ENDED,
    (State.HANDSHAKE, Input.EXCHANGE_DONE): State.ESTABLISHED,
    (State.HANDSHAKE, Input.TLS_ENDED): State.ENDED,
    (State.ESTABLISHED, Input.DATA_KEYS_MADE): State.IN_USE,
    (State.ESTABLISHED, Input.TLS_ENDED): State.ENDED,
    (State.IN_USE, Input.DATA_KEYS_MADE): State.IN_USE,
    (State.IN_USE, Input.TLS_ENDED): State.ENDED,
    (State.ENDED, Input.TLS_ENDED): State.ENDED,
}
"""What is not here is an error: bad input from the network, dropped and counted."""

RESETS = frozenset(
    {
        Opcode.P_CONTROL_HARD_RESET_CLIENT_V2,
        Opcode.P_CONTROL_HARD_RESET_CLIENT_V3,
        Opcode.P_CONTROL_HARD_RESET_SERVER_V2,
        Opcode.P_CONTROL_SOFT_RESET_V1,
    }
)


class Negotiation:
    """The control channel of one key id, from the reset to its last message.

    `max_payload` is the bytes of TLS in a message at most, `wrapped_size` those of the wrapped key that a client of
    tls-crypt-v2 shows where it is asked to.  `began` and `give_up_at` (seconds) are when it was
    opened and when an unfinished handshake counts as failed; `retire_at` is set once a newer key has taken over.
    """

    __slots__ = (
        "_factory",
        "_tls",
        "_transport",
        "_unread",
        "_wrapped_size",
        "began",
        "exchange",
        "give_up_at",
        "key_id",
        "reliable",
        "retire_at",
        "state",
    )

    def __init__(
        self,
        key_id: int,
        reliable: Reliable,
        exchange: KeyExchange,
        tls: ControlTlsFactory,
        *,
        max_payload: int,
        wrapped_size: int,
        began: float,
        give_up_at: float,
    ) -> None:
        self.key_id = key_id
        self.began = began
        self.reliable = reliable
        self.exchange = exchange
        self.give_up_at = give_up_at
        self.retire_at: float | None = None
        self.state = State.RESETTING
        self._factory = tls
        self._tls: TLSMemoryBIOProtocol | None = None
        self._transport = ReliableTransport(reliable, max_payload)
        self._unread = b""
        self._wrapped_size = wrapped_size

    @property
    def is_unfinished(self) -> bool:
        """Whether the key exchange is still under way."""
        return self.state is State.HANDSHAKE or self.state is State.RESETTING

    def advance(self, occurred: Input) -> None:
        """Move along `TRANSITIONS`; raises `MalformedPacket` for what may not happen now."""
        try:
            self.state = TRANSITIONS[self.state, occurred]
        except KeyError:
            raise MalformedPacket(f"{occurred.name} in state {self.state.name}") from None
        if occurred is Input.PEER_RESET:
            self._tls = self._factory.connect(self.exchange, self._transport)

    def deliver(self, message: Message) -> None:
        """Take the next message in order; its TLS bytes wait for `read`."""
        if message.opcode in RESETS:
            self._read_early_flags(message)
            self.advance(Input.PEER_RESET)
            return
        if self.state is State.RESETTING and self.key_id:
            # OpenVPN 3 has no reset of its own for ours, it begins with TLS at once.
            self.advance(Input.PEER_RESET)
        if self._tls is None or self.state is State.RESETTING:
            raise MalformedPacket("TLS data before the reset")
        self._unread += message.payload

    def read(self) -> None:
        """Let TLS have what messages have brought.

        Not each by itself: what a batch brings is read at once, so that what TLS says to it leaves in fewer messages.
        """
        unread, self._unread = self._unread, b""
        if unread and self._tls is not None and self.state is not State.ENDED:
            self._tls.dataReceived(unread)
            if self._transport.disconnecting:
                self.drop()

    def _read_early_flags(self, reset: Message) -> None:
        if reset.opcode is Opcode.P_CONTROL_HARD_RESET_SERVER_V2 and self._wrapped_size:
            flags = decode_early_flags(reset.payload)
            if EarlyFlag.RESEND_WKC in flags:
                self._transport.show_key(self._wrapped_size)

    def send(self, text: str) -> None:
        """Send a control message."""
        self.exchange.send(text)

    def tls_description(self) -> str:
        """Version and cipher suite of the TLS session, for the log."""
        if self._tls is None:
            return "no TLS"
        handle = self._tls.getHandle()
        return f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"

    def export(self, label: bytes, length: int) -> bytes:
        """Keying material of the TLS session (RFC 5705, RFC 8446 section 7.5).

        Raises `KeyGone` where TLS has ended.
        """
        if self._tls is None:
            raise KeyGone("the TLS session has ended")
        material: bytes = self._tls.getHandle().export_keying_material(label, length)
        return material

    def drop(self) -> None:
        """End TLS without a word to the peer; queued messages still leave."""
        if self._tls is not None:
            tls, self._tls = self._tls, None
            drop(tls, self._transport)
