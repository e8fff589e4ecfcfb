"""The keys of one peer's data channel: which one sends, and which ones still receive.

A key id names a generation of keys on the wire: 0 for the first, then 1 to 7 and 1 again.  A new generation
receives from the moment it is installed.  It sends once the peer is known to have it too, which is when the first
authentic packet under it arrives, or when its time has come; until then the one before sends.  The one before goes
on receiving, as a "lame duck", until the transition window ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.data import kernel
from twistvpn.wire.opcodes import Opcode, first_byte

if TYPE_CHECKING:
    from twistvpn.crypto.derive import DataKeys

TRAN_WINDOW = 3600.0
"""Seconds that an old key goes on receiving (`tran-window`)."""

PACKET_ID_WRAP = 0xFF000000
"""The packet id from which on new keys are wanted."""

GCM_LIMIT = (1 << 36) - 1
"""Blocks and packets together that one AES-GCM key may protect (draft-irtf-cfrg-aead-limits)."""
_GCM_RENEGOTIATE = GCM_LIMIT // 8 * 7

FAILURES_RENEGOTIATE = 1 << 35
FAILURES_LIMIT = 1 << 36
"""Forgeries a key may see before it must be replaced, and before it receives no more (RFC 9147 section 4.5.3)."""


NEVER = math.inf
"""A time to send from: not before the peer is known to have the key."""


class Wear(NamedTuple):
    """What the admin lets one key do, both directions together, before it wants a successor; 0 is no limit."""

    octets: int = 0
    """Bytes on the link (`reneg-bytes`)."""
    packets: int = 0
    """Datagrams (`reneg-pkts`)."""

    @property
    def look_every(self) -> int:
        """After how many datagrams the limits are worth a look: a fraction of what reaches one, else a million."""
        by_octets = self.octets // (_LOOKS * _USUAL_SIZE) if self.octets else _SELDOM
        by_packets = self.packets // _LOOKS if self.packets else _SELDOM
        return max(1, min(by_octets, by_packets, _SELDOM))


UNLIMITED = Wear()

_LOOKS = 16
_USUAL_SIZE = 1400
_SELDOM = 1 << 20


@dataclass(frozen=True)
class DataKey:
    """One generation of keys for the data channel, as the control channel hands it over."""

    key_id: int
    """0 to 7."""
    cipher: str
    """OpenVPN's upper-case name."""
    keys: DataKeys = field(repr=False)
    peer_id: int | None = None
    """24 bits for P_DATA_V2; None sends P_DATA_V1."""
    replay_window: int = 64
    """Packets that may arrive late."""
    replay_time: float = 15.0
    """Seconds that they may be late."""


class Generation:
    """One `DataKey` in use."""

    __slots__ = ("_limit", "expires", "key_id", "octets", "opener", "packets", "sealer", "send_from")

    def __init__(self, key: DataKey, send_from: float) -> None:
        keys = key.keys
        self.key_id = key.key_id
        prefix = _data_prefix(key.key_id, key.peer_id)
        self.sealer = kernel.Sealer(key.cipher, keys.encrypt.cipher, keys.encrypt.hmac, prefix)
        self.opener = kernel.Opener(
            key.cipher, keys.decrypt.cipher, keys.decrypt.hmac, key.replay_window, key.replay_time
        )
        self.send_from = send_from
        """Monotonic seconds; from then on it sends even if the peer was not heard under it."""
        self.expires: float | None = None
        """Monotonic seconds after which it is dropped, None for the newest."""
        self.octets = self.packets = 0
        """Bytes and datagrams that it has sealed and opened; the channel counts them by the batch."""
        self._limit = _GCM_RENEGOTIATE if key.cipher.endswith("-GCM") else None

    @property
    def must_renegotiate(self) -> bool:
        """Whether the key has done so much that it wants a successor."""
        sealer, opener = self.sealer, self.opener
        if sealer.packet_id >= PACKET_ID_WRAP or opener.failures > FAILURES_RENEGOTIATE:
            return True
        if self._limit is None:
            return False
        used = max(sealer.blocks + sealer.packet_id, opener.blocks + opener.highest_packet_id)
        return used > self._limit


def _data_prefix(key_id: int, peer_id: int | None) -> bytes:
    if peer_id is None:
        return bytes((first_byte(Opcode.P_DATA_V1, key_id),))
    return bytes((first_byte(Opcode.P_DATA_V2, key_id),)) + (peer_id & 0xFFFFFF).to_bytes(3, "big")


class Keyring:
    """The newest generation and the one before it."""

    __slots__ = ("_lame_duck", "_newest", "_tran_window", "_wear")

    def __init__(self, tran_window: float = TRAN_WINDOW, wear: Wear = UNLIMITED) -> None:
        self._tran_window = tran_window
        self._wear = wear
        self._newest: Generation | None = None
        self._lame_duck: Generation | None = None

    def install(self, key: DataKey, now: float, send_from: float) -> None:
        """Receive with `key` at once, send with it from `send_from` (monotonic seconds) or from its confirmation on.

        The very first key sends at once.  The key before the last is dropped, as is one with the same id.
        """
        before = self._newest
        self._newest = Generation(key, now if before is None else send_from)
        self._lame_duck = None if before is None or before.key_id == key.key_id else before
        if self._lame_duck is not None:
            self._lame_duck.expires = now + self._tran_window

    def confirm(self, key_id: int) -> None:
        """Send with the newest key from now on, if that is `key_id`: the peer has it."""
        if self._newest is not None and self._newest.key_id == key_id:
            self._newest.send_from = 0.0

    def send_from(self, key_id: int, when: float) -> None:
        """Send with the newest key from `when` (monotonic seconds) on, if that is `key_id` and does not do so yet."""
        newest = self._newest
        if newest is not None and newest.key_id == key_id:
            newest.send_from = min(newest.send_from, when)

    def settle(self) -> None:
        """Send with the newest key from now on: who negotiates the next one has it, and may have dropped the others."""
        if self._newest is not None:
            self._newest.send_from = 0.0

    def sending(self, now: float) -> Generation | None:
        """Return the generation that packets are sealed with at `now`, None before there is a key."""
        newest = self._newest
        if newest is None or now >= newest.send_from:
            return newest
        return self._alive(self._lame_duck, now) or newest

    def receiving(self, key_id: int, now: float) -> Generation | None:
        """Return the live generation that `key_id` (0 to 7) names at `now`."""
        newest = self._newest
        if newest is not None and newest.key_id == key_id:
            return newest
        lame_duck = self._alive(self._lame_duck, now)
        return lame_duck if lame_duck is not None and lame_duck.key_id == key_id else None

    def _alive(self, generation: Generation | None, now: float) -> Generation | None:
        if generation is None or generation.expires is None or now < generation.expires:
            return generation
        self._lame_duck = None
        return None

    @property
    def must_renegotiate(self) -> bool:
        """Whether the newest key nears one of its limits, or has reached one of the admin's."""
        newest, wear = self._newest, self._wear
        if newest is None:
            return False
        if (wear.octets and newest.octets >= wear.octets) or (wear.packets and newest.packets >= wear.packets):
            return True
        return newest.must_renegotiate
