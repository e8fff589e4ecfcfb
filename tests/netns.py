"""A network namespace of its own for what is run inside, so that no test touches the host's network."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000


@contextmanager
def fresh_namespace() -> Iterator[None]:
    """Put the calling thread, and threads and processes it starts, into a new network namespace until the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.unshare(CLONE_NEWNET))
        try:
            yield
        finally:
            _check(libc.setns(home, CLONE_NEWNET))
    finally:
        os.close(home)


def can_open_tun() -> bool:
    """Tell whether this process may make tun devices and namespaces."""
    return os.geteuid() == 0 and os.path.exists("/dev/net/tun")  # noqa: PTH110


needs_tun = pytest.mark.skipif(not can_open_tun(), reason="needs root and /dev/net/tun")


def _check(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
