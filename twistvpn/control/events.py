"""What can come of a control session, as plain values; `session.ControlSession.take_events` gives them in order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from twistvpn.control.verify import common_name
from twistvpn.wire.options import parse_peer_info

if TYPE_CHECKING:
    from cryptography import x509

    from twistvpn.interfaces import ClientKeyMetadata
    from twistvpn.wire.keymethod import KeyMethod2


@dataclass(frozen=True)
class KeyEstablished:
    """A key exchange is complete: data keys of `key_id` can be derived."""

    key_id: int
    remote: KeyMethod2
    certificate: x509.Certificate | None
    description: str
    """TLS version and cipher suite, and what wraps the key's control packets."""
    began: float = 0.0
    """Seconds since the epoch when this end began to negotiate it."""
    client_key: ClientKeyMetadata | None = None
    """What the client's own tls-crypt-v2 key has told the server."""

    @cached_property
    def peer_info(self) -> dict[str, str]:
        """What the peer tells of itself."""
        return parse_peer_info(self.remote.peer_info)

    @cached_property
    def common_name(self) -> str | None:
        """The last CN of the peer's certificate; None without a certificate, or without a CN in it."""
        return None if self.certificate is None else common_name(self.certificate)


@dataclass(frozen=True)
class MessageReceived:
    """The peer has sent a control message."""

    text: str


@dataclass(frozen=True)
class RenegotiationBegun:
    """Both ends negotiate a key that follows another: stock peers hear nothing under the one before any more."""

    key_id: int


@dataclass(frozen=True)
class RenegotiationFailed:
    """A key that was to follow another has come to nothing; the one before lives on."""

    key_id: int
    began: float
    """Seconds since the epoch when this end began to negotiate it."""
    error: BaseException
    refusal: str | None = None
    """What we had against the peer's certificate, if that is why."""


@dataclass(frozen=True)
class SessionFailed:
    """The session is over: no handshake in time, or TLS broke; `error` is why."""

    error: BaseException
    refusal: str | None = None
    """What we had against the peer's certificate, if that is why."""


Event = KeyEstablished | MessageReceived | RenegotiationFailed | SessionFailed
"""What means something to whom a peer belongs."""
