"""Keys by epochs: the chain of keys, and which epochs are sealed and opened under."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.crypto.epoch import MAX_EPOCH, EpochSecret, expand_label
from twistvpn.data import kernel
from twistvpn.data.limits import FAILURES_LIMIT
from twistvpn.data.opened import Opened
from twistvpn.errors import PacketIdExhausted
from twistvpn.interfaces import Frame

if TYPE_CHECKING:
    from random import Random

    from twistvpn.interfaces import Run

pytestmark = pytest.mark.usefixtures("each_kernel")

KEY = bytes(range(64))
PREFIX = b"\x48\0\0\1"
SECRET = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")


def test_rfc_5869_a_1() -> None:
    """The function below the label, against the vector whose secret the next tests have too."""
    expanded = HKDFExpand(SHA256(), 42, bytes(range(0xF0, 0xFA))).derive(SECRET)
    assert expanded.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


def test_the_published_label() -> None:
    assert expand_label(SECRET, b"unit test", 16).hex() == "185eaa1c7f228ab8eb29773214d92046"
    assert expand_label(SECRET, b"unit test", 27).hex() == "875a8eec18556380b8d933ed323c2df8e8eccf4972e683f06a83ac"


def test_the_published_keys_of_epoch_17() -> None:
    secret = EpochSecret(17, bytes((19, 12)) + bytes(30))
    assert secret.key(24).hex() == "ed8533db1c28ace418e9006ab29c17417d60ebe6cd90bf0a"
    assert secret.iv().hex() == "86890aabf032cb59f4cfa34e"


def test_secrets_follow_from_each_other() -> None:
    first = EpochSecret.first(KEY)
    assert first == EpochSecret(1, KEY[:32])
    assert first.at(1) == first
    assert first.at(3) == first.at(2).at(3) == EpochSecret(3, expand_label(first.at(2).secret, b"datakey upd", 32))
    assert "secret" not in repr(first)


def sealer(cipher: str = "AES-256-GCM") -> kernel.AnyEpochSealer:
    return kernel.EpochSealer(cipher, KEY, PREFIX)


def opener(window: int = 64) -> kernel.AnyEpochOpener:
    return kernel.EpochOpener("AES-256-GCM", KEY, window, 15.0)


def sealed(ours: kernel.AnyEpochSealer, *packets: bytes) -> Run:
    ((run,), _) = ours.seal([Frame(packet) for packet in packets])
    return run


def opened(theirs: kernel.AnyEpochOpener, run: Run, now: float = 0.0) -> list[bytes]:
    return [bytes(packet) for packet in theirs.open(run.data, run.size, 4, now).packets]


def test_datagrams_have_the_drafts_layout() -> None:
    ours = sealer()
    ours.advance(3)
    ours.packet_id = 0x1234567
    run = sealed(ours, b"E packet")
    secret = EpochSecret.first(KEY).at(3)
    wire_id = bytes.fromhex("0003000001234568")
    nonce = bytes(left ^ right for left, right in zip(secret.iv(), wire_id + bytes(4), strict=True))
    assert run.data == PREFIX + wire_id + AESGCM(secret.key(32)).encrypt(nonce, b"E packet", PREFIX + wire_id)
    assert opened(opener(), run) == [b"E packet"]


def test_an_epoch_begins_its_count_anew() -> None:
    ours = sealer()
    sealed(ours, b"E" * 33, b"E" * 33)
    assert (ours.epoch, ours.packet_id, ours.blocks) == (1, 2, 6)
    ours.advance(2)
    assert (ours.epoch, ours.packet_id, ours.blocks) == (2, 0, 0)
    assert sealed(ours, b"E").data[4:12].hex() == "0002000000000001"


@pytest.mark.parametrize("epoch", [0, 4, 5, MAX_EPOCH + 1, 0xFFFF, 0x10006])
def test_a_sealer_goes_only_on(epoch: int) -> None:
    ours = sealer()
    ours.advance(5)
    with pytest.raises(ValueError, match="there is no way"):
        ours.advance(epoch)
    assert ours.epoch == 5


def test_no_counter_is_used_twice() -> None:
    ours = sealer()
    ours.packet_id = 2**48 - 2
    assert sealed(ours, b"E").data[4:12].hex() == "0001ffffffffffff"
    with pytest.raises(PacketIdExhausted):
        ours.seal([Frame(b"E")])
    ours.advance(2)
    assert opened(opener(), sealed(ours, b"E")) == [b"E"]


def runs_of(*epochs: int) -> dict[int, Run]:
    """One run of a packet for each epoch, which has it as its text."""
    ours = sealer()
    runs = {}
    for epoch in epochs:
        if epoch > ours.epoch:
            ours.advance(epoch)
        runs[epoch] = sealed(ours, b"E%d" % epoch)
    return runs


def sealed_at(epoch: int) -> Run:
    ours = sealer()
    if epoch > 1:
        ours.advance(epoch)
    ours.packet_id = 100
    return sealed(ours, b"E%d" % epoch)


@pytest.mark.parametrize(("epoch", "good"), [(1, True), (2, True), (17, True), (18, False), (2000, False)])
def test_epochs_up_to_sixteen_ahead_are_opened(epoch: int, good: bool) -> None:  # noqa: FBT001
    theirs = opener()
    assert bool(opened(theirs, sealed_at(epoch))) is good
    assert theirs.epoch == (epoch if good else 1)


def test_the_epoch_before_is_opened_and_none_before_that() -> None:
    runs = runs_of(1, 7, 8, 20)
    theirs = opener()
    assert opened(theirs, runs[7]) == [b"E7"]
    assert opened(theirs, runs[1]) == [b"E1"]
    assert opened(theirs, sealed_at(6)) == []
    assert opened(theirs, runs[8]) == [b"E8"]
    assert opened(theirs, sealed_at(1)) == []
    assert opened(theirs, sealed_at(7)) == [b"E7"]
    assert opened(theirs, sealed_at(25)) == []
    assert opened(theirs, sealed_at(24)) == [b"E24"]
    assert opened(theirs, runs[20]) == []
    assert theirs.epoch == 24


def test_each_epoch_has_a_window_of_its_own() -> None:
    runs = runs_of(1, 2, 3)
    theirs = opener()
    for epoch in (2, 1, 2, 1, 3, 2, 3):
        run = runs[epoch]
        result = theirs.open(run.data, run.size, 4, 0.0)
        assert len(result.packets) + result.replayed == 1
    assert [theirs.open(run.data, run.size, 4, 0.0).replayed for run in runs.values()] == [0, 1, 1]
    assert theirs.highest_packet_id == 1


def test_a_forgery_does_not_move_the_epoch() -> None:
    theirs = opener()
    run = sealed_at(9)
    for at in (4, 5, 9, 11, 12, len(run.data) - 1):
        spoilt = bytearray(run.data)
        spoilt[at] ^= 1
        assert theirs.open(bytes(spoilt), run.size, 4, 0.0) == Opened([], [], 1, 0)
    assert (theirs.epoch, theirs.failures) == (1, 0)
    assert opened(theirs, run) == [b"E9"]


def test_counters_are_those_of_the_present_epoch() -> None:
    theirs = opener()
    spoilt = bytearray(sealed_at(1).data)
    spoilt[-1] ^= 1
    assert opened(theirs, sealed_at(1)) == [b"E1"]
    theirs.open(bytes(spoilt), len(spoilt), 4, 0.0)
    assert (theirs.blocks, theirs.failures, theirs.highest_packet_id) == (1, 1, 101)
    assert opened(theirs, sealed_at(2)) == [b"E2"]
    assert (theirs.blocks, theirs.failures, theirs.highest_packet_id) == (1, 0, 101)


def test_a_key_that_has_seen_too_many_forgeries_opens_no_more() -> None:
    theirs = opener()
    theirs.failures = FAILURES_LIMIT + 1
    assert opened(theirs, sealed_at(1)) == []
    assert opened(theirs, sealed_at(2)) == [b"E2"]


def test_the_last_epochs() -> None:
    """Stock peers take none whose sixteen successors would not have 16 bits."""
    theirs = opener()
    ours = sealer()
    for epoch in (*range(16, MAX_EPOCH, 16), MAX_EPOCH):
        ours.advance(epoch)
        theirs_run = sealed(ours, b"E")
        assert opened(theirs, theirs_run) == [b"E"]
    assert theirs.epoch == MAX_EPOCH == 65518
    with pytest.raises(ValueError, match="there is no way"):
        ours.advance(MAX_EPOCH + 1)
    beyond = bytearray(sealed(ours, b"E").data)
    beyond[4:6] = (MAX_EPOCH + 1).to_bytes(2, "big")
    assert theirs.open(bytes(beyond), len(beyond), 4, 0.0).forged == 1


def test_a_run_may_have_several_epochs() -> None:
    theirs = opener()
    runs = runs_of(1, 2, 5, 6)
    data = b"".join(bytes(runs[epoch].data) for epoch in (1, 2, 1, 5, 6, 5, 2))
    result = theirs.open(data, runs[1].size, 4, 0.0)
    assert [bytes(packet) for packet in result.packets] == [b"E1", b"E2", b"E5", b"E6"]
    assert (result.forged, result.replayed) == (1, 2)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=12), st.randoms())
def test_whatever_order_packets_come_in_each_is_opened_once_at_most(
    steps: list[tuple[int, int]], random: Random
) -> None:
    ours, theirs = sealer(), opener(8)
    runs: list[Run] = []
    for step, count in steps:
        if step and ours.epoch + step <= MAX_EPOCH:
            ours.advance(ours.epoch + step)
        runs += [sealed(ours, b"E%d" % (len(runs) + number)) for number in range(count)]
    random.shuffle(runs)
    seen: list[bytes] = []
    for run in [*runs, *runs]:
        seen += opened(theirs, run)
    assert len(set(seen)) == len(seen) <= len(runs)


def test_packets_in_order_are_all_opened_however_often_the_epoch_moves() -> None:
    ours, theirs = sealer("AES-256-GCM"), opener()
    for number in range(200):
        if number % 3 == 2:
            ours.advance(ours.epoch + 1 + number % 15)
        assert opened(theirs, sealed(ours, b"E%d" % number)) == [b"E%d" % number]
        assert theirs.epoch == ours.epoch
