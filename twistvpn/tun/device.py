"""A Linux tun or tap device as a Twisted reader: packets in, packets out, in batches.

Sources: linux/if_tun.h for the ioctls, linux/virtio_net.h for the header before each packet,
Documentation/networking/tuntap.rst.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections import Counter
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Protocol

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twistvpn.compiled import wanted
from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import NO_OFFLOAD, VNET_HEADER_SIZE, Buffer, DeviceType, Frame, IFrameReceiver, ITun
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from twisted.internet.interfaces import IReactorFDSet

_log = Logger()

CLONE_DEVICE = "/dev/net/tun"

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8

IFF_KINDS = {DeviceType.TUN: 0x0001, DeviceType.TAP: 0x0002}
"""IFF_TUN and IFF_TAP."""
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

INTERFACE_REQUEST = struct.Struct("16sH22x")
"""struct ifreq with ifr_flags: 40 bytes on 64-bit hosts, of which a 32-bit kernel reads the first 32."""
NAME_SIZE = 15
"""Longest interface name in bytes: IFNAMSIZ without its NUL."""

MAX_PACKET = 65535 + 14 + 2 * 4
"""Bytes of the longest read: an IP packet behind an Ethernet header and two VLAN tags."""
READS_PER_WAKEUP = 64
BYTES_PER_WAKEUP = 256 * 1024

VIRTIO_NET_HDR_F_NEEDS_CSUM = 1

READ_AGAIN = frozenset({errno.EAGAIN, errno.EINTR, errno.EIO, errno.ENOBUFS, errno.ENOMEM})
"""What a read may fail with while the device lives."""

WRITE_DROPS = {
    errno.EAGAIN: "full",
    errno.ENOBUFS: "full",
    errno.ENOMEM: "full",
    errno.EIO: "down",
    errno.EINVAL: "invalid",
}
"""Counters for what the kernel does not take; EIO is its word for an interface that is down."""


class Offload(IntFlag):
    """TUN_F_* of linux/if_tun.h: work that the reader of the device takes over from the kernel."""

    CSUM = 0x01
    TSO4 = 0x02
    TSO6 = 0x04
    USO4 = 0x20
    USO6 = 0x40


TCP_OFFLOADS = frozenset({Offload.CSUM, Offload.TSO4, Offload.TSO6})
ALL_OFFLOADS = TCP_OFFLOADS | {Offload.USO4, Offload.USO6}

OFFLOAD_FALLBACKS = (ALL_OFFLOADS, TCP_OFFLOADS, frozenset({Offload.CSUM}))
"""Kernels before 6.2 refuse a request with USO whole, so it is made again with less."""


class FrameReader(Protocol):
    """Many reads in one call."""

    def __call__(
        self, fd: int, scratch: bytearray, header_size: int, reads: int, room: int, /
    ) -> tuple[list[Frame], int]:
        """Read into `scratch` until nothing is there, at most `reads` times and about `room` bytes.

        Returns the frames and the errno that ended it, 0 where it was a bound.
        """


class FrameWriter(Protocol):
    """Many writes in one call."""

    def __call__(self, fd: int, frames: Sequence[Frame], /) -> list[int]:
        """Write each frame behind its virtio-net header; return an errno for each that the kernel did not take."""


def _ioctl(fd: int, request: int, argument: bytes | int) -> bytes | int:
    return fcntl.ioctl(fd, request, argument)


@dataclass(frozen=True)
class DeviceCalls:
    """The system calls the device is made of; a test puts its own in their place."""

    open: Callable[[str, int], int] = os.open
    ioctl: Callable[[int, int, bytes | int], bytes | int] = _ioctl
    readv: Callable[[int, Sequence[bytearray]], int] = os.readv
    writev: Callable[[int, Sequence[Buffer]], int] = os.writev
    close: Callable[[int], None] = os.close
    read_frames: FrameReader | None = None
    """In place of `readv` where it is there."""
    write_frames: FrameWriter | None = None
    """In place of `writev` on a device with virtio-net headers where it is there."""


_compiled = wanted("twistvpn.tun._frames")
KERNEL = (
    DeviceCalls()
    if _compiled is None
    else DeviceCalls(read_frames=_compiled.read_frames, write_frames=_compiled.write_frames)
)


@implementer(ITun, IReadDescriptor)
class TunDevice:
    """An open tun device; `open_tun` makes it.

    `drops` counts packets the kernel did not take, by reason: 'full', 'down', 'invalid', 'offload'
    (a super-packet for a device without virtio-net headers), 'closed', or the name of the errno.
    `offloads` holds what the kernel granted: only a device with Offload.TSO4 yields TCPv4
    super-packets, and so on.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        fd: int,
        name: str,
        *,
        mtu: int = 1500,
        vnet_header_size: int = VNET_HEADER_SIZE,
        offloads: frozenset[Offload] = frozenset(),
        calls: DeviceCalls = KERNEL,
    ) -> None:
        self.name = name
        self.mtu = mtu
        self.offloads = offloads
        self.drops: Counter[str] = Counter()
        self.on_lost: Callable[[Failure], None] | None = None
        """Called once when the interface vanishes under us, not when `close` was called."""
        self._reactor = reactor
        self._fd = fd
        self._header_size = vnet_header_size
        self._calls = calls
        self._receiver: IFrameReceiver | None = None
        self._scratch = bytearray(vnet_header_size + MAX_PACKET + (BYTES_PER_WAKEUP if calls.read_frames else 0))
        self._buffers = [self._scratch]
        self._view = memoryview(self._scratch)

    def start(self, receiver: IFrameReceiver) -> None:
        """Begin to read; every batch goes to `receiver`."""
        self._receiver = receiver
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """Return the file descriptor, -1 once it is closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return what Twisted's log lines about this reader begin with."""
        return self.name

    def doRead(self) -> Failure | None:
        """Read what is there, within bounds, and hand it over as one batch; a failure ends the reading."""
        frames: list[Frame] = []
        lost = self._read_into(frames)
        if frames and self._receiver is not None:
            try:
                self._receiver.frames_received(frames)
            except Exception:  # noqa: BLE001  a fault with one batch must not end the device
                _log.failure("The packets read from {tun} could not be processed", tun=self.name)
        return lost

    def _read_into(self, frames: list[Frame]) -> Failure | None:
        if self._calls.read_frames is not None:
            size = self._header_size
            read, code = self._calls.read_frames(self._fd, self._scratch, size, READS_PER_WAKEUP, BYTES_PER_WAKEUP)
            frames += read
            return None if not code or code in READ_AGAIN else Failure(OSError(code, os.strerror(code)))
        room = BYTES_PER_WAKEUP
        readv, fd, buffers = self._calls.readv, self._fd, self._buffers
        try:
            for _ in range(READS_PER_WAKEUP):
                size = readv(fd, buffers)
                if size > self._header_size:
                    frames.append(self._frame(size))
                room -= size
                if room <= 0:
                    break
        except OSError as error:
            return None if error.errno in READ_AGAIN else Failure(error)
        return None

    def _frame(self, size: int) -> Frame:
        start = self._header_size
        packet = bytes(self._view[start:size])
        scratch = self._scratch
        # The kernel also sets DATA_VALID, which asks nothing of us: such a packet is a plain one.
        if not start or not (scratch[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM or scratch[1]):
            return Frame(packet)
        return Frame(packet, bytes(self._view[:start]))

    def poll(self) -> None:
        """Read what is there at once; a device that has failed is left for the reactor to find."""
        if self._fd >= 0 and self._receiver is not None:
            self.doRead()

    def write_frames(self, frames: Sequence[Frame]) -> None:
        """Hand packets to the host's network stack; what it does not take is dropped and counted."""
        if self._fd < 0:
            self.drops["closed"] += len(frames)
            return
        has_header = self._header_size > 0
        if has_header and self._calls.write_frames is not None:
            for code in self._calls.write_frames(self._fd, frames):
                self.drops[_drop_reason(code)] += 1
            return
        writev, fd = self._calls.writev, self._fd
        for packet, vnet in frames:
            if not has_header and vnet != NO_OFFLOAD:
                self.drops["offload"] += 1
                continue
            try:
                writev(fd, (vnet, packet) if has_header else (packet,))
            except OSError as error:
                self.drops[_drop_reason(error.errno or 0)] += 1

    def close(self) -> None:
        """Stop reading and give the device back.  Calling it twice is harmless."""
        if self._fd < 0:
            return
        fd = self._fd
        self._reactor.removeReader(self)
        self._fd = -1
        self._calls.close(fd)

    def connectionLost(self, reason: Failure) -> None:
        """Close the device; the reactor calls this when the interface is gone, and when it ends itself."""
        if self._fd < 0:
            return
        self.close()
        if isinstance(
            reason.value, ConnectionLost
        ):  # the reactor ends; a vanished interface is ConnectionDone or an OSError
            return
        _log.error("The interface {tun} is gone", tun=self.name)
        if self.on_lost is not None:
            self.on_lost(reason)


def open_tun(
    reactor: IReactorFDSet,
    name: str = "tun",
    kind: DeviceType = DeviceType.TUN,
    *,
    mtu: int = 1500,
    offload: Collection[Offload] = (),
    calls: DeviceCalls = KERNEL,
) -> TunDevice:
    """Open the interface `name`, or the first free tunN or tapN for 'tun' and 'tap'; it is made if it does not exist.

    `mtu` (bytes) is what the device tells as its own; setting it on the interface is
    `twistvpn.tun.netlink`'s part.  `offload` is asked of the kernel, which may grant less: see
    `TunDevice.offloads`.

    Raises `twistvpn.errors.EnvironmentRefusal` where the host does not let us.
    """
    encoded = b"%s%%d" % kind.value.encode() if name in {"tun", "tap"} else os.fsencode(name)
    if len(encoded) > NAME_SIZE:
        raise EnvironmentRefusal(f"interface name '{name}' is longer than {NAME_SIZE} bytes: choose a shorter one")
    fd = _open_clone_device(calls)
    try:
        given, header_size = _attach(calls, fd, encoded, name, kind)
        offloads = _set_offload(calls, fd, frozenset(offload)) if header_size else frozenset()
    except BaseException:
        calls.close(fd)
        raise
    missing = ", ".join(str(flag.name) for flag in Offload if flag in offload and flag not in offloads)
    if missing:
        _log.info("{tun}: the kernel has no offload {missing}: such packets pass singly", tun=given, missing=missing)
    return TunDevice(reactor, fd, given, mtu=mtu, vnet_header_size=header_size, offloads=offloads, calls=calls)


def _open_clone_device(calls: DeviceCalls) -> int:
    try:
        return calls.open(CLONE_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENXIO, errno.ENODEV}:
            mend = "run 'modprobe tun', or in a container hand the device in (--device /dev/net/tun)"
        elif error.errno in {errno.EACCES, errno.EPERM}:
            mend = "run as root or give the process CAP_NET_ADMIN and access to the device"
        else:
            mend = "the kernel's log may tell more"
        raise EnvironmentRefusal(f"cannot open {CLONE_DEVICE}: {error.strerror}; {mend}") from error


def _attach(calls: DeviceCalls, fd: int, encoded: bytes, asked: str, kind: DeviceType) -> tuple[str, int]:
    """Return the interface's name and the size of the header before each packet (0 if there is none)."""
    flags = IFF_KINDS[kind] | IFF_NO_PI
    try:
        return _set_interface(calls, fd, encoded, flags | IFF_VNET_HDR), _set_header_size(calls, fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise _attach_refusal(asked, kind, error) from error
    try:
        return _set_interface(calls, fd, encoded, flags), 0
    except OSError as error:
        raise _attach_refusal(asked, kind, error) from error


def _set_interface(calls: DeviceCalls, fd: int, encoded: bytes, flags: int) -> str:
    answer = calls.ioctl(fd, TUNSETIFF, INTERFACE_REQUEST.pack(encoded, flags))
    assert isinstance(answer, bytes)
    return os.fsdecode(answer[:16].rstrip(b"\0"))


def _set_header_size(calls: DeviceCalls, fd: int) -> int:
    calls.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER_SIZE))
    return VNET_HEADER_SIZE


