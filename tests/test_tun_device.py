"""The tun device, once on a kernel in memory and once on the real one."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.netns import can_open_tun, fresh_namespace
from tests.recorders import FrameRecorder
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import NO_OFFLOAD, Buffer, DeviceType, Frame, ITun
from twistvpn.tun.device import (
    ALL_OFFLOADS,
    IFF_VNET_HDR,
    INTERFACE_REQUEST,
    KERNEL,
    TCP_OFFLOADS,
    TUNSETIFF,
    TUNSETOFFLOAD,
    DeviceCalls,
    Offload,
    TunDevice,
    open_tun,
)
from twistvpn.tun.netlink import NetworkConfigurator

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

HOST, PEER = "10.8.0.1", "10.8.0.2"
PORT = 5000
SUPER_PACKET = struct.pack("=BBHHHH", 1, 1, 40, 1360, 20, 16)


def udp_packet(source: str, destination: str, payload: bytes) -> bytes:
    """Build an IPv4 packet with a UDP datagram that has no checksum."""
    udp = struct.pack("!HHHH", PORT, PORT, 8 + len(payload), 0) + payload
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses
    total: int = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return header[:10] + checksum.to_bytes(2, "big") + header[12:] + udp


class MemoryKernel:
    """The system calls of a kernel whose tun interfaces live in memory."""

    def __init__(self) -> None:
        self.refusals: dict[str | int, int] = {}
        """errno by what is refused: 'open', or an ioctl's number."""
        self.offloads = int(sum(ALL_OFFLOADS))
        self.has_vnet_header = True
        self.interfaces: dict[int, str] = {}
        self.flags: dict[str, int] = {}
        self.to_read: list[bytes | int] = []
        """Reads to come: bytes, or an errno; then EAGAIN."""
        self.written: list[bytes] = []
        self.write_errors: list[int] = []
        self.calls = DeviceCalls(
            open=self.open, ioctl=self.ioctl, readv=self.readv, writev=self.writev, close=self.close
        )
        self._next_fd = 1000

    def open(self, path: str, flags: int) -> int:
        assert path == "/dev/net/tun"
        assert flags == os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        self._refuse("open")
        self._next_fd += 1
        self.interfaces[self._next_fd] = ""
        return self._next_fd

    def ioctl(self, fd: int, request: int, argument: bytes | int) -> bytes | int:
        self._refuse(request)
        if request == TUNSETIFF:
            assert isinstance(argument, bytes)
            return self._set_interface(fd, argument)
        if request == TUNSETOFFLOAD and int(argument) & ~self.offloads:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return argument

    def _set_interface(self, fd: int, argument: bytes) -> bytes:
        asked, flags = INTERFACE_REQUEST.unpack(argument)
        name = asked.rstrip(b"\0").decode()
        if flags & IFF_VNET_HDR and not self.has_vnet_header:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if name in {"tun%d", "tap%d"}:
            name = next(name % n for n in range(100) if name % n not in self.interfaces.values())
        if name in self.interfaces.values():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self.interfaces[fd] = name
        self.flags[name] = flags
        return INTERFACE_REQUEST.pack(name.encode(), flags)

    def readv(self, fd: int, buffers: Sequence[bytearray]) -> int:
        if fd not in self.interfaces:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        item = self.to_read.pop(0) if self.to_read else errno.EAGAIN
        if isinstance(item, int):
            raise OSError(item, os.strerror(item))
        buffers[0][: len(item)] = item
        return len(item)

    def writev(self, fd: int, buffers: Sequence[Buffer]) -> int:
        assert fd in self.interfaces
        if self.write_errors:
            code = self.write_errors.pop(0)
            raise OSError(code, os.strerror(code))
        data = b"".join(buffers)
        self.written.append(data)
        return len(data)

    def close(self, fd: int) -> None:
        del self.interfaces[fd]

    def _refuse(self, what: str | int) -> None:
        if what in self.refusals:
            raise OSError(self.refusals[what], os.strerror(self.refusals[what]))


