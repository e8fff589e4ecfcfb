from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from twistvpn.crypto.derive import DataKeys, DirectionKeys, key_expansion_prf, split_keys, tls1_prf
from twistvpn.wire.keymethod import KeySource
from twistvpn.wire.roles import Role

VECTOR = json.loads((Path(__file__).parent / "vectors" / "key-expansion.json").read_text())


def field(end: str, name: str) -> bytes:
    return bytes.fromhex(VECTOR[end][name])


def expanded() -> bytes:
    client = KeySource(field("client", "pre_master"), field("client", "random1"), field("client", "random2"))
    server = KeySource(b"", field("server", "random1"), field("server", "random2"))
    return key_expansion_prf(client, server, field("client", "session_id"), field("server", "session_id"))


def test_prf_of_tls_10_published_vector() -> None:
    # Posted with the PRF's test cases on the IETF TLS list: secret ab * 48, seed cd * 64.
    assert tls1_prf(b"\xab" * 48, b"PRF Testvector", b"\xcd" * 64, 104).hex() == (
        "d3d4d1e349b5d515044666d51de32bab258cb521b6b053463e354832fd976754443bcf9a296519bc289abcbc1187e4eb"
        "d31e602353776c408aafb74cbc85eff69255f9788faa184cbb957a9819d84a5d7eb006eb459d3ae8de9810454b8b2d8f"
        "1afbc655a8c9a013"
    )


@given(st.binary(max_size=49), st.integers(0, 100))
def test_a_shorter_output_is_the_start_of_a_longer_one(secret: bytes, length: int) -> None:
    assert tls1_prf(secret, b"label", b"seed", 100)[:length] == tls1_prf(secret, b"label", b"seed", length)


def test_key_expansion_as_a_stock_client_derives_it() -> None:
    keys = split_keys(expanded(), Role.CLIENT)
    assert keys.encrypt.cipher[:32] == field("client_keys", "encrypt")
    assert keys.decrypt.cipher[:32] == field("client_keys", "decrypt")


def test_what_one_end_encrypts_the_other_decrypts() -> None:
    client, server = split_keys(expanded(), Role.CLIENT), split_keys(expanded(), Role.SERVER)
    assert client.encrypt == server.decrypt
    assert client.decrypt == server.encrypt
    assert client.encrypt != client.decrypt


def test_halves_of_the_key_bytes() -> None:
    parts = [bytes((number,)) * 64 for number in range(4)]
    assert split_keys(b"".join(parts), Role.CLIENT) == DataKeys(DirectionKeys(*parts[:2]), DirectionKeys(*parts[2:]))


def test_keys_do_not_show() -> None:
    assert "cipher" not in repr(split_keys(expanded(), Role.CLIENT))
