"""What protects control packets before TLS does: nothing, an HMAC (tls-auth), or HMAC and cipher (tls-crypt, -v2).

    plain       header | body
    tls-auth    header | hmac | u32 packet id | u32 time | body
                the HMAC covers packet id, time, header, body, in this order
    tls-crypt   header | u32 packet id | u32 time | 32 bytes tag | ciphertext of the body
                tag = HMAC-SHA256 of header, packet id, time, body; AES-256-CTR, its IV the tag's first 16 bytes

    tls-crypt-v2  as tls-crypt, under the client's own key, which a client's reset (P_CONTROL_HARD_RESET_CLIENT_V3)
                and P_CONTROL_WKC_V1 bring along behind all this, wrapped (`twistvpn.crypto.clientkey`)

The header is 9 bytes (see `twistvpn.wire.packets`); time is in seconds since the epoch.

Source: wire-protocol draft, "TLS-Auth" and "TLS-Crypt".
"""

from __future__ import annotations

import hmac
import struct
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.crypto.clientkey import cut_wrapped_key
from twistvpn.crypto.digests import hashlib_name
from twistvpn.crypto.replay import ControlReplayWindow
from twistvpn.crypto.siv import TAG_SIZE, siv_keys
from twistvpn.crypto.statickey import KeyDirection, StaticKey
from twistvpn.errors import AuthenticationFailure, MalformedPacket, PacketIdExhausted
from twistvpn.wire.earlyneg import FIRST_PACKET_ID
from twistvpn.wire.opcodes import KEY_BEARERS, Opcode
from twistvpn.wire.packets import HEADER_SIZE, ControlPacket, decode_body, decode_header, encode_body, encode_header
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.crypto.clientkey import ClientKey
    from twistvpn.interfaces import Buffer, ClientKeyMetadata

_PACKET_ID = struct.Struct(">II")
_TAG_START = HEADER_SIZE + _PACKET_ID.size
"""Where tls-crypt's tag is."""
_MAX_U32 = 0xFFFFFFFF


def packet_id_field(packet_id: int, now: float) -> bytes:
    """Encode a packet id and the time, in seconds since the epoch, as they are sent."""
    return _PACKET_ID.pack(packet_id, int(now) & _MAX_U32)


DYNAMIC_LABEL = b"EXPORTER-OpenVPN-dynamic-tls-crypt"
"""Label of the TLS exporter for dynamic tls-crypt; the exporter's context is absent."""


class Opened(NamedTuple):
    """An authentic packet, and what it was sent under: packet id and time, or None where packets have neither."""

    packet: ControlPacket
    packet_id: tuple[int, int] | None


class ControlKey(ABC):
    """How control packets are protected, for all sessions under one static key: it knows nothing of any of them.

    Ciphers and HMACs are kept with their keys set, which costs more than a packet does.  Not for several threads.
    """

    __slots__ = ("static",)

    overhead: int
    """Bytes that are added to header and body."""

    name = ""
    """What people call it; nothing where there is nothing."""

    def __init__(self, static: StaticKey | None) -> None:
        self.static = static
        """What the two ends share; None where they share nothing."""

    client_reset = Opcode.P_CONTROL_HARD_RESET_CLIENT_V2
    """A client's first packet."""

    first_packet_id = 1
    """The packet id of a session's first packet."""

    wrapped_size = 0
    """Bytes of the wrapped key that a client appends to packets of `KEY_BEARERS`."""

    metadata: ClientKeyMetadata | None = None
    """What a client's own key has shown the server; None for a key that is not a client's own."""

    @abstractmethod
    def seal(self, packet: ControlPacket, packet_id: bytes) -> bytes:
        """Make the datagram to send; `packet_id` is a `packet_id_field`."""

    @abstractmethod
    def open(self, datagram: Buffer) -> Opened:
        """Open the packet in a datagram, whether it is a replay or not.

        Raises `AuthenticationFailure` or `MalformedPacket`.
        """

    @staticmethod
    def plain() -> ControlKey:
        """No protection."""
        return _PlainKey(None)

    @staticmethod
    def tls_auth(key: StaticKey, direction: KeyDirection, digest: str = "SHA1") -> ControlKey:
        """HMAC under `auth`'s digest; raises `ConfigError` for a digest that is not to be had."""
        return _TlsAuthKey(key, direction, hashlib_name(digest))

    @staticmethod
    def tls_crypt(key: StaticKey, role: Role) -> ControlKey:
        """Encrypted and authenticated.  The server has direction NORMAL here, unlike on the data channel."""
        return _TlsCryptKey(key, _crypt_direction(role))

    @staticmethod
    def tls_crypt_v2(key: ClientKey) -> ControlKey:
        """Make a client's tls-crypt-v2 out of its own key."""
        return _OwnKey(key)

    @staticmethod
    def tls_crypt_v2_client(key: StaticKey, metadata: ClientKeyMetadata) -> ControlKey:
        """Make a server's tls-crypt-v2 for the client whose key this is."""
        return _ClientsKey(key, metadata)

    def dynamic(self, material: bytes, role: Role) -> ControlKey:
        """Make the key that control packets of a session's later keys go under: dynamic tls-crypt.

        `material` is what TLS exports under `DYNAMIC_LABEL`, `KEY_SIZE` bytes.  The key this is called on goes into
        it, so that the new one is known to nobody who lacks either.
        """
        exported = StaticKey(material)
        return _DynamicKey(exported if self.static is None else self.static.xor(exported), _crypt_direction(role))

    def new_wrapping(self, first_packet_id: int | None = None) -> Wrapping:
        """Make a session's own wrapping, whose first packet gets `first_packet_id`, by default the key's.

        Whoever has already sent a packet of the session under another wrapping, as a stateless server
        has, goes on with the next id, so that the peer's replay window lets it pass.
        """
        return Wrapping(self, self.first_packet_id if first_packet_id is None else first_packet_id)


