"""Whether a client may come in: its token, the authenticator and what that says to the client meanwhile.

A client is examined at its first key and again at each renegotiation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import implementer

from twistvpn.crypto.authtoken import AuthTokens, TokenSecret, TokenSession, is_token
from twistvpn.errors import (
    AuthenticationRejected,
    ChallengeRequired,
    SessionExpired,
    TemporarilyRejected,
)
from twistvpn.interfaces import Credentials, IAuthenticator, IConversation, IIdentifier, TokenState
from twistvpn.link.connections import cancel
from twistvpn.wire.challenges import Challenge, decode_base64, encode_base64, open_url, parse_password, web_auth
from twistvpn.wire.messages import MAX_OPTION, AuthFailed, AuthPending, InfoPre, PushReply, encode_message
from twistvpn.wire.options import IvProto, iv_proto, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twistvpn.config.settings import Settings
    from twistvpn.control.session import KeyEstablished
    from twistvpn.deadlines import DeadlineQueue
    from twistvpn.interfaces import Address

MAX_TEXT = 900
"""Characters of what is told a client in one message; stock clients take 1024 bytes."""

_NO_USER = frozenset({TokenState.VALID_EMPTY_USER, TokenState.EXPIRED_EMPTY_USER})
_CURRENT = frozenset({TokenState.VALID, TokenState.VALID_EMPTY_USER})


@dataclass(frozen=True)
class Admission:
    """An authenticator's yes."""

    identity: str
    username: str
    """The name that it has given, whatever else its identity comes from; it must not change."""
    badge: Badge | None
    """What the client may show the next time in the place of its password."""


class Examiner:
    """Examines clients for one server."""

    def __init__(
        self, authenticator: IAuthenticator, settings: Settings, clock: IReactorTime, deadlines: DeadlineQueue
    ) -> None:
        assert settings.server is not None
        control, tokens = settings.control, settings.server.auth_tokens
        self.authenticator = authenticator
        self.clock = clock
        self.deadlines = deadlines
        self.patience = control.hand_window
        """Seconds that a decision may take unless the client is told to wait."""
        self.longest_wait = max(control.reneg_sec / 2, control.hand_window)
        self.tokens: AuthTokens | None = None
        self.tokens_last = tokens is not None and tokens.secret is not None
        """Whether tokens are good after a restart of this server."""
        self.renews_between = False
        """Whether tokens are renewed more often than keys are."""
        self.token_decides = True
        """Whether a token is enough, and the authenticator not asked."""
        if tokens is not None:
            secret = TokenSecret.generate() if tokens.secret is None else TokenSecret.from_text(tokens.secret.data)
            renewal = tokens.renewal or control.reneg_sec
            self.tokens = AuthTokens(secret, tokens.lifetime, renewal)
            self.renews_between = not control.reneg_sec or renewal < control.reneg_sec
            self.token_decides = not tokens.external_auth

    def examine(
        self, event: KeyEstablished, address: Address, say: Callable[[str], None], before: Admission | None
    ) -> Examination:
        """Begin with what a client has shown under a new key; `before` is its admission under the last one."""
        return Examination(self, event, address, say, before)


class Badge:
    """A client's token: renewed as long as the client is there (a waiter of `deadlines`)."""

    def __init__(self, examiner: Examiner, session: TokenSession, username: str, say: Callable[[str], None]) -> None:
        assert examiner.tokens is not None
        self.session = session
        self.username = username
        self._examiner = examiner
        self._tokens = examiner.tokens
        self._say = say
        self._renew_at: float | None = None

    def options(self) -> list[str]:
        """What pushes a fresh token."""
        return [f"auth-token {self._tokens.issue(self.session, self.username, self._examiner.clock.seconds())}"]

    def user_option(self) -> list[str]:
        """What pushes the username that belongs to it; one that is too long stays unsaid."""
        option = f"auth-token-user {encode_base64(self.username)}"
        return [option] if self.username and len(option) <= MAX_OPTION else []

    def keep_fresh(self) -> None:
        """Renew it from now on, until `discard`."""
        if self._examiner.renews_between:
            self._renew_at = self._examiner.clock.seconds() + self._tokens.renewal
            self._examiner.deadlines.schedule(self)

    def renew(self) -> None:
        """Send the client a fresh one."""
        self._say(encode_message(PushReply(tuple(self.options()))))

    def discard(self) -> None:
        """Renew it no longer."""
        self._renew_at = None
        self._examiner.deadlines.forget(self)

    def deadline(self) -> float | None:
        """See `deadlines.Waiter`."""
        return self._renew_at

    def tick(self, now: float) -> None:
        """See `deadlines.Waiter`."""
        self._renew_at = now + self._tokens.renewal
        self.renew()


