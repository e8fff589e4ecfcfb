"""One peer's data channel: packets in, runs of sealed datagrams out, and the reverse.

Everything goes by the batch: clocks, counters and key look-ups are per run, never per packet.  Nothing here
raises for what the network sends; what cannot be used is counted under its reason in `Channel.drops`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from twistvpn.data import kernel
from twistvpn.data.keyring import TRAN_WINDOW, UNLIMITED, DataKey, KeyLifetime, Keyring
from twistvpn.data.layers import IP, Layer
from twistvpn.data.messages import OCC_MAGIC, PING
from twistvpn.errors import AuthenticationFailure, MalformedPacket, PacketIdExhausted, ReplayedPacket, UnknownKey
from twistvpn.interfaces import Frame
from twistvpn.wire.opcodes import Opcode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twistvpn.data.framing import Framing
    from twistvpn.data.opened import Opened
    from twistvpn.interfaces import Buffer, Run

__all__ = ["OCC_MAGIC", "PING", "Channel", "DataKey"]

NO_KEY = "no-key"
PACKET_ID_EXHAUSTED = "packet-id"
"""Reasons for which packets to be sent are dropped, beside those of the errors."""

_PREFIX_SIZES: dict[int, int] = {Opcode.P_DATA_V1: 1, Opcode.P_DATA_V2: 4}


class Channel:
    """Seals and opens the packets of one peer."""

    __slots__ = (
        "_keyring",
        "bytes_in",
        "bytes_out",
        "drops",
        "framing",
        "last_received",
        "last_sent",
        "layer",
        "lifetime",
        "max_mss",
        "on_occ",
        "packets_in",
        "packets_out",
    )

    def __init__(
        self,
        *,
        tran_window: float = TRAN_WINDOW,
        layer: Layer = IP,
        max_mss: int = 0,
        on_occ: Callable[[int, Buffer], None] | None = None,
        lifetime: KeyLifetime = UNLIMITED,
    ) -> None:
        self._keyring = Keyring(tran_window, lifetime)
        self.layer = layer
        """What the packets are."""
        self.lifetime = lifetime
        self.max_mss = max_mss
        """Largest MSS that TCP over IPv4 may announce through the tunnel (`data.mss.max_mss`); 0 leaves it alone."""
        self.framing: Framing | None = None
        """What lies between packets and sealing, where the peers have agreed on it."""
        self.on_occ = on_occ
        """Called with the type and the rest of each OCC message; type 6 is the peer's goodbye."""
        self.drops: Counter[str] = Counter()
        """Packets dropped in either direction, by reason."""
        self.last_sent: float | None = None
        self.last_received: float | None = None
        """Monotonic seconds of the last batch sent, and of the last with an authentic packet in it."""
        self.packets_in = self.packets_out = 0
        self.bytes_in = self.bytes_out = 0
        """Authentic datagrams received and datagrams sealed, pings included, and their bytes on the link."""

    def install(self, key: DataKey, now: float, send_from: float = 0.0) -> None:
        """Receive with `key` at once, send with it from `send_from` on or once the peer has been heard under it.

        The one before keeps receiving for the transition window.  Times are monotonic seconds.
        """
        self._keyring.install(key, now, send_from)

    def send_from(self, key_id: int, when: float) -> None:
        """Send with the newest key from `when` (monotonic seconds) on if its id is `key_id`."""
        self._keyring.send_from(key_id, when)

    def settle(self) -> None:
        """Send with the newest key from now on: the peer negotiates the one that follows it."""
        self._keyring.settle()

    @property
    def is_confirmed(self) -> bool:
        """Whether the peer has sent under the newest key."""
        return self._keyring.is_confirmed

    @property
    def progress(self) -> int:
        """A number that grows with each packet that none has overtaken; see `Keyring.progress`."""
        return self._keyring.progress

    @property
    def must_renegotiate(self) -> bool:
        """Whether the newest key nears its packet ids' end or its cipher's limit."""
        return self._keyring.must_renegotiate

    def largest_text(self, datagram_size: int, now: float) -> int:
        """Return the bytes of the largest text whose sealed datagram has at most `datagram_size`, perhaps below 0.

        A text is a packet or what a framing makes of one.  Without a key the result is the datagram itself.
        """
        generation = self._keyring.sending(now)
        return datagram_size if generation is None else generation.sealer.largest_text(datagram_size)

    def largest_packet(self, datagram_size: int, now: float) -> int:
        """Return the bytes of the largest IP packet that leaves whole in a datagram of at most `datagram_size`."""
        largest = self.largest_text(datagram_size, now) - self.layer.header_size
        return largest if self.framing is None else largest - self.framing.overhead

    def seal(self, frames: Sequence[Frame], now: float) -> list[Run]:
        """Segment and seal one batch, in order.

        The result is empty, and the drops are counted, before there is a key and when its packet ids are used up.
        """
        return self._seal(frames, self.max_mss, now)

    def seal_ping(self, now: float) -> list[Run]:
        """Seal one keepalive message."""
        return self._seal([Frame(PING)], 0, now)

    def seal_occ(self, message: bytes, now: float) -> list[Run]:
        """Seal an OCC message: its kind (`messages.OccKind`) and what follows on that."""
        return self._seal([Frame(OCC_MAGIC + message)], 0, now)

    def _seal(self, frames: Sequence[Frame], largest_mss: int, now: float) -> list[Run]:
        if not frames:
            return []
        generation = self._keyring.sending(now)
        if generation is None:
            self.drops[NO_KEY] += len(frames)
            return []
        if self.framing is not None:
            frames, largest_mss = self._framed(self.framing, frames, largest_mss), 0
        if generation.epochs is not None:
            generation.epochs.before_sealing()
        sealer = generation.sealer
        packet_id = sealer.packet_id
        try:
            runs, malformed = self.layer.seal(sealer, frames, largest_mss)
        except PacketIdExhausted:
            self.drops[PACKET_ID_EXHAUSTED] += len(frames)
            return []
        if malformed:
            self.drops[MalformedPacket.reason] += malformed
        if runs:
            self.last_sent = now
            datagrams, octets = sealer.packet_id - packet_id, sum([len(run[0]) for run in runs])
            self.packets_out += datagrams
            self.bytes_out += octets
            generation.packets += datagrams
            generation.octets += octets
        return runs

    def _framed(self, framing: Framing, frames: Sequence[Frame], largest_mss: int) -> list[Frame]:
        """Do what the sealer would, up to the sealing, and frame what comes of it."""
        packets, malformed = self.layer.segment(frames, largest_mss)
        if malformed:
            self.drops[MalformedPacket.reason] += malformed
        return kernel.coalesce(framing.wrap(packets, self.drops), 0)

    def open(self, run: Run, now: float) -> list[Buffer]:
        """Return the packets of `run`, in order.

        Pings and OCC messages are taken out.  `packets_in` grows by what was authentic, which is how the caller
        knows that the datagrams are the peer's even if they held nothing to deliver.
        """
        data, size = run
        if not data or size <= 0:
            self.drops[MalformedPacket.reason] += 1
            return []
        if len(data) <= size:
            return self._open(data, size, data[0], now)
        first_bytes = bytes(data[::size])
        if first_bytes.count(first_bytes[:1]) == len(first_bytes):
            return self._open(data, size, first_bytes[0], now)
        packets: list[Buffer] = []
        for datagram in run.datagrams():
            packets += self._open(datagram, size, datagram[0], now)
        return packets

    def _open(self, data: Buffer, size: int, first: int, now: float) -> list[Buffer]:
        """Open datagrams that all begin with the byte `first`."""
        datagram_count = -(-len(data) // size)
        prefix_size = _PREFIX_SIZES.get(first >> 3, 0)
        if not prefix_size:
            self.drops[MalformedPacket.reason] += datagram_count
            return []
        generation = self._keyring.receiving(first & 7, now)
        if generation is None:
            self.drops[UnknownKey.reason] += datagram_count
            return []
        shortest = prefix_size + generation.shortest
        if min(size, len(data)) < shortest:
            self.drops[MalformedPacket.reason] += datagram_count
            return []
        tail = len(data) % size
        if tail and tail < shortest:
            self.drops[MalformedPacket.reason] += 1
            data = data[: len(data) - tail]
            datagram_count -= 1
        if self.framing is None:
            opened = self.layer.open(generation.opener, data, size, prefix_size, now, self.max_mss)
        else:
            opened = self._unframed(self.framing, generation.opener.open_unsorted(data, size, prefix_size, now), now)
        packets, messages, forged, replayed = opened
        if forged:
            self.drops[AuthenticationFailure.reason] += forged
        if replayed:
            self.drops[ReplayedPacket.reason] += replayed
        fresh = datagram_count - forged - replayed
        if fresh:
            self._keyring.heard(generation)
            self.last_received = now
            self.packets_in += fresh
            octets = len(data) if fresh == datagram_count else fresh * size
            self.bytes_in += octets
            generation.packets += fresh
            generation.octets += octets
        for message in messages:
            self._take_message(message)
        return packets

    def _unframed(self, framing: Framing, opened: Opened, now: float) -> Opened:
        """Do what the opener would with the plaintexts, once they have come out of the framing."""
        texts = framing.unwrap(opened.packets, now, self.drops)
        packets, messages = self.layer.sort_out(texts, self.max_mss)
        return opened._replace(packets=packets, messages=messages)

    def _take_message(self, packet: Buffer) -> None:
        if packet == PING:
            return
        if packet[: len(OCC_MAGIC)] != OCC_MAGIC or len(packet) == len(OCC_MAGIC):
            self.drops[MalformedPacket.reason] += 1
        elif self.on_occ is not None:
            self.on_occ(packet[len(OCC_MAGIC)], packet[len(OCC_MAGIC) + 1 :])
