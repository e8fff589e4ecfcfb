"""The user at a terminal: a pseudo-terminal that the test holds the other end of."""

from __future__ import annotations

import os
import termios
from typing import TYPE_CHECKING

import pytest
from twisted.internet.error import ConnectionDone
from zope.interface.verify import verifyObject

from tests.running import in_reactor
from twistvpn.client.terminal import TerminalPrompt
from twistvpn.interfaces import IUserPrompt, Question

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = Question("password", "Password")
SHOWN = Question("username", "Username", frozenset("E"))


class Terminal:
    def __init__(self) -> None:
        from twisted.internet import reactor

        self.user, self._program = os.openpty()
        self.prompt = TerminalPrompt(reactor, os.ttyname(self._program))

    def type(self, text: str) -> None:
        os.write(self.user, text.encode())

    def shows(self, text: str) -> bool:
        """Whether the next that is shown is `text`; it may come in parts."""
        seen = ""
        while len(seen) < len(text):
            seen += os.read(self.user, len(text) - len(seen)).decode()
        return seen == text

    @property
    def echoes(self) -> bool:
        flags: int = termios.tcgetattr(self._program)[3]
        return bool(flags & termios.ECHO)

    def close(self) -> None:
        for fd in (self.user, self._program):
            os.close(fd)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@in_reactor
async def test_a_line_is_asked_for(terminal: Terminal) -> None:
    verifyObject(IUserPrompt, terminal.prompt)
    answered = terminal.prompt.ask(SHOWN)
    assert terminal.shows("Username: ")
    assert terminal.echoes
    terminal.type("alice\n")
    assert (await answered) == "alice"


@in_reactor
async def test_a_secret_is_not_shown(terminal: Terminal) -> None:
    answered = terminal.prompt.ask(SECRET)
    assert not terminal.echoes
    terminal.type("sec\x7fcret\n")
    assert (await answered) == "secret"
    assert terminal.echoes
    assert terminal.shows("Password: \r\n")


@in_reactor
async def test_an_end_of_file_is_no_answer(terminal: Terminal) -> None:
    answered = terminal.prompt.ask(SECRET)
    terminal.type("\x04")
    with pytest.raises(ConnectionDone):
        await answered
    assert terminal.echoes


def test_a_question_may_be_taken_back(terminal: Terminal) -> None:
    answered = terminal.prompt.ask(SECRET)
    answered.addErrback(lambda _: None)
    answered.cancel()
    assert terminal.echoes


def test_a_page_is_shown(terminal: Terminal) -> None:
    terminal.prompt.open_url("https://sso.example/")
    assert terminal.shows("Open this page in a browser: https://sso.example/\r\n")
