"""The compiled reader of a tun device against the one in Python, on sockets that keep packets apart as a tun does."""

from __future__ import annotations

import errno
import socket
import struct
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
    return DeviceCalls(read_frames=_compiled.read_frames)


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
