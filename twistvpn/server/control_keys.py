"""Which key a stranger's control packets are under, and whether its owner may come closer.

All protections live beside each other: the packet itself says which one it has.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from twistvpn.config.settings import ControlWrapping
from twistvpn.control.keys import control_key
from twistvpn.crypto.clientkey import ServerKey, cut_wrapped_key
from twistvpn.crypto.wrapping import ControlKey
from twistvpn.errors import AuthenticationFailure, AuthenticationRejected
from twistvpn.verbosity import Logger
from twistvpn.wire.opcodes import KEY_BEARERS, OPCODE_SHIFT
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.config.settings import ControlSettings
    from twistvpn.interfaces import Address, Buffer, ClientKeyMetadata, IClientKeyVerifier

MAX_UNPROVEN = 64
"""Sessions at most whose client has yet to show that it receives at its address (see `Demux`)."""

_KEYS_REMEMBERED = 128
_DAY = 86400.0


class ControlKeyring:
    """The server's control keys: `shared` for clients without a key of their own, `server_key` for the others.

    Without `shared` every client must have a key of its own; without `server_key` none may.  Keys older than `max_age`
    (seconds) are refused, those without a time too; `verifier` is asked about the others.  `max_unproven` is 0 with
    force-cookie.
    """

    _log = Logger()

    def __init__(
        self,
        shared: ControlKey | None,
        server_key: ServerKey | None = None,
        *,
        max_age: float | None = None,
        verifier: IClientKeyVerifier | None = None,
        max_unproven: int = MAX_UNPROVEN,
    ) -> None:
        self.max_unproven = max_unproven
        self._shared = shared
        self._open_key = None if server_key is None else _key_opener(server_key)
        self._max_age = max_age
        self._verifier = verifier

    def key_of(self, datagram: Buffer) -> ControlKey:
        """The key that a control packet of no session is under; raises `WireError` where there is none.

        What a client's own key has in it is not looked at yet: see `check`.
        """
        if datagram[0] >> OPCODE_SHIFT not in KEY_BEARERS:
            if self._shared is None:
                raise AuthenticationFailure("a client without a key of its own")
            return self._shared
        if self._open_key is None:
            raise AuthenticationFailure("a client with a key of its own")
        return self._open_key(cut_wrapped_key(datagram)[1])

    def check(self, key: ControlKey, address: Address, now: float) -> None:
        """Judge a client that has proved its address by its own key, if it has one; raises `AuthenticationRejected`."""
        metadata = key.metadata
        if metadata is None:
            return
        self._check_age(metadata, now)
        if self._verifier is None:
            return
        try:
            self._verifier.verify(metadata, address)
        except AuthenticationRejected:
            raise
        except Exception:  # noqa: BLE001  an application's fault lets nobody in
            self._log.failure("the verifier of client keys broke")
            raise AuthenticationRejected("internal error") from None

    def _check_age(self, metadata: ClientKeyMetadata, now: float) -> None:
        if self._max_age is None:
            return
        if metadata.made is None:
            raise AuthenticationRejected("its tls-crypt-v2 key does not tell when it was made (tls-crypt-v2-max-age)")
        age = now - metadata.made
        if age > self._max_age:
            raise AuthenticationRejected(f"its tls-crypt-v2 key is {age / _DAY:.0f} days old (tls-crypt-v2-max-age)")


def _key_opener(server_key: ServerKey) -> Callable[[bytes], ControlKey]:
    """Opens wrapped keys, and remembers the latest: a client shows its own at least twice."""

    @lru_cache(_KEYS_REMEMBERED)
    def open_key(wrapped: bytes) -> ControlKey:
        return ControlKey.tls_crypt_v2_client(*server_key.unwrap(wrapped))

    return open_key


def control_keyring(settings: ControlSettings, verifier: IClientKeyVerifier | None = None) -> ControlKeyring:
    """The keys that `settings` give a server.  Raises `ConfigError` for one that is none."""
    if settings.crypt_v2 is None:
        return ControlKeyring(control_key(settings, Role.SERVER))
    only_own = settings.wrapping is ControlWrapping.NONE
    return ControlKeyring(
        None if only_own else control_key(settings, Role.SERVER),
        ServerKey.from_text(settings.crypt_v2.data),
        max_age=settings.client_key_max_age,
        verifier=verifier,
        max_unproven=0 if settings.force_cookie else MAX_UNPROVEN,
    )
