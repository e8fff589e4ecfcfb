"""Strangers on streams: how many may be silent, and how many lines they leave in the log."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent

from tests.recorders import RunRecorder
from twistvpn.link.sharing import PortShare, SharedPortFactory
from twistvpn.link.strangers import MOST_LINES, MOST_SILENT, PERIOD, Strangers
from twistvpn.link.stream import StreamLinkFactory
from twistvpn.wire.framing import frame_one


class Door:
    """A port that strangers connect to."""

    def __init__(self, *, is_shared: bool) -> None:
        self.clock = Clock()
        self.strangers = Strangers(self.clock.seconds)
        links = StreamLinkFactory(RunRecorder(), self.clock, strangers=self.strangers)
        share = PortShare(None, "nowhere", self.clock)  # type: ignore[arg-type]  # nothing is handed on
        self.factory = SharedPortFactory(links, share, self.clock) if is_shared else links

    def connect(self) -> tuple[object, StringTransport]:
        transport = StringTransport()
        protocol = self.factory.buildProtocol(None)
        protocol.makeConnection(transport)  # type: ignore[no-untyped-call]  # it is Twisted's
        return protocol, transport


def is_closed(transport: StringTransport) -> bool:
    return transport.disconnecting or transport.disconnected


@pytest.mark.parametrize("is_shared", [False, True])
def test_the_oldest_silent_connection_gives_way(*, is_shared: bool) -> None:
    door = Door(is_shared=is_shared)
    made = [door.connect() for _ in range(MOST_SILENT)]
    spoken, transport = made[0]
    spoken.dataReceived(frame_one(b"\x38" + bytes(13)))  # type: ignore[attr-defined]
    assert len(door.strangers) == MOST_SILENT - 1
    made += [door.connect() for _ in range(3)]
    assert not is_closed(transport), "it has said something"
    assert [is_closed(transport) for _, transport in made[1:6]] == [True, True, False, False, False]
    assert len(door.strangers) == MOST_SILENT
    for protocol, _ in made:
        protocol.connectionLost()  # type: ignore[attr-defined]
    assert len(door.strangers) == 0


def test_lines_in_the_log_are_few() -> None:
    door = Door(is_shared=False)
    with capturedLogs() as events:
        for _ in range(100):
            door.connect()[0].dataReceived(b"\xff\xff")  # type: ignore[attr-defined]
        door.clock.advance(PERIOD)
        door.connect()[0].dataReceived(b"\xff\xff")  # type: ignore[attr-defined]
    lines = [formatEvent(event) for event in events]
    assert len(lines) == MOST_LINES + 1
    assert all("closing the connection" in line for line in lines)
    assert lines[-1].endswith("(and 90 lines of this kind, left out)")
