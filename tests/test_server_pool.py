"""Addresses are handed out once each, preferably the same ones again."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from zope.interface.verify import verifyObject

from twistvpn.config.settings import PoolPersistence, ServerSettings
from twistvpn.config.subnet import Subnet, with_own_peer, with_whole_pool, with_whole_pool6
from twistvpn.errors import PoolExhausted
from twistvpn.interfaces import IPool, Lease
from twistvpn.server.lease_file import LeaseFile, place_in_line
from twistvpn.server.pool import AddressPool, PoolRange, pool_range

if TYPE_CHECKING:
    from pathlib import Path

SERVER: frozenset[IPv4Address | IPv6Address] = frozenset({IPv4Address("10.8.0.1"), IPv6Address("fd00::1")})


def settings(
    network: str | None = "10.8.0.0/29",
    network6: str | None = None,
    pool: tuple[str, str] | None = None,
    topology: str = "subnet",
) -> ServerSettings:
    subnet = Subnet(
        None if network is None else IPv4Network(network),
        None if network6 is None else IPv6Network(network6),
        topology,
    )
    whole = with_whole_pool6(with_whole_pool(with_own_peer(subnet)))
    return ServerSettings(
        listen=(),
        network=whole.network,
        network6=whole.network6,
        topology=topology,
        pool=whole.pool if pool is None else (IPv4Address(pool[0]), IPv4Address(pool[1])),
        pool6=whole.pool6,
    )


def pool(
    network: str | None = "10.8.0.0/29",
    network6: str | None = None,
    pool: tuple[str, str] | None = None,
    *,
    taken: frozenset[IPv4Address | IPv6Address] = SERVER,
    topology: str = "subnet",
) -> AddressPool:
    places = pool_range(settings(network, network6, pool, topology))
    assert places is not None
    return AddressPool(places, taken)


def leased(subject: AddressPool, *names: str) -> list[str]:
    return [str(subject.lease(name).ipv4) for name in names]


def test_it_provides_the_interface() -> None:
    verifyObject(IPool, pool())


def test_the_whole_network_is_handed_out_but_for_its_ends_and_the_servers_own() -> None:
    subject = pool()
    assert leased(subject, "a", "b", "c", "d", "e") == [f"10.8.0.{n}" for n in (2, 3, 4, 5, 6)]
    with pytest.raises(PoolExhausted, match="all 5 addresses of the pool are taken"):
        subject.lease("f")


def test_a_client_gets_its_address_back() -> None:
    subject = pool()
    first, second = subject.lease("a"), subject.lease("b")
    subject.release(first)
    subject.release(second)
    assert subject.lease("b") == second
    assert subject.lease("a") == first


def test_an_address_somebody_may_come_back_for_is_given_away_last() -> None:
    subject = pool()
    leases = [subject.lease(name) for name in "ab"]
    for lease in leases:
        subject.release(lease)
    assert leased(subject, "c", "d", "e") == ["10.8.0.4", "10.8.0.5", "10.8.0.6"]
    assert subject.lease("f") == leases[0], "the one that has been free longest"
    assert subject.lease("b") == leases[1]
    with pytest.raises(PoolExhausted):
        subject.lease("a")


def test_releasing_twice_or_what_was_never_leased_changes_nothing() -> None:
    subject = pool()
    lease = subject.lease("a")
    subject.release(lease)
    subject.release(lease)
    subject.release(Lease(IPv4Address("192.0.2.1"), None))
    assert len(set(leased(subject, "b", "c", "d", "e", "f"))) == 5


def test_both_versions_come_together() -> None:
    subject = pool("10.8.0.0/29", "fd00::/64")
    assert subject.lease("a") == Lease(IPv4Address("10.8.0.2"), IPv6Address("fd00::1000"))
    assert subject.lease("b") == Lease(IPv4Address("10.8.0.3"), IPv6Address("fd00::1001"))


def test_ipv6_alone() -> None:
    subject = pool(None, "fd00::/64")
    assert subject.lease("a") == Lease(None, IPv6Address("fd00::1000"))


def test_a_range_of_the_admins() -> None:
    subject = pool("10.8.0.0/24", None, ("10.8.0.100", "10.8.0.101"))
    assert leased(subject, "a", "b") == ["10.8.0.100", "10.8.0.101"]
    with pytest.raises(PoolExhausted):
        subject.lease("c")


def test_a_huge_network_costs_no_memory() -> None:
    subject = pool("10.0.0.0/8", taken=frozenset())
    assert str(subject.lease("a").ipv4) == "10.0.0.2"


def test_places() -> None:
    places = PoolRange(2, IPv4Address("10.0.0.1"), None)
    assert places.at(1) == Lease(IPv4Address("10.0.0.2"), None)
    assert places.place_of(IPv4Address("10.0.0.2")) == 1
    assert places.place_of(IPv4Address("10.0.0.3")) is places.place_of(IPv6Address("fd00::1")) is None


def test_in_net30_each_client_has_four_addresses_to_itself() -> None:
    subject = pool("10.8.0.0/28", topology="net30")
    assert subject.lease("a") == Lease(IPv4Address("10.8.0.6"), None, IPv4Address("10.8.0.5"))
    assert subject.lease("b") == Lease(IPv4Address("10.8.0.10"), None, IPv4Address("10.8.0.9"))
    with pytest.raises(PoolExhausted):
        subject.lease("c")
    assert [subject.places.place_of(IPv4Address(f"10.8.0.{n}")) for n in (3, 4, 7, 8, 12)] == [None, 0, 0, 1, None]


def test_in_p2p_addresses_are_single_ones() -> None:
    assert leased(pool("10.8.0.0/29", topology="p2p"), "a", "b", "c", "d") == [f"10.8.0.{n}" for n in (4, 5, 6, 7)]


@pytest.mark.parametrize(
    ("network6", "first", "size"), [("fd00::/112", "fd00::2", 0xFFFE), ("fd00::/124", "fd00::2", 14)]
)
def test_a_small_ipv6_network_bounds_the_pool(network6: str, first: str, size: int) -> None:
    assert pool_range(settings("10.0.0.0/8", network6)) == PoolRange(size, IPv4Address("10.0.0.2"), IPv6Address(first))


def test_without_any_pool_there_is_none() -> None:
    assert pool_range(settings(None)) is None


# The file


def reloaded(text: str, tmp_path: Path, subject: AddressPool, interval: float = 600) -> list[str]:
    """Let the pool read the file `text`; what is said about it."""
    (tmp_path / "leases").write_text(text)
    with capturedLogs() as logs:
        LeaseFile(PoolPersistence(str(tmp_path / "leases"), interval), subject).load()
    return [formatEvent(event).removeprefix(str(tmp_path)) for event in logs]


def test_a_client_gets_its_address_back_over_a_restart(tmp_path: Path) -> None:
    settings = PoolPersistence(str(tmp_path / "leases"))
    first, second = pool("10.8.0.0/29", "fd00::/64"), pool("10.8.0.0/29", "fd00::/64")
    LeaseFile(settings, first).load()
    leases = {name: first.lease(name) for name in ("a", "b", "with, comma")}
    first.release(leases["a"])
    LeaseFile(settings, first).save()
    assert (tmp_path / "leases").read_text() == "a,10.8.0.2,fd00::1000\nb,10.8.0.3,fd00::1001\n"
    LeaseFile(settings, second).load()
    assert str(second.lease("c").ipv4) == "10.8.0.4"
    assert (second.lease("b"), second.lease("a")) == (leases["b"], leases["a"])


@pytest.mark.parametrize(
    ("text", "topology", "address"),
    [
        ("# comment\n\na,10.8.0.8,fd00::1002\n", "net30", "10.8.0.10"),
        ("a,10.8.0.8\n", "net30", "10.8.0.10"),
        ("a,10.8.0.5,\n", "subnet", "10.8.0.5"),
        ("a,,fd00::1003\n", "subnet", "10.8.0.5"),
        ("a,10.8.0.5,fd00::1000\n", "subnet", "10.8.0.5"),
    ],
)
def test_lines_of_stock_servers(text: str, topology: str, address: str, tmp_path: Path) -> None:
    subject = pool("10.8.0.0/28", "fd00::/64", topology=topology)
    assert reloaded(text, tmp_path, subject) == []
    assert str(subject.lease("a").ipv4) == address


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a", "it is not NAME,ADDRESS,ADDRESS6"),
        ("a,,", "it has no address of the pool"),
        ("a,10.9.0.1", "it has no address of the pool"),
        (",10.8.0.3", "it is not NAME,ADDRESS,ADDRESS6"),
        ("a,somewhere", "'somewhere'"),
        ("a,10.8.0.4", "its address is kept for somebody else"),
    ],
)
def test_a_line_that_cannot_be_used_is_told_and_left_out(line: str, why: str, tmp_path: Path) -> None:
    subject = pool("10.8.0.0/29", taken=frozenset({IPv4Address("10.8.0.4")}))
    (logged,) = reloaded(f"b,10.8.0.3\n{line}\n", tmp_path, subject)
    assert logged.startswith("/leases:2: the line is left out")
    assert why in logged
    assert leased(subject, "a", "b") == ["10.8.0.2", "10.8.0.3"]


def test_a_file_that_is_only_read_keeps_its_addresses_and_is_left_alone(tmp_path: Path) -> None:
    subject = pool()
    assert reloaded("a,10.8.0.2\n", tmp_path, subject, interval=0) == []
    assert leased(subject, "b", "c", "d", "e") == [f"10.8.0.{n}" for n in (3, 4, 5, 6)]
    with pytest.raises(PoolExhausted, match="all 5 addresses"):
        subject.lease("f")
    lease = subject.lease("a")
    subject.release(lease)
    assert subject.lease("a") == lease
    LeaseFile(PoolPersistence(str(tmp_path / "leases"), 0), subject).save()
    assert (tmp_path / "leases").read_text() == "a,10.8.0.2\n"


def test_files_that_cannot_be_read_or_written_are_told(tmp_path: Path) -> None:
    missing = LeaseFile(PoolPersistence(str(tmp_path / "nowhere" / "leases"), 0), pool())
    with capturedLogs() as logs:
        missing.load()
        LeaseFile(PoolPersistence(str(tmp_path), 600), pool()).load()
        LeaseFile(PoolPersistence(str(tmp_path / "nowhere" / "leases"), 600), pool()).save()
    said = [formatEvent(event) for event in logs]
    assert ["there is no file" in said[0], "Is a directory" in said[1], "No such file" in said[2]] == [True] * 3


@given(st.text(max_size=60))
def test_any_line_is_a_place_or_a_reason(line: str) -> None:
    places = pool("10.8.0.0/28", "fd00::/64").places
    try:
        _, place = place_in_line(line, places)
    except ValueError:
        return
    assert 0 <= place < places.size


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=80))
def test_no_two_clients_ever_have_the_same_address(steps: list[tuple[bool, str]]) -> None:
    subject, held = pool(), dict[str, Lease]()
    for wants, name in steps:
        if wants and name not in held:
            if len(held) == 5:
                with pytest.raises(PoolExhausted):
                    subject.lease(name)
                continue
            held[name] = subject.lease(name)
            assert len(set(held.values())) == len(held)
        elif not wants and name in held:
            subject.release(held.pop(name))