class Wrapping:
    """One session's protection: a key, and the session's packet ids out and replay window in."""

    __slots__ = ("_ids", "_window", "key")

    def __init__(self, key: ControlKey, first_packet_id: int) -> None:
        self.key = key
        self._ids = _PacketIds(first_packet_id)
        self._window = ControlReplayWindow()

    @property
    def overhead(self) -> int:
        """Bytes that wrapping adds to header and body."""
        return self.key.overhead

    def dynamic(self, material: bytes, role: Role) -> Wrapping:
        """Make the wrapping of the session's later keys (`ControlKey.dynamic`); it counts its packets anew."""
        return self.key.dynamic(material, role).new_wrapping()

    def wrap(self, packet: ControlPacket, now: float) -> bytes:
        """Make the datagram to send; `now` is the wall clock in seconds since the epoch.

        Every call takes a new packet id, also for a packet that is sent again.  Raises `PacketIdExhausted`.
        """
        return self.key.seal(packet, self._ids.take(now))

    def unwrap(self, datagram: Buffer) -> ControlPacket:
        """Open the packet in a datagram.

        Raises `AuthenticationFailure`, `ReplayedPacket` or `MalformedPacket`, and notes the
        packet id only of what is authentic.
        """
        return self.admit(self.key.open(datagram))

    def admit(self, opened: Opened) -> ControlPacket:
        """Take a packet of the session that the key alone has opened; raises `ReplayedPacket`."""
        if opened.packet_id is not None:
            self._window.check_and_update(*opened.packet_id)
        return opened.packet


class _PlainKey(ControlKey):
    """No protection and no replay window: the reliability layer and TLS bear it."""

    __slots__ = ()

    overhead = 0

    def seal(self, packet: ControlPacket, packet_id: bytes) -> bytes:
        return encode_header(packet) + encode_body(packet)

    def open(self, datagram: Buffer) -> Opened:
        return Opened(decode_body(*decode_header(datagram), datagram[HEADER_SIZE:]), None)


class _TlsAuthKey(ControlKey):
    """tls-auth with the HMAC keys of both directions, of which as much is used as the digest is long."""

    __slots__ = ("_body_start", "_id_start", "_receive", "_send", "overhead")

    name = "tls-auth"

    def __init__(self, key: StaticKey, direction: KeyDirection, digest: str) -> None:
        super().__init__(key)
        size = hmac.new(b"", digestmod=digest).digest_size
        self._send = hmac.new(key.hmac(direction.outgoing)[:size], digestmod=digest)
        self._receive = hmac.new(key.hmac(direction.incoming)[:size], digestmod=digest)
        self._id_start = HEADER_SIZE + size
        self._body_start = self._id_start + _PACKET_ID.size
        self.overhead = size + _PACKET_ID.size

    def seal(self, packet: ControlPacket, packet_id: bytes) -> bytes:
        header, body = encode_header(packet), encode_body(packet)
        return b"".join((header, _tag(self._send, packet_id, header, body), packet_id, body))

    def open(self, datagram: Buffer) -> Opened:
        header = decode_header(datagram)
        data = bytes(datagram)
        id_start, body_start = self._id_start, self._body_start
        if len(data) < body_start:
            raise MalformedPacket("too short for tls-auth")
        body = data[body_start:]
        tag = _tag(self._receive, data[id_start:body_start], data[:HEADER_SIZE], body)
        if not hmac.compare_digest(tag, data[HEADER_SIZE:id_start]):
            raise AuthenticationFailure("the HMAC of tls-auth does not verify")
        return Opened(decode_body(*header, body), _PACKET_ID.unpack_from(data, id_start))


