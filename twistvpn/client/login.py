"""What a client shows besides its certificate: name and password, answers to questions, or a token."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import maybeDeferred
from twisted.internet.error import ConnectionDone

from twistvpn.errors import TwistvpnError
from twistvpn.interfaces import Question
from twistvpn.verbosity import Logger
from twistvpn.wire.challenges import ANSWER_WANTED, ECHO, Challenge, parse_dynamic, static_password

if TYPE_CHECKING:
    from twistvpn.config.settings import ClientSettings, LoginSettings
    from twistvpn.interfaces import IUserPrompt


class NobodyToAskError(TwistvpnError):
    """Something is missing that only the user knows, and there is nobody to ask."""


class Login:
    """One client's, over all its connections.

    Before a connection `prepare` asks the user for what is missing; `shown` is what goes into each key exchange.
    """

    log = Logger()

    def __init__(self, settings: ClientSettings, prompt: IUserPrompt | None) -> None:
        self.prompt = prompt
        self._settings: LoginSettings | None = settings.login
        self._auth_retry = settings.auth_retry
        self._username = self._password = self._response = ""
        self._token = self._token_user = ""
        self._challenge: Challenge | None = None
        self._answer: str | None = None
        self._answer_shown = False

    async def prepare(self) -> None:
        """See to it that there is something to show; raises `NobodyToAskError`."""
        if self._challenge is not None and self._answer is None:
            self._answer = await self._ask("challenge", self._challenge.text, self._challenge.flags)
        if self._token or self._challenge is not None or self._settings is None:
            return
        self._load(self._settings)
        if not self._username:
            self._username = await self._ask("username", "Username", frozenset({ECHO}))
        if not self._password:
            self._password = await self._ask("password", f"Password of {self._username}")
        static = self._settings.static_challenge
        if static is not None and not self._response:
            self._response = await self._ask("challenge", static.text, frozenset({ECHO} if static.echo else ()))

    def _load(self, settings: LoginSettings) -> None:
        username, password = settings.username or "", settings.password or ""
        if settings.path is not None and not settings.cache:
            # What the configuration was read with is not kept: it is in the file.
            try:
                lines = Path(settings.path).read_text().splitlines()
            except (OSError, ValueError) as error:
                why = (error.strerror or "") if isinstance(error, OSError) else "not UTF-8 text"
                raise NobodyToAskError(f"auth-user-pass: cannot read {settings.path}: {why}") from None
            username, password = (*lines, "", "")[:2]
        self._username = self._username or username
        self._password = self._password or password

    async def _ask(self, kind: str, text: str, flags: frozenset[str] = frozenset()) -> str:
        if self.prompt is None:
            raise NobodyToAskError(f"nobody is there to be asked ({text}); name a file with auth-user-pass")
        try:
            answer: str = await maybeDeferred(self.prompt.ask, Question(kind, text, flags & {ECHO}))
        except (OSError, ConnectionDone) as error:
            raise NobodyToAskError(f"nobody answers ({text}): {error}") from error
        return answer

    def shown(self) -> tuple[str, str]:
        """The name and what stands for the password, for one key exchange."""
        if self._token:
            return self._token_user or self._username, self._token
        if self._challenge is not None:
            self._answer_shown = True
            return self._challenge.username, self._challenge.password(self._answer or "")
        static = None if self._settings is None else self._settings.static_challenge
        if static is None:
            return self._username, self._password
        if static.concatenate:
            return self._username, self._password + self._response
        return self._username, static_password(self._password, self._response)

    # What happens

    def token_pushed(self, token: str | None, username: str | None) -> None:
        """The server has sent a token to be shown from now on (None: none), and perhaps the name that belongs to it."""
        if username is not None:
            self._token_user = username
        if token is not None:
            if not self._token_user:
                self._token_user = self.shown()[0]
            self._token = token

    def refused(self, reason: str) -> bool:
        """Whether there is something else to show after an AUTH_FAILED with that reason.

        Without a token, and with no question in the reason, that is as `auth-retry` says.
        """
        challenge = parse_dynamic(reason)
        had_token = bool(self._token)
        self._token = self._token_user = ""
        self._challenge = self._answer = None
        self._answer_shown = False
        if had_token:
            return True
        if challenge is not None and self.prompt is not None:
            self._challenge = challenge
            if ANSWER_WANTED not in challenge.flags:
                self._answer = ""
            return True
        if self._auth_retry == "interact":
            self.forget()
        return self._auth_retry != "none"

    def forget(self) -> None:
        """Ask again for what the user has said: what the server sends away without [P] begins anew."""
        self._username = self._password = self._response = ""
        self._challenge = self._answer = None

    def disconnected(self) -> None:
        """A connection has ended: answers are good once, and with `auth-nocache` nothing but a token is kept."""
        self._response = ""
        if self._answer_shown:
            self._challenge = self._answer = None
            self._answer_shown = False
        if self._settings is not None and not self._settings.cache:
            self._username = self._password = self._response = ""
