"""The twins in memory behave as the interfaces say, with faults that can be repeated."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from tests.recorders import FrameRecorder, RunRecorder
from twistvpn.interfaces import Address, Frame, ILink, ITun, Run, single
from twistvpn.testing import MemoryNetwork, MemoryTun

HERE: Address = ("192.0.2.1", 1194)
THERE: Address = ("198.51.100.2", 40000)


def numbered(count: int) -> list[bytes]:
    return [b"%04d" % number for number in range(count)]


def arrivals(
    seed: int = 0, loss: float = 0.0, duplication: float = 0.0, reordering: float = 0.0, delay: float = 0.0
) -> tuple[list[bytes], MemoryNetwork]:
    clock, receiver = Clock(), RunRecorder()
    network = MemoryNetwork(clock, seed=seed, loss=loss, duplication=duplication, reordering=reordering, delay=delay)
    network.link(receiver, HERE)
    sender = network.link(RunRecorder(), THERE)
    for datagram in numbered(1000):
        sender.send_control(datagram, HERE)
    clock.pump([0.0] + [0.005] * 40)
    return receiver.datagrams, network


def test_the_twins_provide_the_interfaces() -> None:
    network = MemoryNetwork(Clock())
    verifyObject(ITun, MemoryTun())
    verifyObject(ILink, network.link(RunRecorder(), HERE))
    verifyObject(ILink, network.stream(RunRecorder(), HERE, RunRecorder(), THERE)[0])


def test_injected_packets_arrive_as_one_batch() -> None:
    tun, receiver = MemoryTun(), FrameRecorder()
    tun.start(receiver)
    tun.inject(b"one", Frame(b"two", b"\1" * 10))
    assert receiver.batches == [[Frame(b"one"), Frame(b"two", b"\1" * 10)]]


def test_packets_injected_early_wait_for_the_start() -> None:
    tun, receiver = MemoryTun(), FrameRecorder()
    tun.inject(b"one")
    tun.inject(b"two")
    tun.start(receiver)
    assert receiver.batches == [[Frame(b"one"), Frame(b"two")]]


def test_written_packets_are_kept_until_taken() -> None:
    tun = MemoryTun()
    tun.write_frames([Frame(bytearray(b"one")), Frame(memoryview(b"two"))])
    tun.write_frames([Frame(b"three")])
    assert tun.batches == 2
    assert tun.take() == [b"one", b"two", b"three"]
    assert tun.take() == []


def test_a_closed_tun_drops_both_ways() -> None:
    tun, receiver = MemoryTun(), FrameRecorder()
    tun.start(receiver)
    tun.close()
    tun.close()
    tun.inject(b"one")
    tun.write_frames([Frame(b"two")])
    assert (receiver.batches, tun.written, tun.drops["closed"]) == ([], [], 2)


def test_what_is_sent_in_one_turn_arrives_as_one_batch_after_the_delay() -> None:
    clock, receiver = Clock(), RunRecorder()
    network = MemoryNetwork(clock, delay=0.25)
    network.link(receiver, HERE)
    sender = network.link(RunRecorder(), THERE)
    sender.send_control(b"hello", HERE)
    sender.send_runs([Run(b"aaaabbbbcc", 4)], HERE)
    clock.advance(0.125)
    assert receiver.batches == []
    clock.advance(0.125)
    assert receiver.batches == [[(single(b"hello"), THERE), (Run(b"aaaabbbbcc", 4), THERE)]]
    assert network.counts["delivered"] == 4


def test_a_network_without_faults_carries_all_in_order() -> None:
    assert arrivals()[0] == numbered(1000)


def test_loss_takes_its_share_and_the_same_each_time() -> None:
    once, network = arrivals(loss=0.3, seed=5)
    again, _ = arrivals(loss=0.3, seed=5)
    other, _ = arrivals(loss=0.3, seed=6)
    assert 600 < len(once) < 800
    assert network.counts["lost"] == 1000 - len(once)
    assert once == again != other


def test_duplicates_arrive_twice() -> None:
    datagrams, network = arrivals(duplication=0.1)
    assert len(datagrams) == 1000 + network.counts["duplicated"] > 1000
    assert set(datagrams) == set(numbered(1000))


def test_reordering_loses_nothing() -> None:
    datagrams, _ = arrivals(reordering=0.2, delay=0.01)
    assert datagrams != numbered(1000)
    assert sorted(datagrams) == numbered(1000)


def test_keep_decides_about_each_datagram_of_a_run() -> None:
    clock, receiver = Clock(), RunRecorder()
    network = MemoryNetwork(clock)
    network.keep = lambda datagram, _source, _destination: datagram != b"bbbb"
    network.link(receiver, HERE)
    network.link(RunRecorder(), THERE).send_runs([Run(b"aaaabbbbcc", 4)], HERE)
    clock.advance(0)
    assert receiver.datagrams == [b"aaaa", b"cc"]


def test_an_address_nobody_has_swallows_datagrams() -> None:
    network = MemoryNetwork(Clock())
    network.link(RunRecorder(), THERE).send_control(b"hello", HERE)
    assert network.counts["unreachable"] == 1


def test_an_address_is_given_once_and_free_again_after_close() -> None:
    network = MemoryNetwork(Clock())
    link = network.link(RunRecorder(), HERE)
    with pytest.raises(ValueError, match="in use"):
        network.link(RunRecorder(), HERE)
    link.close()
    link.close()
    network.link(RunRecorder(), HERE)


def test_a_link_that_moves_is_seen_at_its_new_address() -> None:
    clock, receiver, mover = Clock(), RunRecorder(), RunRecorder()
    network = MemoryNetwork(clock)
    fixed, roaming = network.link(receiver, HERE), network.link(mover, THERE)
    elsewhere: Address = ("203.0.113.9", 7)
    network.move(roaming, elsewhere)
    roaming.send_control(b"moved", HERE)
    fixed.send_control(b"late", THERE)
    fixed.send_control(b"answer", elsewhere)
    clock.advance(0)
    assert receiver.batches == [[(single(b"moved"), elsewhere)]]
    assert mover.datagrams == [b"answer"]


def test_a_closed_link_neither_sends_nor_receives() -> None:
    clock, receiver = Clock(), RunRecorder()
    network = MemoryNetwork(clock)
    link, other = network.link(receiver, HERE), network.link(RunRecorder(), THERE)
    other.send_control(b"in flight", HERE)
    link.close()
    link.send_control(b"late", THERE)
    clock.advance(0)
    assert receiver.batches == []
    assert receiver.lost == []
    assert link.drops["closed"] == 1


def test_a_stream_keeps_order_and_loses_nothing_on_a_bad_network() -> None:
    clock, near, far = Clock(), RunRecorder(), RunRecorder()
    network = MemoryNetwork(clock, loss=0.9, reordering=0.9, duplication=0.9, delay=0.1)
    one, other = network.stream(near, HERE, far, THERE)
    assert one.is_stream
    one.send_runs([single(datagram) for datagram in numbered(50)], THERE)
    network.delay = 0
    one.send_control(b"0050", THERE)
    other.send_control(b"back", HERE)
    clock.pump([0, 0.1])
    assert far.datagrams == numbered(51)
    assert near.datagrams == [b"back"]


def test_closing_a_stream_tells_both_ends_after_what_was_sent() -> None:
    clock, near, far = Clock(), RunRecorder(), RunRecorder()
    one, other = MemoryNetwork(clock, delay=0.1).stream(near, HERE, far, THERE)
    one.send_control(b"bye", THERE)
    one.close()
    clock.pump([0, 0.1, 0.1])
    assert far.datagrams == [b"bye"]
    assert (len(near.lost), len(far.lost)) == (1, 1)
    assert other.closed
