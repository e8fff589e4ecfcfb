"""Session ids that a server need not remember."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_strategies import SESSION_IDS
from twistvpn.control.cookie import CookieJar
from twistvpn.interfaces import Address
from twistvpn.wire.packets import SESSION_ID_SIZE

CLIENT: Address = ("192.0.2.1", 40000)
SESSION = b"01234567"


def test_a_cookie_lives_for_the_hand_window_and_not_for_two() -> None:
    jar = CookieJar(60)
    for issued_at in (0.0, 29.9, 30.0, 1e9 + 17):
        cookie = jar.issue(CLIENT, SESSION, issued_at)
        assert len(cookie) == SESSION_ID_SIZE
        assert jar.accepts(cookie, CLIENT, SESSION, issued_at)
        assert jar.accepts(cookie, CLIENT, SESSION, issued_at + 60)
        assert not jar.accepts(cookie, CLIENT, SESSION, issued_at + 91)


@pytest.mark.parametrize(
    ("address", "session"),
    [
        (("192.0.2.1", 40001), SESSION),
        (("192.0.2.2", 40000), SESSION),
        (("192.0.2.1", 40000, 0, 0), SESSION),
        (CLIENT, b"01234568"),
    ],
)
def test_a_cookie_is_its_owners_alone(address: Address, session: bytes) -> None:
    jar = CookieJar(60)
    assert not jar.accepts(jar.issue(CLIENT, SESSION, 100.0), address, session, 100.0)


def test_another_process_does_not_know_the_secret() -> None:
    cookie = CookieJar(60).issue(CLIENT, SESSION, 0.0)
    assert not CookieJar(60).accepts(cookie, CLIENT, SESSION, 0.0)
    assert CookieJar(60, b"s").issue(CLIENT, SESSION, 0.0) == CookieJar(60, b"s").issue(CLIENT, SESSION, 0.0)


def test_a_cookie_from_the_future_is_refused() -> None:
    jar = CookieJar(60)
    assert not jar.accepts(jar.issue(CLIENT, SESSION, 1000.0), CLIENT, SESSION, 900.0)


@given(SESSION_IDS, SESSION_IDS, st.floats(0, 2**32))
def test_no_guess_is_accepted(guess: bytes, session: bytes, now: float) -> None:
    jar = CookieJar(60, b"secret")
    assert jar.accepts(guess, CLIENT, session, now) == (
        guess in {jar.issue(CLIENT, session, max(0.0, now - age)) for age in (0, 30, 60)}
    )
