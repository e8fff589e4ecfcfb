from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import CBC

from twistvpn.crypto.ciphers import AEAD_CIPHERS, CBC_CIPHERS, CIPHERS, SUPPORTED, canonical_name
from twistvpn.crypto.digests import hashlib_name
from twistvpn.errors import ConfigError


def test_the_ciphers() -> None:
    assert {name: cipher.key_size for name, cipher in CIPHERS.items()} == {
        "AES-128-GCM": 16,
        "AES-192-GCM": 24,
        "AES-256-GCM": 32,
        "CHACHA20-POLY1305": 32,
        "AES-128-CBC": 16,
        "AES-192-CBC": 24,
        "AES-256-CBC": 32,
        "BF-CBC": 16,
    }
    assert set(SUPPORTED) == set(CIPHERS)


@pytest.mark.parametrize(
    ("name", "sealed"),
    [
        ("AES-128-GCM", "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"),
        ("AES-192-GCM", "98e7247c07f0fe411c267e4384b0f6002ff58d80033927ab8ef4d4587514f0fb"),
        ("AES-256-GCM", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    ],
)
def test_published_gcm_vectors(name: str, sealed: str) -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 2, 8 and 14: everything is zero.
    assert AEAD_CIPHERS[name].open(bytes(64)).encrypt(bytes(12), bytes(16), b"").hex() == sealed


def test_rfc_8439_section_2_8_2() -> None:
    plain = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it."
    )
    opened = AEAD_CIPHERS["CHACHA20-POLY1305"].open(bytes(range(0x80, 0xA0)))
    sealed = opened.encrypt(bytes.fromhex("070000004041424344454647"), plain, bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


@pytest.mark.parametrize("name", AEAD_CIPHERS)
def test_a_cipher_takes_what_it_needs_of_64_key_bytes(name: str) -> None:
    cipher = AEAD_CIPHERS[name]
    material = bytes(range(64))
    sealed = cipher.open(material).encrypt(bytes(cipher.nonce_size), b"data", b"aad")
    assert len(sealed) == 4 + cipher.tag_size
    assert cipher.open(material[: cipher.key_size] + bytes(32)).decrypt(bytes(12), sealed, b"aad") == b"data"
    with pytest.raises(InvalidTag):
        cipher.open(material[1:]).decrypt(bytes(12), sealed, b"aad")


@pytest.mark.parametrize(
    ("name", "sealed"),
    [
        ("AES-128-CBC", "7649abac8119b246cee98e9b12e9197d"),
        ("AES-192-CBC", "4f021db243bc633d7178183a9fa071e8"),
        ("AES-256-CBC", "f58c4c04d6e5f1ba779eabfb5f7bfbd6"),
    ],
)
def test_nist_cbc_vectors(name: str, sealed: str) -> None:
    # NIST SP 800-38A, appendices F.2.1, F.2.3 and F.2.5, the first block.
    key = {
        "AES-128-CBC": "2b7e151628aed2a6abf7158809cf4f3c",
        "AES-192-CBC": "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        "AES-256-CBC": "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    }[name]
    algorithm = CBC_CIPHERS[name].open(bytes.fromhex(key) + bytes(16))
    encryptor = Cipher(algorithm, CBC(bytes(range(16)))).encryptor()
    assert encryptor.update(bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")).hex() == sealed


@pytest.mark.parametrize("name", SUPPORTED)
def test_names_in_any_case(name: str) -> None:
    assert canonical_name(name.lower()) == name
    assert canonical_name(name.title()) == name


@pytest.mark.parametrize(
    ("text", "near"), [("AES-256-GMC", "AES-256-GCM"), ("AES-256-CTR", "AES-256-CBC"), ("", "AES-128-GCM")]
)
def test_an_unknown_cipher_is_told_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(ConfigError, match=near):
        canonical_name(text)


@pytest.mark.parametrize(
    ("name", "expected", "size"),
    [
        ("SHA1", "sha1", 20),
        ("sha256", "sha256", 32),
        ("SHA512", "sha512", 64),
        ("RSA-SHA384", "sha384", 48),
        ("SHA3-256", "sha3_256", 32),
        ("BLAKE2b512", "blake2b", 64),
        ("MD5", "md5", 16),
    ],
)
def test_digests_by_openvpn_names(name: str, expected: str, size: int) -> None:
    assert hashlib_name(name) == expected
    assert hashlib.new(expected, usedforsecurity=False).digest_size == size


@pytest.mark.parametrize(
    ("name", "message"), [("SHA265", "SHA256"), ("none", "no digest 'none'"), ("SHAKE128", "no digest")]
)
def test_an_unknown_digest_is_told(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hashlib_name(name)
