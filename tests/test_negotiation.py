"""Every state with every input, against the table and against what the table must not allow."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from twisted.internet.task import Clock

from tests.certificates import client_tls
from tests.control_ends import offer
from twistvpn.control.exchange import KeyExchange
from twistvpn.control.negotiation import RESETS, TRANSITIONS, Input, Negotiation, State
from twistvpn.control.reliable import Message, Reliable
from twistvpn.control.round_trips import RoundTrips
from twistvpn.control.tls import ControlTlsFactory
from twistvpn.control.verify import TlsContexts
from twistvpn.errors import MalformedPacket
from twistvpn.wire.opcodes import Opcode
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twistvpn.wire.keymethod import KeyMethod2


class Listener:
    """Hears of everything and does nothing."""

    def answer(self, local: KeyMethod2, remote: KeyMethod2) -> KeyMethod2:
        raise AssertionError("there is no peer")

    def exchange_done(self, exchange: KeyExchange) -> None:
        raise AssertionError("there is no peer")

    def message_received(self, text: str) -> None:
        raise AssertionError("there is no peer")

    def exchange_lost(self, exchange: KeyExchange, reason: BaseException, refusal: str | None) -> None:
        pass


def negotiation(key_id: int = 3) -> Negotiation:
    clock = Clock()
    tls = ControlTlsFactory(TlsContexts(client_tls(), Role.CLIENT), clock, client=True)
    exchange = KeyExchange(offer(Role.CLIENT)(), Listener())
    return Negotiation(
        key_id,
        Reliable(RoundTrips.of_datagrams(2.0)),
        exchange,
        tls,
        max_payload=1000,
        wrapped_size=0,
        began=0.0,
        give_up_at=60.0,
    )


def every_pair() -> Iterator[tuple[State, Input]]:
    yield from itertools.product(State, Input)


@pytest.mark.parametrize(("state", "occurred"), list(every_pair()), ids=lambda value: value.name)
def test_every_input_in_every_state(state: State, occurred: Input) -> None:
    subject = negotiation()
    subject.state = state
    wanted = TRANSITIONS.get((state, occurred))
    if wanted is None:
        with pytest.raises(MalformedPacket, match=f"{occurred.name} in state {state.name}"):
            subject.advance(occurred)
        assert subject.state is state
    else:
        subject.advance(occurred)
        assert subject.state is wanted


def test_the_table_says_what_it_should() -> None:
    reachable = {state for (_, _), state in TRANSITIONS.items()} | {State.RESETTING}
    assert reachable == set(State)
    assert all(TRANSITIONS[state, Input.TLS_ENDED] is State.ENDED for state in State), "the end may always come"
    assert [state for state in State if (state, Input.PEER_RESET) in TRANSITIONS] == [State.RESETTING]
    assert [state for state in State if (state, Input.EXCHANGE_DONE) in TRANSITIONS] == [State.HANDSHAKE]
    assert {into for (state, _), into in TRANSITIONS.items() if state is State.ENDED} == {State.ENDED}


@pytest.mark.parametrize("opcode", sorted(RESETS))
def test_a_reset_starts_tls_once(opcode: Opcode) -> None:
    subject = negotiation()
    subject.deliver(Message(0, opcode, b""))
    assert subject.state is State.HANDSHAKE
    (hello,) = subject.reliable.due(0.0)[:1]
    assert hello.opcode is Opcode.P_CONTROL_V1
    assert hello.payload[:2] == b"\x16\x03", "a TLS handshake record"
    with pytest.raises(MalformedPacket):
        subject.deliver(Message(1, opcode, b""))


def test_tls_data_before_the_hard_reset_is_an_error() -> None:
    with pytest.raises(MalformedPacket, match="before the reset"):
        negotiation(0).deliver(Message(0, Opcode.P_CONTROL_V1, b"\x16\x03\x01"))


def test_our_soft_reset_may_be_answered_with_tls_at_once() -> None:
    subject = negotiation()
    subject.deliver(Message(0, Opcode.P_CONTROL_V1, b"\x16\x03\x01"))
    assert subject.state is State.HANDSHAKE
    with pytest.raises(MalformedPacket):
        subject.deliver(Message(1, Opcode.P_CONTROL_SOFT_RESET_V1, b""))


def test_before_tls_there_is_nothing_to_tell_of_it() -> None:
    subject = negotiation()
    assert subject.tls_description() == "no TLS"


def test_what_is_dropped_writes_no_more() -> None:
    subject = negotiation()
    subject.deliver(Message(0, Opcode.P_CONTROL_HARD_RESET_SERVER_V2, b""))
    count = len(subject.reliable.due(0.0))
    subject.drop()
    subject.drop()
    subject.send("too late")
    assert subject.reliable.due(0.0) == []
    assert count > 0


def test_a_broken_tls_record_is_answered_with_an_alert_and_is_the_end() -> None:
    subject = negotiation()
    subject.deliver(Message(0, Opcode.P_CONTROL_HARD_RESET_SERVER_V2, b""))
    subject.reliable.due(0.0)
    subject.reliable.acknowledged(range(10), 0.0)
    subject.deliver(Message(1, Opcode.P_CONTROL_V1, b"\x16\x03\x03\x00\x04\xff\x00\x00\x00"))
    subject.read()
    (alert,) = subject.reliable.due(0.0)
    assert alert.payload[:1] == b"\x15"
    with pytest.raises(MalformedPacket):
        subject.deliver(Message(2, Opcode.P_CONTROL_V1, b"more"))
