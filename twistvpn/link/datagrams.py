"""Reading a UDP socket dry: datagrams in, runs out.  `_datagrams` is the same compiled, in one call of recvmmsg(2).

Source: udp(7) for UDP_GRO's control message; `link.multihome` for the other one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Protocol, cast

from twistvpn.compiled import wanted
from twistvpn.interfaces import Address, Multihome, Run
from twistvpn.link.multihome import reply_pktinfo

if TYPE_CHECKING:
    import socket

SOL_UDP = 17
UDP_GRO = 104
GRO_SIZE = struct.Struct("i")

MAX_DATAGRAM = 65535
READS_PER_WAKEUP = 64
BYTES_PER_WAKEUP = 512 * 1024


class Reader(Protocol):
    """Receives the datagrams of one socket in batches."""

    def read(self) -> tuple[list[tuple[Run, Address]], int, int]:
        """Receive what is there, at most `READS_PER_WAKEUP` times and about `BYTES_PER_WAKEUP`.

        Returns the runs with their senders, how many datagrams were empty, and the errno that ended it; 0 where
        nothing failed.  Neighbouring datagrams of one sender and size make one run, whether UDP_GRO has joined
        them or not.
        """


class OpenReader(Protocol):
    """Makes a reader."""

    def __call__(self, sock: socket.socket, control_size: int, multihome: Multihome = Multihome.NO) -> Reader:
        """Read `sock`, with `control_size` bytes for what comes beside a datagram; 0 without UDP_GRO and multihome.

        With `multihome` senders have the five values of a path, where the socket has been told to say so.
        """


class DatagramReader:
    """The reader in Python."""

    def __init__(self, sock: socket.socket, control_size: int, multihome: Multihome = Multihome.NO) -> None:
        self._socket = sock
        self._control_size = control_size
        self._multihome = multihome
        self._view = memoryview(bytearray(BYTES_PER_WAKEUP + MAX_DATAGRAM))

    def read(self) -> tuple[list[tuple[Run, Address]], int, int]:
        """See `Reader`.  Datagrams are read one behind the other, so that neighbours are a run as they lie."""
        control_size, view, multihome = self._control_size, self._view, self._multihome
        receive = self._socket.recvmsg_into
        batch: list[tuple[Run, Address]] = []
        start = end = size = empty = code = 0
        sender: Address | None = None
        is_open = False
        for _ in range(READS_PER_WAKEUP):
            try:
                length, control, _flags, address = receive((view[end:],), control_size)
            except OSError as error:
                code = error.errno or 0
                break
            if not length:
                empty += 1
                continue
            segment = _segment_size(control, length) if control else length
            if multihome:
                address = _path(address, reply_pktinfo(control, multihome))
            if not (is_open and address == sender and (segment == size or length < size)):
                if sender is not None:
                    batch.append((Run(bytes(view[start:end]), size), sender))
                start, size, sender = end, segment, address
            is_open = segment == size and not length % size
            end += length
            if end >= BYTES_PER_WAKEUP:
                break
        if sender is not None:
            batch.append((Run(bytes(view[start:end]), size), sender))
        return batch, empty, code


def _segment_size(control: list[tuple[int, int, bytes]], length: int) -> int:
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO and len(data) >= GRO_SIZE.size:
            return int(GRO_SIZE.unpack_from(data)[0]) or length
    return length


def _path(address: tuple[Any, ...], pktinfo: bytes | None) -> Any:
    return address if pktinfo is None else (*address, 0, 0, pktinfo) if len(address) == 2 else (*address, pktinfo)


_compiled = wanted("twistvpn.link._datagrams")
open_reader: OpenReader = DatagramReader if _compiled is None else cast("OpenReader", _compiled.DatagramReader)
"""The one of the two that is there and wanted."""
