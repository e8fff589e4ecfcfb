"""The compiled reader and writer of a tun device against those in Python, on sockets that keep packets apart."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactor

from twistvpn.compiled import find
from twistvpn.interfaces import NO_OFFLOAD, Frame
from twistvpn.tun.device import DeviceCalls, TunDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

_compiled = find("twistvpn.tun._frames")
pytestmark = pytest.mark.skipif(_compiled is None, reason="the compiled reader was not built")


class Receiver:
    def __init__(self) -> None:
        self.batches: list[list[Frame]] = []

    def frames_received(self, frames: Sequence[Frame]) -> None:
        self.batches.append(list(frames))


def batches_of(reads: list[bytes], calls: DeviceCalls, header_size: int) -> list[list[Frame]]:
    """What a device hands over, wake-up by wake-up, of these reads."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        ours.setblocking(False)
        receiver = Receiver()
        device = TunDevice(MemoryReactor(), ours.fileno(), "tun0", vnet_header_size=header_size, calls=calls)
        device.start(receiver)  # type: ignore[arg-type]
        for read in reads:
            kernels.send(read)
        for _ in range(len(reads) // 64 + 2):
            assert device.doRead() is None
    return receiver.batches


def compiled_calls() -> DeviceCalls:
    assert _compiled is not None
    return DeviceCalls(read_frames=_compiled.read_frames, write_frames=_compiled.write_frames)


HEADERS = [NO_OFFLOAD, struct.pack("=BBHHHH", 1, 1, 40, 1360, 20, 16), struct.pack("=BBHHHH", 2, 0, 0, 0, 0, 0)]


@given(st.lists(st.tuples(st.sampled_from(HEADERS), st.sampled_from([0, 1, 1400])), max_size=70))
def test_both_readers_make_the_same_frames(reads: list[tuple[bytes, int]]) -> None:
    packets = [header + bytes(size) for header, size in reads]
    assert batches_of(packets, compiled_calls(), 10) == batches_of(packets, DeviceCalls(), 10)


def test_packets_without_a_header_are_plain() -> None:
    packets = [b"\1\1 packet", b"x", b"packet"]
    assert batches_of(packets, compiled_calls(), 0) == [[Frame(packet) for packet in packets]]


def test_a_batch_is_bounded() -> None:
    assert [len(batch) for batch in batches_of([bytes(60)] * 100, compiled_calls(), 10)] == [64, 36]


@pytest.mark.parametrize(
    ("reads", "room", "expected"), [(2, 1000, 2), (0, 1000, 0), (9, 0, 0), (9, 61, 2), (9, 1000, 4)]
)
def test_bounds_are_kept(reads: int, room: int, expected: int) -> None:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    assert _compiled is not None
    with ours, kernels:
        ours.setblocking(False)
        for _ in range(4):
            kernels.send(bytes(60))
        frames, error = _compiled.read_frames(ours.fileno(), bytearray(70000), 10, reads, room)
        assert len(frames) <= expected
        assert error in {0, errno.EAGAIN}


def test_memory_that_is_too_small_is_not_written_to() -> None:
    assert _compiled is not None
    assert _compiled.read_frames(0, bytearray(65544), 10, 5, 5) == ([], 0)
    with pytest.raises(ValueError, match="virtio-net header"):
        _compiled.read_frames(0, bytearray(70000), 1, 5, 5)


def test_what_is_wrong_with_the_device_is_told() -> None:
    assert _compiled is not None
    assert _compiled.read_frames(-1, bytearray(70000), 10, 5, 5) == ([], errno.EBADF)


def written(frames: Sequence[Frame], calls: DeviceCalls) -> tuple[list[bytes], dict[str, int]]:
    """What a device is given of these frames, and what it is not."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        ours.setblocking(False)
        kernels.setblocking(False)
        device = TunDevice(MemoryReactor(), ours.fileno(), "tun0", calls=calls)
        device.write_frames(frames)
        taken = []
        with suppress(BlockingIOError):
            while True:
                taken.append(kernels.recv(70000))
        return taken, dict(device.drops)


@given(st.lists(st.tuples(st.sampled_from(HEADERS), st.sampled_from([0, 1, 1400])), max_size=150))
def test_both_writers_write_the_same(frames: list[tuple[bytes, int]]) -> None:
    given_frames = [Frame(bytes([at]) * size, header) for at, (header, size) in enumerate(frames)]
    in_python = written(given_frames, DeviceCalls())
    assert written(given_frames, compiled_calls()) == in_python


def test_packets_may_lie_in_any_buffer() -> None:
    frames = [Frame(bytearray(b"one")), Frame(memoryview(b"xtwo")[1:]), Frame(b"three")]
    assert written(frames, compiled_calls()) == ([NO_OFFLOAD + b"one", NO_OFFLOAD + b"two", NO_OFFLOAD + b"three"], {})


def test_what_is_not_taken_is_told() -> None:
    assert _compiled is not None
    assert _compiled.write_frames(-1, [Frame(b"x")] * 100) == [errno.EBADF] * 100


@pytest.mark.parametrize("wrong", [None, (b"packet",), Frame("text"), Frame(b"x", None)])  # type: ignore[arg-type]
def test_what_is_no_frame_is_refused_and_the_ones_before_are_written(wrong: object) -> None:
    assert _compiled is not None
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        with pytest.raises(TypeError):
            _compiled.write_frames(ours.fileno(), [Frame(b"good"), wrong, Frame(b"never")])
        assert kernels.recv(100) == NO_OFFLOAD + b"good"
        ours.close()
        assert kernels.recv(100) == b""
