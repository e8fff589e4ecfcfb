"""What a client shows of its user, to a server in memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.logger import capturedLogs
from zope.interface import implementer

from twistvpn.client.service import ClientState
from twistvpn.errors import AuthenticationRejected, ChallengeRequired, TemporarilyRejected
from twistvpn.interfaces import Credentials, IAuthenticator, IIdentifier, IUserPrompt, Question
from twistvpn.testing import Pair, pair
from twistvpn.wire.challenges import encode_base64

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

FILE = "<auth-user-pass>\nalice\nsecret\n</auth-user-pass>\n"


class Gone(OSError):
    """What reading from a terminal that was closed raises."""

    def throw(self) -> Deferred[str]:
        raise self


@implementer(IUserPrompt)
class User:
    """Answers in order; what it was asked and shown is kept."""

    methods = ("crtext", "openurl")

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[Question] = []
        self.opened: list[str] = []

    def ask(self, question: Question) -> Deferred[str]:
        self.asked.append(question)
        return succeed(self.answers.pop(0)) if self.answers else Deferred()

    def open_url(self, url: str) -> None:
        self.opened.append(url)

    @property
    def questions(self) -> list[str]:
        return [question.text for question in self.asked]


@implementer(IAuthenticator, IIdentifier)
class Server:
    """Lets in as `decide` says, or whoever is alice with her password; keeps what it was shown."""

    def __init__(self, decide: Callable[[Credentials], Awaitable[str]] | None = None) -> None:
        self.shown: list[Credentials] = []
        self._decide = decide or self._usual

    async def _usual(self, credentials: Credentials) -> str:
        if (credentials.username, credentials.password) != ("alice", "secret"):
            raise AuthenticationRejected("wrong username or password")
        return credentials.username

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        self.shown.append(credentials)
        return ensureDeferred(self._decide(credentials))  # type: ignore[arg-type]

    def identify(self, credentials: Credentials) -> str:
        return credentials.username


def starting(authenticator: Server, seconds: float = 5.0, **options: Any) -> Pair:
    vpn = pair(authenticator=authenticator, connect=False, **options)
    vpn.server.start()
    vpn.client.start()
    vpn.advance(seconds)
    return vpn


# Names and passwords


@pytest.mark.shows("auth-user-pass")
def test_name_and_password_of_the_configuration() -> None:
    server = Server()
    assert starting(server, client=FILE).client.is_connected
    assert (server.shown[0].username, server.shown[0].password) == ("alice", "secret")


@pytest.mark.parametrize(
    ("client", "answers", "asked"),
    [
        ("auth-user-pass", ["alice", "secret"], ["Username", "Password of alice"]),
        ("auth-user-pass stdin", ["alice", "secret"], ["Username", "Password of alice"]),
        ("<auth-user-pass>\nalice\n</auth-user-pass>", ["secret"], ["Password of alice"]),
    ],
)
def test_what_is_missing_is_asked(client: str, answers: list[str], asked: list[str]) -> None:
    user = User(*answers)
    assert starting(Server(), client=client, prompt=user).client.is_connected
    assert user.questions == asked
    assert [question.flags for question in user.asked if "Password" in question.text] == [frozenset()]


def test_a_name_alone() -> None:
    user, server = User("alice"), Server()
    starting(server, client="auth-user-pass username-only", prompt=user)
    assert (server.shown[0].username, server.shown[0].password) == ("alice", "[[BLANK]]")


def test_without_anybody_to_ask_the_client_ends() -> None:
    vpn = starting(Server(), client="auth-user-pass")
    assert vpn.client.fatal == "nobody is there to be asked (Username); name a file with auth-user-pass"


@pytest.mark.parametrize("how", [fail, Gone.throw])
def test_a_terminal_that_is_gone_ends_the_client(how: Callable[[Gone], Deferred[str]]) -> None:
    user = User()
    user.ask = lambda question: how(Gone("no such terminal"))  # type: ignore[method-assign]  # noqa: ARG005  by name
    vpn = starting(Server(), client="auth-user-pass", prompt=user)
    assert vpn.client.fatal == "nobody answers (Username): no such terminal"


def test_a_client_may_be_stopped_while_its_user_thinks() -> None:
    vpn = starting(Server(), client="auth-user-pass", prompt=User())
    service = vpn.client.service
    assert service.state.name == "OPENING"
    vpn.client.stop()
    assert service.state.name == "STOPPED"


@pytest.mark.shows("auth-nocache")
def test_a_file_is_read_anew_where_nothing_is_kept(tmp_path: Path) -> None:
    login = tmp_path / "login"
    login.write_text("alice\nsecret\n")
    server = Server()
    vpn = starting(server, client=f"auth-user-pass {login}\nauth-nocache\nauth-retry nointeract")
    assert vpn.client.is_connected
    login.write_text("alice\nchanged\n")
    vpn.client.service.reload()
    vpn.advance(10)
    assert [shown.password for shown in server.shown][:2] == ["secret", "changed"]
    assert "secret" not in repr(vpn.client.service.settings)
    login.unlink()
    vpn.client.service.reload()
    vpn.advance(20)
    assert "cannot read" in (vpn.client.fatal or "")


# Refusals


@pytest.mark.shows("auth-retry")
@pytest.mark.parametrize(
    ("retry", "asked", "fatal"),
    [("none", 2, True), ("nointeract", 2, False), ("interact", 4, False)],
)
def test_auth_retry(retry: str, asked: int, fatal: bool) -> None:  # noqa: FBT001  a row of the table
    user = User("alice", "wrong", "alice", "secret")
    vpn = starting(Server(), 3, client=f"auth-user-pass\nauth-retry {retry}\nconnect-retry 1 1", prompt=user)
    assert len(user.asked) == asked
    assert (vpn.client.fatal is not None) is fatal
    assert vpn.client.is_connected is (retry == "interact")


@pytest.mark.parametrize(("backoff", "least", "most"), [(None, 1.0, 2.0), (30, 30.0, 31.0), (900, 300.0, 301.0)])
def test_a_temporary_refusal_says_how_long_to_wait(backoff: int | None, least: float, most: float) -> None:
    async def decide(_credentials: Credentials) -> str:
        raise TemporarilyRejected("come back", backoff=backoff)

    server = Server(decide)
    vpn = pair(authenticator=server, connect=False)
    vpn.server.start()
    vpn.client.start()
    vpn.wait_until(lambda: vpn.client.service.state is ClientState.WAITING)
    began = vpn.clock.seconds()
    vpn.wait_until(lambda: vpn.client.service.state is not ClientState.WAITING, within=400)
    assert least <= vpn.clock.seconds() - began <= most
    assert vpn.client.fatal is None


def test_the_word_of_a_refusal_is_logged() -> None:
    async def decide(_credentials: Credentials) -> str:
        raise TemporarilyRejected("lunch break")

    with capturedLogs() as logged:
        starting(Server(decide))
    assert any("lunch break" in str(event.get("reason")) for event in logged)


# Challenges


@pytest.mark.shows("static-challenge")
@pytest.mark.parametrize(
    ("scheme", "password", "response"), [("", "secret", "42"), ("scrv1", "secret", "42"), ("concat", "secret42", "")]
)
def test_a_static_challenge_goes_with_the_password(scheme: str, password: str, response: str) -> None:
    user, server = User("42"), Server()
    starting(server, client=f'{FILE}static-challenge "Your code" 1 {scheme}', prompt=user)
    assert [(question.text, set(question.flags)) for question in user.asked] == [("Your code", {"E"})]
    assert (server.shown[0].password, server.shown[0].response) == (password, response)


async def dynamic(credentials: Credentials) -> str:
    if credentials.state_id == "s1" and credentials.response == "42":
        return credentials.username
    if credentials.password == "secret":
        raise ChallengeRequired("Your code", state_id="s1", username=credentials.username, flags="RE")
    raise AuthenticationRejected("wrong")


def test_a_dynamic_challenge_is_answered_with_the_next_connection() -> None:
    user, server = User("42"), Server(dynamic)
    vpn = starting(server, client=FILE, prompt=user)
    assert vpn.client.is_connected
    assert user.questions == ["Your code"]
    assert [shown.username for shown in server.shown] == ["alice", "alice"]


@pytest.mark.parametrize(("static", "decide"), [('static-challenge "Your code" 1', None), ("", dynamic)])
def test_answers_are_good_once(static: str, decide: Callable[[Credentials], Awaitable[str]] | None) -> None:
    user, server = User("42", "42"), Server(decide)
    vpn = starting(server, client=FILE + static, prompt=user)
    vpn.client.service.reload()
    vpn.wait_until(lambda: vpn.client.times_connected == 2)
    assert user.questions == ["Your code", "Your code"]


def test_a_dynamic_challenge_with_nobody_there_is_a_refusal() -> None:
    assert "CRV1" in (starting(Server(dynamic), client=FILE).client.fatal or "")


def test_a_wrong_answer_is_a_refusal() -> None:
    vpn = starting(Server(dynamic), client=FILE, prompt=User("43"))
    assert "wrong" in (vpn.client.fatal or "")


async def asking(credentials: Credentials) -> str:
    assert credentials.conversation is not None
    if await credentials.conversation.ask("Your code", "R", timeout=300) != "42":
        raise AuthenticationRejected("wrong code")
    return credentials.username


@pytest.mark.parametrize("answer", ["42", "43"])
def test_a_question_of_the_server_is_put_to_the_user(answer: str) -> None:
    user = User("42")
    user.answers[0] = answer
    vpn = starting(Server(asking), client=FILE, prompt=user)
    assert user.questions == ["Your code"]
    assert vpn.client.is_connected is (answer == "42")


def test_a_user_may_take_the_time_that_the_server_gives() -> None:
    user = User()
    answer: Deferred[str] = Deferred()
    user.ask = lambda question: user.asked.append(question) or answer  # type: ignore[method-assign,func-returns-value]
    vpn = starting(Server(asking), 250.0, client=FILE, prompt=user)
    assert vpn.client.service.state is ClientState.JOINING
    answer.callback("42")
    vpn.advance(1)
    assert vpn.client.is_connected


def test_a_user_who_does_not_answer_is_no_fault() -> None:
    user = User()

    def ask(question: Question) -> Deferred[str]:
        return fail(RuntimeError(f"{question.text}: the window was closed"))

    user.ask = ask  # type: ignore[method-assign]
    with capturedLogs() as logged:
        vpn = starting(Server(asking), client=FILE, prompt=user)
    assert vpn.client.service.state is ClientState.JOINING
    assert any("the window was closed" in str(event.get("why")) for event in logged)
    assert not any(event.get("log_failure") for event in logged)


def test_a_web_page_is_shown() -> None:
    async def decide(credentials: Credentials) -> str:
        assert credentials.conversation is not None
        credentials.conversation.open_url("https://sso.example/?id=1")
        return await Deferred()

    user = User()
    starting(Server(decide), prompt=user)
    assert user.opened == ["https://sso.example/?id=1"]


# Tokens


@pytest.mark.shows("auth-gen-token")
@pytest.mark.parametrize("keep", ["", "auth-nocache\n"])
def test_a_token_takes_the_passwords_place(keep: str) -> None:
    server = Server()
    vpn = starting(server, client=f"{FILE}{keep}reneg-sec 0", server="auth-gen-token\nreneg-sec 100")
    vpn.advance(450)
    assert vpn.client.times_connected == 1
    peer = vpn.client.service.peer
    assert peer is not None
    assert peer.session.can_renegotiate
    vpn.client.service.reload()
    vpn.wait_until(lambda: vpn.client.times_connected == 2)
    assert len(server.shown) == 1, "asked for the password once"


def test_a_token_that_is_refused_is_dropped_and_the_password_shown_again() -> None:
    server = Server()
    vpn = starting(server, client=FILE, server="auth-gen-token")
    login = vpn.client.service.login
    username, token = login.shown()
    assert re.fullmatch(r"SESS_ID_AT_[A-Za-z0-9+/]{80}", token)
    login.token_pushed(token[:-4] + "AAAA", username)
    vpn.client.service.reload()
    vpn.wait_until(lambda: vpn.client.times_connected == 2)
    assert len(server.shown) == 2
    assert vpn.client.fatal is None


def test_the_name_of_a_token_may_be_another() -> None:
    server = Server()
    vpn = starting(server, client=FILE, server=f'push "auth-token-user {encode_base64("robot")}"')
    vpn.client.service.login.token_pushed("token", None)
    assert vpn.client.service.login.shown() == ("robot", "token")
