from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tests.inner_packets import ACK, SYN, tcp, udp
from twistvpn.crypto.derive import DataKeys, DirectionKeys
from twistvpn.data.channel import OCC_MAGIC, PING, Channel, DataKey
from twistvpn.data.messages import OccKind
from twistvpn.data.offload import VnetHeader, segment
from twistvpn.interfaces import Buffer, Frame, Run, single

pytestmark = pytest.mark.usefixtures("each_kernel")

A, B = (DirectionKeys(os.urandom(64), os.urandom(64)) for _ in range(2))
CIPHERS = ["AES-256-GCM", "AES-192-GCM", "AES-128-GCM", "CHACHA20-POLY1305"]
PEER_ID = 0x010203


def data_keys(
    key_id: int = 0, *, peer_id: int | None = PEER_ID, cipher: str = "AES-256-GCM", window: int = 64
) -> tuple[DataKey, DataKey]:
    """The same keys as our end and as the other has them."""
    return (
        DataKey(key_id, cipher, DataKeys(A, B), peer_id, window),
        DataKey(key_id, cipher, DataKeys(B, A), peer_id, window),
    )


def pair(
    key_id: int = 0, *, peer_id: int | None = PEER_ID, cipher: str = "AES-256-GCM", window: int = 64
) -> tuple[Channel, Channel]:
    ours, theirs = Channel(), Channel()
    for channel, key in zip(
        (ours, theirs), data_keys(key_id, peer_id=peer_id, cipher=cipher, window=window), strict=True
    ):
        channel.install(key, 0.0)
    return ours, theirs


def packets_of(*sizes: int) -> list[bytes]:
    return [udp("10.8.0.2", "10.8.0.1", os.urandom(size - 28)) for size in sizes]


def seal(channel: Channel, packets: list[bytes], now: float = 1.0) -> list[Run]:
    return channel.seal([Frame(packet) for packet in packets], now)


def open_all(channel: Channel, runs: list[Run], now: float = 1.0) -> list[Buffer]:
    return [packet for run in runs for packet in channel.open(run, now)]


def reference_seal(packet: bytes, packet_id: int, header: bytes, cipher: str, keys: DirectionKeys) -> bytes:
    """One datagram put together from the draft's layout."""
    size = {"AES-256-GCM": 32, "AES-192-GCM": 24, "AES-128-GCM": 16, "CHACHA20-POLY1305": 32}[cipher]
    aead = ChaCha20Poly1305(keys.cipher[:32]) if cipher.startswith("CHACHA") else AESGCM(keys.cipher[:size])
    wire_id = packet_id.to_bytes(4, "big")
    associated = header + wire_id if len(header) == 4 else wire_id
    sealed = aead.encrypt(wire_id + keys.hmac[:8], packet, associated)
    return header + wire_id + sealed[-16:] + sealed[:-16]


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(("peer_id", "header"), [(PEER_ID, bytes.fromhex("4b010203")), (None, bytes.fromhex("33"))])
def test_datagrams_have_the_drafts_layout(cipher: str, peer_id: int | None, header: bytes) -> None:
    ours, theirs = pair(3, peer_id=peer_id, cipher=cipher)
    packets = packets_of(100, 100, 60)
    (run,) = seal(ours, packets)
    assert [bytes(datagram) for datagram in run.datagrams()] == [
        reference_seal(packet, number, header, cipher, A) for number, packet in enumerate(packets, 1)
    ]
    assert run.size == 100 + len(header) + 20
    assert theirs.open(run, 1.0) == packets
    assert ours.largest_packet(run.size, 1.0) == 100


def test_equal_neighbours_share_a_run_that_a_shorter_one_ends() -> None:
    ours, theirs = pair()
    packets = packets_of(60, 1400, 1400, 100, 100, 100, 90, 90, 1400)
    runs = seal(ours, packets)
    assert [len(run.datagrams()) for run in runs] == [1, 3, 3, 1, 1]
    assert open_all(theirs, runs) == packets


def test_a_run_fits_one_send() -> None:
    ours, theirs = pair()
    for size, most in ((1400, 45), (100, 64), (9000, 7)):
        packets = packets_of(*[size] * 130)
        runs = seal(ours, packets)
        assert max(len(run.datagrams()) for run in runs) == most
        assert all(len(run.data) <= 65400 for run in runs)
        assert open_all(theirs, runs) == packets


@given(st.lists(st.sampled_from([40, 41, 60, 1400]), max_size=150))
def test_whatever_goes_in_comes_out_in_order(sizes: list[int]) -> None:
    ours, theirs = pair()
    packets = packets_of(*sizes)
    runs = seal(ours, packets)
    for run in runs:
        *others, last = run.datagrams()
        assert all(len(datagram) == run.size for datagram in others)
        assert len(last) <= run.size
    assert open_all(theirs, runs) == packets


