"""Which server is next, and after how long."""

from __future__ import annotations

import random

from twistvpn.client.remotes import Ending, RemoteList
from twistvpn.config.settings import ClientSettings, Remote

WAIT = (1.0, 300.0)


def remotes(
    *hosts: str, retry_max: int | None = None, shuffle: bool = False, wait: tuple[float, float] = WAIT
) -> RemoteList:
    settings = ClientSettings(
        tuple(Remote(host, 1194, "udp") for host in hosts),
        remote_random=shuffle,
        connect_retry=wait,
        connect_retry_max=retry_max,
    )
    return RemoteList(settings, random.Random(1))


def test_servers_are_tried_in_turn() -> None:
    subject = remotes("a", "b", "c")
    tried = []
    for _ in range(6):
        tried.append(subject.current().host)
        subject.failed()
    assert "".join(tried) == "abcabc"


def test_each_round_without_success_doubles_the_wait_up_to_the_bound() -> None:
    subject = remotes("a", wait=(1.0, 10.0))
    waits = [subject.failed() or 0.0 for _ in range(6)]
    for wait, least in zip(waits, [1, 2, 4, 8, 10, 10], strict=True):
        assert least <= wait <= least * 1.25


def test_the_wait_between_servers_of_one_round_is_short() -> None:
    subject = remotes("a", "b", wait=(3.0, 60.0))
    assert subject.failed() == 3.0
    assert 3.0 <= (subject.failed() or 0.0) <= 3.75
    assert subject.failed() == 3.0
    assert 6.0 <= (subject.failed() or 0.0) <= 7.5


def test_success_begins_anew() -> None:
    subject = remotes("a")
    for _ in range(5):
        subject.failed()
    subject.succeeded()
    assert (subject.failed() or 0.0) <= 1.25


def test_rounds_may_be_bounded() -> None:
    subject = remotes("a", "b", retry_max=2)
    waits = [subject.failed() for _ in range(4)]
    assert [wait is None for wait in waits] == [False, False, False, True]


def test_success_gives_all_rounds_back() -> None:
    subject = remotes("a", retry_max=2)
    assert subject.failed() is not None
    subject.succeeded()
    assert subject.failed() is not None
    assert subject.failed() is None


def test_a_random_order_has_every_server_once_a_round() -> None:
    subject = remotes(*"abcdefgh", shuffle=True)
    tried = []
    for _ in range(8):
        tried.append(subject.current().host)
        subject.advance()
    assert "".join(tried) != "abcdefgh"
    assert sorted(tried) == list("abcdefgh")
    assert subject.current().host == tried[0]


def tried(subject: RemoteList, *endings: Ending) -> str:
    """Who is tried after each of these ends, where every server has two addresses."""
    seen = ""
    for ending in endings:
        if not subject.hosts:
            subject.hosts = [f"{subject.current().host}{number}" for number in "12"]
        subject.take_host()
        subject.ended(ending)
        following = subject.hosts[0] if subject.hosts else f"{subject.current().host}1"
        seen += following
    return seen


def test_each_end_chooses_who_is_next() -> None:
    assert tried(remotes("a", "b"), Ending.RETRY, Ending.RETRY, Ending.RETRY, Ending.RETRY) == "a2b1b2a1"
    assert tried(remotes("a", "b"), Ending.SAME, Ending.SAME, Ending.ADDRESS) == "a1a1a2"
    assert tried(remotes("a", "b"), Ending.NEXT, Ending.NEXT) == "b1a1"


def test_a_server_that_had_let_us_in_is_tried_first() -> None:
    for ending, following in ((Ending.RETRY, "a"), (Ending.SAME, "a"), (Ending.NEXT, "b")):
        subject = remotes("a", "b")
        subject.hosts = ["1", "2"]
        subject.take_host()
        subject.succeeded()
        assert subject.ended(ending) == 1.0
        assert subject.current().host == following
        assert subject.hosts == (["1", "2"] if ending is Ending.SAME else [])


def test_a_server_may_ask_for_a_longer_wait_within_bounds() -> None:
    assert remotes("a").ended(Ending.SAME, 42.0) == 42.0
    assert remotes("a").ended(Ending.SAME, 4200.0) == 300.0
