from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.errors import MalformedPacket
from twistvpn.wire.compression import Compression
from twistvpn.wire.options import (
    IvProto,
    format_peer_info,
    iv_proto,
    occ_string,
    parse_occ,
    parse_peer_info,
    split_options,
    split_words,
)
from twistvpn.wire.roles import Role

Transport = Literal["udp", "tcp"]
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(st.dictionaries(KEYS, PRINTABLE))
def test_peer_info_survives_the_wire(info: dict[str, str]) -> None:
    assert parse_peer_info(format_peer_info(info)) == info


@given(st.text())
def test_any_text_is_peer_info_without_control_characters(text: str) -> None:
    assert all(value.isprintable() or not value for value in parse_peer_info(text).values())


def test_peer_info_takes_the_first_of_a_repeated_key_and_no_odd_lines() -> None:
    text = "IV_VER=2.6.14\nIV_VER=9\nnothing\n=x\nIV CIPHERS=no\nUV_NAME=a=b\nIV_GUI_VER=x\x1b[2J"
    assert parse_peer_info(text) == {"IV_VER": "2.6.14", "UV_NAME": "a=b", "IV_GUI_VER": "x_[2J"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("990", IvProto(0b1111011110)),
        ("2", IvProto.DATA_V2),
        ("65538", IvProto.DATA_V2),
        ("", IvProto(0)),
        ("-2", IvProto(0)),
        ("0x2", IvProto(0)),
        ("٢", IvProto(0)),
        ("9" * 5000, IvProto(0)),
    ],
)
def test_iv_proto(value: str, expected: IvProto) -> None:
    assert iv_proto({"IV_PROTO": value}) == expected


def test_what_stock_26_clients_can_do() -> None:
    able = iv_proto({"IV_PROTO": "990"})
    assert IvProto.TLS_KEY_EXPORT in able
    assert IvProto.CC_EXIT in able
    assert IvProto.EPOCH not in able


def test_options_are_parted_by_commas() -> None:
    assert split_options(",ping 10,,route 10.0.0.0 255.0.0.0,") == ["ping 10", "route 10.0.0.0 255.0.0.0"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("", []),
        (" \t ", []),
        ("dev tun", ["dev", "tun"]),
        ("  dev\ttun \n", ["dev", "tun"]),
        ('setenv NAME "two words"', ["setenv", "NAME", "two words"]),
        ("setenv NAME 'two \\ words'", ["setenv", "NAME", "two \\ words"]),
        ('x ""', ["x", ""]),
        ("x ''", ["x", ""]),
        (r'x "a \"b\" \\ c"', ["x", r'a "b" \ c']),
        (r"x a\ b", ["x", "a b"]),
        (r"x \"a", ["x", '"a']),
        ("x it's", ["x", "it's"]),
        ('x a"b c"', ["x", 'a"b', 'c"']),
        ('"a""b"c', ["a", "b", "c"]),
        ("x # no comment ; here", ["x", "#", "no", "comment", ";", "here"]),
    ],
)
def test_words_are_cut_as_stock_cuts_them(option: str, words: list[str]) -> None:
    assert split_words(option) == words


def test_comments_end_a_line_where_a_word_begins() -> None:
    assert split_words("dev tun # it's \"one", "#;") == ["dev", "tun"]
    assert split_words("; dev tun", "#;") == []
    assert split_words('a#b "#c"', "#;") == ["a#b", "#c"]


@pytest.mark.parametrize("option", ['x "open', "x 'open", '"', r'x "open\"', "x \\", r"C:\key", r"x '\'' y"])
def test_open_quotes_and_loose_backslashes_are_malformed(option: str) -> None:
    with pytest.raises(MalformedPacket):
        split_words(option)


@given(st.text(st.sampled_from("ab \"'\\#\t\n") | st.characters()))
def test_any_text_has_words_or_is_malformed(option: str) -> None:
    try:
        words = split_words(option)
    except MalformedPacket:
        return
    assert sum(map(len, words)) <= len(option)


@given(st.lists(st.text(st.characters(exclude_characters="'"), max_size=10), max_size=5))
def test_single_quotes_keep_anything(words: list[str]) -> None:
    assert split_words(" ".join(f"'{word}'" for word in words)) == words


GCM_256 = "cipher AES-256-GCM,auth [null-digest],keysize 256"


