"""Bytes through the tunnel: one TCP stream in one direction, its digest compared."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.netns import Namespace

_CHUNK = 1 << 18


def transfer(sender: Namespace, receiver: Namespace, address: str, size: int) -> None:
    """Send `size` random bytes to the receiver's `address`; AssertionError unless they arrive whole."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    payload = os.urandom(size)
    with receiver.open_socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((address, 0))
        listener.listen(1)
        thread = threading.Thread(target=_send, args=(sender, family, listener.getsockname(), payload))
        thread.start()
        try:
            digest, length = _receive(listener)
        finally:
            thread.join()
    assert length == size, f"{length} of {size} bytes arrived at {address}"
    assert digest == hashlib.sha256(payload).digest(), f"{size} bytes arrived at {address}, but not those sent"


def _send(sender: Namespace, family: int, address: tuple[str, int], payload: bytes) -> None:
    with sender.open_socket(family, socket.SOCK_STREAM) as connection:
        connection.connect(address)
        connection.sendall(payload)


def _receive(listener: socket.socket) -> tuple[bytes, int]:
    connection, _ = listener.accept()
    digest, length = hashlib.sha256(), 0
    with connection:
        connection.settimeout(30.0)
        while chunk := connection.recv(_CHUNK):
            digest.update(chunk)
            length += len(chunk)
    return digest.digest(), length
