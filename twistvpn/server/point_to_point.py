"""The TLS server's end of point-to-point mode: one other end, which is pushed nothing."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from twistvpn.errors import EnvironmentRefusal
from twistvpn.interfaces import Lease
from twistvpn.point_to_point import Accord, come_to_terms
from twistvpn.server.connection import ServerConnection, Stage
from twistvpn.server.peer_ids import NO_PEER_ID
from twistvpn.wire.messages import Exit, encode_message
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address

    from twistvpn.config.settings import Remote
    from twistvpn.interfaces import Address
    from twistvpn.server.authentication import Admission
    from twistvpn.wire.messages import Halt, Restart


class PointToPointConnection(ServerConnection):
    """Lets the other end in: it has its addresses already, and both know what they have agreed on."""

    _accord: Accord | None = None

    def _let_in(self, admission: Admission) -> None:
        peer, data = self.peer, self._host.data
        accord = come_to_terms(Role.SERVER, data, self.peer_info, self._occ, peer.session.export)
        self._accord = accord
        self._host.make_room(self)
        self.lease = Lease(self._host.peer_address, None)
        self.peer_id = NO_PEER_ID if accord.terms.peer_id is None else accord.terms.peer_id
        peer.begin_data(accord.terms, data.compression, data.fragment)
        self.stage = Stage.CONNECTED
        self._host.connected(self)

    def _push_request(self) -> None:
        self.log.warn("{client}: asks for options; in point-to-point mode it must not pull", client=self)

    def _send_away(self, message: Restart | Halt, reason: str) -> None:
        """Say goodbye: a peer that does not pull takes no other message.

        Up to 2.5 stock peers end for good when they hear it: to those it is said where `explicit-exit-notify` wants it.
        """
        peer, server = self.peer, self._host.settings.server
        assert server is not None
        if self.stage is Stage.CONNECTED and peer.is_open and self._accord is not None:
            if "cc-exit" in self._accord.flags:
                peer.send_message(encode_message(Exit()))
            elif server.explicit_exit_notify:
                peer.say_goodbye()
        self.stage = Stage.ENDED
        peer.linger(reason)


def addresses_of(remotes: Iterable[Remote]) -> frozenset[IPv4Address | IPv6Address]:
    """Where the other end may come from; raises `EnvironmentRefusal` for a name that does not resolve."""
    found: set[IPv4Address | IPv6Address] = set()
    for remote in remotes:
        try:
            answers = socket.getaddrinfo(remote.host, None, remote.family, socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise EnvironmentRefusal(f"cannot resolve remote {remote.host}: {error}") from error
        found.update(_host(str(answer[4][0])) for answer in answers)
    return frozenset(found)


def comes_from(address: Address, allowed: frozenset[IPv4Address | IPv6Address]) -> bool:
    """Whether `address` is one of `allowed`, or nobody in particular is."""
    if not allowed:
        return True
    try:
        return _host(address[0]) in allowed
    except ValueError:  # a Unix socket has no such address
        return False


def _host(text: str) -> IPv4Address | IPv6Address:
    host = ip_address(text.partition("%")[0])
    mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else None
    return host if mapped is None else mapped