class Contract:
    """What holds on every kernel; a subclass says how to reach the host's side of the device."""

    reactor: MemoryReactor

    def open(self, name: str = "tun", offload: Collection[Offload] = ()) -> TunDevice:
        raise NotImplementedError

    def host_sends(self, device: TunDevice, *payloads: bytes) -> None:
        """Make the host route UDP datagrams with these payloads into the device."""
        raise NotImplementedError

    def host_receives(self, count: int) -> list[bytes]:
        """Return the payloads of `count` UDP datagrams that reached the host's socket through the device."""
        raise NotImplementedError

    def open_files(self) -> int:
        raise NotImplementedError

    def read(self, device: TunDevice, count: int) -> FrameRecorder:
        raise NotImplementedError

    def test_it_provides_the_interfaces(self) -> None:
        device = self.open()
        verifyObject(ITun, device)
        verifyObject(IReadDescriptor, device)

    def test_tun_is_the_first_free_number_and_a_name_is_that_name(self) -> None:
        names = [self.open().name, self.open("vpn").name, self.open().name]
        assert names == ["tun0", "vpn", "tun1"]

    def test_packets_of_the_host_arrive_whole_and_in_order(self) -> None:
        device = self.open()
        payloads = [b"a", b"b" * 1400, b"c" * 20000]
        self.host_sends(device, *payloads)
        recorder = self.read(device, 3)
        assert [packet[28:] for packet in recorder.packets] == payloads
        assert [packet[12:20] for packet in recorder.packets] == [socket.inet_aton(HOST) + socket.inet_aton(PEER)] * 3
        assert len(recorder.batches) == 1

    def test_packets_written_reach_the_host(self) -> None:
        device = self.open()
        self.host_sends(device)
        packets = [udp_packet(PEER, HOST, payload) for payload in (b"one", b"x" * 20000, b"three")]
        device.write_frames([Frame(packets[0]), Frame(bytearray(packets[1])), Frame(memoryview(packets[2]))])
        assert self.host_receives(3) == [b"one", b"x" * 20000, b"three"]
        assert not device.drops

    def test_a_read_without_packets_returns(self) -> None:
        device = self.open()
        recorder = FrameRecorder()
        device.start(recorder)
        assert device.doRead() is None
        assert recorder.batches == []

    def test_a_name_in_use_is_refused_without_a_leak(self) -> None:
        self.open("vpn")
        before = self.open_files()
        with pytest.raises(EnvironmentRefusal, match=r"'vpn'.*in use by another program"):
            self.open("vpn")
        assert self.open_files() == before

    def test_offloads_are_granted_only_when_asked_for(self) -> None:
        assert self.open().offloads == frozenset()
        assert self.open(offload=TCP_OFFLOADS).offloads == TCP_OFFLOADS

    def test_close_gives_the_device_back(self) -> None:
        before = self.open_files()
        device = self.open("vpn")
        device.start(FrameRecorder())
        assert self.reactor.getReaders() == [device]
        device.close()
        device.close()
        assert self.reactor.getReaders() == []
        assert self.open_files() == before
        assert device.fileno() == -1
        device.write_frames([Frame(b"late")])
        assert device.drops["closed"] == 1
        self.open("vpn")

    def test_the_end_of_the_reactor_closes_it_quietly(self) -> None:
        device = self.open()
        lost: list[Failure] = []
        device.on_lost = lost.append
        device.connectionLost(Failure(ConnectionLost()))
        assert device.fileno() == -1
        assert lost == []


