from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.errors import MalformedPacket, NegotiationError
from twistvpn.wire.keymethod import (
    MAX_RECEIVED,
    IncompleteMessage,
    KeyMethod2,
    KeySource,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
RANDOM = st.binary(min_size=32, max_size=32)
Decoder = Callable[[bytes], tuple[KeyMethod2, bytes]]


@st.composite
def messages(draw: st.DrawFn, pre_master_size: int) -> KeyMethod2:
    source = KeySource(draw(st.binary(min_size=pre_master_size, max_size=pre_master_size)), draw(RANDOM), draw(RANDOM))
    return KeyMethod2(source, draw(TEXTS), draw(TEXTS), draw(TEXTS), draw(TEXTS))


def a_client_message() -> KeyMethod2:
    source = KeySource(b"p" * 48, b"1" * 32, b"2" * 32)
    return KeyMethod2(source, "V4,tls-client", "joe", "secret", "IV_VER=2.6.14\n")


@given(messages(48), st.binary(max_size=20))
def test_client_messages_survive_the_wire(message: KeyMethod2, behind: bytes) -> None:
    assert decode_client(encode_client(message) + behind) == (message, behind)


@given(messages(0), st.binary(max_size=20))
def test_server_messages_survive_the_wire(message: KeyMethod2, behind: bytes) -> None:
    assert decode_server(encode_server(message) + behind) == (message, behind)


def test_layout_of_a_client_message() -> None:
    assert encode_client(a_client_message()) == (
        b"\0\0\0\0\x02"
        + b"p" * 48
        + b"1" * 32
        + b"2" * 32
        + b"\0\x0eV4,tls-client\0"
        + b"\0\x04joe\0"
        + b"\0\x07secret\0"
        + b"\0\x0fIV_VER=2.6.14\n\0"
    )


def test_absent_strings_are_zero_lengths_but_the_options_keep_their_nul() -> None:
    source = KeySource.generate_server()
    assert encode_server(KeyMethod2(source, "")).endswith(source.random2 + b"\0\x01\0" + bytes(6))


def test_generated_sources_differ() -> None:
    client, server = KeySource.generate_client(), KeySource.generate_server()
    assert (len(client.pre_master), len(client.random1), len(client.random2)) == (48, 32, 32)
    assert (len(server.pre_master), len(server.random1), len(server.random2)) == (0, 32, 32)
    assert client != KeySource.generate_client()


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_strings_missing_at_the_end_are_empty(kept: int) -> None:
    # Peers of old releases leave out what they do not have.
    message = a_client_message()
    texts = [message.options, message.username, message.password, message.peer_info]
    missing = sum(2 + len(text) + 1 for text in texts[kept:])
    decoded, behind = decode_client(encode_client(message)[:-missing])
    assert [decoded.options, decoded.username, decoded.password, decoded.peer_info] == texts[:kept] + [""] * (4 - kept)
    assert behind == b""


@given(messages(48), st.data())
def test_a_cut_message_is_incomplete_or_lacks_its_end(message: KeyMethod2, data: st.DataObject) -> None:
    record = encode_client(message)
    cut = data.draw(st.integers(0, len(record) - 1))
    try:
        decoded, behind = decode_client(record[:cut])
    except IncompleteMessage:
        return
    assert decoded.options == message.options
    assert behind == b""


@given(
    decode=st.sampled_from([decode_client, decode_server]),
    record=st.binary(max_size=300) | st.binary(max_size=400).map(lambda tail: b"\0\0\0\0\x02" + bytes(112) + tail),
)
def test_any_bytes_are_a_message_or_malformed(decode: Decoder, record: bytes) -> None:
    try:
        _, behind = decode(record)
    except MalformedPacket:
        return
    assert record.endswith(behind)


@pytest.mark.parametrize("decode", [decode_client, decode_server])
def test_another_key_method_is_refused(decode: Decoder) -> None:
    with pytest.raises(MalformedPacket, match="key method 1") as caught:
        decode(b"\0\0\0\0\x01" + bytes(300))
    assert not isinstance(caught.value, IncompleteMessage)


def test_an_endless_message_is_refused() -> None:
    record = b"\0\0\0\0\x02" + bytes(64) + (MAX_RECEIVED).to_bytes(2, "big")
    with pytest.raises(MalformedPacket) as caught:
        decode_server(record)
    assert not isinstance(caught.value, IncompleteMessage)


def test_a_string_ends_at_its_first_nul() -> None:
    record = b"\0\0\0\0\x02" + bytes(64) + b"\0\x05ab\0c\0"
    assert decode_server(record)[0].options == "ab"


def test_texts_that_are_not_utf8_survive() -> None:
    record = b"\0\0\0\0\x02" + bytes(64) + b"\0\x02V\0" + b"\0\x03\xff\xfe\0" + bytes(4)
    message, _ = decode_server(record)
    assert encode_server(message).endswith(b"\0\x03\xff\xfe\0" + bytes(4))


@pytest.mark.parametrize("password", ["x" * 2000, "x" * 70000, "a\0b"])
def test_what_no_peer_takes_is_not_sent(password: str) -> None:
    with pytest.raises(NegotiationError):
        encode_client(KeyMethod2(KeySource.generate_client(), "V4", "joe", password))


def test_secrets_do_not_show() -> None:
    assert "secret" not in repr(a_client_message())
    assert "1" * 16 not in repr(a_client_message())
    assert "1" * 16 not in repr(a_client_message().source)
