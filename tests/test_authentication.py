"""What an authenticator may say to a client, and tokens in the place of passwords, on a server in memory."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.scripted_client import MODERN, ScriptedClient, serving
from twistvpn.errors import AuthenticationRejected, ChallengeRequired, TemporarilyRejected
from twistvpn.interfaces import Credentials, IAuthenticator, IConversation, IIdentifier, TokenState
from twistvpn.testing import Pair
from twistvpn.wire.challenges import encode_base64

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CAN_ANSWER = {**MODERN, "IV_SSO": "webauth,openurl,crtext"}
OLD = {"IV_VER": "2.5.11", "IV_PROTO": "6", "IV_CIPHERS": "AES-256-GCM"}


@implementer(IAuthenticator)
class Asking:
    """An authenticator that is a coroutine: it may await what the client's user says."""

    def __init__(self, decide: Callable[[Credentials], Awaitable[str]]) -> None:
        self._decide = decide

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        return ensureDeferred(self._decide(credentials))  # type: ignore[arg-type]


@implementer(IAuthenticator)
class Waiting:
    """An authenticator whose answer is the test's affair."""

    def __init__(self) -> None:
        self.asked: list[Credentials] = []
        self.decisions: list[Deferred[str]] = []

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        self.asked.append(credentials)
        self.decisions.append(Deferred())
        return self.decisions[-1]

    @property
    def conversation(self) -> Any:
        conversation = self.asked[-1].conversation
        verifyObject(IConversation, conversation)
        return conversation


