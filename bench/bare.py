"""The least a Twisted program between a tun device and a UDP socket can do: no VPN, no cipher, one packet a wake-up.

    python -m bench.bare DEVICE OWN/PREFIX PORT [REMOTE]

What it costs is what the reactor and the kernel cost: the floor under the latency of any VPN on Twisted.  The end
without REMOTE answers to where the last datagram came from.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys
from typing import Any

from twisted.internet import reactor

_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_MOST = 2048


class Reader:
    """Hands on what one end has, a packet a wake-up."""

    def __init__(self, forwarder: Forwarder, fd: int) -> None:
        self._forwarder = forwarder
        self._fd = fd

    def fileno(self) -> int:
        """See `IFileDescriptor`."""
        return self._fd

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "bare"

    def connectionLost(self, reason: object) -> None:
        """See `IFileDescriptor`."""

    def doRead(self) -> None:
        """See `IReadDescriptor`."""
        try:
            self._forwarder.forward(self._fd)
        except OSError:  # nobody listens yet, or the device is not up: the packet is lost
            return


class Forwarder:
    """A device and a socket, each forwarded to the other."""

    def __init__(self, device: str, own: str, port: int, remote: str) -> None:
        self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH22s", device.encode(), _IFF_TUN_NO_PI, b""))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.bind(("", port))
        self._remote: Any = (remote, port) if remote else None
        for words in (("addr", "add", own, "dev", device), ("link", "set", device, "up")):
            subprocess.run(["ip", *words], check=True)

    def forward(self, fd: int) -> None:
        """Read one packet from `fd` and write it to the other end."""
        if fd != self.tun:
            packet, self._remote = self.udp.recvfrom(_MOST)
            os.write(self.tun, packet)
        elif self._remote is not None:
            self.udp.sendto(os.read(self.tun, _MOST), self._remote)
        else:
            os.read(self.tun, _MOST)


def main(device: str, own: str, port: str, remote: str = "") -> None:
    """Forward until a signal comes."""
    loop: Any = reactor
    forwarder = Forwarder(device, own, int(port), remote)
    for fd in (forwarder.tun, forwarder.udp.fileno()):
        loop.addReader(Reader(forwarder, fd))
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
