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

from twistvpn.crypto.epoch import MAX_EPOCH
from twistvpn.data.formats import PacketFormat, make_classic, make_epochs
from twistvpn.data.limits import EPOCH_WRAP, FAILURES_RENEGOTIATE, PACKET_ID_WRAP, epoch_limit, usage_limit

if TYPE_CHECKING:
    from twistvpn.crypto.derive import DataKeys
    from twistvpn.data.kernel import AnyEpochOpener, AnyEpochSealer, AnyOpener, AnySealer

TRAN_WINDOW = 3600.0
"""Seconds that an old key goes on receiving (`tran-window`)."""


NEVER = math.inf
"""A time to send from: not before the peer is known to have the key."""


class KeyLifetime(NamedTuple):
    """What the admin lets one key do, both directions together, before it wants a successor; 0 is no limit."""

    octets: int = 0
    """Bytes on the link (`reneg-bytes`)."""
    packets: int = 0
    """Datagrams (`reneg-pkts`)."""

    def is_over(self, octets: int, packets: int) -> bool:
        """Whether a key that has done so much has reached a limit."""
        return 0 < self.octets <= octets or 0 < self.packets <= packets

    @property
    def look_every(self) -> int:
        """After how many datagrams the limits are worth a look: a fraction of what reaches one, else a million."""
        by_octets = self.octets // (_LOOKS * _USUAL_SIZE) if self.octets else _SELDOM
        by_packets = self.packets // _LOOKS if self.packets else _SELDOM
        return max(1, min(by_octets, by_packets, _SELDOM))


UNLIMITED = KeyLifetime()

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
    auth: str = "SHA1"
    """The digest, under OpenVPN's or hashlib's name, where the cipher does not authenticate."""
    packet_format: PacketFormat = PacketFormat.CLASSIC
    usage_limit: int | None = None
    """Blocks and packets after which the key, or its epoch, wants a successor; None leaves it to the cipher."""


_LOOK_EVERY = 64
"""Batches between two looks at how much an epoch has done."""
_BATCH = 1 << 20
"""Blocks and packets that no batch reaches."""


class Generation:
    """One `DataKey` in use."""

    __slots__ = (
        "_limit",
        "epochs",
        "expires",
        "key_id",
        "octets",
        "opener",
        "packets",
        "sealer",
        "send_from",
        "shortest",
    )

    def __init__(self, key: DataKey, send_from: float) -> None:
        self.key_id = key.key_id
        self.sealer: AnySealer
        self.opener: AnyOpener
        self.epochs: Epochs | None = None
        """What moves its epochs on, where its packets have the format."""
        if key.packet_format is PacketFormat.EPOCH:
            sealer, opener = self.sealer, self.opener = make_epochs(key)
            self.epochs = Epochs(sealer, opener, key.usage_limit or epoch_limit(key.cipher))
        else:
            self.sealer, self.opener = make_classic(key)
        self.shortest = self.opener.shortest
        """Bytes of the shortest datagram that can be authentic, without its prefix."""
        self.send_from = send_from
        """Monotonic seconds; from then on it sends even if the peer was not heard under it."""
        self.expires: float | None = None
        """Monotonic seconds after which it is dropped, None for the newest."""
        self.octets = self.packets = 0
        """Bytes and datagrams that it has sealed and opened; the channel counts them by the batch."""
        self._limit = key.usage_limit or usage_limit(key.cipher)

    @property
    def must_renegotiate(self) -> bool:
        """Whether the key has done so much that it wants a successor."""
        if self.epochs is not None:
            return self.epochs.are_used_up
        sealer, opener = self.sealer, self.opener
        if sealer.packet_id >= PACKET_ID_WRAP or opener.failures > FAILURES_RENEGOTIATE:
            return True
        if self._limit is None:
            return False
        used = max(sealer.blocks + sealer.packet_id, opener.blocks + opener.highest_packet_id)
        return used > self._limit


class Epochs:
    """Moves the epochs of one key on: ours at a limit or after the peer's, the peer's by the example of ours."""

    __slots__ = ("_batches_left", "_limit", "_look_every", "_opener", "_sealer")

    def __init__(self, sealer: AnyEpochSealer, opener: AnyEpochOpener, limit: int) -> None:
        self._sealer = sealer
        self._opener = opener
        self._limit = limit
        self._look_every = self._batches_left = max(1, min(_LOOK_EVERY, limit // _BATCH))

    def before_sealing(self) -> None:
        """Begin the next epoch where the present one has done enough, which is looked at now and then.

        Batches that are sealed meanwhile may go beyond the limit, as seven eighths of what the cipher can take allow.
        """
        self._batches_left -= 1
        if self._batches_left > 0:
            return
        self._batches_left = self._look_every
        sealer, opener = self._sealer, self._opener
        if sealer.blocks + sealer.packet_id > self._limit:
            self._advance(sealer.epoch + 1)
        elif sealer.epoch == opener.epoch and (
            opener.blocks + opener.highest_packet_id > self._limit or opener.failures > FAILURES_RENEGOTIATE
        ):
            # The peer need not follow, but stock peers do.
            self._advance(sealer.epoch + 1)

    def after_opening(self) -> None:
        """Follow a peer that has begun a new epoch."""
        if self._opener.epoch > self._sealer.epoch:
            self._advance(self._opener.epoch)

    def _advance(self, epoch: int) -> None:
        if epoch <= MAX_EPOCH:
            self._sealer.advance(epoch)

    @property
    def are_used_up(self) -> bool:
        """Whether there are soon no epochs left."""
        return self._sealer.epoch >= EPOCH_WRAP


class Keyring:
    """The newest generation and the one before it."""

    __slots__ = ("_lame_duck", "_lifetime", "_newest", "_tran_window")

    def __init__(self, tran_window: float = TRAN_WINDOW, lifetime: KeyLifetime = UNLIMITED) -> None:
        self._tran_window = tran_window
        self._lifetime = lifetime
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

    def send_from(self, key_id: int, when: float) -> None:
        """Send with the newest key from `when` (monotonic seconds) on, if that is `key_id` and does not do so yet."""
        newest = self._newest
        if newest is not None and newest.key_id == key_id:
            newest.send_from = min(newest.send_from, when)

    def settle(self) -> None:
        """Send with the newest key from now on: who negotiates the next one has it, and may have dropped the others."""
        if self._newest is not None:
            self._newest.send_from = 0.0

    def heard(self, generation: Generation) -> None:
        """Take note of an authentic packet: the peer has the key, and is at the epoch that it has shown."""
        if generation is self._newest:
            generation.send_from = 0.0
        if generation.epochs is not None:
            generation.epochs.after_opening()

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
    def is_confirmed(self) -> bool:
        """Whether the peer has sent under the newest key."""
        return self._newest is not None and self._newest.opener.highest_packet_id > 0

    @property
    def progress(self) -> int:
        """A number that grows with each packet that is the latest of its key; less is left when a key or epoch goes."""
        alive = [generation for generation in (self._newest, self._lame_duck) if generation is not None]
        return sum(generation.opener.highest_packet_id for generation in alive)

    @property
    def must_renegotiate(self) -> bool:
        """Whether the newest key nears one of its limits, or has reached one of the admin's."""
        newest, lifetime = self._newest, self._lifetime
        if newest is None:
            return False
        return lifetime.is_over(newest.octets, newest.packets) or newest.must_renegotiate
