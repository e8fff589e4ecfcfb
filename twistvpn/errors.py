"""The root of every exception the package raises.

Two families matter to a caller.  A `WireError` is bad input from the network: it is
counted under its `reason` and the datagram is dropped, without a traceback.  A
`ConfigError` or an `EnvironmentRefusal` is bad input from the admin: its text is the one line
that is shown, and the process ends with exit status 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection


class TwistvpnError(Exception):
    """Anything this package raises on purpose."""


class WireError(TwistvpnError):
    """Bytes from the network that cannot be used; the datagram is counted and dropped."""

    reason: ClassVar[str] = "malformed"
    """The counter this drop is counted under."""


class MalformedPacket(WireError):
    """The bytes do not parse as what they claim to be."""


class AuthenticationFailure(WireError):
    """An HMAC or an AEAD tag does not verify, or the wrapping is not the configured one."""

    reason = "authentication"


class ForeignControlKey(AuthenticationFailure):
    """A stranger's control packet that is under none of our keys."""

    reason = "control-key"


class ReplayedPacket(WireError):
    """A packet id that was seen before, or that is too old for the replay window."""

    reason = "replay"


class UnknownKey(WireError):
    """A data packet under a key id that no live key has."""

    reason = "unknown-key"


class NegotiationError(TwistvpnError):
    """The two ends cannot agree (no common cipher, a bad key exchange, a TLS failure); ends the session."""


class KeyGone(NegotiationError):
    """The TLS session that a key comes from has ended, or newer keys have taken its place."""


class AuthenticationRejected(NegotiationError):
    """The peer's credentials were refused; the text is what AUTH_FAILED tells the peer."""


class TemporarilyRejected(AuthenticationRejected):
    """The peer is refused now and may come again.

    `backoff` is the least number of seconds it is to wait, None leaves that to it.  `advance` says which server it is
    to try then: 'no' for this one, 'addr' for the next address of its name, 'remote' for the next of its remotes; None
    leaves that to it too.
    """

    def __init__(self, reason: str = "", *, backoff: int | None = None, advance: str | None = None) -> None:
        super().__init__(reason)
        self.backoff = backoff
        self.advance = advance


class ChallengeRequired(AuthenticationRejected):
    """The peer is refused with a question, and is to come again with the answer.

    The answer is in `Credentials.response` of its next try, beside `state_id`, by which the authenticator knows it.
    `flags` are 'R', an answer is wanted, and 'E', it may be shown while it is typed.
    """

    def __init__(self, question: str, *, state_id: str, username: str, flags: Collection[str] = "R") -> None:
        super().__init__(question)
        self.state_id = state_id
        self.username = username
        self.flags = frozenset(flags)


class SessionExpired(AuthenticationRejected):
    """The token that the peer has shown in the place of a password is no longer good; it is to show the password."""


class PushRejected(NegotiationError):
    """The server pushes what the client does not take: options that `pull-filter` rejects, or options without end."""


class PacketIdExhausted(TwistvpnError):
    """A key has sent all the packet ids it may; nothing more may be sealed under it."""


class PoolExhausted(TwistvpnError):
    """Every address of the pool is taken."""


class ConfigError(TwistvpnError):
    """A mistake of the admin, told in one line that names file, line, option and the mend.

    `file` is a path as the admin wrote it, `line` counts from 1; either is None where
    there is none (an option that is missing has no line).
    """

    def __init__(
        self, message: str, *, file: str | None = None, line: int | None = None, option: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.option = option

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.option, self.message) if part)


class EnvironmentRefusal(TwistvpnError):
    """The operating system refuses what the configuration asks for (tun, port, address); one line, exit status 1."""
