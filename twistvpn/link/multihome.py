"""Datagrams that leave from the address of ours which their receiver has written to.

On a multihomed socket a remote's address has a fifth value (`interfaces.Address`): what the kernel said in IP_PKTINFO
or IPV6_PKTINFO of the datagram that came, in the form in which it goes back.  Nothing is remembered here, so
strangers cost nothing, and a client that turns to another address of ours has moved like one that has moved itself.

Sources: ip(7), ipv6(7), RFC 3542 section 6.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from twistvpn.interfaces import Multihome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from twistvpn.interfaces import Address, Buffer

IP_PKTINFO = 8
IPV6_RECVPKTINFO = 49
IPV6_PKTINFO = 50

IN_PKTINFO = struct.Struct("=I4s4s")
"""Interface, our address, the address in the datagram's header."""
IN6_PKTINFO = struct.Struct("=16sI")
"""Our address, interface."""

CONTROL_SIZE = socket.CMSG_SPACE(IN6_PKTINFO.size)
"""Bytes that either takes beside a datagram."""

_ControlMessage = tuple[int, int, bytes]


def tell_destinations(sock: socket.socket) -> None:
    """Have the kernel say of every datagram which address it came to."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def reply_pktinfo(control: Sequence[_ControlMessage], multihome: Multihome) -> bytes | None:
    """What makes an answer leave from where a datagram came to; None where the kernel has not said."""
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO and len(data) >= IN_PKTINFO.size:
            index, ours, _ = IN_PKTINFO.unpack_from(data)
            return IN_PKTINFO.pack(index if multihome is Multihome.INTERFACE else 0, ours, bytes(4))
        if level == socket.IPPROTO_IPV6 and kind == IPV6_PKTINFO and len(data) >= IN6_PKTINFO.size:
            ours, index = IN6_PKTINFO.unpack_from(data)
            return IN6_PKTINFO.pack(ours, index if multihome is Multihome.INTERFACE else 0)
    return None


class MultihomedSender:
    """The sending half of a socket, for addresses of five values; those of two or four go as the kernel likes."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        if sock.family == socket.AF_INET6:
            self._level, self._kind, self._values = socket.IPPROTO_IPV6, IPV6_PKTINFO, 4
        else:
            self._level, self._kind, self._values = socket.IPPROTO_IP, IP_PKTINFO, 2

    def sendto(self, datagram: Buffer, address: Address) -> int:
        """Send one datagram; raises `OSError`."""
        return self.sendmsg((datagram,), (), 0, address)

    def sendmsg(
        self, buffers: Sequence[Buffer], control: Sequence[_ControlMessage], flags: int, address: Address
    ) -> int:
        """Send one message; raises `OSError`."""
        target: tuple[Any, ...] = address[: self._values]
        if len(address) == 5:
            control = [*control, (self._level, self._kind, address[4])]
        return self._socket.sendmsg(buffers, control, flags, target)
