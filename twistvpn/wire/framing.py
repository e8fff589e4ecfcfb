"""Packets on a byte stream: each has its length in front, a big-endian u16.

Source: wire-protocol draft, "TCP".
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from twistvpn.errors import MalformedPacket
from twistvpn.interfaces import Run
from twistvpn.wire.opcodes import OPCODE_SHIFT, Opcode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer

PREFIX_SIZE = 2

_RESETS = {
    Opcode.P_CONTROL_HARD_RESET_CLIENT_V2 << OPCODE_SHIFT: range(14, 256),
    Opcode.P_CONTROL_HARD_RESET_CLIENT_V3 << OPCODE_SHIFT: range(336, 1279),
}
"""The first byte of a client's first packet, and the lengths that such a packet can have."""


class Opening(Enum):
    """What the beginning of a stream shows it to be."""

    UNDECIDED = auto()
    OPENVPN = auto()
    OTHER = auto()


def judge_opening(data: bytes) -> Opening:
    """Tell OpenVPN from any other protocol by a stream's first three bytes, or fewer where they rule OpenVPN out.

    Stock's port-share decides by the same lengths.
    """
    start = data[:PREFIX_SIZE]
    spare = PREFIX_SIZE - len(start)
    least = int.from_bytes(start, "big") << 8 * spare
    lengths = range(least, least + (1 << 8 * spare))
    if len(data) <= PREFIX_SIZE:
        possible = any(lengths.start < known.stop and known.start < lengths.stop for known in _RESETS.values())
        return Opening.UNDECIDED if possible else Opening.OTHER
    return Opening.OPENVPN if least in _RESETS.get(data[PREFIX_SIZE], ()) else Opening.OTHER


class Deframer:
    """Cuts a stream back into datagrams, in time linear in the bytes that are fed."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._pending = bytearray()

    def feed(self, data: Buffer) -> list[bytes]:
        """Return the datagrams that `data` completes, in order.

        Raises `MalformedPacket` for a length of 0 or above `max_size`: there is no way to find the
        next packet, so everything fed later is refused too.
        """
        if not self._pending:
            datagrams, used = self._split(data)
            self._pending += data[used:]
            return datagrams
        self._pending += data
        datagrams, used = self._split(self._pending)
        del self._pending[:used]
        return datagrams

    def _split(self, data: Buffer) -> tuple[list[bytes], int]:
        """All whole datagrams of `data` and the number of bytes they take."""
        datagrams = []
        start, size = 0, len(data)
        while start + PREFIX_SIZE <= size:
            length = data[start] << 8 | data[start + 1]
            if not 0 < length <= self._max_size:
                self._pending[:] = bytes(PREFIX_SIZE)  # a length of 0, to refuse whatever follows
                raise MalformedPacket(f"a packet of {length} bytes on a stream, 1 to {self._max_size} are allowed")
            end = start + PREFIX_SIZE + length
            if end > size:
                break
            datagrams.append(bytes(data[start + PREFIX_SIZE : end]))
            start = end
        return datagrams, start


def runs_of(datagrams: Sequence[bytes]) -> list[Run]:
    """Join neighbouring datagrams of one size, and a shorter one behind them, into runs."""
    runs: list[Run] = []
    start = 0
    size = len(datagrams[0]) if datagrams else 0
    for index, datagram in enumerate(datagrams):
        length = len(datagram)
        if length == size and (index == start or len(datagrams[index - 1]) == size):
            continue
        if length < size and len(datagrams[index - 1]) == size:
            continue
        runs.append(_joined(datagrams[start:index], size))
        start, size = index, length
    if datagrams:
        runs.append(_joined(datagrams[start:], size))
    return runs


def _joined(datagrams: Sequence[bytes], size: int) -> Run:
    return Run(datagrams[0] if len(datagrams) == 1 else b"".join(datagrams), size)


def frame_one(datagram: Buffer) -> bytes:
    """Put its length in front of a datagram of 1 to 65535 bytes."""
    return b"".join((len(datagram).to_bytes(PREFIX_SIZE, "big"), datagram))


def frame_run(run: Run) -> bytes:
    """Put its length in front of each datagram of a run, all in one buffer."""
    data, size = run
    if len(data) <= size:
        return frame_one(data)
    view = memoryview(data)
    prefix = size.to_bytes(PREFIX_SIZE, "big")
    whole = len(view) - len(view) % size
    parts: list[Buffer] = []
    for start in range(0, whole, size):
        parts += (prefix, view[start : start + size])
    if whole < len(view):
        parts += ((len(view) - whole).to_bytes(PREFIX_SIZE, "big"), view[whole:])
    return b"".join(parts)