def test_a_super_packet_leaves_in_one_run() -> None:
    ours, theirs = pair()
    whole = tcp(payload=os.urandom(10_000))
    frame = Frame(whole, VnetHeader(1, 1, 0, 1360, 20, 16).encode())
    plain = udp("10.8.0.2", "10.8.0.1", b"x")
    runs = ours.seal([Frame(plain), frame, Frame(plain)], 1.0)
    assert [len(run.datagrams()) for run in runs] == [1, 8, 1]
    assert open_all(theirs, runs) == [plain, *segment(frame), plain]


def test_a_broken_super_packet_is_counted_and_the_rest_leaves() -> None:
    ours, theirs = pair()
    (packet,) = packets_of(100)
    runs = ours.seal([Frame(packet, VnetHeader(1, 1, 0, 0, 20, 16).encode()), Frame(packet)], 1.0)
    assert open_all(theirs, runs) == [packet]
    assert ours.drops == {"malformed": 1}


def test_views_of_a_larger_buffer_are_as_good_as_bytes() -> None:
    ours, theirs = pair()
    packets = packets_of(80, 80, 70)
    (run,) = ours.seal([Frame(memoryview(bytearray(packet))) for packet in packets], 1.0)
    for data in (bytearray(run.data), memoryview(b"xx" + bytes(run.data))[2:]):
        assert pair()[1].open(Run(data, run.size), 1.0) == packets
    assert theirs.open(run, 1.0) == packets


def test_v1_and_v2_are_both_read_whatever_we_send() -> None:
    ours, _ = pair(peer_id=None)
    _, theirs = pair(peer_id=PEER_ID)
    (packet,) = packets_of(90)
    assert open_all(theirs, seal(ours, [packet])) == [packet]


def test_a_forged_datagram_is_counted_and_its_neighbours_pass() -> None:
    ours, theirs = pair()
    packets = packets_of(90, 90, 90)
    (run,) = seal(ours, packets)
    spoilt = bytearray(run.data)
    spoilt[run.size + 30] ^= 1
    assert theirs.open(Run(spoilt, run.size), 1.0) == [packets[0], packets[2]]
    assert theirs.drops == {"authentication": 1}
    assert theirs.packets_in == 2


@pytest.mark.parametrize("at", [1, 3, 5, 9, 24])
def test_every_byte_is_authenticated(at: int) -> None:
    ours, theirs = pair()
    (run,) = seal(ours, packets_of(90))
    spoilt = bytearray(run.data)
    spoilt[at] ^= 1
    assert theirs.open(single(spoilt), 1.0) == []
    assert theirs.drops == {"authentication": 1}
    assert theirs.last_received is None


def test_a_replayed_datagram_is_dropped() -> None:
    ours, theirs = pair()
    packets = packets_of(90, 90)
    (run,) = seal(ours, packets)
    assert theirs.open(run, 1.0) == packets
    assert theirs.open(run, 2.0) == []
    assert theirs.drops == {"replay": 2}
    assert theirs.last_received == 1.0


def test_datagrams_may_overtake_each_other_within_the_window() -> None:
    ours, theirs = pair(window=4)
    packets = packets_of(*[90] * 10)
    datagrams = [single(datagram) for datagram in seal(ours, packets)[0].datagrams()]
    assert open_all(theirs, [datagrams[number] for number in (9, 7, 6, 5)]) == [packets[n] for n in (9, 7, 6)]
    assert theirs.drops == {"replay": 1}


def test_packet_id_zero_is_refused() -> None:
    _, theirs = pair()
    datagram = reference_seal(packets_of(60)[0], 0, bytes.fromhex("48010203"), "AES-256-GCM", A)
    assert theirs.open(single(datagram), 1.0) == []
    assert theirs.drops == {"replay": 1}


def test_pings_and_option_messages_are_taken_out() -> None:
    ours, theirs = pair()
    occ: list[tuple[int, bytes]] = []
    theirs.on_occ = lambda kind, rest: occ.append((kind, bytes(rest)))
    assert open_all(theirs, ours.seal_ping(5.0), 6.0) == []
    assert (ours.last_sent, theirs.last_received) == (5.0, 6.0)
    assert open_all(theirs, ours.seal_occ(bytes([OccKind.EXIT]), 7.0), 8.0) == []
    assert occ == [(OccKind.EXIT, b"")]
    (packet,) = packets_of(60)
    assert open_all(theirs, seal(ours, [PING, packet, OCC_MAGIC + b"\0", OCC_MAGIC + b"\1V4"])) == [packet]
    assert occ[1:] == [(0, b""), (1, b"V4")]
    assert theirs.packets_in == 6
    assert not theirs.drops


def test_plaintext_that_is_not_ip_is_not_delivered() -> None:
    ours, theirs = pair()
    assert open_all(theirs, seal(ours, [b"\x20" * 40, OCC_MAGIC, b"\0"])) == []
    assert theirs.drops == {"malformed": 3}


def test_times_and_counters_move_once_a_batch() -> None:
    ours, theirs = pair()
    packets = packets_of(100, 100, 50)
    runs = seal(ours, packets, 3.5)
    open_all(theirs, runs, 4.5)
    assert (ours.last_sent, ours.last_received) == (3.5, None)
    assert (theirs.last_sent, theirs.last_received) == (None, 4.5)
    assert (ours.packets_out, ours.bytes_out) == (3, 250 + 3 * 24)
    assert (theirs.packets_in, theirs.bytes_in) == (3, 250 + 3 * 24)


