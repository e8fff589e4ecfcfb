"""What sealing and opening a batch have in common, whatever the data packets look like, in pure Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import compress
from typing import TYPE_CHECKING

from twistvpn.crypto.replay import ReplayWindow
from twistvpn.data.limits import FAILURES_LIMIT, MAX_PACKET_ID
from twistvpn.data.mss import clamp_mss
from twistvpn.data.offload import segment, segment_all
from twistvpn.data.opened import Opened, sort_out
from twistvpn.errors import PacketIdExhausted
from twistvpn.interfaces import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer, Frame

MAX_RUN_DATAGRAMS = 64
"""UDP_MAX_SEGMENTS of linux/udp.h, as kernels before 6.9 have it."""
MAX_RUN_SIZE = 65400
"""Bytes of a run that still lies below a device's usual gso_max_size of 65536 once it has Ethernet, VLAN, IPv6 and UDP
headers.  A send with UDP_SEGMENT takes up to 65507, but the kernel then cuts the run up before the device."""


class BatchSealer(ABC):
    """One direction of one key: frames in, runs of data packets out, each packet under its own packet id."""

    __slots__ = ("_overhead", "blocks", "packet_id")

    max_packet_id = MAX_PACKET_ID

    def __init__(self, overhead: int) -> None:
        """Remember the bytes that a datagram has beside the packet, where these are always as many."""
        self._overhead = overhead
        self.packet_id = 0
        """The packet id used last, 0 before the first."""
        self.blocks = 0
        """Plaintext blocks of 16 bytes sealed so far, for the cipher's limit."""

    def largest_text(self, datagram_size: int, /) -> int:
        """Return the size of the largest packet whose datagram has at most `datagram_size` bytes; perhaps below 0."""
        return datagram_size - self._overhead

    def _sealed_sizes(self, sizes: list[int]) -> list[int]:
        """Return the sizes of the datagrams that packets of `sizes` bytes become."""
        overhead = self._overhead
        return [size + overhead for size in sizes]

    def seal(self, frames: Sequence[Frame], largest_mss: int = 0, /) -> tuple[list[Run], int]:
        """Segment and seal `frames` in order, and lower their handshakes' MSS to `largest_mss` unless it is 0.

        Neighbours whose datagrams have one size, and a shorter one behind them, share a run of at most 64 datagrams
        and 65400 bytes.  Frames that do not fit their virtio-net header are left out; how many is the second part of
        the result.  Raises `PacketIdExhausted`, with nothing sealed, where there are not packet ids enough for all.
        """
        packets, malformed = segment_all(frames, segment)
        if largest_mss:
            clamp_mss(packets, largest_mss)
        if self.packet_id + len(packets) > self.max_packet_id:
            raise PacketIdExhausted("the key has no packet id left")
        sizes = [len(packet) for packet in packets]
        sealed = self._sealed(packets)
        self.packet_id += len(packets)
        blocks = 0
        for size in sizes:
            blocks += (size + 15) >> 4
        self.blocks += blocks
        return _runs(sealed, self._sealed_sizes(sizes)), malformed

    @abstractmethod
    def _sealed(self, packets: list[Buffer]) -> list[bytes]:
        """Seal the packets, the first under the packet id behind `packet_id`: parts, of each datagram as many."""