class _TlsCryptKey(ControlKey):
    """tls-crypt."""

    __slots__ = ("_receive", "_send")

    overhead = _PACKET_ID.size + TAG_SIZE
    name = "tls-crypt"

    def __init__(self, key: StaticKey, direction: KeyDirection) -> None:
        super().__init__(key)
        self._send, self._receive = (
            siv_keys(key.cipher(pair), key.hmac(pair)) for pair in (direction.outgoing, direction.incoming)
        )

    def seal(self, packet: ControlPacket, packet_id: bytes) -> bytes:
        clear = encode_header(packet) + packet_id
        return clear + self._send.seal(clear, encode_body(packet))

    def open(self, datagram: Buffer) -> Opened:
        header = decode_header(datagram)
        data = bytes(datagram)
        if len(data) < HEADER_SIZE + self.overhead:
            raise MalformedPacket("too short for tls-crypt")
        body = self._receive.open(data[:_TAG_START], data[_TAG_START:])
        if body is None:
            raise AuthenticationFailure("the tag of tls-crypt does not verify")
        return Opened(decode_body(*header, body), _PACKET_ID.unpack_from(data, HEADER_SIZE))


class _OwnKey(_TlsCryptKey):
    """tls-crypt-v2 at the client, which shows its wrapped key where the server needs it."""

    __slots__ = ("_wrapped", "wrapped_size")

    name = "tls-crypt-v2"
    client_reset = Opcode.P_CONTROL_HARD_RESET_CLIENT_V3
    first_packet_id = FIRST_PACKET_ID

    def __init__(self, key: ClientKey) -> None:
        super().__init__(key.key, KeyDirection.INVERSE)
        self._wrapped = key.wrapped
        self.wrapped_size = len(key.wrapped)

    def seal(self, packet: ControlPacket, packet_id: bytes) -> bytes:
        datagram = super().seal(packet, packet_id)
        return datagram + self._wrapped if packet.opcode in KEY_BEARERS else datagram


class _ClientsKey(_TlsCryptKey):
    """tls-crypt-v2 at the server, whose sessions know their client's key already."""

    __slots__ = ("metadata",)

    name = "tls-crypt-v2"

    def __init__(self, key: StaticKey, metadata: ClientKeyMetadata) -> None:
        super().__init__(key, KeyDirection.NORMAL)
        self.metadata = metadata

    def open(self, datagram: Buffer) -> Opened:
        opcode, _, _ = decode_header(datagram)
        return super().open(cut_wrapped_key(datagram)[0] if opcode in KEY_BEARERS else datagram)


class _DynamicKey(_TlsCryptKey):
    """What renegotiations go under."""

    __slots__ = ()

    name = "dynamic tls-crypt"


def _crypt_direction(role: Role) -> KeyDirection:
    return KeyDirection.NORMAL if role is Role.SERVER else KeyDirection.INVERSE


def _tag(key: hmac.HMAC, *parts: bytes) -> bytes:
    keyed = key.copy()
    keyed.update(b"".join(parts))
    return keyed.digest()


class _PacketIds:
    """Ids for what is sent; they start anew, with a later time, when they are used up."""

    __slots__ = ("_next", "_time")

    def __init__(self, first: int) -> None:
        self._next = first
        self._time: int | None = None

    def take(self, now: float) -> bytes:
        """Use up the next packet id; id and time as they are sent."""
        if self._time is None:
            self._time = int(now) & _MAX_U32
        if self._next > _MAX_U32:
            if int(now) <= self._time:
                raise PacketIdExhausted("all packet ids of the control channel are used up within a second")
            self._next, self._time = 1, int(now) & _MAX_U32
        taken = _PACKET_ID.pack(self._next, self._time)
        self._next += 1
        return taken
