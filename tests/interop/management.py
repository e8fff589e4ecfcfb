"""The management interface of a stock peer, over a Unix socket."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.interop.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from pathlib import Path


class Management:
    """The connection to one peer; `options` make the peer have it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = ""
        self._socket: socket.socket | None = None

    @property
    def options(self) -> list[str]:
        """What the peer's configuration needs."""
        return [f"management {self.path} unix", "management-hold"]

    def connect(self) -> None:
        """Connect once the peer listens, and let it go on: what it says is heard from the beginning."""
        wait_until(self._connected, f"{self.path}: the management interface")
        self.say("hold off", "hold release")

    def _connected(self) -> bool:
        attempt = socket.socket(socket.AF_UNIX)
        try:
            attempt.connect(str(self.path))
        except OSError:
            attempt.close()
            return False
        attempt.settimeout(0.05)
        self._socket = attempt
        return True

    def wait_for(self, pattern: str, timeout: float = PATIENCE) -> re.Match[str]:
        """Wait for a line in which `pattern` is found; what came before it is forgotten."""
        match = wait_until(lambda: self._seen(pattern), f"management: /{pattern}/", timeout)
        assert match is not None
        self.text = self.text[match.end() :]
        return match

    def _seen(self, pattern: str) -> re.Match[str] | None:
        assert self._socket is not None
        with suppress(TimeoutError):
            self.text += self._socket.recv(65536).decode(errors="replace")
        return re.search(pattern, self.text, re.MULTILINE)

    def say(self, *lines: str) -> None:
        """Send commands."""
        assert self._socket is not None
        self._socket.sendall("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Let go of the peer."""
        if self._socket is not None:
            self._socket.close()