@implementer(IConversation)
class Examination:
    """One client's for one key; it is the conversation that the authenticator has with the client."""

    def __init__(
        self,
        examiner: Examiner,
        event: KeyEstablished,
        address: Address,
        say: Callable[[str], None],
        before: Admission | None,
    ) -> None:
        self._examiner = examiner
        self._say = say
        self._before = before
        self._began = examiner.clock.seconds()
        self._session: TokenSession | None = None
        self._answer: Deferred[str] | None = None
        self._asked: Deferred[str] | None = None
        self._decided: Deferred[str] | None = None
        self._give_up: IDelayedCall | None = None
        remote = event.remote
        info = event.peer_info
        self._can = iv_proto(info)
        self.methods: Collection[str] = frozenset(filter(None, info.get("IV_SSO", "").split(",")))
        password, response, state_id = parse_password(remote.password)
        self.credentials = Credentials(
            event.common_name,
            remote.username,
            password,
            address,
            dict(info),
            response,
            state_id,
            client_key=event.client_key,
            conversation=self,
        )

    def decide(self) -> Deferred[Admission]:
        """Fires once: with the admission, an `AuthenticationRejected`, or what else the authenticator has raised."""
        decided = self._judge_token()
        if decided is None:
            decided = self._decided = Deferred()
            self._asked = maybeDeferred(self._examiner.authenticator.authenticate, self.credentials)
            self._asked.addCallbacks(self._settle, self._settle)
            if self._decided is not None and self._give_up is None:
                # It takes its time, and has not told the client how long.
                self._extend(self._examiner.patience)
        return decided.addCallback(self._admit)

    def abandon(self) -> None:
        """Nobody waits for the decision any longer."""
        self._settle(None)

    def _settle(self, outcome: str | Failure | None) -> None:
        """Hand on the first outcome, None for none at all; what comes of the authenticator later is not heard."""
        decided, self._decided = self._decided, None
        if decided is None:
            return
        cancel(self._give_up)
        # The authenticator first: it may be waiting for the answer.
        for waiting in (self._asked, self._answer):
            if waiting is not None and not waiting.called:
                waiting.cancel()
                waiting.addErrback(lambda _: None)
        if isinstance(outcome, Failure):
            decided.errback(outcome)
        elif outcome is not None:
            decided.callback(outcome)

    def _judge_token(self) -> Deferred[str] | None:
        """What a token alone decides; None where the authenticator is to be asked."""
        tokens, shown = self._examiner.tokens, self.credentials
        if tokens is None or not is_token(shown.password):
            return None
        state, session = tokens.examine(shown.password, shown.username, self._examiner.clock.seconds())
        known = None if self._before is None or self._before.badge is None else self._before.badge.session
        if known is not None and session is not None and session != known:
            state, session = TokenState.INVALID, None
        self._session = session if state in _CURRENT else None
        self.credentials = shown._replace(token=state, session_id="" if session is None else session.name)
        if not self._examiner.token_decides:
            return None
        if state is not TokenState.VALID:
            words = "token expired" if state is TokenState.EXPIRED else "token is not valid"
            return fail(SessionExpired(words))
        return maybeDeferred(self._identify)

    def _identify(self) -> str:
        if self._before is not None:
            return self._before.identity
        authenticator = self._examiner.authenticator
        if not IIdentifier.providedBy(authenticator):
            raise SessionExpired("token is good for renegotiations only")
        identity: str = IIdentifier(authenticator).identify(self.credentials)
        return identity

    def _admit(self, identity: str) -> Admission:
        return Admission(identity, self.credentials.username, self._badge())

    def _badge(self) -> Badge | None:
        before = None if self._before is None else self._before.badge
        if before is not None:
            return before
        tokens, shown = self._examiner.tokens, self.credentials
        if tokens is None or not (shown.username or self._session):
            return None
        session = self._session or tokens.begin(self._examiner.clock.seconds())
        return Badge(self._examiner, session, "" if shown.token in _NO_USER else shown.username, self._say)

    # The conversation (`interfaces.IConversation`)

    def wait(self, timeout: float | None = None) -> None:
        """See `IConversation`."""
        if self._decided is None:
            return
        left = self._extend(timeout)
        pending = AuthPending(int(left)) if IvProto.AUTH_PENDING_KW in self._can else AuthPending()
        self._say(encode_message(pending))

    def tell(self, text: str, timeout: float | None = None) -> None:
        """See `IConversation`."""
        if self._decided is None:
            return
        self.wait(timeout)
        self._say(encode_message(InfoPre(_fit(text))))

    def ask(self, question: str, flags: Collection[str] = "R", timeout: float | None = None) -> Deferred[str]:
        """See `IConversation`; a question before the last is answered takes its place."""
        try:
            self._need("crtext")
        except AuthenticationRejected:
            return fail()
        if self._decided is None:
            return fail(AuthenticationRejected("the client has been decided on already"))
        if self._answer is not None and not self._answer.called:
            self._answer.cancel()
        self._answer = Deferred()
        self.tell(Challenge(_fit(question), frozenset(flags)).text_message(), timeout)
        return self._answer

    def open_url(self, url: str, timeout: float | None = None) -> None:
        """See `IConversation`."""
        method = self._need("webauth", "openurl")
        self.tell(web_auth(url) if method == "webauth" else open_url(url), timeout)

    def answered(self, text: str) -> bool:
        """The client has sent a CR_RESPONSE; false where it was not asked or what it says is not base64."""
        answer, waiting = decode_base64(text), self._answer
        if answer is None or waiting is None or waiting.called:
            return False
        waiting.callback(answer)
        return True

    def _need(self, *methods: str) -> str:
        """The first of the methods that the client has."""
        for method in methods:
            if method in self.methods:
                return method
        raise AuthenticationRejected(f"required pending auth method '{methods[-1]}' not supported")

    def _extend(self, timeout: float | None) -> float:
        """Give the decision so many seconds from now, as much as is left of the longest wait at most."""
        clock = self._examiner.clock
        left = max(1.0, self._began + self._examiner.longest_wait - clock.seconds())
        left = left if timeout is None else min(left, timeout)
        if self._give_up is not None and self._give_up.active():
            self._give_up.reset(left)
        else:
            self._give_up = clock.callLater(left, self._out_of_time)
        return left

    def _out_of_time(self) -> None:
        self._settle(Failure(TemporarilyRejected("the decision has taken too long")))


def _fit(text: str) -> str:
    return printable(text)[:MAX_TEXT]


def refusal(error: AuthenticationRejected, info: Mapping[str, str]) -> AuthFailed:
    """What a client that says `info` of itself is told when it is refused."""
    reason = _fit(str(error))
    if isinstance(error, ChallengeRequired):
        return AuthFailed(Challenge(reason, error.flags, error.state_id, error.username).dynamic())
    if isinstance(error, SessionExpired):
        return AuthFailed(f"SESSION: {reason}")
    if not isinstance(error, TemporarilyRejected) or IvProto.AUTH_FAIL_TEMP not in iv_proto(info):
        return AuthFailed(reason)
    flags = {} if error.backoff is None else {"backoff": str(error.backoff)}
    if error.advance is not None:
        flags["advance"] = error.advance
    return AuthFailed(reason, flags)