@pytest.mark.parametrize(
    ("role", "transport", "cipher", "expected"),
    [
        (Role.CLIENT, "udp", "AES-256-GCM", f"link-mtu 1549,tun-mtu 1500,proto UDPv4,{GCM_256}"),
        (Role.SERVER, "udp", "AES-256-GCM", f"link-mtu 1549,tun-mtu 1500,proto UDPv4,{GCM_256}"),
        (Role.CLIENT, "tcp", "AES-256-GCM", f"link-mtu 1551,tun-mtu 1500,proto TCPv4_CLIENT,{GCM_256}"),
        (Role.SERVER, "tcp", "AES-256-GCM", f"link-mtu 1551,tun-mtu 1500,proto TCPv4_SERVER,{GCM_256}"),
        (
            Role.CLIENT,
            "udp",
            "AES-192-GCM",
            "link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher AES-192-GCM,auth [null-digest],keysize 192",
        ),
        (
            Role.CLIENT,
            "udp",
            "AES-128-GCM",
            "link-mtu 1549,tun-mtu 1500,proto UDPv4,cipher AES-128-GCM,auth [null-digest],keysize 128",
        ),
        (
            Role.CLIENT,
            "tcp",
            "CHACHA20-POLY1305",
            "link-mtu 1536,tun-mtu 1500,proto TCPv4_CLIENT,cipher CHACHA20-POLY1305,auth [null-digest],keysize 256",
        ),
        (Role.CLIENT, "udp", None, "link-mtu 1541,tun-mtu 1500,proto UDPv4,auth SHA1,keysize 128"),
        (Role.CLIENT, "udp", "BF-CBC", "link-mtu 1541,tun-mtu 1500,proto UDPv4,cipher BF-CBC,auth SHA1,keysize 128"),
        (
            Role.SERVER,
            "tcp",
            "AES-128-CBC",
            "link-mtu 1559,tun-mtu 1500,proto TCPv4_SERVER,cipher AES-128-CBC,auth SHA1,keysize 128",
        ),
    ],
)
def test_occ_strings_are_what_stock_writes(role: Role, transport: Transport, cipher: str | None, expected: str) -> None:
    occ = occ_string(role, transport, cipher=cipher)
    assert occ == f"V4,dev-type tun,{expected},key-method 2,tls-{role.value}"


def test_occ_string_of_another_digest_and_mtu() -> None:
    assert occ_string(Role.CLIENT, "tcp", auth="sha256", auth_size=32) == (
        "V4,dev-type tun,link-mtu 1555,tun-mtu 1500,proto TCPv4_CLIENT,auth SHA256,keysize 128,key-method 2,tls-client"
    )
    # The published number for tls-client, AES-128-CBC and SHA1 is 1457.
    assert "link-mtu 1457,tun-mtu 1400" in occ_string(Role.CLIENT, "udp", cipher="AES-128-CBC", tun_mtu=1400)
    assert "link-mtu 1449,tun-mtu 1400" in occ_string(Role.CLIENT, "udp", cipher="AES-256-GCM", tun_mtu=1400)
    assert occ_string(Role.CLIENT, "udp", auth="SHA512", auth_size=64, tun_mtu=1400) == (
        "V4,dev-type tun,link-mtu 1485,tun-mtu 1400,proto UDPv4,auth SHA512,keysize 128,key-method 2,tls-client"
    )


@pytest.mark.parametrize(
    ("compression", "fragment", "expected"),
    [
        (Compression.STUB, None, "link-mtu 1542,tun-mtu 1500,proto UDPv4,comp-lzo,auth"),
        (Compression.LZ4_V2, None, "link-mtu 1541,tun-mtu 1500,proto UDPv4,comp-lzo,auth"),
        (Compression.NONE, 1300, "link-mtu 1545,tun-mtu 1500,proto UDPv4,mtu-dynamic,auth"),
        (Compression.LZO, 1300, "link-mtu 1546,tun-mtu 1500,proto UDPv4,comp-lzo,mtu-dynamic,auth"),
    ],
)
def test_occ_string_of_framings(compression: Compression, fragment: int | None, expected: str) -> None:
    assert f",{expected} SHA1," in occ_string(Role.CLIENT, "udp", compression=compression, fragment=fragment)


def test_occ_string_names_tls_auth_and_its_direction_but_not_tls_crypt() -> None:
    plain = occ_string(Role.CLIENT, "udp")
    assert occ_string(Role.CLIENT, "udp", wrapping="tls-auth", key_direction=1) == (
        "V4,dev-type tun,link-mtu 1541,tun-mtu 1500,proto UDPv4,keydir 1,auth SHA1,keysize 128,"
        "tls-auth,key-method 2,tls-client"
    )
    assert occ_string(Role.CLIENT, "udp", wrapping="tls-auth") == plain.replace(",key-m", ",tls-auth,key-m")
    assert occ_string(Role.CLIENT, "udp", wrapping="tls-crypt") == plain


def test_occ_items_by_name() -> None:
    items = parse_occ(occ_string(Role.SERVER, "udp", cipher="AES-256-GCM"))
    assert items["cipher"] == "AES-256-GCM"
    assert items["tls-server"] == ""
    assert parse_occ("") == {}


@given(st.text())
def test_any_text_has_occ_items(text: str) -> None:
    parse_occ(text)
