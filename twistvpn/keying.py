"""From the control channel to the data channel: what its packets look like, its keys, and when they send."""

from __future__ import annotations

from secrets import randbelow
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.control.session import KeyDerivation
from twistvpn.crypto.derive import split_keys
from twistvpn.data.channel import DataKey
from twistvpn.data.formats import PacketFormat, describe
from twistvpn.data.framing import Framing
from twistvpn.data.keyring import NEVER
from twistvpn.wire.compression import Compression
from twistvpn.wire.fragments import SEQUENCES
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.settings import FragmentLimit, Settings
    from twistvpn.control.session import ControlSession
    from twistvpn.data.channel import Channel


class DataTerms(NamedTuple):
    """What two ends have agreed on for the data channel between them."""

    cipher: str
    """OpenVPN's upper-case name."""
    derivation: KeyDerivation
    peer_id: int | None
    """None for P_DATA_V1."""
    packet_format: PacketFormat = PacketFormat.CLASSIC
    dynamic_tls_crypt: bool = False
    """Whether renegotiations are wrapped under a key of the session's own."""


class Keying:
    """The data keys of one peer.  `begin` comes before all else."""

    __slots__ = ("_channel", "_role", "_session", "_settings", "_terms", "_unconfirmed")

    def __init__(self, role: Role, session: ControlSession, channel: Channel, settings: Settings) -> None:
        self._role = role
        self._session = session
        self._channel = channel
        self._settings = settings
        self._terms = DataTerms("", KeyDerivation.PRF, None)
        self._unconfirmed: tuple[int, float] | None = None
        """A key that the peer may not have yet, and from when on it may send."""

    def begin(self, terms: DataTerms, compression: Compression, fragment: FragmentLimit | None, now: float) -> None:
        """Settle what data packets look like and what lies between them and sealing, and install the first key."""
        self._terms = terms
        if compression is not Compression.NONE or fragment is not None:
            self._channel.framing = Framing(
                compression,
                fragment,
                allow_compression=self._settings.data.allow_compression,
                mtu=self._settings.device.mtu,
                sequence=randbelow(SEQUENCES),
            )
        self._install(0, now, now)
        if terms.dynamic_tls_crypt:
            self._session.use_dynamic_tls_crypt()

    @property
    def description(self) -> str:
        """What data packets are protected by, for people."""
        return describe(self._terms.cipher, self._settings.control.auth, self._terms.packet_format)

    def _install(self, key_id: int, now: float, send_from: float) -> None:
        """Derive the data keys of an established key, which receive at once and send from `send_from` on."""
        data, terms = self._settings.data, self._terms
        key = DataKey(
            key_id,
            terms.cipher,
            split_keys(self._session.key_material(key_id, terms.derivation), self._role),
            terms.peer_id,
            data.replay_window,
            data.replay_time,
            self._settings.control.auth,
            terms.packet_format,
        )
        self._channel.install(key, now, send_from)
        self._session.data_keys_made(key_id)

    def succeed(self, key_id: int, now: float, send_from: float) -> None:
        """Install the key of a renegotiation: the old one sends on until the peer surely has the new one too.

        A server has the last word of the exchange: who has acknowledged that has all it needs, and sending begins.  A
        client does not know whether the server, which may ask others first, has put the key to use: it begins when it
        hears it, or at `send_from`.  `confirm` is to be called next.
        """
        self._unconfirmed = key_id, now if self._role is Role.SERVER else send_from
        self._install(key_id, now, NEVER)

    def confirm(self) -> bool:
        """Let a new key send when its time comes, once the peer has acknowledged all that it is made of.

        True where a server's key has just begun to send, and the client, which waits to hear it, might have to wait
        for long: a server that only receives has nothing to send.
        """
        if self._unconfirmed is None:
            return False
        key_id, send_from = self._unconfirmed
        if not self._session.is_acknowledged(key_id):
            return False
        self._channel.send_from(key_id, send_from)
        self._unconfirmed = None
        return self._role is Role.SERVER
