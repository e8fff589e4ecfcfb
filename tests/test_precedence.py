"""Control packets leave at the head of data, or when there has been none for a moment."""

from __future__ import annotations

from twisted.internet.task import Clock

from tests.recorders import RunRecorder
from twistvpn.memory import MemoryNetwork
from twistvpn.precedence import PAUSE, Precedence

US, THEM = ("192.0.2.1", 1194), ("198.51.100.1", 40000)


def test_what_waits_leaves_in_order_and_once() -> None:
    clock, recorder = Clock(), RunRecorder()
    network = MemoryNetwork(clock)
    link, _ = network.link(RunRecorder(), US), network.link(recorder, THEM)
    precedence = Precedence()
    assert precedence.until is None
    precedence.put([], 1.0)
    assert precedence.until is None, "nothing waits"
    precedence.put([b"first"], 1.0)
    precedence.put([b"second", b"third"], 1.001)
    assert precedence.until == 1.0 + PAUSE, "the oldest does not wait longer for those behind it"
    precedence.leave(link, THEM)
    precedence.leave(link, THEM)
    clock.advance(1.0)
    assert recorder.datagrams == [b"first", b"second", b"third"]
    assert precedence.until is None
