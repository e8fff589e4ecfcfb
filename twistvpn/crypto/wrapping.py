"""What protects control packets before TLS does: nothing, an HMAC (tls-auth), or HMAC and cipher (tls-crypt).

    plain       header | body
    tls-auth    header | hmac | u32 packet id | u32 time | body
                the HMAC covers packet id, time, header, body, in this order
    tls-crypt   header | u32 packet id | u32 time | 32 bytes tag | ciphertext of the body
                tag = HMAC-SHA256 of header, packet id, time, body; AES-256-CTR, its IV the tag's first 16 bytes

The header is 9 bytes (see `twistvpn.wire.packets`); time is in seconds since the epoch.

Source: wire-protocol draft, "TLS-Auth" and "TLS-Crypt".
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from twistvpn.crypto.digests import hashlib_name
from twistvpn.crypto.replay import ControlReplayWindow
from twistvpn.crypto.statickey import KeyDirection, StaticKey
from twistvpn.errors import AuthenticationFailure, MalformedPacket, PacketIdExhausted
from twistvpn.wire.packets import HEADER_SIZE, ControlPacket, decode_body, decode_header, encode_body, encode_header
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

_PACKET_ID = struct.Struct(">II")
_MAX_U32 = 0xFFFFFFFF
_TAG_SIZE = 32
_IV_SIZE = 16
_CRYPT_KEY_SIZE = 32


class Wrapping(Protocol):
    """One session's protection: its packet ids out, its replay window in."""

    @property
    def overhead(self) -> int:
        """Bytes that wrapping adds to header and body."""

    def wrap(self, packet: ControlPacket, now: float) -> bytes:
        """Make the datagram to send; `now` is the wall clock in seconds since the epoch.

        Every call takes a new packet id, also for a packet that is sent again.  Raises `PacketIdExhausted`.
        """

    def unwrap(self, datagram: Buffer) -> ControlPacket:
        """Open the packet in a datagram.

        Raises `AuthenticationFailure`, `ReplayedPacket` or `MalformedPacket`, and notes the
        packet id only of what is authentic.
        """


class PlainWrapping:
    """No protection and no replay window: the reliability layer and TLS bear it."""

    overhead = 0

    def wrap(self, packet: ControlPacket, now: float) -> bytes:
        """See `Wrapping`."""
        return encode_header(packet) + encode_body(packet)

    def unwrap(self, datagram: Buffer) -> ControlPacket:
        """See `Wrapping`."""
        return decode_body(*decode_header(datagram), datagram[HEADER_SIZE:])


class TlsAuthWrapping:
    """tls-auth with the keys of one direction each; a key is as long as the digest."""

    def __init__(self, send_key: bytes, receive_key: bytes, digest: str, first_packet_id: int = 1) -> None:
        self._send_key = send_key
        self._receive_key = receive_key
        self._digest = digest
        self._hmac_size = len(send_key)
        self._ids = _PacketIds(first_packet_id)
        self._window = ControlReplayWindow()
        self.overhead = self._hmac_size + _PACKET_ID.size

    def wrap(self, packet: ControlPacket, now: float) -> bytes:
        """See `Wrapping`."""
        header = encode_header(packet)
        packet_id = self._ids.take(now)
        body = encode_body(packet)
        tag = hmac.digest(self._send_key, packet_id + header + body, self._digest)
        return b"".join((header, tag, packet_id, body))

    def unwrap(self, datagram: Buffer) -> ControlPacket:
        """See `Wrapping`."""
        header = decode_header(datagram)
        data = bytes(datagram)
        id_start = HEADER_SIZE + self._hmac_size
        body_start = id_start + _PACKET_ID.size
        if len(data) < body_start:
            raise MalformedPacket("too short for tls-auth")
        signed = b"".join((data[id_start:body_start], data[:HEADER_SIZE], data[body_start:]))
        tag = hmac.digest(self._receive_key, signed, self._digest)
        if not hmac.compare_digest(tag, data[HEADER_SIZE:id_start]):
            raise AuthenticationFailure("the HMAC of tls-auth does not verify")
        self._window.check_and_update(*_PACKET_ID.unpack_from(data, id_start))
        return decode_body(*header, data[body_start:])