def _runs(parts: list[bytes], sizes: list[int]) -> list[Run]:
    if len(sizes) == 1:
        return [Run(b"".join(parts), sizes[0])]
    runs = []
    start, end = 0, len(sizes)
    parts_each = len(parts) // max(1, end)
    while start < end:
        size = sizes[start]
        stop = most = min(end, start + min(MAX_RUN_DATAGRAMS, max(1, MAX_RUN_SIZE // size)))
        if sizes[start:most].count(size) != most - start:
            stop = start + 1
            while stop < most and sizes[stop] == size:
                stop += 1
            if stop < most and sizes[stop] < size:
                stop += 1
        runs.append(Run(b"".join(parts[start * parts_each : stop * parts_each]), size))
        start = stop
    return runs


class ReceivingKey(ABC):
    """A key that receives: its replay window, and what it has done."""

    __slots__ = ("blocks", "failures", "window")

    def __init__(self, replay_window: int, replay_time: float) -> None:
        """Take the window's size and time as `crypto.replay.ReplayWindow` does."""
        self.window = ReplayWindow(replay_window, replay_time)
        self.blocks = self.failures = 0

    def authentic(
        self, wire: bytes, starts: Sequence[int], size: int, prefix_size: int
    ) -> tuple[list[int], list[Buffer]]:
        """Return packet ids and plaintexts, in order, of the authentic datagrams at `starts`, and count the others."""
        packet_ids: list[int] = []
        texts: list[Buffer] = []
        if self.failures <= FAILURES_LIMIT:
            packet_ids, texts = self._decrypted(wire, starts, size, prefix_size)
        self.failures += len(starts) - len(texts)
        blocks = 0
        for text in texts:
            blocks += (len(text) + 15) >> 4
        self.blocks += blocks
        return packet_ids, texts

    def fresh(self, packet_ids: Sequence[int], texts: list[Buffer]) -> list[Buffer]:
        """Return those of the texts whose packet id the window has not let through before."""
        verdicts = self.window.check_run(packet_ids)
        return texts if all(verdicts) else list(compress(texts, verdicts))

    @abstractmethod
    def _decrypted(
        self, wire: bytes, starts: Sequence[int], size: int, prefix_size: int
    ) -> tuple[list[int], list[Buffer]]:
        """Return packet ids and plaintexts, in order, of the datagrams at `starts` that are authentic."""


class BatchOpener(ABC):
    """The other direction of one key: runs of data packets in, plaintexts out, each packet id once."""

    __slots__ = ("_current",)

    shortest: int
    """Bytes of the shortest datagram that can be authentic, without its prefix (opcode and perhaps peer id)."""

    def __init__(self, key: ReceivingKey) -> None:
        """Open with `key`."""
        self._current = key

    @property
    def blocks(self) -> int:
        """Plaintext blocks of 16 bytes opened so far, for the cipher's limit."""
        return self._current.blocks

    @blocks.setter
    def blocks(self, value: int) -> None:
        self._current.blocks = value

    @property
    def failures(self) -> int:
        """Datagrams that did not verify; more than `FAILURES_LIMIT` and none does."""
        return self._current.failures

    @failures.setter
    def failures(self, value: int) -> None:
        self._current.failures = value

    @property
    def highest_packet_id(self) -> int:
        """The highest packet id that was authentic, 0 before the first."""
        return self._current.window.highest

    def open(self, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int = 0, /) -> Opened:
        """Open the datagrams of one run, which all have the same opcode and key id.

        `prefix_size` is 4 for P_DATA_V2 and 1 for P_DATA_V1, `now` a monotonic time in seconds.  Handshakes' MSS is
        lowered to `largest_mss` unless that is 0.  Raises `ValueError` where a datagram, the last too, is shorter
        than the prefix and `shortest`.
        """
        texts, forged, replayed = self._admitted(data, size, prefix_size, now)
        packets, messages = sort_out(texts)
        if largest_mss:
            clamp_mss(packets, largest_mss)
        return Opened(packets, messages, forged, replayed)

    def open_unsorted(self, data: Buffer, size: int, prefix_size: int, now: float, /) -> Opened:
        """Open the datagrams of one run as `open` does, and leave all plaintexts as they are, among the packets.

        For plaintexts that are not IP packets: a framing around them, or Ethernet frames.
        """
        texts, forged, replayed = self._admitted(data, size, prefix_size, now)
        return Opened(texts, [], forged, replayed)

    def _admitted(self, data: Buffer, size: int, prefix_size: int, now: float) -> tuple[list[Buffer], int, int]:
        """Return the plaintexts that are authentic and new, and how many datagrams were forged and replayed."""
        shortest = prefix_size + self.shortest
        if not data or size < shortest or 0 < len(data) % size < shortest:
            raise ValueError("a run that does not consist of data packets")
        starts = range(0, len(data), size)
        authentic, fresh = self._opened(bytes(data), starts, size, prefix_size, now)
        return fresh, len(starts) - authentic, authentic - len(fresh)

    def _opened(
        self, wire: bytes, starts: Sequence[int], size: int, prefix_size: int, now: float
    ) -> tuple[int, list[Buffer]]:
        """Return how many of the datagrams at `starts` are authentic, and the plaintexts of those that are new."""
        key = self._current
        key.window.expire(now)
        packet_ids, texts = key.authentic(wire, starts, size, prefix_size)
        return len(texts), key.fresh(packet_ids, texts)
