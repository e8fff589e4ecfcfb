"""Keys of tls-crypt-v2: stock's files both ways, and nothing but whole and genuine keys opens."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.crypto.clientkey import (
    MAX_USER_METADATA,
    MAX_WRAPPED_SIZE,
    SERVER_KEY_SIZE,
    ClientKey,
    ServerKey,
    cut_wrapped_key,
    timestamp_metadata,
    user_metadata,
)
from twistvpn.crypto.statickey import KEY_SIZE, StaticKey
from twistvpn.errors import AuthenticationFailure, ConfigError, MalformedPacket, WireError
from twistvpn.interfaces import TIMESTAMP_METADATA, USER_METADATA, ClientKeyMetadata
from twistvpn.wire.packets import HEADER_SIZE

VECTORS = Path(__file__).parent / "vectors"
SERVER_TEXT = (VECTORS / "tls-crypt-v2-server.key").read_text()
SERVER_KEY = ServerKey.from_text(SERVER_TEXT)
OWN = SERVER_KEY.new_client_key(timestamp_metadata(1_700_000_000))

kinds = st.one_of(st.none(), st.integers(0, 255))
bodies = st.binary(max_size=MAX_USER_METADATA)


def test_stocks_server_key_is_read_and_written_to_the_byte() -> None:
    assert SERVER_KEY.to_text() == SERVER_TEXT


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("tls-crypt-v2-client.key", ClientKeyMetadata(TIMESTAMP_METADATA, (1795599975).to_bytes(8, "big"))),
        ("tls-crypt-v2-client-user.key", ClientKeyMetadata(USER_METADATA, b"serial 4711")),
    ],
)
def test_stocks_client_keys_are_read_unwrapped_wrapped_and_written_to_the_byte(
    name: str, metadata: ClientKeyMetadata
) -> None:
    text = (VECTORS / name).read_text()
    own = ClientKey.from_text(text)
    assert SERVER_KEY.unwrap(own.wrapped) == (own.key, metadata)
    assert SERVER_KEY.wrap(own.key, metadata) == own.wrapped
    assert own.to_text() == text
    assert ClientKey.from_text("a line before\r\n" + text.replace("\n", "\r\n")) == own


def test_a_timestamp_is_a_time_and_nothing_else_is() -> None:
    assert timestamp_metadata(1_700_000_000.9).made == 1_700_000_000
    assert user_metadata(bytes(8)).made is None
    assert ClientKeyMetadata(TIMESTAMP_METADATA, bytes(7)).made is None
    assert ClientKeyMetadata(None, b"").made is None


@given(kinds, bodies)
def test_what_is_wrapped_comes_out(kind: int | None, data: bytes) -> None:
    metadata = ClientKeyMetadata(kind, b"" if kind is None else data)
    own = SERVER_KEY.new_client_key(metadata)
    assert len(own.wrapped) <= MAX_WRAPPED_SIZE
    assert SERVER_KEY.unwrap(own.wrapped) == (own.key, metadata)
    packet = bytes(HEADER_SIZE)
    assert cut_wrapped_key(packet + own.wrapped) == (packet, own.wrapped)
    assert ClientKey.from_text(own.to_text()) == own


@given(st.integers(0, len(OWN.wrapped) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_does_not_pass(position: int, mask: int) -> None:
    wrapped = bytearray(OWN.wrapped)
    wrapped[position] ^= mask
    with pytest.raises(WireError):
        SERVER_KEY.unwrap(cut_wrapped_key(bytes(HEADER_SIZE) + wrapped)[1])


def test_another_servers_key_does_not_open_it() -> None:
    with pytest.raises(AuthenticationFailure):
        ServerKey.generate().unwrap(OWN.wrapped)


@given(st.binary(max_size=1500))
def test_any_bytes_are_parted_or_refused(data: bytes) -> None:
    try:
        packet, wrapped = cut_wrapped_key(memoryview(data))
    except MalformedPacket:
        return
    assert packet + wrapped == data
    assert len(packet) >= HEADER_SIZE


@pytest.mark.parametrize("size", [0, 1, 2, 289, 291, 1025, 0xFFFF])
def test_a_length_that_cannot_be_is_refused(size: int) -> None:
    """It counts itself, and neither more than there is nor more or less than a wrapped key can have."""
    datagram = bytes(HEADER_SIZE) + bytes(288) + size.to_bytes(2, "big")
    with pytest.raises(MalformedPacket):
        cut_wrapped_key(datagram)


def test_a_length_that_leaves_no_packet_is_refused() -> None:
    with pytest.raises(MalformedPacket):
        cut_wrapped_key(bytes(HEADER_SIZE - 1) + OWN.wrapped)
    assert cut_wrapped_key(bytes(HEADER_SIZE) + OWN.wrapped)[1] == OWN.wrapped


def test_metadata_has_its_bound() -> None:
    assert user_metadata(bytes(MAX_USER_METADATA)).kind == USER_METADATA
    with pytest.raises(ConfigError, match="734 bytes of metadata do not fit in a client key, 733 do"):
        user_metadata(bytes(MAX_USER_METADATA + 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no tls-crypt-v2 client key: the line '-----BEGIN OpenVPN tls-crypt-v2 client key-----' is not there"),
        (SERVER_TEXT, "this is the tls-crypt-v2 server key, and here belongs the other one"),
        (OWN.to_text().replace("\n", "!\n", 2), "is not base64"),
        (ClientKey(OWN.key, OWN.wrapped[:-1]).to_text(), "is cut short"),
        (ClientKey(OWN.key, OWN.wrapped + b"x").to_text(), "is cut short, or has bytes that do not belong to it"),
        (ClientKey(OWN.key, b"").to_text(), "is cut short"),
        (StaticKey.generate().to_text(), "no tls-crypt-v2 client key"),
    ],
)
def test_a_file_that_is_no_client_key_is_told_so(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClientKey.from_text(text)
    assert words in str(caught.value)


def test_a_file_that_is_no_server_key_is_told_so() -> None:
    with pytest.raises(ConfigError, match="this is the tls-crypt-v2 client key"):
        ServerKey.from_text(OWN.to_text())
    with pytest.raises(ConfigError, match=f"has {SERVER_KEY_SIZE} bytes, this one has {KEY_SIZE}"):
        ServerKey(bytes(KEY_SIZE))


def test_secrets_do_not_show() -> None:
    assert repr(OWN) == "ClientKey()"
    assert "object at" in repr(SERVER_KEY)
