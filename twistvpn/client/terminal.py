"""The user at the terminal that the client was started from, asked a line at a time."""

from __future__ import annotations

import os
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from zope.interface import implementer

from twistvpn.interfaces import IUserPrompt, Question
from twistvpn.wire.challenges import ECHO

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_TERMINAL = "/dev/tty"
_LOCAL_FLAGS = 3
"""Where tcgetattr has the flags that ECHO is one of."""
_LONGEST_LINE = 4096


def find_terminal(reactor: Any) -> TerminalPrompt | None:
    """The terminal that this process is in the foreground of; None without one."""
    try:
        fd = os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return TerminalPrompt(reactor) if os.tcgetpgrp(fd) == os.getpgrp() else None
    except OSError:
        return None
    finally:
        os.close(fd)


@implementer(IUserPrompt)
class TerminalPrompt:
    """Asks at a terminal; what is secret is not shown while it is typed.  One question stands at a time."""

    methods = ("crtext", "openurl")

    def __init__(self, reactor: Any, path: str = _TERMINAL) -> None:
        self._reactor = reactor
        self._path = path

    def ask(self, question: Question) -> Deferred[str]:
        """See `IUserPrompt`."""
        line = _Line(self._reactor, self._path, ECHO in question.flags)
        answered: Deferred[str] = Deferred(lambda _: line.finish())
        line.begin(f"{question.text}: ", answered)
        return answered

    def open_url(self, url: str) -> None:
        """See `IUserPrompt`."""
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                os.write(fd, f"Open this page in a browser: {url}\n".encode())
            finally:
                os.close(fd)


class _Line(FileDescriptor):
    """One line that is being typed."""

    def __init__(self, reactor: Any, path: str, echo: object) -> None:
        super().__init__(reactor)
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._typed = b""
        self._restore: Callable[[], None] | None = None
        self._answered: Deferred[str] | None = None
        if not echo:
            self._hide()

    def _hide(self) -> None:
        before = termios.tcgetattr(self._fd)
        hidden = list(before)
        hidden[_LOCAL_FLAGS] &= ~termios.ECHO
        termios.tcsetattr(self._fd, termios.TCSADRAIN, hidden)
        self._restore = lambda: termios.tcsetattr(self._fd, termios.TCSADRAIN, before)

    def begin(self, prompt: str, answered: Deferred[str]) -> None:
        """Show the question and wait for the line."""
        self._answered = answered
        os.write(self._fd, prompt.encode())
        self.startReading()  # type: ignore[no-untyped-call]

    def fileno(self) -> int:
        """See `IFileDescriptor`."""
        return self._fd

    def doRead(self) -> Exception | None:
        """See `IReadDescriptor`."""
        try:
            typed = os.read(self._fd, _LONGEST_LINE)
        except BlockingIOError:
            return None
        except OSError as error:
            return error
        self._typed += typed
        line, newline, _ = self._typed.partition(b"\n")
        if newline and self._answered is not None:
            answered, self._answered = self._answered, None
            self.finish()
            answered.callback(line.decode("utf-8", "surrogateescape").rstrip("\r"))
            return None
        return None if typed and len(self._typed) < _LONGEST_LINE else ConnectionDone("the terminal is closed")

    def connectionLost(self, reason: Any) -> None:
        """The terminal is gone, or nobody wants the answer."""
        answered, self._answered = self._answered, None
        self.finish()
        if answered is not None:
            answered.errback(reason)

    def finish(self) -> None:
        """Leave the terminal as it was.  Calling it twice is harmless."""
        if self._fd < 0:
            return
        self._answered = None
        self.stopReading()  # type: ignore[no-untyped-call]
        with suppress(OSError, termios.error):
            if self._restore is not None:
                self._restore()
                os.write(self._fd, b"\n")
        os.close(self._fd)
        self._fd = -1
