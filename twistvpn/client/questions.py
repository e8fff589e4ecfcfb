"""What a server says to a client's user: texts, questions and web pages (INFO, INFO_PRE)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, maybeDeferred

from twistvpn.interfaces import Question
from twistvpn.verbosity import Logger
from twistvpn.wire.challenges import ANSWER_WANTED, ECHO, Challenge, WebPage, encode_base64, parse_info
from twistvpn.wire.messages import CrResponse, Info, InfoPre, encode_message

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from twistvpn.interfaces import IUserPrompt


class Questions:
    """Those of one connection.  `say` sends a control message; without a `prompt` everything is for the log alone."""

    log = Logger()

    def __init__(self, prompt: IUserPrompt | None, say: Callable[[str], None]) -> None:
        self._prompt = prompt
        self._say = say
        self._asked: Deferred[str] | None = None

    def received(self, message: Info | InfoPre) -> None:
        """Show or ask what the server has sent; a question takes the place of one that is not answered yet."""
        asked = parse_info(message.text) if isinstance(message, InfoPre) else None
        if isinstance(asked, WebPage):
            self.log.info("the server asks to log in at {url}", url=asked.url)
            if self._prompt is not None:
                self._prompt.open_url(asked.url)
        elif isinstance(asked, Challenge) and ANSWER_WANTED in asked.flags and self._prompt is not None:
            self.log.info("the server asks: {text}", text=asked.text)
            self.cancel()
            question = Question("challenge", asked.text, asked.flags & {ECHO})
            self._asked = maybeDeferred(self._prompt.ask, question)
            self._asked.addCallbacks(self._answered, self._not_answered)
        else:
            text = asked.text if isinstance(asked, Challenge) else message.text
            self.log.info("the server says: {text}", text=text)

    def cancel(self) -> None:
        """Nobody waits for an answer any longer."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def _answered(self, answer: str) -> str:
        self._asked = None
        self._say(encode_message(CrResponse(encode_base64(answer))))
        return answer

    def _not_answered(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._asked = None
            self.log.warn("the question is not answered: {why}", why=failure.getErrorMessage())
