"""Who may come in, as Twisted cred sees it."""

from __future__ import annotations

import pytest
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twistvpn.config.settings import ServerSettings
from twistvpn.errors import AuthenticationRejected, ConfigError
from twistvpn.interfaces import Credentials, IAuthenticator, TokenState
from twistvpn.server.auth import CertificateAuthenticator, CredAuthenticator
from twistvpn.service import make_authenticator


def credentials(common_name: str | None = "laptop", username: str = "", password: str = "") -> Credentials:
    return Credentials(common_name, username, password, ("192.0.2.1", 40000), {})


def users(**passwords: str) -> InMemoryUsernamePasswordDatabaseDontUse:
    database = InMemoryUsernamePasswordDatabaseDontUse()
    for name, password in passwords.items():
        database.addUser(name.encode(), password.encode())
    return database


class Slow:
    """A checker whose answer comes when the test says so."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self) -> None:
        self.asked: list[Deferred[bytes]] = []

    def requestAvatarId(self, _credentials: object) -> Deferred[bytes]:
        self.asked.append(Deferred())
        return self.asked[-1]


class SystemAccounts:
    """As `unix:` does, it decodes the name."""

    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, shown: UsernamePassword) -> Deferred[bytes]:
        shown.username.decode()
        return fail(UnauthorizedLogin())


class Broken:
    credentialInterfaces = (IUsernamePassword,)

    def requestAvatarId(self, _credentials: object) -> Deferred[bytes]:
        return fail(RuntimeError("the database is gone"))


class AuthenticatorTests(SynchronousTestCase):
    def identity(self, authenticator: CertificateAuthenticator | CredAuthenticator, shown: Credentials) -> str:
        verifyObject(IAuthenticator, authenticator)
        result: str = self.successResultOf(authenticator.authenticate(shown))
        return result

    def refusal(self, authenticator: CertificateAuthenticator | CredAuthenticator, shown: Credentials) -> str:
        decided = authenticator.authenticate(shown)
        return str(self.failureResultOf(decided, AuthenticationRejected).value)  # type: ignore[no-untyped-call]

    def test_a_certificate_is_enough(self) -> None:
        assert self.identity(CertificateAuthenticator(), credentials()) == "laptop"
        assert "no common name" in self.refusal(CertificateAuthenticator(), credentials(None))

    def test_a_password_is_checked(self) -> None:
        subject = CredAuthenticator([users(alice="secret")])
        assert self.identity(subject, credentials(None, "alice", "secret")) == "alice"
        assert self.refusal(subject, credentials(None, "alice", "wrong")) == "wrong username or password"
        assert self.refusal(subject, credentials(None, "mallory", "secret")) == "wrong username or password"
        assert "are required" in self.refusal(subject, credentials(None))

    def test_the_certificate_names_the_client_unless_the_username_shall(self) -> None:
        shown = credentials("laptop", "alice", "secret")
        assert self.identity(CredAuthenticator([users(alice="secret")]), shown) == "laptop"
        assert self.identity(CredAuthenticator([users(alice="secret")], "username"), shown) == "alice"

    def test_checkers_are_asked_in_order_until_one_accepts(self) -> None:
        subject = CredAuthenticator([users(alice="one"), users(alice="two", bob="three")])
        assert self.identity(subject, credentials(None, "alice", "two")) == "alice"
        assert self.identity(subject, credentials(None, "bob", "three")) == "bob"
        assert self.refusal(subject, credentials(None, "bob", "one")) == "wrong username or password"

    def test_checkers_of_other_credentials_are_not_asked(self) -> None:
        subject = CredAuthenticator([AllowAnonymousAccess()])
        assert self.refusal(subject, credentials(None, "alice", "secret")) == "wrong username or password"

    def test_an_answer_may_take_its_time(self) -> None:
        slow = Slow()
        decided = CredAuthenticator([slow]).authenticate(credentials(None, "alice", "secret"))  # type: ignore[list-item]
        self.assertNoResult(decided)  # type: ignore[no-untyped-call]
        slow.asked[0].callback(b"alice")
        assert self.successResultOf(decided) == "alice"

    def test_a_checker_that_breaks_is_no_refusal(self) -> None:
        subject = CredAuthenticator([Broken()])  # type: ignore[list-item]  # as much of a checker as is asked
        decided = subject.authenticate(credentials(None, "alice", "secret"))
        self.failureResultOf(decided, RuntimeError)  # type: ignore[no-untyped-call]

    def test_a_name_that_is_not_utf_8_is_no_system_accounts(self) -> None:
        subject = CredAuthenticator([SystemAccounts(), users(alice="secret")])  # type: ignore[list-item]
        assert self.refusal(subject, credentials(None, "\udcff", "secret")) == "wrong username or password"

    def test_who_shows_no_password_may_be_judged_by_its_certificate(self) -> None:
        subject = CredAuthenticator([users(alice="secret")], without_password=CertificateAuthenticator())
        assert self.identity(subject, credentials("laptop")) == "laptop"
        assert self.refusal(subject, credentials("laptop", "alice", "wrong")) == "wrong username or password"
        assert "no common name" in self.refusal(subject, credentials(None))

    def test_a_token_takes_the_place_of_a_password(self) -> None:
        subject = CredAuthenticator([users(alice="secret")])
        shown = credentials("laptop", "alice", "SESS_ID_AT_...")
        assert self.identity(subject, shown._replace(token=TokenState.VALID)) == "laptop"
        assert self.refusal(subject, shown._replace(token=TokenState.EXPIRED)) == "token expired"

    def test_secrets_do_not_show(self) -> None:
        assert "secret" not in repr(credentials("laptop", "alice", "secret"))


def server(*authenticators: str) -> ServerSettings:
    return ServerSettings(listen=(), network=None, network6=None, authenticators=authenticators)


def test_settings_choose_the_authenticator() -> None:
    assert isinstance(make_authenticator(server()), CertificateAuthenticator)
    chosen = make_authenticator(server("memory:alice:secret"))
    assert isinstance(chosen, CredAuthenticator)
    accepted: list[str] = []
    chosen.authenticate(credentials(None, "alice", "secret")).addCallback(accepted.append)
    assert accepted == ["alice"]


def test_an_unknown_kind_is_a_mistake_of_the_admins() -> None:
    with pytest.raises(ConfigError, match="'oracle:delphi' is no authentication"):
        make_authenticator(server("oracle:delphi"))
