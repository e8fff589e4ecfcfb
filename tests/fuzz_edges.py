"""Fuzz what is compiled of links and tun devices under AddressSanitizer and UBSan, on sockets, against the pure one.

    python tests/fuzz_edges.py [--seconds N] [--seed N]

See `tests.sanitized`.
"""

from __future__ import annotations

import random
import socket
import struct
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.sanitized import Module, main
from tests.udp_sockets import udp_socket
from twistvpn.interfaces import NO_OFFLOAD, Frame, Multihome
from twistvpn.link.datagrams import GRO_SIZE, SOL_UDP, UDP_GRO, DatagramReader
from twistvpn.link.multihome import CONTROL_SIZE, tell_destinations

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

VALUES = "twistvpn/data/csrc/values.c"
DATAGRAMS = Module("twistvpn.link._datagrams", ["twistvpn/link/csrc/*.c", VALUES])
FRAMES = Module("twistvpn.tun._frames", ["twistvpn/tun/csrc/*.c", VALUES])
UDP_SEGMENT = 103
ROOM = 100_000
"""Bytes of a receiver's buffer that are used: more would be lost, by one sooner than by the other."""
SIZES = (0, 1, 2, 3, 50, 100, 1400, 1472, 9000, 30000)
LONGEST_READ = 65535 + 14 + 8


def send(choose: Random, sender: socket.socket, receivers: list[socket.socket], target: str) -> int:
    """Send the same to all receivers, perhaps many at once; returns about how much room that takes in their buffers."""
    size = choose.choice(SIZES)
    count = choose.choice((1, 1, 2, 10, 60)) if 0 < size < 1001 else 1
    data = choose.randbytes(max(0, size * count - choose.randrange(2)))
    control = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", size))] if count > 1 else []
    for receiver in receivers:
        with suppress(OSError):
            sender.sendmsg((data,), control, 0, (target, receiver.getsockname()[1]))
    return 2 * len(data) + 1024 * count


def fuzz_datagrams(module: Any, choose: Random) -> None:
    """Receive by both readers."""
    with ExitStack() as stack:
        host, target = choose.choice((("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")))
        target = f"::ffff:{target}" if host == "::" and "." in target and choose.random() < 0.5 else target
        try:
            receivers = [udp_socket(stack, host) for _ in range(2)]
            senders = [udp_socket(stack, "127.0.0.1" if target[0].isdigit() else "::") for _ in range(3)]
        except OSError:
            return  # there is no IPv6 here
        multihome = choose.choice(list(Multihome))
        control_size = choose.choice((0, socket.CMSG_SPACE(GRO_SIZE.size)))
        for receiver in receivers:
            if multihome:
                tell_destinations(receiver)
            if control_size:
                receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
        control_size += CONTROL_SIZE if multihome else 0
        compiled = module.DatagramReader(receivers[0], control_size, multihome)
        pure = DatagramReader(receivers[1], control_size, multihome)
        for _ in range(choose.randrange(4)):
            sender = choose.choice(senders)
            room = choose.choice((0, 1, 5000, ROOM))
            while room > 0:
                sender = choose.choice((sender, sender, sender, choose.choice(senders)))
                room -= send(choose, sender, receivers, target)
            assert datagrams(compiled) == datagrams(pure)


def datagrams(reader: Any) -> list[tuple[bytes, Any]]:
    """All that is there, one by one: wake-ups end at other places, and GRO joins what it likes."""
    found: list[tuple[bytes, Any]] = []
    while True:
        batch, empty, code = reader.read()
        found += [(bytes(datagram), source) for run, source in batch for datagram in run.datagrams()]
        if not batch and not empty:
            assert code, "nothing was there"
            return found


class Odd:
    """A socket that is none."""

    def __init__(self, number: object) -> None:
        self.number = number

    def fileno(self) -> object:
        """Something or other."""
        if isinstance(self.number, Exception):
            raise self.number
        return self.number