class MemoryKernelTests(Contract, SynchronousTestCase):
    """The contract, and what only a kernel in memory can be made to do."""

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        self.kernel = MemoryKernel()

    def open(self, name: str = "tun", offload: Collection[Offload] = ()) -> TunDevice:
        return open_tun(self.reactor, name, offload=offload, calls=self.kernel.calls)

    def host_sends(self, device: TunDevice, *payloads: bytes) -> None:
        self.kernel.to_read += [NO_OFFLOAD + udp_packet(HOST, PEER, payload) for payload in payloads]

    def host_receives(self, count: int) -> list[bytes]:
        assert all(data.startswith(NO_OFFLOAD) for data in self.kernel.written)
        return [data[10 + 28 :] for data in self.kernel.written[:count]]

    def open_files(self) -> int:
        return len(self.kernel.interfaces)

    def read(self, device: TunDevice, count: int) -> FrameRecorder:
        recorder = FrameRecorder()
        device.start(recorder)
        device.doRead()
        assert len(recorder.packets) == count
        return recorder

    def refusal(self, what: str | int, code: int) -> str:
        self.kernel.refusals = {what: code}
        with pytest.raises(EnvironmentRefusal) as caught:
            self.open()
        assert self.kernel.interfaces == {}
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def test_refusals_name_cause_and_mend(self) -> None:
        assert "modprobe tun" in self.refusal("open", errno.ENOENT)
        assert "container" in self.refusal("open", errno.ENXIO)
        assert "run as root" in self.refusal("open", errno.EACCES)
        assert "Too many open files" in self.refusal("open", errno.EMFILE)
        assert "CAP_NET_ADMIN" in self.refusal(TUNSETIFF, errno.EPERM)
        assert "choose another name" in self.refusal(TUNSETIFF, errno.EINVAL)
        assert "No buffer space" in self.refusal(TUNSETIFF, errno.ENOBUFS)
        assert "offloads" in self.refusal(TUNSETOFFLOAD, errno.EPERM)

    def test_a_tap_asks_for_ethernet(self) -> None:
        names = [open_tun(self.reactor, name, DeviceType.TAP, calls=self.kernel.calls).name for name in ("tap", "lan")]
        assert names == ["tap0", "lan"]
        assert self.kernel.flags["lan"] & 0x0F == 2
        self.kernel.refusals = {TUNSETIFF: errno.EINVAL}
        with pytest.raises(EnvironmentRefusal, match=r"'lan0'.*is no single-queue tap device"):
            open_tun(self.reactor, "lan0", DeviceType.TAP, calls=self.kernel.calls)

    def test_a_name_too_long_is_refused(self) -> None:
        with pytest.raises(EnvironmentRefusal, match="15 bytes"):
            self.open("interface-of-mine")

    def test_a_kernel_with_less_offload_grants_what_it_has(self) -> None:
        self.kernel.offloads = int(sum(TCP_OFFLOADS))
        assert self.open(offload=ALL_OFFLOADS).offloads == TCP_OFFLOADS
        self.kernel.offloads = int(Offload.CSUM)
        assert self.open(offload=ALL_OFFLOADS).offloads == {Offload.CSUM}
        self.kernel.refusals = {TUNSETOFFLOAD: errno.EINVAL}
        assert self.open(offload=ALL_OFFLOADS).offloads == frozenset()

    def test_what_the_kernel_does_not_grant_is_told_in_one_line(self) -> None:
        with capturedLogs() as events:
            self.open(offload=ALL_OFFLOADS)
            self.kernel.offloads = int(sum(TCP_OFFLOADS))
            self.open(offload=ALL_OFFLOADS)
            self.kernel.has_vnet_header = False
            self.open(offload={Offload.CSUM})
        lines = [str(formatEvent(event)) for event in events]
        assert [line.split(": ", 1)[1] for line in lines] == [
            "the kernel has no offload USO4, USO6: such packets pass singly",
            "the kernel has no offload CSUM: such packets pass singly",
        ]

    def test_a_kernel_without_virtio_headers_carries_plain_packets(self) -> None:
        self.kernel.has_vnet_header = False
        device = self.open(offload=ALL_OFFLOADS)
        self.kernel.to_read = [b"packet in"]
        assert self.read(device, 1).batches == [[Frame(b"packet in")]]
        device.write_frames([Frame(b"packet out"), Frame(b"super", SUPER_PACKET)])
        assert self.kernel.written == [b"packet out"]
        assert device.drops == {"offload": 1}
        assert device.offloads == frozenset()

    def test_super_packets_carry_their_header_both_ways(self) -> None:
        device = self.open(offload=TCP_OFFLOADS)
        self.kernel.to_read = [SUPER_PACKET + b"s" * 65535]
        assert self.read(device, 1).batches == [[Frame(b"s" * 65535, SUPER_PACKET)]]
        device.write_frames([Frame(b"super", SUPER_PACKET)])
        assert self.kernel.written == [SUPER_PACKET + b"super"]

    def test_a_packet_whose_checksum_the_kernel_has_verified_is_plain(self) -> None:
        data_valid = b"\x02" + bytes(9)
        self.kernel.to_read = [data_valid + b"packet"]
        assert self.read(self.open(), 1).batches == [[Frame(b"packet", NO_OFFLOAD)]]

    def test_one_wakeup_reads_a_bounded_amount(self) -> None:
        device, recorder = self.open(), FrameRecorder()
        device.start(recorder)
        self.kernel.to_read = [NO_OFFLOAD + b"small"] * 100
        device.doRead()
        assert len(recorder.packets) == 64
        self.kernel.to_read = [NO_OFFLOAD + bytes(60000)] * 100
        device.doRead()
        assert len(recorder.packets) == 64 + 5

    def test_frames_stay_as_they_were_after_later_reads(self) -> None:
        device, recorder = self.open(), FrameRecorder()
        device.start(recorder)
        for packet in (b"first", b"later"):
            self.kernel.to_read = [NO_OFFLOAD + packet]
            device.doRead()
        assert recorder.packets == [b"first", b"later"]

    def test_a_poll_reads_at_once_and_what_fails_is_left_for_the_reactor(self) -> None:
        device, recorder = self.open(), FrameRecorder()
        device.poll()
        device.start(recorder)
        self.kernel.to_read = [NO_OFFLOAD + b"answer", errno.EBADFD]
        device.poll()
        assert recorder.packets == [b"answer"]
        assert device.fileno() >= 0
        device.close()
        device.poll()

    def test_what_the_kernel_does_not_take_is_dropped_and_counted(self) -> None:
        device = self.open()
        self.kernel.write_errors = [errno.EAGAIN, errno.ENOBUFS, errno.EIO, errno.EINVAL, errno.EBADFD]
        device.write_frames([Frame(b"%d" % number) for number in range(6)])
        assert device.drops == {"full": 2, "down": 1, "invalid": 1, "ebadfd": 1}
        assert self.kernel.written == [NO_OFFLOAD + b"5"]

    def test_a_receiver_that_fails_does_not_end_the_device(self) -> None:
        class Failing(FrameRecorder):
            def frames_received(self, frames: Sequence[Frame]) -> None:
                super().frames_received(frames)
                raise ZeroDivisionError

        device, receiver = self.open(), Failing()
        device.start(receiver)
        for _ in range(2):
            self.kernel.to_read = [NO_OFFLOAD + b"packet"]
            assert device.doRead() is None
        assert receiver.packets == [b"packet", b"packet"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2  # type: ignore[no-untyped-call]  # it is trial's

    def test_an_interface_that_vanishes_is_told_once(self) -> None:
        device, recorder, lost = self.open(), FrameRecorder(), list[Failure]()
        device.on_lost = lost.append
        device.start(recorder)
        self.kernel.to_read = [NO_OFFLOAD + b"last", errno.EBADFD]
        reason = device.doRead()
        assert reason is not None
        device.connectionLost(reason)
        device.connectionLost(reason)
        assert recorder.packets == [b"last"]
        assert lost == [reason]
        assert self.kernel.interfaces == {}

    def test_a_passing_error_of_a_read_does_not_end_the_device(self) -> None:
        device = self.open()
        device.start(FrameRecorder())
        self.kernel.to_read = [errno.ENOBUFS]
        assert device.doRead() is None


@pytest.mark.interop
class KernelTests(Contract, SynchronousTestCase):
    """The contract on the real kernel, in a network namespace of its own."""

    skip = None if can_open_tun() else "needs root and /dev/net/tun"
    calls = KERNEL

    def setUp(self) -> None:
        self.reactor = MemoryReactor()
        namespace = fresh_namespace()
        namespace.__enter__()
        self.addCleanup(namespace.__exit__, None, None, None)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.addCleanup(self.socket.close)
        Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1", "ascii")

    def open(self, name: str = "tun", offload: Collection[Offload] = ()) -> TunDevice:
        device = open_tun(self.reactor, name, offload=offload, calls=self.calls)
        self.addCleanup(device.close)
        return device

    def configure(self, device: TunDevice, mtu: int = 65535) -> None:
        network = NetworkConfigurator()
        network.set_mtu(device.name, mtu)
        network.add_address(device.name, ip_interface(f"{HOST}/24"))
        network.set_up(device.name)
        self.socket.bind((HOST, PORT))

    def host_sends(self, device: TunDevice, *payloads: bytes) -> None:
        self.configure(device)
        for payload in payloads:
            self.socket.sendto(payload, (PEER, PORT))

    def host_receives(self, count: int) -> list[bytes]:
        return [self.socket.recv(65535) for _ in range(count)]

    def open_files(self) -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def read(self, device: TunDevice, count: int) -> FrameRecorder:
        recorder = FrameRecorder()
        device.start(recorder)
        while len(recorder.packets) < count:
            assert select.select([device], [], [], 10)[0], "no packet within 10 s"
            assert device.doRead() is None
        return recorder

    def test_it_does_not_block_and_is_not_inherited(self) -> None:
        fd = self.open().fileno()
        assert not os.get_blocking(fd)
        assert not os.get_inheritable(fd)

    def test_an_interface_that_is_down_drops(self) -> None:
        device = self.open()
        device.write_frames([Frame(udp_packet(PEER, HOST, b"early"))])
        assert device.drops == {"down": 1}

    def test_what_is_no_ip_packet_is_dropped(self) -> None:
        device = self.open()
        self.host_sends(device)
        device.write_frames([Frame(b"\0" * 20), Frame(b"")])
        assert device.drops == {"invalid": 2}

    def test_all_that_this_kernel_offers_is_granted(self) -> None:
        assert self.open(offload=ALL_OFFLOADS).offloads >= TCP_OFFLOADS

    def test_an_interface_that_is_no_tun_is_refused(self) -> None:
        before = self.open_files()
        with pytest.raises(EnvironmentRefusal, match="choose another name"):
            self.open("lo")
        assert self.open_files() == before

    def test_a_tap_carries_frames_both_ways(self) -> None:
        device = open_tun(self.reactor, "tap", DeviceType.TAP, offload=ALL_OFFLOADS, calls=self.calls)
        self.addCleanup(device.close)
        assert device.name == "tap0"
        self.configure(device, 65521)
        own, other = NetworkConfigurator().lladdrs("tap0")[0], b"\x02\0\0\0\0\2"
        frame = own + other + b"\x08\x00" + udp_packet(PEER, HOST, b"hello")
        device.write_frames([Frame(frame), Frame(b"short")])
        assert self.socket.recv(100) == b"hello"
        assert device.drops == {"invalid": 1}
        self.socket.sendto(b"answer", (PEER, PORT))
        # Nobody has told the host where that is: it asks.
        (question,) = self.read(device, 1).packets
        assert question[:14] == b"\xff" * 6 + own + b"\x08\x06"

    def test_an_interface_that_vanishes_ends_the_reading(self) -> None:
        from pyroute2 import IPRoute

        device = self.open()
        device.start(FrameRecorder())
        with IPRoute() as netlink:
            netlink.link("del", index=netlink.link_lookup(ifname=device.name)[0])
        assert isinstance(device.doRead(), Failure)
        device.write_frames([Frame(udp_packet(PEER, HOST, b"late"))])
        assert sum(device.drops.values()) == 1


class PureKernelTests(KernelTests):
    """The same without what was built at installation."""

    calls = DeviceCalls()
