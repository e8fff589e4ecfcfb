"""Whatever comes in whatever stage of a client's life: nothing breaks, and nobody is let in by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.scripted_client import ScriptedClient, serving
from twistvpn.control.events import KeyEstablished, MessageReceived, RenegotiationFailed, SessionFailed
from twistvpn.peer import PeerState
from twistvpn.server.connection import Stage
from twistvpn.wire.keymethod import KeyMethod2, KeySource

if TYPE_CHECKING:
    from twistvpn.control.events import Event
    from twistvpn.server.connection import ServerConnection

REMOTE = KeyMethod2(KeySource.generate_client(), "V4,tls-client")
EVENTS: list[Event] = [
    KeyEstablished(0, REMOTE, None, "TLSv1.3"),
    KeyEstablished(1, REMOTE, None, "TLSv1.3"),
    RenegotiationFailed(1, 0.0, TimeoutError("no answer")),
    SessionFailed(TimeoutError("no answer")),
    SessionFailed(ValueError("broken"), "it is a forgery"),
    *(
        MessageReceived(text)
        for text in (
            "PUSH_REQUEST",
            "EXIT",
            "AUTH_FAILED",
            "RESTART",
            "CR_RESPONSE,Zm9v",
            "",
            "\x1b[2J",
            "PUSH_REPLY,x",
        )
    ),
]


def only(factory_connections: dict[object, ServerConnection]) -> ServerConnection:
    (connection,) = factory_connections.values()
    return connection


@pytest.mark.parametrize("stage", list(Stage), ids=lambda stage: stage.name)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{type(event).__name__}-{getattr(event, 'text', '')!r}")
def test_every_event_in_every_stage(stage: Stage, event: Event) -> None:
    vpn = serving()
    ScriptedClient(vpn)
    connection = only(vpn.server.factory.connections)  # type: ignore[arg-type]  # by whatever key
    connection.stage = stage
    was_connected = stage is Stage.CONNECTED
    connection.session_event(connection.peer, event)
    connection.time_is_up(connection.peer, "for the test")
    assert was_connected or connection.stage is not Stage.CONNECTED or isinstance(event, MessageReceived)
    vpn.advance(120)
    assert vpn.server.factory.connections == {}


@pytest.mark.parametrize("state", list(PeerState), ids=lambda state: state.name)
def test_every_call_in_every_state_of_a_peer(state: PeerState) -> None:
    vpn = serving()
    client = ScriptedClient(vpn)
    peer = only(vpn.server.factory.connections).peer  # type: ignore[arg-type]  # by whatever key
    if state is PeerState.LINGERING:
        vpn.network.loss = 1.0
        peer.send_message("RESTART")
        peer.linger("for the test")
    elif state is PeerState.CLOSED:
        peer.close("for the test")
    assert peer._state is state
    peer.control_received(b"\x20" + bytes(60))
    peer.answer()
    peer.pump()
    peer.send_message("INFO,hello")
    peer.send_frames([])
    peer.set_keepalive(10, 60)
    peer.set_limits(10, 0, 60)
    peer.say_goodbye()
    peer.tick(vpn.clock.seconds())
    peer.linger("for the test again")
    peer.close("for the test again")
    assert peer._state is PeerState.CLOSED
    assert peer.deadline() is None
    vpn.advance(120)
    assert vpn.server.factory.connections == {}
    assert client.peer is not peer
