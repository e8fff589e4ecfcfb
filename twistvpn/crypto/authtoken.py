"""Tokens that a server hands out in the place of passwords (`auth-gen-token`).

    SESS_ID_AT_ base64(12 session id | 8 time of the session's first token | 8 time of this one | 32 HMAC-SHA256)

The times are seconds since the epoch, big endian; the HMAC is over the username and what stands before it.
Source: wire-protocol draft, "Auth-token"; openvpn(8), `auth-gen-token`.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import struct
from dataclasses import dataclass

from twistvpn.crypto.pem import from_pem, to_pem
from twistvpn.errors import ConfigError
from twistvpn.interfaces import TokenState

PREFIX = "SESS_ID_AT_"
SESSION_ID_SIZE = 12
SECRET_SIZE = 128
"""Bytes of a secret's file: a cipher's key that is not used, and that of an HMAC, 64 bytes each."""

_BODY = struct.Struct(f">{SESSION_ID_SIZE}sQQ")
_HMAC_SIZE = 32
_TOKEN_LENGTH = len(PREFIX) + (_BODY.size + _HMAC_SIZE) // 3 * 4
_LABEL = "OpenVPN auth-token server key"


@dataclass(frozen=True)
class TokenSession:
    """What all tokens of one session have in common."""

    session_id: bytes
    """12 random bytes."""
    began: int
    """Seconds since the epoch when its first token was made."""

    @property
    def name(self) -> str:
        """The session id in base64, as stock servers show it."""
        return base64.b64encode(self.session_id).decode()


@dataclass(frozen=True, repr=False)
class TokenSecret:
    """What tokens are signed with; servers that share it take each other's tokens."""

    data: bytes

    @classmethod
    def generate(cls) -> TokenSecret:
        """Make a new one."""
        return cls(os.urandom(SECRET_SIZE))

    @classmethod
    def from_text(cls, text: bytes | str) -> TokenSecret:
        """Read what `openvpn --genkey auth-token` writes.  Raises `ConfigError` without a place."""
        data = from_pem(_LABEL, text, "secret for tokens")
        if len(data) < SECRET_SIZE:
            raise ConfigError(f"the secret for tokens has {len(data)} bytes, it must have {SECRET_SIZE}")
        return cls(data)

    def to_text(self) -> str:
        """Write it as `openvpn --genkey auth-token` does."""
        return to_pem(_LABEL, self.data)

    def sign(self, data: bytes) -> bytes:
        """The HMAC-SHA256 of `data`: 32 bytes."""
        start = SECRET_SIZE // 2
        return hmac.digest(self.data[start : start + _HMAC_SIZE], data, "sha256")


def is_token(password: str) -> bool:
    """Whether a password has the form of a token."""
    return len(password) == _TOKEN_LENGTH and password.startswith(PREFIX)


class AuthTokens:
    """Makes tokens and examines them.  Durations in seconds, times in seconds since the epoch."""

    def __init__(self, secret: TokenSecret, lifetime: float, renewal: float) -> None:
        self.lifetime = lifetime
        """How long a session's tokens are good from its first one on; 0 is for ever."""
        self.renewal = renewal
        """How often a token is renewed; one is good for twice as long."""
        self._secret = secret

    def begin(self, now: float) -> TokenSession:
        """Make a session that there has not been before."""
        return TokenSession(os.urandom(SESSION_ID_SIZE), int(now))

    def issue(self, session: TokenSession, username: str, now: float) -> str:
        """Make the token of a session's user, to be sent in the place of the password from now on."""
        body = _BODY.pack(session.session_id, session.began, int(now))
        return PREFIX + base64.b64encode(body + self._sign(username, body)).decode()

    def examine(self, token: str, username: str, now: float) -> tuple[TokenState, TokenSession | None]:
        """Say what a token is worth for a user, and whose session it is; no session for one that is invalid."""
        try:
            data = base64.b64decode(token.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            return TokenState.INVALID, None
        body, signature = data[: _BODY.size], data[_BODY.size :]
        if len(signature) != _HMAC_SIZE:
            return TokenState.INVALID, None
        session_id, began, made = _BODY.unpack(body)
        expired = not made <= now < made + 2 * self.renewal or made < began
        expired = expired or bool(self.lifetime and now > began + self.lifetime)
        if hmac.compare_digest(signature, self._sign(username, body)):
            state = TokenState.EXPIRED if expired else TokenState.VALID
        elif hmac.compare_digest(signature, self._sign("", body)):
            state = TokenState.EXPIRED_EMPTY_USER if expired else TokenState.VALID_EMPTY_USER
        else:
            return TokenState.INVALID, None
        return state, TokenSession(session_id, began)

    def _sign(self, username: str, body: bytes) -> bytes:
        return self._secret.sign(username.encode("utf-8", "surrogateescape") + body)
