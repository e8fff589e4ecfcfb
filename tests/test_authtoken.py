"""Tokens in the place of passwords."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.crypto.authtoken import PREFIX, AuthTokens, TokenSecret, is_token
from twistvpn.errors import ConfigError
from twistvpn.interfaces import TokenState

STOCK_FILE = """\
-----BEGIN OpenVPN auth-token server key-----
qEG+j+6ktkmIHbG9ForYRG1nxF7PnBV7kptwHB9/ZCpcKGoCvAAaJMAKY0ioYhpm
95pr9vGECzxef3jlRmFFEnLRXa8VPUIjhZjx4Kbbj1uSswNe8ICqLc4qy0Hfx3Qe
2VAMC2ilvH5Kfsk3d4dl0twNK1sUYFdWckEy00T4ZGs=
-----END OpenVPN auth-token server key-----
"""
NOW = 1_700_000_000.5


def tokens(lifetime: float = 0, renewal: float = 100) -> AuthTokens:
    return AuthTokens(TokenSecret.from_text(STOCK_FILE), lifetime, renewal)


def test_the_secrets_file_is_that_of_stock() -> None:
    secret = TokenSecret.from_text(STOCK_FILE)
    assert secret.to_text() == STOCK_FILE
    assert TokenSecret.from_text(TokenSecret.generate().to_text().encode()).sign(b"") != secret.sign(b"")
    assert repr(secret).count("qEG") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no secret"),
        (STOCK_FILE.replace("qEG", "q!G"), "not base64"),
        (STOCK_FILE.replace("2VAMC2ilvH5Kfsk3d4dl0twNK1sUYFdWckEy00T4ZGs=", ""), "has 96 bytes"),
    ],
)
def test_another_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TokenSecret.from_text(text)


def test_the_bytes_of_a_token() -> None:
    subject = tokens()
    session = subject.begin(NOW)
    token = subject.issue(session, "alice", NOW + 7)
    assert is_token(token)
    body = session.session_id + (1_700_000_000).to_bytes(8, "big") + (1_700_000_007).to_bytes(8, "big")
    key = base64.b64decode("".join(STOCK_FILE.splitlines()[1:-1]))[64:96]
    signature = hmac.new(key, b"alice" + body, hashlib.sha256).digest()
    assert token == PREFIX + base64.b64encode(body + signature).decode()
    assert base64.b64decode(session.name) == session.session_id


@pytest.mark.parametrize(
    ("lifetime", "age", "state"),
    [
        (0, 0, TokenState.VALID),
        (0, 199, TokenState.VALID),
        (0, 201, TokenState.EXPIRED),
        (150, 140, TokenState.VALID),
        (150, 160, TokenState.EXPIRED),
        (0, -5, TokenState.EXPIRED),
    ],
)
def test_a_token_is_good_for_twice_its_renewal_and_its_lifetime(lifetime: float, age: float, state: TokenState) -> None:
    subject = tokens(lifetime)
    session = subject.begin(NOW)
    token = subject.issue(session, "alice", NOW)
    assert subject.examine(token, "alice", NOW + age) == (state, session)


def test_a_lifetime_goes_on_over_renewals() -> None:
    subject = tokens(lifetime=1000)
    session = subject.begin(NOW)
    renewed = subject.issue(session, "alice", NOW + 990)
    assert subject.examine(renewed, "alice", NOW + 995)[0] is TokenState.VALID
    assert subject.examine(renewed, "alice", NOW + 1005)[0] is TokenState.EXPIRED


def test_a_token_is_its_users_alone() -> None:
    subject = tokens()
    token = subject.issue(subject.begin(NOW), "alice", NOW)
    assert subject.examine(token, "bob", NOW) == (TokenState.INVALID, None)
    assert AuthTokens(TokenSecret.generate(), 0, 100).examine(token, "alice", NOW) == (TokenState.INVALID, None)
    for_nobody = subject.issue(subject.begin(NOW), "", NOW)
    assert subject.examine(for_nobody, "bob", NOW)[0] is TokenState.VALID_EMPTY_USER
    assert subject.examine(for_nobody, "bob", NOW + 500)[0] is TokenState.EXPIRED_EMPTY_USER


def test_passwords_are_no_tokens() -> None:
    assert not is_token("secret")
    assert not is_token(PREFIX)
    assert not is_token("x" * len(tokens().issue(tokens().begin(NOW), "", NOW)))


@given(st.text())
def test_nothing_forged_is_valid(text: str) -> None:
    assert tokens().examine(PREFIX + text, "alice", NOW) == (TokenState.INVALID, None)


@given(st.binary(min_size=60, max_size=60))
def test_nothing_of_the_right_size_is_valid(data: bytes) -> None:
    token = PREFIX + base64.b64encode(data).decode()
    assert is_token(token)
    assert tokens().examine(token, "alice", NOW) == (TokenState.INVALID, None)