def fuzz_odd_sockets(module: Any, choose: Random) -> None:
    """Read what cannot be read; an exception or an errno is right."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        number = choose.choice((-1, 10**6, 1 << 40, "x", None, ValueError("x"), ours.fileno(), ours.fileno()))
        theirs.send(choose.randbytes(choose.choice((1, 100))))
        with suppress(ValueError, TypeError, OverflowError, OSError, AttributeError):
            reader = module.DatagramReader(choose.choice((Odd(number), None)), choose.choice((-1, 0, 1, 1 << 40)), 7)
            reader.read()
            reader.read()


def fuzz_reading(module: Any, choose: Random) -> None:
    """Read a device that is a socket."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        ours.setblocking(False)
        header = choose.choice((0, 10, 10, 2, 12, 64))
        sent = [
            choose.randbytes(choose.choice((1, 2, 9, 10, 11, 12, 60, 1500, 20000))) for _ in range(choose.randrange(9))
        ]
        for packet in sent:
            kernels.send(packet)
        scratch = bytearray(
            choose.choice((0, 1, LONGEST_READ, header + LONGEST_READ, 3 * LONGEST_READ, 10 * LONGEST_READ))
        )
        most, room = choose.choice((-1, 0, 1, 5, 10**6)), choose.choice((-1, 0, 1, 2000, 1 << 40))
        frames, _ = module.read_frames(ours.fileno(), scratch, header, most, room)
        assert len(frames) <= min(len(sent), max(0, most))
        taken = [packet for packet in sent if len(packet) > header]
        for frame, packet in zip(frames, taken, strict=False):
            assert frame.packet == packet[header:]
            is_plain = not header or not (packet[0] & 1 or packet[1])
            assert frame.vnet == (NO_OFFLOAD if is_plain else packet[:header])
        for wrong in (-1, 1, 65, 1 << 40):
            with suppress(ValueError):
                module.read_frames(ours.fileno(), scratch, wrong, most, room)
        with suppress(TypeError, BufferError, OverflowError):
            module.read_frames(choose.choice((-1, 1 << 40)), choose.choice((b"read only", None, scratch)), 10, 1, 1)


def fuzz_writing(module: Any, choose: Random) -> None:
    """Write frames, some of which are none."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        kernels.setblocking(False)
        ours.setblocking(False)
        good = [
            Frame(choose.choice((bytes, bytearray, memoryview))(bytearray(choose.randbytes(choose.randrange(2000)))))
            for _ in range(choose.choice((0, 1, 5, 70, 200)))
        ]
        frames: list[Any] = list(good)
        for _ in range(choose.choice((0, 0, 1, 3))):
            odd = choose.choice((None, (), (b"x",), (b"x", b"y", b"z"), ("x", b""), (b"x", None), [b"x", b""]))
            frames.insert(choose.randrange(len(frames) + 1), odd)
        with suppress(TypeError):
            errors = module.write_frames(ours.fileno(), choose.choice((frames, tuple(frames))))
            assert all(isinstance(code, int) for code in errors)
        written = []
        with suppress(BlockingIOError):
            while True:
                written.append(kernels.recv(1 << 16))
        assert written == [NO_OFFLOAD + bytes(frame.packet) for frame in good][: len(written)]
        with suppress(TypeError, OverflowError):
            module.write_frames(choose.choice((-1, 1 << 40, ours.fileno())), choose.choice((None, 5, frames)))


def fuzz(modules: Mapping[str, Any], seed: int) -> None:
    """Fuzz both modules."""
    choose = random.Random(seed)
    fuzz_datagrams(modules[DATAGRAMS.name], choose)
    fuzz_odd_sockets(modules[DATAGRAMS.name], choose)
    fuzz_reading(modules[FRAMES.name], choose)
    fuzz_writing(modules[FRAMES.name], choose)


if __name__ == "__main__":
    main(__doc__, [DATAGRAMS, FRAMES], fuzz)
