"""The device that is none."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from tests.recorders import FrameRecorder
from twistvpn.interfaces import Frame, ITun
from twistvpn.tun.null import NullTun


def test_what_is_written_is_counted_and_nothing_is_read() -> None:
    tun, receiver = NullTun(), FrameRecorder()
    verifyObject(ITun, tun)
    tun.start(receiver)
    tun.write_frames([Frame(b"one"), Frame(b"two")])
    tun.close()
    tun.close()
    assert (tun.drops["null"], receiver.batches) == (2, [])
