"""Addresses are handed out once each, preferably the same ones again."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from twistvpn.config.settings import ServerSettings
from twistvpn.errors import PoolExhausted
from twistvpn.interfaces import IPool, Lease
from twistvpn.server.pool import AddressPool, PoolRange, pool_range

SERVER: frozenset[IPv4Address | IPv6Address] = frozenset({IPv4Address("10.8.0.1"), IPv6Address("fd00::1")})


def settings(
    network: str | None = "10.8.0.0/29", network6: str | None = None, pool: tuple[str, str] | None = None
) -> ServerSettings:
    return ServerSettings(
        listen=(),
        network=None if network is None else IPv4Network(network),
        network6=None if network6 is None else IPv6Network(network6),
        pool=None if pool is None else (IPv4Address(pool[0]), IPv4Address(pool[1])),
    )


def pool(**fixed: Lease) -> AddressPool:
    return AddressPool(pool_range(settings()), SERVER, fixed)


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
    subject = AddressPool(pool_range(settings("10.8.0.0/29", "fd00::/64")), SERVER)
    assert subject.lease("a") == Lease(IPv4Address("10.8.0.2"), IPv6Address("fd00::1001"))
    assert subject.lease("b") == Lease(IPv4Address("10.8.0.3"), IPv6Address("fd00::1002"))


def test_ipv6_alone() -> None:
    subject = AddressPool(pool_range(settings(None, "fd00::/64")), SERVER)
    assert subject.lease("a") == Lease(None, IPv6Address("fd00::1000"))


def test_a_range_of_the_admins() -> None:
    subject = AddressPool(pool_range(settings("10.8.0.0/24", None, ("10.8.0.100", "10.8.0.101"))), SERVER)
    assert leased(subject, "a", "b") == ["10.8.0.100", "10.8.0.101"]
    with pytest.raises(PoolExhausted):
        subject.lease("c")


def test_fixed_addresses_are_kept_for_their_owner() -> None:
    kept = Lease(IPv4Address("10.8.0.2"), None)
    subject = pool(alice=kept)
    assert leased(subject, "a", "b", "c", "d") == ["10.8.0.3", "10.8.0.4", "10.8.0.5", "10.8.0.6"]
    assert subject.lease("alice") == kept
    with pytest.raises(PoolExhausted, match=r"kept for alice, 10\.8\.0\.2, is in use"):
        subject.lease("alice")
    subject.release(kept)
    assert subject.lease("alice") == kept


def test_a_huge_network_costs_no_memory() -> None:
    subject = AddressPool(pool_range(settings("10.0.0.0/8")), frozenset())
    assert str(subject.lease("a").ipv4) == "10.0.0.1"


def test_places() -> None:
    places = PoolRange(2, IPv4Address("10.0.0.1"), None)
    assert places.at(1) == Lease(IPv4Address("10.0.0.2"), None)


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