class TlsCryptWrapping:
    """tls-crypt with 32 bytes of cipher key and of HMAC key for each direction.

    The wrapped client key that tls-crypt-v2 appends to P_CONTROL_HARD_RESET_CLIENT_V3 and P_CONTROL_WKC_V1 stands
    outside of this wrapping: whoever handles it cuts it off before `unwrap` and appends it after `wrap`.
    """

    overhead = _PACKET_ID.size + _TAG_SIZE

    def __init__(
        self, send_keys: tuple[bytes, bytes], receive_keys: tuple[bytes, bytes], first_packet_id: int = 1
    ) -> None:
        self._send_cipher, self._send_hmac = send_keys
        self._receive_cipher, self._receive_hmac = receive_keys
        self._ids = _PacketIds(first_packet_id)
        self._window = ControlReplayWindow()

    def wrap(self, packet: ControlPacket, now: float) -> bytes:
        """See `Wrapping`."""
        clear = encode_header(packet) + self._ids.take(now)
        body = encode_body(packet)
        tag = hmac.digest(self._send_hmac, clear + body, "sha256")
        return b"".join((clear, tag, _aes_ctr(self._send_cipher, tag, body)))

    def unwrap(self, datagram: Buffer) -> ControlPacket:
        """See `Wrapping`."""
        header = decode_header(datagram)
        data = bytes(datagram)
        tag_start = HEADER_SIZE + _PACKET_ID.size
        body_start = tag_start + _TAG_SIZE
        if len(data) < body_start:
            raise MalformedPacket("too short for tls-crypt")
        received = data[tag_start:body_start]
        body = _aes_ctr(self._receive_cipher, received, data[body_start:])
        tag = hmac.digest(self._receive_hmac, data[:tag_start] + body, "sha256")
        if not hmac.compare_digest(tag, received):
            raise AuthenticationFailure("the tag of tls-crypt does not verify")
        self._window.check_and_update(*_PACKET_ID.unpack_from(data, HEADER_SIZE))
        return decode_body(*header, body)


class WrappingKind(Enum):
    """The ways to protect control packets."""

    PLAIN = "none"
    TLS_AUTH = "tls-auth"
    TLS_CRYPT = "tls-crypt"


@dataclass(frozen=True, repr=False)
class ControlKey:
    """How control packets are protected, for any number of sessions."""

    kind: WrappingKind
    key: StaticKey | None = None
    direction: KeyDirection = KeyDirection.BIDIRECTIONAL
    digest: str = ""
    """hashlib's name of tls-auth's digest."""

    @classmethod
    def plain(cls) -> ControlKey:
        """No protection."""
        return cls(WrappingKind.PLAIN)

    @classmethod
    def tls_auth(cls, key: StaticKey, direction: KeyDirection, digest: str = "SHA1") -> ControlKey:
        """HMAC under `auth`'s digest; raises `ConfigError` for a digest that is not to be had."""
        return cls(WrappingKind.TLS_AUTH, key, direction, hashlib_name(digest))

    @classmethod
    def tls_crypt(cls, key: StaticKey, role: Role) -> ControlKey:
        """Encrypted and authenticated.  The server has direction NORMAL here, unlike on the data channel."""
        direction = KeyDirection.NORMAL if role is Role.SERVER else KeyDirection.INVERSE
        return cls(WrappingKind.TLS_CRYPT, key, direction)

    def new_wrapping(self, first_packet_id: int = 1) -> Wrapping:
        """Make a session's own wrapping, whose first packet gets `first_packet_id`.

        Whoever has already sent a packet of the session under another wrapping, as a stateless server
        has, goes on with the next id, so that the peer's replay window lets it pass.
        """
        key = self.key
        if key is None:
            return PlainWrapping()
        outgoing, incoming = self.direction.outgoing, self.direction.incoming
        if self.kind is WrappingKind.TLS_AUTH:
            size = hmac.new(b"", digestmod=self.digest).digest_size
            return TlsAuthWrapping(key.hmac(outgoing)[:size], key.hmac(incoming)[:size], self.digest, first_packet_id)
        return TlsCryptWrapping(_crypt_keys(key, outgoing), _crypt_keys(key, incoming), first_packet_id)


class _PacketIds:
    """Ids for what is sent; they start anew, with a later time, when they are used up."""

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


def _crypt_keys(key: StaticKey, pair: int) -> tuple[bytes, bytes]:
    return key.cipher(pair)[:_CRYPT_KEY_SIZE], key.hmac(pair)[:_CRYPT_KEY_SIZE]


def _aes_ctr(key: bytes, tag: bytes, data: bytes) -> bytes:
    return Cipher(AES256(key), CTR(tag[:_IV_SIZE])).encryptor().update(data)
