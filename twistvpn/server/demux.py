"""Which peer a datagram belongs to, and what becomes of one that belongs to nobody.

Control packets are found by address and the sender's session id, so that an address can have a live session
and a new one beside it; data packets by peer-id, or by address where they carry none.  For a
stranger's first packet over UDP nothing is kept: it gets a cookie (`control.cookie`), and only who
returns the cookie becomes a peer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from zope.interface import implementer

from twistvpn.control.reliable import SEND_WINDOW
from twistvpn.crypto.wrapping import packet_id_field
from twistvpn.errors import WireError
from twistvpn.interfaces import ILinkReceiver
from twistvpn.runs import uniform_parts
from twistvpn.wire.opcodes import DATA_OPCODES, OPCODE_SHIFT, Opcode
from twistvpn.wire.packets import HEADER_SIZE, ControlPacket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from twistvpn.control.cookie import CookieJar
    from twistvpn.crypto.wrapping import ControlKey, Opened
    from twistvpn.interfaces import Address, Buffer, ILink, Run
    from twistvpn.peer import Peer

NO_PEER_ID = 0xFFFFFF
"""A peer-id that names nobody: the peer is found by its address."""

_V2_PREFIX_SIZE = 4

_STATELESS_PACKET_ID = 1
"""The packet id of every stateless answer; sessions go on from the next one."""


class PeerOpener(Protocol):
    """Who makes peers out of strangers."""

    def open_peer(self, link: ILink, address: Address, first_packet_id: int, session_id: bytes | None) -> Peer | None:
        """Make a peer whose session has not begun; None where there is no room for one."""

    def batch_ended(self) -> None:
        """Everything of one wake-up has been handed on."""


@implementer(ILinkReceiver)
class Demux:
    """Hands what links receive to peers.  `drops` counts what had no peer, by reason."""

    def __init__(self, key: ControlKey, cookies: CookieJar, opener: PeerOpener, clock: IReactorTime) -> None:
        self.drops: Counter[str] = Counter()
        self._key = key
        self._cookies = cookies
        self._opener = opener
        self._clock = clock
        self._sessions: dict[tuple[ILink, Address, bytes], Peer] = {}
        self._by_address: dict[tuple[ILink, Address], Peer] = {}
        self._by_id: dict[int, Peer] = {}
        self._by_stream: dict[ILink, Peer] = {}
        self._stirred: dict[Peer, None] = {}
        """Who has taken control packets of the batch at hand, in that order."""

    # Peers come and go

    def admit(self, peer: Peer, peer_id: int) -> Peer | None:
        """Let a peer's data in, by its peer-id and its address; returns whom it replaces at that address."""
        path = (peer.link, peer.address)
        before = self._by_address.get(path)
        self._by_address[path] = peer
        self._by_id[peer_id] = peer
        return before

    def remove(self, peer: Peer, peer_id: int | None) -> None:
        """Forget a peer."""
        remote = peer.session.remote_session_id
        if remote is not None:
            self._sessions.pop((peer.link, peer.address, remote), None)
        if self._by_address.get((peer.link, peer.address)) is peer:
            del self._by_address[peer.link, peer.address]
        if peer_id is not None and self._by_id.get(peer_id) is peer:
            del self._by_id[peer_id]
        if self._by_stream.get(peer.link) is peer:
            del self._by_stream[peer.link]

    def _enter(self, peer: Peer, session_id: bytes) -> None:
        self._stirred[peer] = None
        self._sessions[peer.link, peer.address, session_id] = peer
        if peer.link.is_stream:
            self._by_stream[peer.link] = peer

    # What links say (`interfaces.ILinkReceiver`)

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        """Sort one wake-up's runs; a run of data packets stays whole.

        A stream that does not open with a session is closed.
        """
        for run, address in batch:
            for part in uniform_parts(run):
                self._dispatch(link, address, part)
        self._answer()
        self._opener.batch_ended()
        if link.is_stream and link not in self._by_stream:
            link.close()

    def link_lost(self, link: ILink, reason: Failure) -> None:
        """A stream has closed: its peer is gone."""
        peer = self._by_stream.get(link)
        if peer is not None:
            peer.close(f"the connection closed ({reason.getErrorMessage()})")

    def _dispatch(self, link: ILink, address: Address, run: Run) -> None:
        opcode = run.data[0] >> OPCODE_SHIFT
        if opcode not in DATA_OPCODES:
            for datagram in run.datagrams():
                self._control(link, address, datagram)
            return
        self._answer()
        if opcode == Opcode.P_DATA_V2:
            self._data_v2(link, address, run)
        else:
            self._data_by_address(link, address, run)

    def _answer(self) -> None:
        """Let the peers whose control packets came answer: each once, and before any data behind those packets."""
        if self._stirred:
            stirred, self._stirred = self._stirred, {}
            for peer in stirred:
                peer.answer()

    # Data

    def _data_v2(self, link: ILink, address: Address, run: Run) -> None:
        peer_id = int.from_bytes(run.data[1:_V2_PREFIX_SIZE], "big")
        peer = self._by_id.get(peer_id)
        if peer is None:
            self._data_by_address(link, address, run)
        elif peer.address == address and peer.link is link:
            peer.data_received(run)
        else:
            self._floating(peer, link, address, run)

    def _data_by_address(self, link: ILink, address: Address, run: Run) -> None:
        peer = self._by_address.get((link, address))
        if peer is None:
            self.drops["unknown-peer"] += len(run.datagrams())
        else:
            peer.data_received(run)

    def _floating(self, peer: Peer, link: ILink, address: Address, run: Run) -> None:
        """Data under a known peer-id from elsewhere: what authenticates moves the peer there."""
        if link.is_stream or peer.link.is_stream:
            self.drops["unknown-peer"] += len(run.datagrams())
            return
        # Who said goodbye in these very packets stays forgotten; an address that is somebody's is not taken from him.
        if peer.data_received(run) and peer.is_open and (link, address) not in self._by_address:
            self._move(peer, link, address)

    def _move(self, peer: Peer, link: ILink, address: Address) -> None:
        remote = peer.session.remote_session_id
        assert remote is not None
        self._sessions.pop((peer.link, peer.address, remote), None)
        if self._by_address.get((peer.link, peer.address)) is peer:
            del self._by_address[peer.link, peer.address]
        peer.link, peer.address = link, address
        self._sessions[link, address, remote] = peer
        self._by_address[link, address] = peer

    # Control

    def _control(self, link: ILink, address: Address, datagram: Buffer) -> None:
        try:
            peer = self._sessions.get((link, address, bytes(datagram[1:HEADER_SIZE])))
            if peer is not None:
                self._stirred[peer] = None
                peer.control_received(datagram)
            elif link.is_stream:
                self._stranger_on_stream(link, address, datagram)
            else:
                self._stranger(link, address, datagram)
        except WireError as error:
            self.drops[error.reason] += 1

    def _stranger_on_stream(self, link: ILink, address: Address, datagram: Buffer) -> None:
        opened = self._key.open(datagram)
        packet = opened.packet
        if not _is_reset(packet) or packet.acks or link in self._by_stream:
            self.drops["unknown-session"] += 1
            return
        peer = self._opener.open_peer(link, address, 1, None)
        if peer is None:
            return
        self._enter(peer, packet.session_id)
        peer.session.accept(packet.session_id, self._clock.seconds())
        peer.opened_received(opened)

    def _stranger(self, link: ILink, address: Address, datagram: Buffer) -> None:
        opened = self._key.open(datagram)
        packet = opened.packet
        now = self._clock.seconds()
        if _is_reset(packet):
            answer = ControlPacket(
                opcode=Opcode.P_CONTROL_HARD_RESET_SERVER_V2,
                key_id=0,
                session_id=self._cookies.issue(address, packet.session_id, now),
                acks=(0,),
                remote_session_id=packet.session_id,
                message_id=0,
            )
            link.send_control(self._key.seal(answer, packet_id_field(_STATELESS_PACKET_ID, now)), address)
        elif self._returns_cookie(packet, address, now):
            self._resume(link, address, opened, now)
        else:
            self.drops["unknown-session"] += 1

    def _returns_cookie(self, packet: ControlPacket, address: Address, now: float) -> bool:
        return (
            packet.key_id == 0
            and packet.opcode in {Opcode.P_CONTROL_V1, Opcode.P_ACK_V1}
            # Nothing but our reset can have been acknowledged: other packets are the late ones of a session that ended.
            and set(packet.acks) == {0}
            and (packet.message_id or 1) in range(1, 1 + SEND_WINDOW)
            and packet.remote_session_id is not None
            and self._cookies.accepts(packet.remote_session_id, address, packet.session_id, now)
        )

    def _resume(self, link: ILink, address: Address, opened: Opened, now: float) -> None:
        packet = opened.packet
        peer = self._opener.open_peer(link, address, _STATELESS_PACKET_ID + 1, packet.remote_session_id)
        if peer is None:
            return
        self._enter(peer, packet.session_id)
        peer.session.resume(packet.session_id, now)
        peer.opened_received(opened)


def _is_reset(packet: ControlPacket) -> bool:
    return packet.opcode is Opcode.P_CONTROL_HARD_RESET_CLIENT_V2 and packet.key_id == 0 and packet.message_id == 0
