"""A server and a client of ours as applications have them: with an authenticator, and a user's answers, in Python.

    twistd --nodaemon --pidfile= --python tests/interop/asking.py; $ASKING_CONFIG names the configuration.

Every user's password is "secret"; the name says what else happens.  A client called "moved" is given another route and
another address once it is connected, one called "sent" is told something, sent away, and sent away for good.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from twistvpn.config.load import load
from twistvpn.errors import AuthenticationRejected, ChallengeRequired, TemporarilyRejected
from twistvpn.interfaces import Credentials, IAuthenticator, IIdentifier, IUserPrompt, Question
from twistvpn.server.factory import ClientProtocol, VpnFactory
from twistvpn.service import make_client_service, make_server_service

if TYPE_CHECKING:
    from twistvpn.interfaces import IConversation

CODE = "42"
log = Logger()


@implementer(IAuthenticator, IIdentifier)
class Asking:
    def __init__(self) -> None:
        self._busy = True

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        log.info("asked about {name}, {state}", name=credentials.username, state=credentials.token.value)
        return ensureDeferred(self._decide(credentials, credentials.conversation))

    def identify(self, credentials: Credentials) -> str:
        return credentials.username

    async def _decide(self, credentials: Credentials, conversation: IConversation | None) -> str:
        name = credentials.username
        assert conversation is not None
        if credentials.state_id:
            self._check_code(credentials.response)
            return name
        if credentials.password != "secret":
            raise AuthenticationRejected(f"no such password, {name}")
        if name == "static":
            self._check_code(credentials.response)
        if name == "dynamic":
            raise ChallengeRequired("Your code", state_id="s1", username=name, flags="RE")
        if name == "busy" and self._busy:
            self._busy = False
            raise TemporarilyRejected("lunch break", backoff=3, advance="no")
        if name == "slow":
            conversation.open_url("https://sso.example/?session=1", timeout=30)
            await deferLater(reactor, 2.0)
        if name == "asked":
            self._check_code(await conversation.ask("Your code", "RE", timeout=30))
        return name

    def _check_code(self, code: str) -> None:
        if code != CODE:
            raise AuthenticationRejected(f"wrong code {code}")


class Moving(ClientProtocol):
    """A client whose options change."""

    def connectionMade(self) -> None:
        """Let it settle down first."""
        name = self.transport.getPeer().identity
        if name == "moved":
            reactor.callLater(1, self._move)
        if name == "sent":
            Moving.times_sent += 1
            reactor.callLater(0.5, self._send_away)

    times_sent = 0

    def _send_away(self) -> None:
        self.transport.tell("maintenance at noon")
        if Moving.times_sent == 1:
            self.transport.restart("[P]:moving house")
        else:
            self.transport.halt("your contract has ended")

    def _move(self) -> None:
        options = ["route 192.168.78.0 255.255.255.0", "ifconfig 10.8.0.77 255.255.255.0", "?novel 1", "-route-ipv6"]
        log.info("told to move: {told}", told=self.transport.push_update(options))


class MovingFactory(VpnFactory):
    protocol = Moving


@implementer(IUserPrompt)
class User:
    methods = ("crtext", "openurl", "webauth")

    def ask(self, question: Question) -> Deferred[str]:
        log.info("the user is asked: {question}", question=question)
        return succeed({"username": "alice", "password": "secret"}.get(question.kind, CODE))

    def open_url(self, url: str) -> None:
        log.info("the user opens {url}", url=url)


def _stop(why: str) -> None:
    log.critical("twistvpn: {why}", why=why)
    reactor.stop()


def _make() -> Any:
    settings = load(os.environ["ASKING_CONFIG"])
    if settings.server is not None:
        return make_server_service(reactor, settings, _stop, authenticator=Asking(), factory_class=MovingFactory)
    return make_client_service(reactor, settings, _stop, prompt=User())


application = Application("asking")
if "ASKING_CONFIG" in os.environ:
    _make().setServiceParent(application)