def _attach_refusal(name: str, kind: DeviceType, error: OSError) -> EnvironmentRefusal:
    if error.errno in {errno.EPERM, errno.EACCES}:
        mend = "run as root or give the process CAP_NET_ADMIN"
    elif error.errno == errno.EBUSY:
        mend = "the interface is in use by another program: stop that one or choose another name"
    elif error.errno == errno.EINVAL:
        mend = f"an interface of that name exists and is no single-queue {kind.value} device: choose another name"
    else:
        mend = "the kernel's log may tell more"
    return EnvironmentRefusal(f"cannot open {kind.value} interface '{name}': {error.strerror}; {mend}")


def _set_offload(calls: DeviceCalls, fd: int, wanted: frozenset[Offload]) -> frozenset[Offload]:
    """Ask for `wanted`, then for less until the kernel agrees; return what it granted."""
    for fallback in OFFLOAD_FALLBACKS:
        granted = wanted & fallback
        try:
            calls.ioctl(fd, TUNSETOFFLOAD, sum(granted))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise EnvironmentRefusal(f"the kernel refuses offloads on the tun device: {error.strerror}") from error
        else:
            return granted
    return frozenset()


def _drop_reason(code: int) -> str:
    return WRITE_DROPS.get(code) or errno.errorcode.get(code, "other").lower()
