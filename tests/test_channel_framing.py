"""A channel whose packets lie in a framing: compression's, or parts of packets, or both."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import ACK, SYN, tcp, udp
from tests.test_channel import data_keys, open_all, packets_of, seal
from twistvpn.config.settings import FragmentLimit
from twistvpn.data.channel import Channel
from twistvpn.data.compression import BAD_COMPRESSION
from twistvpn.data.fragment import BAD_FRAGMENT, TOO_LARGE
from twistvpn.data.framing import Framing
from twistvpn.data.messages import OccKind
from twistvpn.data.offload import VnetHeader, segment
from twistvpn.interfaces import Frame
from twistvpn.wire.compression import Compression

pytestmark = pytest.mark.usefixtures("each_kernel")

FRAMINGS = [
    (compression, limit)
    for compression in Compression
    for limit in (None, FragmentLimit(1000), FragmentLimit(600, "mtu"))
    if compression is not Compression.NONE or limit is not None
]


def framing(compression: Compression, limit: FragmentLimit | None = None, allow: str = "asym") -> Framing:
    return Framing(compression, limit, allow_compression=allow, mtu=1500, sequence=7)


def framed_pair(compression: Compression, limit: FragmentLimit | None = None) -> tuple[Channel, Channel]:
    channels = Channel(), Channel()
    for channel, key in zip(channels, data_keys(), strict=True):
        channel.framing = framing(compression, limit)
        channel.install(key, 0.0)
        if limit is not None:
            channel.framing.fit(channel.largest_text(limit.size - (28 if limit.mode == "mtu" else 0), 0.0))
    return channels


@pytest.mark.parametrize(("compression", "limit"), FRAMINGS)
def test_packets_and_messages_go_through(compression: Compression, limit: FragmentLimit | None) -> None:
    ours, theirs = framed_pair(compression, limit)
    occ: list[int] = []
    theirs.on_occ = lambda kind, _: occ.append(kind)
    packets = packets_of(60, 1400, 1400, 1500, 100, 90, 29)
    runs = seal(ours, packets)
    assert open_all(theirs, runs) == packets
    assert open_all(theirs, [*ours.seal_ping(1.0), *ours.seal_occ(bytes([OccKind.EXIT]), 1.0)]) == []
    assert occ == [OccKind.EXIT]
    assert not ours.drops + theirs.drops
    assert theirs.packets_in == ours.packets_out
    assert theirs.bytes_in == ours.bytes_out
    if limit is not None:
        largest = limit.size - (28 if limit.mode == "mtu" else 0)
        assert max(len(datagram) for run in runs for datagram in run.datagrams()) <= largest


@pytest.mark.parametrize(("compression", "limit"), FRAMINGS)
def test_super_packets_are_cut_before_they_are_framed(compression: Compression, limit: FragmentLimit | None) -> None:
    ours, theirs = framed_pair(compression, limit)
    packet = tcp("10.8.0.2", "10.8.0.1", os.urandom(5000), flags=ACK)
    frame = Frame(packet, VnetHeader(1, 1, 0, 1200, 20, 16).encode())
    assert open_all(theirs, ours.seal([frame], 1.0)) == segment(frame)
    assert ours.seal([Frame(packet, VnetHeader(1, 1, 0, 0, 20, 16).encode())], 1.0) == []
    assert ours.drops == {"malformed": 1}


@pytest.mark.parametrize("compression", [Compression.STUB, Compression.LZ4, Compression.STUB_V2])
def test_handshakes_are_clamped_both_ways(compression: Compression) -> None:
    syn = tcp("10.8.0.2", "10.8.0.1", b"", flags=SYN, options=bytes.fromhex("020405b4"))
    for out, into in ((1000, 0), (0, 1000), (1000, 900)):
        ours, theirs = framed_pair(compression)
        ours.max_mss, theirs.max_mss = out, into
        (packet,) = open_all(theirs, seal(ours, [syn]))
        assert int.from_bytes(packet[42:44], "big") == (into or out)


@pytest.mark.parametrize(("compression", "limit"), FRAMINGS)
def test_the_largest_packet_is_one_that_leaves_whole(compression: Compression, limit: FragmentLimit | None) -> None:
    ours, _ = framed_pair(compression, limit)
    (run,) = seal(ours, packets_of(300))
    assert ours.largest_packet(len(run.data), 1.0) == 300


def test_the_parts_fill_the_limit() -> None:
    ours, theirs = framed_pair(Compression.NONE, FragmentLimit(1000))
    packets = packets_of(1000 - 28, 1000 - 27)
    (whole,), (parts,) = seal(ours, packets[:1]), seal(ours, packets[1:])
    assert len(whole.data) == 1000
    assert len(parts.datagrams()) == 2
    assert open_all(theirs, [whole, parts]) == packets


def test_a_limit_that_is_hopeless_is_counted() -> None:
    ours, _ = framed_pair(Compression.NONE, FragmentLimit(68, "mtu"))
    assert seal(ours, packets_of(1500)) == []
    assert ours.drops == {TOO_LARGE: 1}
    assert seal(ours, packets_of(300))


def test_a_peer_without_the_framing_is_noticed() -> None:
    plain, _ = framed_pair(Compression.STUB_V2)
    for compression, limit, reason in (
        (Compression.STUB, None, BAD_COMPRESSION),
        (Compression.NONE, FragmentLimit(1000), BAD_FRAGMENT),
    ):
        _, framed = framed_pair(compression, limit)
        packets = [udp("10.8.0.2", "10.8.0.1", bytes(length)) for length in range(10, 200)]
        assert len(open_all(framed, seal(plain, packets))) < len(packets)
        assert framed.drops[reason] > 0


@given(st.sampled_from(FRAMINGS), st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=20))
def test_any_bytes_may_come(which: tuple[Compression, FragmentLimit | None], texts: list[bytes]) -> None:
    plain, _ = framed_pair(Compression.STUB_V2)
    plain.framing = None
    _, framed = framed_pair(*which)
    packets = open_all(framed, plain.seal([Frame(text) for text in texts], 1.0))
    assert all(packet[0] & 0xD0 == 0x40 for packet in packets)
    assert framed.packets_in == len(texts)
