"""Who may come in: certificates alone, or names and passwords checked by Twisted cred."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from zope.interface import implementer

from twistvpn.errors import AuthenticationRejected, SessionExpired
from twistvpn.interfaces import Credentials, IAuthenticator, IIdentifier, TokenState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.failure import Failure


@implementer(IAuthenticator, IIdentifier)
class CertificateAuthenticator:
    """Lets in whoever TLS has verified; the certificate's common name is the identity."""

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        """See `IAuthenticator`."""
        return maybeDeferred(self.identify, credentials)

    def identify(self, credentials: Credentials) -> str:
        """See `IIdentifier`."""
        if credentials.common_name is None:
            raise AuthenticationRejected("the certificate has no common name")
        return credentials.common_name


@implementer(IAuthenticator, IIdentifier)
class CredAuthenticator:
    """Asks Twisted cred checkers for a username and password, in order; the first that accepts decides.

    The identity is the certificate's common name, or the username where there is no certificate or
    `username_as_common_name` asks for it.  `without_password` decides about clients that show neither name nor
    password; None refuses them.
    """

    def __init__(
        self,
        checkers: Sequence[ICredentialsChecker],
        identify: str = "common-name",
        without_password: IAuthenticator | None = None,
    ) -> None:
        self._checkers = [
            checker
            for checker in checkers
            if any(
                IUsernamePassword.isOrExtends(i) or i.isOrExtends(IUsernamePassword)
                for i in checker.credentialInterfaces
            )
        ]
        self._identify = identify
        self._without_password = without_password

    def identify(self, credentials: Credentials) -> str:
        """See `IIdentifier`."""
        by_certificate = self._identify == "common-name" and credentials.common_name is not None
        return str(credentials.common_name) if by_certificate else credentials.username

    def authenticate(self, credentials: Credentials) -> Deferred[str]:
        """See `IAuthenticator`."""
        if credentials.token is TokenState.VALID:
            return succeed(self.identify(credentials))
        if credentials.token is not TokenState.NONE:
            return fail(SessionExpired("token expired"))
        if not credentials.username and not credentials.password and self._without_password is not None:
            return self._without_password.authenticate(credentials)
        if not credentials.username:
            return fail(AuthenticationRejected("a username and a password are required"))
        return self._try(credentials, 0)

    def _try(self, credentials: Credentials, index: int) -> Deferred[str]:
        if index == len(self._checkers):
            return fail(AuthenticationRejected("wrong username or password"))
        # As they came, whether they are UTF-8 or not.
        username = credentials.username.encode("utf-8", "surrogateescape")
        login = UsernamePassword(username, credentials.password.encode("utf-8", "surrogateescape"))

        def accepted(_avatar: object) -> str:
            return self.identify(credentials)

        def refused(failure: Failure) -> Deferred[str]:
            # Checkers of system accounts decode the name: one that is not UTF-8 is nobody's.
            failure.trap(UnauthorizedLogin, UnicodeDecodeError)
            return self._try(credentials, index + 1)

        asked: Deferred[object] = maybeDeferred(self._checkers[index].requestAvatarId, login)
        return asked.addCallbacks(accepted, refused)