@implementer(IAuthenticator, IIdentifier)
class Passwords:
    """Knows alice; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[Credentials] = []

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        self.asked.append(credentials)
        if credentials.token is TokenState.VALID or (credentials.username, credentials.password) == ("alice", "secret"):
            return succeed(self.identify(credentials))
        return fail(AuthenticationRejected("wrong username or password"))

    def identify(self, credentials: Credentials) -> str:
        return f"{credentials.username}@work"


def refusing(error: Exception) -> Asking:
    async def decide(_credentials: Credentials) -> str:
        raise error

    return Asking(decide)


# Refusals


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TemporarilyRejected("come back"), "AUTH_FAILED,TEMP:come back"),
        (TemporarilyRejected(backoff=42), "AUTH_FAILED,TEMP[backoff 42]"),
        (
            TemporarilyRejected("busy", backoff=42, advance="remote"),
            "AUTH_FAILED,TEMP[backoff 42,advance remote]:busy",
        ),
        (AuthenticationRejected(), "AUTH_FAILED"),
        (AuthenticationRejected("line\nbreak"), "AUTH_FAILED,line_break"),
        (ChallengeRequired("Code?", state_id="s1", username="al"), "AUTH_FAILED,CRV1:R:s1:YWw=:Code?"),
    ],
)
def test_each_refusal_in_its_own_words(error: Exception, text: str) -> None:
    assert ScriptedClient(serving(authenticator=refusing(error))).texts == [text]


def test_clients_that_know_no_temporary_refusal_are_refused() -> None:
    vpn = serving(authenticator=refusing(TemporarilyRejected("busy", backoff=42)))
    assert ScriptedClient(vpn, OLD).texts == ["AUTH_FAILED,busy"]


def test_a_long_reason_is_cut() -> None:
    (text,) = ScriptedClient(serving(authenticator=refusing(AuthenticationRejected("x" * 5000)))).texts
    assert 500 < len(text) < 1000


# Waiting


def test_a_decision_may_take_its_time() -> None:
    authenticator = Waiting()
    vpn = serving(authenticator=authenticator, server="hand-window 10")
    client = ScriptedClient(vpn)
    authenticator.conversation.wait(25)
    vpn.advance(1)
    assert client.texts == ["AUTH_PENDING,timeout 25"]
    for _ in range(3):
        vpn.advance(5)
        assert client.say("PUSH_REQUEST") == []
    authenticator.decisions[0].callback("alice")
    vpn.advance(1)
    assert client.texts[-1].startswith("PUSH_REPLY")


def test_older_clients_are_not_told_for_how_long() -> None:
    authenticator = Waiting()
    vpn = serving(authenticator=authenticator)
    client = ScriptedClient(vpn, OLD)
    authenticator.conversation.wait(25)
    vpn.advance(1)
    assert client.texts == ["AUTH_PENDING"]


def test_no_decision_takes_longer_than_the_settings_allow() -> None:
    authenticator = Waiting()
    vpn = serving(authenticator=authenticator, server="hand-window 10\nreneg-sec 100")
    client = ScriptedClient(vpn)
    authenticator.conversation.wait(1000)
    vpn.advance(1)
    assert client.texts == ["AUTH_PENDING,timeout 49"]
    for _ in range(12):
        client.say("PUSH_REQUEST")
        vpn.advance(3)
    assert client.texts[1:] == []
    vpn.advance(5)
    assert client.texts[1:] == ["AUTH_FAILED,TEMP:the decision has taken too long"]
    assert vpn.server.factory.connections == {}


def test_an_authenticator_that_does_not_answer_is_cancelled() -> None:
    authenticator = Waiting()
    vpn = serving(authenticator=authenticator, server="hand-window 10")
    client = ScriptedClient(vpn)
    failures: list[type[BaseException] | None] = []
    authenticator.decisions[0].addErrback(lambda failure: failures.append(failure.type))
    client.say("PUSH_REQUEST")
    vpn.advance(8)
    assert failures == []
    vpn.advance(3)
    assert client.texts == ["AUTH_FAILED,TEMP:the decision has taken too long"]


def test_a_client_that_leaves_cancels_the_question() -> None:
    seen: list[type[BaseException] | None] = []

    async def decide(credentials: Credentials) -> str:
        assert credentials.conversation is not None
        try:
            return await credentials.conversation.ask("Code?")
        except CancelledError as error:
            seen.append(type(error))
            raise

    vpn = serving(authenticator=Asking(decide))
    client = ScriptedClient(vpn, CAN_ANSWER)
    client.say("EXIT")
    assert seen == [CancelledError]
    assert vpn.server.factory.connections == {}


# Questions


async def second_factor(credentials: Credentials) -> str:
    """What an authenticator with a second factor looks like."""
    if credentials.conversation is None or credentials.password != "secret":
        raise AuthenticationRejected("wrong username or password")
    code = await credentials.conversation.ask("Your code, please", "RE", timeout=30)
    if code != "42":
        raise AuthenticationRejected("wrong code")
    return credentials.username


@pytest.mark.parametrize(("code", "words"), [("42", "PUSH_REPLY"), ("43", "AUTH_FAILED,wrong code")])
def test_a_question_is_answered(code: str, words: str) -> None:
    vpn = serving(authenticator=Asking(second_factor))
    client = ScriptedClient(vpn, CAN_ANSWER, login=("alice", "secret"))
    assert client.texts == ["AUTH_PENDING,timeout 30", "INFO_PRE,CR_TEXT:R,E:Your code, please"]
    (answer,) = client.say(f"CR_RESPONSE,{encode_base64(code)}")
    assert answer.startswith(words)


def test_a_client_that_cannot_answer_is_told_what_it_lacks() -> None:
    vpn = serving(authenticator=Asking(second_factor))
    client = ScriptedClient(vpn, MODERN, login=("alice", "secret"))
    assert client.texts == ["AUTH_FAILED,required pending auth method 'crtext' not supported"]


def test_answers_to_no_question_and_no_base64_are_ignored() -> None:
    vpn = serving(authenticator=Asking(second_factor))
    client = ScriptedClient(vpn, CAN_ANSWER, login=("alice", "secret"))
    assert client.say("CR_RESPONSE,???") == []
    assert client.say(f"CR_RESPONSE,{encode_base64('42')}")[0].startswith("PUSH_REPLY")
    assert client.say(f"CR_RESPONSE,{encode_base64('43')}") == []


@pytest.mark.parametrize(
    ("methods", "text"),
    [
        ("webauth,openurl", "INFO_PRE,WEB_AUTH::https://sso.example/"),
        ("openurl", "INFO_PRE,OPEN_URL:https://sso.example/"),
    ],
)
def test_a_web_page_is_opened_in_the_clients_own_way(methods: str, text: str) -> None:
    authenticator = Waiting()
    vpn = serving(authenticator=authenticator)
    client = ScriptedClient(vpn, {**MODERN, "IV_SSO": methods})
    authenticator.conversation.open_url("https://sso.example/")
    vpn.advance(1)
    assert client.texts[-1] == text
    authenticator.decisions[0].callback("alice")
    vpn.advance(1)
    assert client.texts[-1].startswith("PUSH_REPLY")
    authenticator.conversation.tell("too late")
    vpn.advance(1)
    assert client.texts[-1].startswith("PUSH_REPLY")


def test_the_answers_of_both_kinds_of_challenge_are_shown() -> None:
    authenticator = Waiting()
    vpn = serving(authenticator=authenticator)
    ScriptedClient(vpn, login=("alice", f"SCRV1:{encode_base64('secret')}:{encode_base64('42')}"))
    ScriptedClient(vpn, login=("alice", "CRV1::s1::43"), port=5001)
    static, dynamic = authenticator.asked
    assert (static.password, static.response, static.state_id) == ("secret", "42", "")
    assert (dynamic.password, dynamic.response, dynamic.state_id) == ("", "43", "s1")


# Tokens


def renegotiate(client: ScriptedClient) -> list[str]:
    before = len(client.texts)
    client.renegotiate()
    return client.texts[before:]


def take_token(client: ScriptedClient, text: str) -> str:
    token = next(option.split(" ")[1] for option in text.split(",") if option.startswith("auth-token "))
    client.login = (client.login[0], token)
    return token


def logged_in(**options: Any) -> tuple[Pair, Passwords, ScriptedClient]:
    authenticator = Passwords()
    options["server"] += "\nkeepalive 3600 7200"
    vpn = serving(authenticator=authenticator, **options)
    client = ScriptedClient(vpn, login=("alice", "secret"))
    client.peer.set_keepalive(0, 0)
    return vpn, authenticator, client


def test_a_token_is_pushed_and_renewed_at_each_renegotiation() -> None:
    vpn, authenticator, client = logged_in(server="auth-gen-token")
    assert client.pushed_value("auth-token-user") == encode_base64("alice")
    tokens = {take_token(client, client.texts[0])}
    for _ in range(3):
        vpn.advance(100)
        (text,) = renegotiate(client)
        tokens.add(take_token(client, text))
    assert len(authenticator.asked) == 1
    assert len(tokens) == 4
    assert len({base64.b64decode(token.removeprefix("SESS_ID_AT_"))[:20] for token in tokens}) == 1


def test_no_token_for_who_has_shown_no_name() -> None:
    vpn = serving(server="auth-gen-token")
    client = ScriptedClient(vpn)
    assert client.pushed_value("auth-token") is None
    assert renegotiate(client) == []


def test_a_token_is_renewed_between_renegotiations_where_that_is_asked_for() -> None:
    vpn, _, client = logged_in(server="auth-gen-token 0 60\nreneg-sec 0")
    before = len(client.texts)
    vpn.advance(200)
    renewed = client.texts[before:]
    assert len(renewed) == 3
    assert all(text.startswith("PUSH_REPLY,auth-token SESS_ID_AT_") for text in renewed)
    client.say("EXIT")
    vpn.advance(200)
    assert len(client.texts) == before + 3


def test_a_client_comes_back_with_its_token() -> None:
    vpn, authenticator, client = logged_in(server="auth-gen-token")
    token = take_token(client, client.texts[0])
    again = ScriptedClient(vpn, login=("alice", token), port=5001)
    assert again.pushed_value("ifconfig") is not None
    assert len(authenticator.asked) == 1
    assert [connection.identity for connection in vpn.server.factory.connections.values()] == ["alice@work"]


@pytest.mark.parametrize(
    ("user", "wait", "words"),
    [
        ("mallory", 0, "SESSION: token is not valid"),
        ("alice", 8000, "SESSION: token expired"),
    ],
)
def test_a_bad_token_is_refused_as_stock_refuses_it(user: str, wait: float, words: str) -> None:
    vpn, authenticator, client = logged_in(server="auth-gen-token")
    token = take_token(client, client.texts[0])
    client.say("EXIT")
    vpn.advance(wait)
    again = ScriptedClient(vpn, login=(user, token), port=5001)
    assert again.texts == [f"AUTH_FAILED,{words}"]
    assert len(authenticator.asked) == 1


def test_an_authenticator_that_cannot_identify_is_asked_for_the_password_again() -> None:
    authenticator = Waiting()
    vpn = serving(authenticator=authenticator, server="auth-gen-token")
    client = ScriptedClient(vpn, login=("alice", "secret"))
    authenticator.decisions[0].callback("alice")
    vpn.advance(1)
    token = take_token(client, client.texts[0])
    assert len(renegotiate(client)) == 1
    assert len(authenticator.asked) == 1
    again = ScriptedClient(vpn, login=("alice", token), port=5001)
    assert again.texts == ["AUTH_FAILED,SESSION: token is good for renegotiations only"]


def test_another_sessions_token_does_not_do() -> None:
    vpn, _, client = logged_in(server="auth-gen-token\nduplicate-cn")
    other = ScriptedClient(vpn, login=("alice", "secret"), port=5001)
    client.login = ("alice", take_token(other, other.texts[0]))
    assert renegotiate(client) == ["AUTH_FAILED,SESSION: token is not valid"]


def test_with_external_auth_the_authenticator_decides_about_tokens_too() -> None:
    vpn, authenticator, client = logged_in(server="auth-gen-token 0 external-auth")
    take_token(client, client.texts[0])
    assert len(renegotiate(client)) == 1
    first, second = authenticator.asked
    assert (first.token, second.token) == (TokenState.NONE, TokenState.VALID)
    assert second.session_id
    vpn.advance(11000)
    assert client.texts[-1] == "AUTH_FAILED,wrong username or password"


def test_a_token_survives_a_restart_where_its_secret_does() -> None:
    secret = """<auth-gen-token-secret>
-----BEGIN OpenVPN auth-token server key-----
qEG+j+6ktkmIHbG9ForYRG1nxF7PnBV7kptwHB9/ZCpcKGoCvAAaJMAKY0ioYhpm
95pr9vGECzxef3jlRmFFEnLRXa8VPUIjhZjx4Kbbj1uSswNe8ICqLc4qy0Hfx3Qe
2VAMC2ilvH5Kfsk3d4dl0twNK1sUYFdWckEy00T4ZGs=
-----END OpenVPN auth-token server key-----
</auth-gen-token-secret>"""
    _, _, client = logged_in(server=f"auth-gen-token\n{secret}")
    token = take_token(client, client.texts[0])
    vpn, authenticator, _ = logged_in(server=f"auth-gen-token\n{secret}")
    again = ScriptedClient(vpn, login=("alice", token), port=5001)
    assert again.pushed_value("ifconfig") is not None
    assert len(authenticator.asked) == 1