def test_an_unknown_key_id_is_counted() -> None:
    ours, _ = pair(2)
    _, theirs = pair(1)
    assert open_all(theirs, seal(ours, packets_of(60, 60))) == []
    assert theirs.drops == {"unknown-key": 2}


def test_a_channel_without_a_key_drops_and_counts() -> None:
    channel = Channel()
    assert seal(channel, packets_of(60)) == []
    assert channel.seal_ping(1.0) == []
    assert channel.drops == {"no-key": 2}
    assert channel.last_sent is None
    assert channel.seal([], 1.0) == []


def test_a_used_up_key_sends_nothing_more() -> None:
    ours, _ = pair()
    generation = ours._keyring.sending(1.0)
    assert generation is not None
    generation.sealer.packet_id = 0xFFFFFFFF
    assert ours.must_renegotiate
    assert seal(ours, packets_of(60)) == []
    assert ours.drops == {"packet-id": 1}


def first_byte(run: Run) -> int:
    return run.data[0]


def test_a_new_key_sends_once_the_peer_was_heard_under_it() -> None:
    ours, theirs = pair()
    old = seal(ours, packets_of(60))
    ours_next, theirs_next = data_keys(1)
    ours.install(ours_next, 10.0, 70.0)
    theirs.install(theirs_next, 10.0, 70.0)
    (run,) = seal(ours, packets_of(60), 11.0)
    assert first_byte(run) == 0x48
    assert len(open_all(theirs, [*old, run], 11.0)) == 2
    (late,) = seal(theirs, packets_of(60), 70.0)
    assert first_byte(late) == 0x49
    assert len(ours.open(late, 12.0)) == 1
    (run,) = seal(ours, packets_of(60), 12.0)
    assert first_byte(run) == 0x49


def test_datagrams_of_two_keys_may_share_a_run() -> None:
    ours, theirs = pair()
    packets = packets_of(60, 60, 50)
    (first,) = seal(ours, packets[:1])
    ours_next, theirs_next = data_keys(1)
    ours.install(ours_next, 1.0, 1.0)
    theirs.install(theirs_next, 1.0, 61.0)
    (rest,) = seal(ours, packets[1:])
    mixed = Run(bytes(first.data) + bytes(rest.data), first.size)
    assert theirs.open(mixed, 2.0) == packets


def test_handshakes_are_clamped_both_ways() -> None:
    option = b"\2\4\5\xb4"
    handshake = tcp(flags=SYN, options=option)
    for clamping in range(2):
        channels = pair()
        channels[clamping].max_mss = 1400
        big = Frame(tcp(payload=bytes(3000)), VnetHeader(1, 1, 0, 1360, 20, 16).encode())
        partial = Frame(handshake, VnetHeader(1, 0, 0, 0, 20, 16).encode())
        runs = channels[0].seal([Frame(handshake), big, partial], 1.0)
        first, *_, last = open_all(channels[1], runs)
        assert first == tcp(flags=SYN, options=b"\2\4\5\x78")
        assert bytes(last[40:44]) == b"\2\4\5\x78"


def test_data_is_not_touched_by_clamping() -> None:
    ours, theirs = pair()
    ours.max_mss = theirs.max_mss = 1
    packets = [tcp(payload=b"data", flags=ACK), *packets_of(30, 60)]
    assert open_all(theirs, seal(ours, packets)) == packets


@given(st.binary(max_size=120), st.integers(-1, 130))
def test_any_run_may_arrive(data: bytes, size: int) -> None:
    _, theirs = pair()
    assert theirs.open(Run(data, size), 1.0) == []
    assert sum(theirs.drops.values()) >= 1
    assert theirs.last_received is None


@given(st.sampled_from([0x30, 0x48]), st.binary(max_size=120), st.integers(1, 130))
def test_any_data_packets_may_arrive(first: int, data: bytes, size: int) -> None:
    _, theirs = pair()
    run = Run(bytes((first,)) + data, size)
    assert theirs.open(run, 1.0) == []
    assert sum(theirs.drops.values()) == len(run.datagrams())


@given(st.integers(0, 200), st.integers(0, 255), st.integers(1, 200))
def test_a_spoilt_run_gives_only_what_was_sealed(at: int, value: int, size: int) -> None:
    ours, theirs = pair()
    packets = packets_of(50, 50, 40)
    (run,) = seal(ours, packets)
    spoilt = bytearray(run.data)
    spoilt[at] = value
    assert set(map(bytes, theirs.open(Run(spoilt, size), 1.0))) <= set(packets)


def test_a_tail_too_short_to_be_a_packet_is_malformed() -> None:
    ours, theirs = pair()
    packets = packets_of(90, 90)
    (run,) = seal(ours, packets)
    assert theirs.open(Run(bytes(run.data) + b"\x48" + bytes(23), run.size), 1.0) == packets
    assert theirs.drops == {"malformed": 1}


def test_a_peer_costs_little_memory() -> None:
    assert not hasattr(Channel(), "__dict__")
