"""Two control sessions on a memory network, each driven as a peer drives its own."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.task import Clock
from zope.interface import implementer

from tests.certificates import client_tls, server_tls
from twistvpn.config.settings import ControlSettings
from twistvpn.control.round_trips import RoundTrips
from twistvpn.control.session import ControlSession, Event, KeyDerivation, KeyEstablished, RenegotiationBegun
from twistvpn.control.tls import ControlTlsFactory
from twistvpn.control.verify import TlsContexts
from twistvpn.crypto.statickey import KeyDirection, StaticKey
from twistvpn.crypto.wrapping import ControlKey
from twistvpn.deadlines import DeadlineQueue
from twistvpn.errors import KeyGone, WireError
from twistvpn.interfaces import Address, ILink, ILinkReceiver, Run
from twistvpn.memory import MemoryNetwork
from twistvpn.wire.keymethod import KeyMethod2, KeySource
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from twisted.python.failure import Failure

    from twistvpn.config.settings import TlsSettings

ADDRESSES: dict[Role, Address] = {Role.SERVER: ("192.0.2.1", 1194), Role.CLIENT: ("198.51.100.1", 40000)}
OTHER = {Role.SERVER: Role.CLIENT, Role.CLIENT: Role.SERVER}

E = TypeVar("E")


def offer(role: Role) -> Callable[[], KeyMethod2]:
    def make() -> KeyMethod2:
        source = KeySource.generate_client() if role is Role.CLIENT else KeySource.generate_server()
        return KeyMethod2(source, f"V4,tls-{role.value}", "", "", "IV_VER=test\n" if role is Role.CLIENT else "")

    return make


@implementer(ILinkReceiver)
class ControlEnd:
    """One session with its link and its timer; `events` and `dropped` (reasons) are what came of it."""

    def __init__(
        self,
        role: Role,
        network: MemoryNetwork,
        clock: Clock,
        key: ControlKey,
        tls: TlsSettings,
        settings: ControlSettings,
    ) -> None:
        self.role = role
        self.events: list[Event | RenegotiationBegun] = []
        self.makes_data_keys = True
        """Whether a key is put to use as soon as it is established; without that it has no successor."""
        self.dropped: list[str] = []
        self.received: list[bytes] = []
        self._clock = clock
        self._key = key
        self._deadlines = DeadlineQueue(clock)
        self._link = network.link(self, ADDRESSES[role])
        factory = ControlTlsFactory(TlsContexts(tls, role), clock, client=role is Role.CLIENT)
        self.session = ControlSession(
            role, key.new_wrapping(), factory, offer(role), settings, RoundTrips.of_datagrams(settings.tls_timeout)
        )
        self._begun = False

    def connect(self) -> None:
        self._begun = True
        self.session.connect(self._clock.seconds())
        self.pump()

    def runs_received(self, link: ILink, batch: Sequence[tuple[Run, Address]]) -> None:
        self.take(*[bytes(datagram) for run, _ in batch for datagram in run.datagrams()])

    def take(self, *datagrams: bytes) -> None:
        """Receive a batch."""
        for datagram in datagrams:
            self.received.append(datagram)
            with self._counting():
                self._receive(datagram, self._clock.seconds())
        with self._counting():
            self.session.read(self._clock.seconds())
        self.pump()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except WireError as error:
            self.dropped.append(error.reason)

    def _receive(self, datagram: bytes, now: float) -> None:
        if self._begun:
            self.session.receive_datagram(datagram, now)
            return
        opened = self._key.open(datagram)
        self._begun = True
        self.session.accept(opened.packet.session_id, now)
        self.session.receive_opened(opened, now)

    def link_lost(self, link: ILink, reason: Failure) -> None:
        raise AssertionError("a memory link is not lost")

    def send(self, text: str) -> None:
        self.session.send_message(text, self._clock.seconds())
        self.pump()

    def renegotiate(self) -> None:
        self.session.renegotiate(self._clock.seconds())
        self.pump()

    def pump(self) -> None:
        for event in self.session.take_events():
            self.events.append(event)
            if isinstance(event, KeyEstablished) and self.makes_data_keys:
                with suppress(KeyGone):
                    self.session.key_material(event.key_id, KeyDerivation.EXPORTER)
                    self.session.data_keys_made(event.key_id)
        for datagram in self.session.datagrams_to_send(self._clock.seconds()):
            self._link.send_control(datagram, ADDRESSES[OTHER[self.role]])
        self._deadlines.schedule(self)

    def deadline(self) -> float | None:
        return self.session.deadline()

    def tick(self, now: float) -> None:
        self.session.tick(now)
        self.pump()

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def stop(self) -> None:
        self.session.close()
        self._deadlines.stop()


def control_key(wrapping: str, static: StaticKey, role: Role) -> ControlKey:
    """One end's key for 'none', 'tls-auth' or 'tls-crypt'."""
    if wrapping == "none":
        return ControlKey.plain()
    if wrapping == "tls-crypt":
        return ControlKey.tls_crypt(static, role)
    return ControlKey.tls_auth(static, KeyDirection.NORMAL if role is Role.SERVER else KeyDirection.INVERSE)


class ControlPair:
    """Both ends, the network between them and the clock."""

    def __init__(
        self,
        *,
        wrapping: str = "none",
        seed: int = 0,
        loss: float = 0.0,
        duplication: float = 0.0,
        reordering: float = 0.0,
        delay: float = 0.01,
        server: TlsSettings | None = None,
        client: TlsSettings | None = None,
        settings: ControlSettings | None = None,
    ) -> None:
        self.clock = Clock()
        self.network = MemoryNetwork(
            self.clock, seed=seed, loss=loss, duplication=duplication, reordering=reordering, delay=delay
        )
        static = StaticKey.generate()
        chosen = settings or ControlSettings()
        tls = {Role.SERVER: server or server_tls(), Role.CLIENT: client or client_tls()}
        self.server, self.client = (
            ControlEnd(
                role,
                self.network,
                self.clock,
                control_key(wrapping, static, role),
                tls[role],
                chosen,
            )
            for role in (Role.SERVER, Role.CLIENT)
        )

    def run(self, seconds: float) -> None:
        """Let time pass, a hundredth of a second at a time."""
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def run_until(self, condition: Callable[[], object], within: float = 120.0) -> None:
        for _ in range(round(within * 100)):
            if condition():
                return
            self.clock.advance(0.01)
        raise AssertionError(f"not within {within:g} s")

    def stop(self) -> None:
        self.server.stop()
        self.client.stop()
