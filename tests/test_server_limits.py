"""How often strangers are answered, who is reached where, and which number is whose."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.scripted_client import ScriptedClient, serving
from tests.test_server_demux import HERE, PLAIN, RESET, Stranger, captured, greeting, server
from twistvpn.control.session import KeyDerivation
from twistvpn.interfaces import single
from twistvpn.server.limits import FrequencyLimit
from twistvpn.server.peer_ids import NO_PEER_ID, REST, PeerIds
from twistvpn.testing import SERVER_ADDRESS, Pair, pair, transfer

# Frequency


def test_a_period_begins_with_its_first_event() -> None:
    limit = FrequencyLimit(2, 10.0)
    assert [limit.allows(now) for now in (5.0, 6.0, 7.0, 14.9, 15.0, 15.0, 15.0)] == [
        *(True, True, False, False),
        *(True, True, False),
    ]
    assert limit.refused == 1
    assert str(limit) == "2 in 10 s"


def test_what_is_forgiven_makes_room_for_another() -> None:
    limit = FrequencyLimit(1, 10.0)
    limit.forgive()
    assert limit.allows(0.0)
    limit.forgive()
    assert limit.allows(1.0)
    assert not limit.allows(2.0)


@given(st.lists(st.floats(0.0, 3.0), max_size=200))
def test_no_period_has_more_than_it_may(waits: list[float]) -> None:
    limit, now, allowed = FrequencyLimit(3, 5.0), 0.0, []
    for wait in waits:
        now += wait
        if limit.allows(now):
            allowed.append(now)
    assert all(len([when for when in allowed if first <= when < first + 5.0]) <= 6 for first in allowed)


@pytest.mark.shows("connect-freq-initial")
def test_first_packets_are_answered_a_hundred_times_in_ten_seconds() -> None:
    vpn = server()
    strangers = [Stranger(vpn, ("203.0.113.7", 1000 + number)) for number in range(120)]
    for stranger in strangers[:110]:
        stranger.link.send_control(PLAIN.wrap(RESET, 0.0), SERVER_ADDRESS)
    vpn.advance(1)
    assert [len(stranger.received.datagrams) for stranger in strangers[:110]] == [1] * 100 + [0] * 10
    assert vpn.server.factory.demux.drops["connect-freq-initial"] == 10
    vpn.advance(10)
    assert strangers[110].send(RESET)


def test_who_comes_in_does_not_count_as_a_first_packet() -> None:
    names = [f"client{number}" for number in range(12)]
    vpn = pair(*names, server="connect-freq-initial 3 1000000")
    assert all(client.is_connected for client in vpn.clients.values())


@pytest.mark.parametrize("proto", ["udp", "tcp"])
@pytest.mark.shows("connect-freq")
def test_new_sessions_are_bounded_in_a_while(proto: str) -> None:
    vpn = pair("a", "b", "c", server="connect-freq 2 30", proto="tcp" if proto == "tcp" else "udp", connect=False)
    vpn.server.start()
    for client in vpn.clients.values():
        client.start()
    vpn.advance(10)
    assert sum(client.is_connected for client in vpn.clients.values()) == 2
    assert vpn.server.factory.drops["connect-freq"] >= 1
    vpn.connect()


# Numbers


def test_a_number_rests_before_it_is_somebody_elses() -> None:
    ids = PeerIds()
    assert [ids.take(0.0) for _ in range(3)] == [0, 1, 2]
    ids.give_back(1, 10.0)
    ids.give_back(0, 20.0)
    assert ids.take(10.0 + REST - 1) == 3
    assert ids.take(10.0 + REST) == 1
    assert ids.take(10.0 + REST) == 4
    assert ids.take(20.0 + REST) == 0


def test_when_there_is_no_new_number_the_best_rested_one_serves() -> None:
    ids = PeerIds()
    ids._next = NO_PEER_ID - 1
    assert ids.take(0.0) == NO_PEER_ID - 1
    ids.give_back(5, 0.0)
    ids.give_back(6, 1.0)
    assert [ids.take(2.0), ids.take(2.0)] == [5, 6]
    with pytest.raises(AssertionError):
        ids.take(3.0)


def test_a_client_that_comes_back_has_another_number() -> None:
    vpn = serving()
    first = ScriptedClient(vpn, port=5001)
    first.say("EXIT")
    first.link.close()
    again, other = ScriptedClient(vpn, port=5001), ScriptedClient(vpn, name="other", port=5002)
    assert [client.pushed_value("peer-id") for client in (first, again, other)] == ["0", "1", "2"]


# Float


def test_a_packet_that_was_overtaken_does_not_move_a_client_back() -> None:
    vpn = pair()
    (peer,) = vpn.server.factory.connections
    home = peer.address
    late = captured(vpn, greeting(vpn, b"late"))
    vpn.network.move(vpn.client.link, HERE)
    assert transfer(vpn.client, vpn.server, greeting(vpn)) == [greeting(vpn)]
    assert peer.address == HERE
    Stranger(vpn, home).link.send_runs([single(late)], SERVER_ADDRESS)
    vpn.advance(0.1)
    assert vpn.server.tun.take() == [greeting(vpn, b"late")], "it is the client's all the same"
    assert peer.address == HERE


def test_a_control_packet_does_not_move_a_client() -> None:
    vpn = pair()
    (peer,) = vpn.server.factory.connections
    home = peer.address
    vpn.network.move(vpn.client.link, HERE)
    assert vpn.client.service.peer is not None
    vpn.client.service.peer.send_message("INFO,here I am")
    vpn.advance(0.5)
    assert peer.address == home


@pytest.mark.parametrize("same", [True, False], ids=["one-certificate", "two-certificates"])
@pytest.mark.shows("duplicate-cn")
def test_the_address_of_another_is_taken_only_by_who_has_its_certificate(same: bool) -> None:  # noqa: FBT001 - a case
    vpn = serving(server="duplicate-cn")
    issued = vpn.authority.issue_client("twin", vpn.valid_from)
    older = ScriptedClient(vpn, issued=issued, port=5001)
    newer = ScriptedClient(vpn, issued=issued if same else None, name="twin", port=5002)
    for client in (older, newer):
        client.open_data(KeyDerivation.EXPORTER, int(client.pushed_value("peer-id") or -1))
    newer.link.close()
    vpn.network.move(older.link, ("203.0.113.1", 5002))
    for run in older.peer.channel.seal_ping(vpn.clock.seconds()):
        older.link.send_runs([run], SERVER_ADDRESS)
    vpn.advance(0.5)
    addresses = [connection.peer.address[1] for connection in vpn.server.factory.connections.values()]
    assert addresses == ([5002] if same else [5001, 5002])
    assert vpn.server.factory.demux.drops["float"] == (0 if same else 1)


# Packets that come late, and those that come twice


@pytest.mark.parametrize(
    ("option", "overtaken_by", "seconds", "arrives"),
    [
        ("", 61, 1, True),
        ("", 62, 1, False),
        ("", 10, 16, False),
        ("replay-window 128", 125, 1, True),
        ("replay-window 128 60", 10, 16, True),
        ("replay-window 128 30", 126, 1, False),
        ("replay-window 0", 1, 1, False),
    ],
)
@pytest.mark.shows("replay-window")
def test_how_late_a_packet_may_be(option: str, overtaken_by: int, seconds: float, *, arrives: bool) -> None:
    vpn = pair(server=f"keepalive 100 1000\n{option}")
    late = captured(vpn, greeting(vpn, b"late"))
    for _ in range(overtaken_by):
        assert transfer(vpn.client, vpn.server, greeting(vpn))
    for _ in range(2):
        # The window closes behind a packet between once and twice its time after it.
        vpn.advance(seconds)
        assert transfer(vpn.client, vpn.server, greeting(vpn))
    for times in (1, 2):
        vpn.client.link.send_runs([single(late)], SERVER_ADDRESS)
        vpn.advance(0.1)
        assert vpn.server.tun.written == ([greeting(vpn, b"late")] if arrives else []), times
    (peer,) = vpn.server.factory.connections
    assert peer.channel.drops["replay"] == (1 if arrives else 2)


# One session


@pytest.mark.parametrize("option", ["", "single-session"])
@pytest.mark.shows("single-session")
def test_with_single_session_a_live_address_begins_no_other(option: str) -> None:
    vpn = serving(server=option)
    first = ScriptedClient(vpn, name="first", port=5001)
    first.link.close()
    second = ScriptedClient(vpn, name="second", port=5001)
    identities = [connection.identity for connection in vpn.server.factory.connections.values()]
    if option:
        assert identities == ["first"]
        assert not second.texts
        assert vpn.server.factory.drops["single-session"] > 0
    else:
        assert identities == ["second"]


# Sessions that have lasted long enough


def connected(vpn: Pair) -> bool:
    return bool(vpn.server.factory.clients)


@pytest.mark.parametrize("where", ["server", "client", "pushed"])
@pytest.mark.shows("session-timeout")
def test_a_session_ends_when_its_time_is_up(where: str) -> None:
    vpn = ended_by("session-timeout 100", where)
    vpn.advance(98)
    assert connected(vpn)
    assert vpn.client.times_connected == 1
    vpn.advance(5)
    if where == "server":
        assert vpn.client.times_connected == 2, "it may come again, and has to show who it is"
    else:
        assert not connected(vpn)
        assert vpn.client.fatal == "the session has lasted long enough (session-timeout)"


@pytest.mark.parametrize("where", ["server", "client", "pushed"])
@pytest.mark.parametrize("option", ["inactive 100", "inactive 100 1000"])
@pytest.mark.shows("inactive")
def test_a_session_ends_when_too_little_moves(option: str, where: str) -> None:
    vpn = ended_by(option, where)
    most = option.endswith("1000")
    for _ in range(4):
        vpn.advance(60)
        assert transfer(vpn.client, vpn.server, greeting(vpn, bytes(1000)))
    assert vpn.client.times_connected == 1
    for _ in range(4):
        vpn.advance(30)
        if most and vpn.client.is_connected:
            transfer(vpn.client, vpn.server, greeting(vpn))
    if where == "server":
        assert vpn.client.times_connected == 2
    else:
        assert vpn.client.fatal == "too little has moved for too long (inactive)"


def ended_by(option: str, where: str) -> Pair:
    if where == "pushed":
        return pair(server=f'push "{option}"')
    return pair(server=option) if where == "server" else pair(client=option)


def test_a_server_that_pushes_nonsense_for_inactive_is_told_of() -> None:
    vpn = pair(server='push "inactive soon"', connect=False)
    vpn.server.start()
    vpn.client.start()
    vpn.advance(5)
    assert vpn.client.fatal is not None
    assert "inactive soon" in vpn.client.fatal


@pytest.mark.parametrize("option", ["", "tls-exit"])
@pytest.mark.shows("tls-exit")
def test_tls_exit_ends_a_client_whose_handshake_fails(option: str) -> None:
    vpn = pair(client=f"tls-version-min 1.3\n{option}", server="tls-version-max 1.2", connect=False)
    vpn.server.start()
    vpn.client.start()
    vpn.advance(100)
    assert (vpn.client.fatal is not None) is bool(option)
