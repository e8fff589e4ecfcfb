"""Who is in: under which identity, with which settings, addresses and peer-id."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from twistvpn.errors import AuthenticationRejected, ConfigError, TemporarilyRejected
from twistvpn.overrides import ALIKE
from twistvpn.server.addresses import AddressBook
from twistvpn.server.peer_ids import PeerIds
from twistvpn.verbosity import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twistvpn.config.settings import ServerSettings
    from twistvpn.interfaces import IPool, Lease
    from twistvpn.overrides import ClientOverrides, IClientSettings
    from twistvpn.server.connection import ServerConnection


class Roster:
    """The clients that have authenticated.  `client_settings` knows what is different for single ones."""

    log = Logger()

    def __init__(
        self, server: ServerSettings, pool: IPool | None, client_settings: IClientSettings | None, clock: IReactorTime
    ) -> None:
        self._server = server
        self._client_settings = client_settings
        self._clock = clock
        self._addresses: AddressBook[ServerConnection] = AddressBook(pool)
        self._peer_ids = PeerIds()
        self._by_identity: dict[str, ServerConnection] = {}

    def __len__(self) -> int:
        """Identities that are in."""
        return len(self._by_identity)

    def check_welcome(self, identity: str) -> None:
        """Raise `AuthenticationRejected` where a client that is in must not be in any longer.

        Settings that cannot be used do not end a session that came under others.
        """
        with suppress(TemporarilyRejected):
            self._overrides_for(identity)

    def _overrides_for(self, identity: str) -> ClientOverrides:
        """What is different for a client now.  Raises `AuthenticationRejected`."""
        if self._client_settings is None:
            return ALIKE
        try:
            overrides = self._client_settings.overrides(identity)
        except ConfigError as error:
            self.log.warn("{error}", error=error)
            raise TemporarilyRejected("the server's settings for this client cannot be used") from None
        if overrides.is_disabled:
            raise AuthenticationRejected("this client is disabled")
        return overrides

    def admit(self, connection: ServerConnection, identity: str) -> None:
        """Give a client a lease and a peer-id; whoever was in under the same identity makes room.

        Raises `PoolExhausted`, and `AuthenticationRejected` where the client's own settings do not let it in.
        """
        connection.overrides = self._overrides_for(identity)
        before = self._by_identity.get(identity)
        if before is not None and not self._server.duplicate_cn:
            before.peer.close(f"{identity} has connected anew")
        for other in self._addresses.in_the_way(connection.overrides):
            other.disconnect(f"its address is kept for {identity}")
        connection.lease = self._addresses.lease(connection, identity, connection.overrides)
        own = connection.overrides
        if self._server.pool6 is not None and own.ifconfig is not None and own.ifconfig6 is None:
            self.log.warn(
                "{client}: no IPv6 address: ifconfig-push stands for the pool's, which has both; "
                "add ifconfig-ipv6-push to give it one",
                client=connection,
            )
        connection.peer_id = self._peer_ids.take(self._clock.seconds())
        self._by_identity[identity] = connection

    def change(self, connection: ServerConnection, lease: Lease) -> None:
        """Give a client other addresses.  Raises `PoolExhausted` where one of them is somebody else's."""
        self._addresses.change(connection, lease)
        connection.lease = lease

    def leave(self, connection: ServerConnection) -> None:
        """Take back what a client had, which may be nothing."""
        self._addresses.release(connection)
        if connection.peer_id is not None:
            self._peer_ids.give_back(connection.peer_id, self._clock.seconds())
        if connection.identity is not None and self._by_identity.get(connection.identity) is connection:
            del self._by_identity[connection.identity]
