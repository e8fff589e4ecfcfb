"""A client that says what the test wants: any peer-info, any credentials, its messages one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import implementer

from twistvpn.config.load import parse
from twistvpn.control.keys import control_key
from twistvpn.control.session import Event, KeyDerivation, KeyEstablished, MessageReceived, SessionFailed
from twistvpn.control.tls import ControlTlsFactory
from twistvpn.control.verify import TlsContexts
from twistvpn.deadlines import DeadlineQueue
from twistvpn.interfaces import Address, Buffer, Frame, ILink, ILinkReceiver, Run
from twistvpn.keying import DataTerms
from twistvpn.peer import Peer, build_peer
from twistvpn.runs import is_data, uniform_parts
from twistvpn.testing import SERVER_ADDRESS, Pair, pair
from twistvpn.wire.compression import Compression
from twistvpn.wire.keymethod import KeyMethod2, KeySource
from twistvpn.wire.options import format_peer_info
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from twisted.python.failure import Failure

    from twistvpn.pki.authority import Issued

MODERN = {"IV_VER": "2.6.14", "IV_PROTO": "990", "IV_CIPHERS": "AES-256-GCM:AES-128-GCM", "IV_NCP": "2"}
"""What stock 2.6 says of itself."""
OCC = "V4,dev-type tun,link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher {cipher},key-method 2,tls-client"


def serving(**options: Any) -> Pair:
    """A server that runs, without clients of its own."""
    vpn = pair(connect=False, **options)
    vpn.server.start()
    return vpn


@implementer(ILinkReceiver)
class ScriptedClient:
    """Connects at once; `texts` are the server's messages, `packets` what came through the tunnel."""

    def __init__(
        self,
        vpn: Pair,
        peer_info: dict[str, str] | None = None,
        *,
        name: str = "scripted",
        cipher: str = "AES-256-GCM",
        login: tuple[str, str] = ("", ""),
        issued: Issued | None = None,
        port: int = 5000,
    ) -> None:
        self.texts: list[str] = []
        self.packets: list[bytes] = []
        self.keys: list[int] = []
        self.failures: list[SessionFailed] = []
        self.lost: list[str] = []
        self.received: list[bytes] = []
        self.login = login
        self._vpn = vpn
        self._info = format_peer_info(MODERN if peer_info is None else peer_info)
        self._occ = OCC.format(cipher=cipher)
        settings = parse(vpn._client_text(issued or vpn.authority.issue_client(name, vpn.valid_from)), name, "/")
        self.link = vpn.network.link(self, ("203.0.113.1", port))
        self._deadlines = DeadlineQueue(vpn.clock)
        self.peer = build_peer(
            Role.CLIENT,
            self.link,
            SERVER_ADDRESS,
            settings=settings,
            wrapping=control_key(settings.control, Role.CLIENT).new_wrapping(),
            tls=ControlTlsFactory(TlsContexts(settings.tls, Role.CLIENT), vpn.clock, client=True),
            offer=self._offer,
            handler=self,
            deadlines=self._deadlines,
            clock=vpn.clock,
        )
        self.peer.session.connect(vpn.clock.seconds())
        self.peer.pump()
        vpn.advance(1)

    def _offer(self) -> KeyMethod2:
        return KeyMethod2(KeySource.generate_client(), self._occ, *self.login, self._info)

    # What the test asks for

    def say(self, text: str) -> list[str]:
        """Send a control message; what the server has answered a second later."""
        before = len(self.texts)
        self.peer.send_message(text)
        self._vpn.advance(1)
        return self.texts[before:]

    @property
    def pushed(self) -> list[str]:
        """The options of the last PUSH_REPLY."""
        return next(text for text in reversed(self.texts) if text.startswith("PUSH_REPLY")).split(",")[1:]

    @property
    def _pushed_before(self) -> bool:
        return any(text.startswith("PUSH_REPLY") for text in self.texts)

    def pushed_value(self, name: str) -> str | None:
        """The words behind a pushed option; None where it was not pushed."""
        return next((option.partition(" ")[2] for option in self.pushed if option.split(" ")[0] == name), None)

    def open_data(self, derivation: KeyDerivation, peer_id: int | None) -> None:
        """Begin to use the data channel."""
        cipher = self.pushed_value("cipher")
        assert cipher is not None
        self.peer.begin_data(DataTerms(cipher, derivation, peer_id), Compression.NONE, None)

    def renegotiate(self) -> None:
        """Start the next key and give it a second."""
        session = self.peer.session
        session.data_keys_made(self.keys[-1])
        session.renegotiate(self._vpn.clock.seconds())
        self.peer.pump()
        self._vpn.advance(1)

    def send_packet(self, packet: bytes) -> None:
        self.peer.send_frames([Frame(packet)])
        self._vpn.advance(1)

    # What the peer and the link report

    def session_event(self, peer: Peer, event: Event) -> None:
        if isinstance(event, KeyEstablished):
            self.keys.append(event.key_id)
            if event.key_id:
                peer.session.data_keys_made(event.key_id)
        elif isinstance(event, MessageReceived):
            if event.text.startswith("PUSH_REPLY") and "dyn-tls-crypt" in event.text and not self._pushed_before:
                peer.session.use_dynamic_tls_crypt()
            self.texts.append(event.text)
        elif isinstance(event, SessionFailed):
            self.failures.append(event)

    def packets_received(self, peer: Peer, packets: list[Buffer]) -> None:
        self.packets += [bytes(packet) for packet in packets]

    def time_is_up(self, peer: Peer, reason: str) -> None:
        self.peer.close(reason)

    def peer_lost(self, peer: Peer, reason: str) -> None:
        self.lost.append(reason)

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        for run, _ in batch:
            self.received += map(bytes, run.datagrams())
            for part in uniform_parts(run):
                if is_data(part):
                    self.peer.data_received(part)
                else:
                    self.peer.control_received(part.data)
                    self.peer.pump()

    def link_lost(self, link: ILink, reason: Failure) -> None:
        self.peer.close("link lost")
