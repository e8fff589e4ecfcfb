"""twistd as on a kernel that has no offloads: neither virtio-net headers on a tun nor UDP_SEGMENT nor UDP_GRO.

python old_kernel.py ARGUMENT OF TWISTD ...
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from typing import Any

from twisted.scripts.twistd import run

_TUNSETIFF = 0x400454CA
_IFF_VNET_HDR = 0x4000
_SOL_UDP = 17

_ioctl, _setsockopt = fcntl.ioctl, socket.socket.setsockopt


def _old_ioctl(fd: int, request: int, argument: Any = 0, *rest: Any) -> Any:
    if request == _TUNSETIFF and struct.unpack_from("H", argument, 16)[0] & _IFF_VNET_HDR:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return _ioctl(fd, request, argument, *rest)


def _old_setsockopt(sock: socket.socket, level: int, *option: Any) -> None:
    if level == _SOL_UDP:
        raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
    _setsockopt(sock, level, *option)


if __name__ == "__main__":
    fcntl.ioctl = _old_ioctl  # type: ignore[assignment]
    socket.socket.setsockopt = _old_setsockopt  # type: ignore[assignment]
    run()
