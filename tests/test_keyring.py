from __future__ import annotations

import pytest

from twistvpn.crypto.derive import DataKeys, DirectionKeys
from twistvpn.data.keyring import DataKey, KeyLifetime, Keyring
from twistvpn.data.limits import PACKET_ID_WRAP
from twistvpn.errors import PacketIdExhausted
from twistvpn.interfaces import Frame

pytestmark = pytest.mark.usefixtures("each_kernel")

KEYS = DataKeys(DirectionKeys(bytes(64), bytes(64)), DirectionKeys(bytes(64), bytes(64)))


def key(key_id: int, cipher: str = "AES-256-GCM") -> DataKey:
    return DataKey(key_id, cipher, KEYS, peer_id=1)


def sends(keyring: Keyring, now: float) -> int | None:
    generation = keyring.sending(now)
    return None if generation is None else generation.key_id


def receives(keyring: Keyring, now: float) -> set[int]:
    return {key_id for key_id in range(8) if keyring.receiving(key_id, now) is not None}


def test_without_a_key_nothing_is_sent_or_received() -> None:
    keyring = Keyring()
    assert sends(keyring, 0.0) is None
    assert receives(keyring, 0.0) == set()
    assert not keyring.must_renegotiate


def test_the_first_key_sends_at_once() -> None:
    keyring = Keyring()
    keyring.install(key(0), 100.0, 160.0)
    assert sends(keyring, 100.0) == 0
    assert receives(keyring, 100.0) == {0}


def test_a_new_key_receives_at_once_and_sends_when_its_time_has_come() -> None:
    keyring = Keyring()
    keyring.install(key(0), 0.0, 0.0)
    keyring.install(key(1), 1000.0, 1060.0)
    assert receives(keyring, 1000.0) == {0, 1}
    assert sends(keyring, 1059.9) == 0
    assert sends(keyring, 1060.0) == 1


def test_a_confirmed_key_sends_before_its_time() -> None:
    keyring = Keyring()
    keyring.install(key(0), 0.0, 0.0)
    keyring.install(key(1), 1000.0, 1060.0)
    keyring.send_from(0, 0.0)
    assert sends(keyring, 1001.0) == 0
    keyring.send_from(1, 0.0)
    assert sends(keyring, 1001.0) == 1


def test_the_old_key_receives_until_the_transition_window_ends() -> None:
    keyring = Keyring(tran_window=3600.0)
    keyring.install(key(0), 0.0, 0.0)
    keyring.install(key(1), 1000.0, 1060.0)
    assert receives(keyring, 4599.9) == {0, 1}
    assert receives(keyring, 4600.0) == {1}


def test_an_old_key_that_has_expired_sends_no_more() -> None:
    keyring = Keyring(tran_window=10.0)
    keyring.install(key(0), 0.0, 0.0)
    keyring.install(key(1), 1000.0, 1060.0)
    assert sends(keyring, 1010.0) == 1


def test_two_keys_at_most_are_alive() -> None:
    keyring = Keyring()
    for number, key_id in enumerate((6, 7, 1)):
        keyring.install(key(key_id), number, number)
    assert receives(keyring, 3.0) == {7, 1}


def test_a_key_with_the_same_id_takes_the_others_place() -> None:
    keyring = Keyring()
    keyring.install(key(0), 0.0, 0.0)
    first = keyring.receiving(0, 0.0)
    keyring.install(key(0), 5.0, 5.0)
    assert keyring.receiving(0, 5.0) is not first
    assert receives(keyring, 5.0) == {0}


def test_packet_ids_near_their_end_want_a_new_key() -> None:
    keyring = Keyring()
    keyring.install(key(0), 0.0, 0.0)
    generation = keyring.sending(0.0)
    assert generation is not None
    generation.sealer.packet_id = PACKET_ID_WRAP - 1
    assert not keyring.must_renegotiate
    generation.sealer.seal([Frame(b"packet")])
    assert keyring.must_renegotiate
    keyring.install(key(1), 1.0, 1.0)
    assert not keyring.must_renegotiate


def test_no_packet_id_is_used_twice() -> None:
    keyring = Keyring()
    keyring.install(key(0), 0.0, 0.0)
    generation = keyring.sending(0.0)
    assert generation is not None
    generation.sealer.packet_id = 0xFFFFFFFE
    with pytest.raises(PacketIdExhausted):
        generation.sealer.seal([Frame(b"one"), Frame(b"two")])
    assert generation.sealer.packet_id == 0xFFFFFFFE
    (run,), _ = generation.sealer.seal([Frame(b"one")])
    assert bytes(run.data[4:8]) == b"\xff\xff\xff\xff"
    with pytest.raises(PacketIdExhausted):
        generation.sealer.seal([Frame(b"two")])


@pytest.mark.parametrize("direction", ["sealer", "opener"])
def test_a_gcm_key_wants_a_successor_at_seven_eighths_of_its_limit(direction: str) -> None:
    limit = (2**36 - 1) // 8 * 7
    for cipher, wanted in (("AES-128-GCM", True), ("CHACHA20-POLY1305", False)):
        keyring = Keyring()
        keyring.install(key(0, cipher), 0.0, 0.0)
        generation = keyring.sending(0.0)
        assert generation is not None
        getattr(generation, direction).blocks = limit
        assert not keyring.must_renegotiate
        getattr(generation, direction).blocks = limit + 1
        assert keyring.must_renegotiate is wanted


def test_many_forgeries_want_a_new_key() -> None:
    keyring = Keyring()
    keyring.install(key(0, "CHACHA20-POLY1305"), 0.0, 0.0)
    generation = keyring.sending(0.0)
    assert generation is not None
    generation.opener.failures = 2**35 + 1
    assert keyring.must_renegotiate


@pytest.mark.parametrize(
    ("lifetime", "octets", "packets"), [(KeyLifetime(octets=1000), 1000, 1), (KeyLifetime(packets=50), 1, 50)]
)
def test_a_key_that_has_done_what_the_admin_allows_wants_a_successor(
    lifetime: KeyLifetime, octets: int, packets: int
) -> None:
    keyring = Keyring(lifetime=lifetime)
    keyring.install(key(0), 0.0, 0.0)
    generation = keyring.sending(0.0)
    assert generation is not None
    generation.octets, generation.packets = octets - 1, packets - 1
    assert not keyring.must_renegotiate
    generation.octets, generation.packets = octets, packets
    assert keyring.must_renegotiate
    keyring.install(key(1), 1.0, 60.0)
    assert not keyring.must_renegotiate


def test_what_is_looked_at_sixteen_times_on_the_way_to_a_limit() -> None:
    assert KeyLifetime().look_every == 1 << 20
    assert KeyLifetime(packets=1600).look_every == 100
    assert KeyLifetime(octets=16 * 1400 * 10, packets=1600).look_every == 10
    assert KeyLifetime(octets=1).look_every == KeyLifetime(packets=1).look_every == 1
    assert KeyLifetime(octets=1 << 62).look_every == 1 << 20


def test_who_negotiates_the_key_after_the_newest_has_the_newest() -> None:
    keyring = Keyring()
    keyring.settle()
    keyring.install(key(0), 0.0, 0.0)
    keyring.install(key(1), 1000.0, 1060.0)
    assert sends(keyring, 1001.0) == 0
    keyring.settle()
    assert sends(keyring, 1001.0) == 1


def test_no_secret_shows_in_a_repr() -> None:
    assert "keys" not in repr(key(3))
