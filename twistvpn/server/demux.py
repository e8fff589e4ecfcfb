"""Which peer a datagram belongs to, and what becomes of one that belongs to nobody.

Control packets are found by address and the sender's session id, so that an address can have a live session
and a new one beside it; data packets by peer-id, or by address where they carry none.  For a
stranger's first packet over UDP nothing is kept: it gets a cookie (`control.cookie`), and only who
returns the cookie becomes a peer.  Clients before 2.6 show their tls-crypt-v2 key in the first packet alone: for these
there must be a peer at once, and for a few of them at a time there is.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from zope.interface import implementer

from twistvpn.control.reliable import SEND_WINDOW
from twistvpn.crypto.wrapping import packet_id_field
from twistvpn.errors import AuthenticationFailure, ForeignControlKey, WireError
from twistvpn.interfaces import ILinkReceiver
from twistvpn.runs import is_data, uniform_parts
from twistvpn.verbosity import Logger
from twistvpn.wire.earlyneg import EarlyFlag, encode_early_flags, is_announced
from twistvpn.wire.opcodes import CLIENT_RESETS, KEY_BEARERS, OPCODE_SHIFT, Opcode
from twistvpn.wire.packets import HEADER_SIZE, ControlPacket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from twistvpn.control.cookie import CookieJar
    from twistvpn.crypto.wrapping import ControlKey, Opened, Wrapping
    from twistvpn.interfaces import Address, Buffer, ILink, Run
    from twistvpn.peer import Peer
    from twistvpn.server.control_keys import ControlKeyring
    from twistvpn.server.limits import FrequencyLimit

_V2_PREFIX_SIZE = 4

_STATELESS_PACKET_ID = 1
"""The packet id of every stateless answer; sessions go on from the next one."""
_SECOND_PACKETS = frozenset({Opcode.P_CONTROL_V1, Opcode.P_CONTROL_WKC_V1, Opcode.P_ACK_V1})
"""What a client may answer it with."""


_SHOW_KEY_AGAIN = encode_early_flags(EarlyFlag.RESEND_WKC)


class PeerOpener(Protocol):
    """Who makes peers out of strangers."""

    takes_strangers: bool
    """Whether any may come in at all: where not, they are not answered, and find whoever listens next."""

    def open_peer(self, link: ILink, address: Address, wrapping: Wrapping, session_id: bytes | None) -> Peer | None:
        """Make a peer whose session has not begun; None where it may not come in, or there is no room for it."""

    def may_displace(self, newcomer: Peer, holder: Peer) -> bool:
        """Whether `newcomer` may have the address of `holder`, under which its data has come."""

    def batch_ended(self) -> None:
        """Everything of one wake-up has been handed on."""


@implementer(ILinkReceiver)
class Demux:
    """Hands what links receive to peers.  `drops` counts what had no peer, by reason."""

    log = Logger()

    def __init__(
        self,
        keyring: ControlKeyring,
        cookies: CookieJar,
        opener: PeerOpener,
        clock: IReactorTime,
        initial: FrequencyLimit,
    ) -> None:
        self.drops: Counter[str] = Counter()
        self._keyring = keyring
        self._cookies = cookies
        self._opener = opener
        self._clock = clock
        self._initial = initial
        """Bounds the answers to first packets: they go wherever a forged address sends them."""
        self._sessions: dict[tuple[ILink, Address, bytes], Peer] = {}
        self._by_address: dict[tuple[ILink, Address], Peer] = {}
        self._by_id: dict[int, Peer] = {}
        self._by_stream: dict[ILink, Peer] = {}
        self._stirred: dict[Peer, None] = {}
        """Who has taken control packets of the batch at hand, in that order."""
        self._unproven: set[Peer] = set()
        """Who was let in before it has shown that it receives at its address, and may not have done so yet."""

    # Peers come and go

    def admit(self, peer: Peer, peer_id: int) -> Peer | None:
        """Let a peer's data in, by its peer-id and its address; returns whom it replaces at that address."""
        path = (peer.link, peer.address)
        before = self._by_address.get(path)
        self._by_address[path] = peer
        self._by_id[peer_id] = peer
        return before

    def is_taken(self, link: ILink, address: Address) -> bool:
        """Whether a client that was let in is reached there."""
        return (link, address) in self._by_address

    def remove(self, peer: Peer, peer_id: int | None) -> None:
        """Forget a peer."""
        remote = peer.session.remote_session_id
        if remote is not None and self._sessions.get((peer.link, peer.address, remote)) is peer:
            del self._sessions[peer.link, peer.address, remote]
        if self._by_address.get((peer.link, peer.address)) is peer:
            del self._by_address[peer.link, peer.address]
        if peer_id is not None and self._by_id.get(peer_id) is peer:
            del self._by_id[peer_id]
        if self._by_stream.get(peer.link) is peer:
            del self._by_stream[peer.link]
        self._unproven.discard(peer)

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
        if not is_data(run):
            self._control(link, address, run.data)
            return
        self._answer()
        if run.data[0] >> OPCODE_SHIFT == Opcode.P_DATA_V2:
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
        before = peer.channel.progress
        peer.data_received(run)
        # Who said goodbye in these very packets stays forgotten, and one that was overtaken on its way leads nowhere.
        # Less than before is no progress: a key may have expired just now, whatever was sent under it.
        if not peer.is_open or peer.channel.progress <= before:
            return
        remote = peer.session.remote_session_id
        assert remote is not None
        holder = self._by_address.get((link, address))
        if self._sessions.get((link, address, remote), peer) is not peer:
            # Session ids are chosen by clients: whoever begins a session there has the same one by no accident.
            self.drops["float"] += 1
        elif holder is None:
            self._move(peer, link, address)
        elif self._opener.may_displace(peer, holder):
            holder.close("a client of the same certificate has moved to its address")
            self._move(peer, link, address)
        else:
            self.drops["float"] += 1

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
            elif not self._opener.takes_strangers:
                self.drops["stopping"] += 1
            elif link.is_stream:
                self._stranger_on_stream(link, address, datagram)
            else:
                self._stranger(link, address, datagram)
        except WireError as error:
            self.drops[error.reason] += 1

    def _open(self, datagram: Buffer) -> tuple[ControlKey, Opened]:
        """Open a stranger's packet; counted apart where that fails, as it is how a wrong key shows."""
        try:
            key = self._keyring.key_of(datagram)
            return key, key.open(datagram)
        except AuthenticationFailure as error:
            raise ForeignControlKey(str(error)) from error

    def _stranger_on_stream(self, link: ILink, address: Address, datagram: Buffer) -> None:
        key, opened = self._open(datagram)
        if not _is_reset(opened.packet) or opened.packet.acks or link in self._by_stream:
            self.drops["unknown-session"] += 1
        else:
            self._accept(link, address, key, opened)

    def _accept(self, link: ILink, address: Address, key: ControlKey, opened: Opened) -> Peer | None:
        """Begin a session with the client's first packet."""
        session_id = opened.packet.session_id
        peer = self._opener.open_peer(link, address, key.new_wrapping(), None)
        if peer is not None:
            self._enter(peer, session_id)
            peer.session.accept(session_id, self._clock.seconds())
            peer.opened_received(opened)
        return peer

    def _stranger(self, link: ILink, address: Address, datagram: Buffer) -> None:
        key, opened = self._open(datagram)
        packet = opened.packet
        now = self._clock.seconds()
        if _is_reset(packet):
            if _shows_key_once(opened):
                self._accept_unproven(link, address, key, opened)
            else:
                self._hand_out_cookie(link, address, key, packet, now)
        elif self._returns_cookie(packet, address, now):
            self._resume(link, address, key, opened, now)
        else:
            self.drops["unknown-session"] += 1

    def _hand_out_cookie(
        self, link: ILink, address: Address, key: ControlKey, reset: ControlPacket, now: float
    ) -> None:
        if not self._initial.allows(now):
            self.drops["connect-freq-initial"] += 1
            if self._initial.refused == 1:
                self.log.warn("connect-freq-initial ({limit}) exceeded: others are not answered", limit=self._initial)
            return
        answer = ControlPacket(
            opcode=Opcode.P_CONTROL_HARD_RESET_SERVER_V2,
            key_id=0,
            session_id=self._cookies.issue(address, reset.session_id, now),
            acks=(0,),
            remote_session_id=reset.session_id,
            message_id=0,
            payload=_SHOW_KEY_AGAIN if reset.opcode in KEY_BEARERS else b"",
        )
        link.send_control(key.seal(answer, packet_id_field(_STATELESS_PACKET_ID, now)), address)

    def _accept_unproven(self, link: ILink, address: Address, key: ControlKey, opened: Opened) -> None:
        self._unproven = {peer for peer in self._unproven if not peer.session.is_proven}
        if len(self._unproven) >= self._keyring.max_unproven:
            self.drops["no-cookie"] += 1
            return
        peer = self._accept(link, address, key, opened)
        if peer is not None:
            self._unproven.add(peer)

    def _returns_cookie(self, packet: ControlPacket, address: Address, now: float) -> bool:
        return (
            packet.key_id == 0
            and packet.opcode in _SECOND_PACKETS
            # Nothing but our reset can have been acknowledged: other packets are the late ones of a session that ended.
            and not any(packet.acks)
            and (packet.message_id or 1) in range(1, 1 + SEND_WINDOW)
            and packet.remote_session_id is not None
            and self._cookies.accepts(packet.remote_session_id, address, packet.session_id, now)
        )

    def _resume(self, link: ILink, address: Address, key: ControlKey, opened: Opened, now: float) -> None:
        self._initial.forgive()
        packet = opened.packet
        wrapping = key.new_wrapping(_STATELESS_PACKET_ID + 1)
        peer = self._opener.open_peer(link, address, wrapping, packet.remote_session_id)
        if peer is None:
            return
        self._enter(peer, packet.session_id)
        peer.session.resume(packet.session_id, now)
        peer.opened_received(opened)


def _is_reset(packet: ControlPacket) -> bool:
    return packet.opcode in CLIENT_RESETS and packet.key_id == 0 and packet.message_id == 0


def _shows_key_once(reset: Opened) -> bool:
    """Whether a client would not show its own key with its second packet again."""
    return reset.packet.opcode in KEY_BEARERS and (reset.packet_id is None or not is_announced(reset.packet_id[0]))
