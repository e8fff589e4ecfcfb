from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.crypto.statickey import FOOT, HEAD, KeyDirection, StaticKey
from twistvpn.errors import ConfigError

STOCK = (Path(__file__).parent / "vectors" / "static.key").read_bytes()
KEYS = st.binary(min_size=256, max_size=256).map(StaticKey)


def test_a_stock_key_file_reads_and_writes_back() -> None:
    key = StaticKey.from_text(STOCK)
    assert key.to_text().encode() == STOCK
    assert StaticKey.from_text(STOCK.decode()) == key


def test_the_parts_lie_one_behind_the_other() -> None:
    key = StaticKey.from_text(STOCK)
    assert key.cipher(0) + key.hmac(0) + key.cipher(1) + key.hmac(1) == key.data
    assert key.data.hex().startswith(STOCK.decode().split(HEAD)[1].split()[0])


@given(KEYS)
def test_keys_survive_their_text(key: StaticKey) -> None:
    assert StaticKey.from_text(key.to_text()) == key


@pytest.mark.parametrize(
    "text",
    [
        STOCK.replace(b"\n", b"\r\n"),
        HEAD.encode() + STOCK.split(HEAD.encode())[1].split(FOOT.encode())[0].upper() + FOOT.encode(),
        b"\n\n" + STOCK[STOCK.index(HEAD.encode()) :].rstrip(),
        b"".join(b"  " + line + b"\n" for line in STOCK.splitlines()),
    ],
    ids=["crlf", "upper case", "bare", "indented"],
)
def test_other_ways_to_write_the_same_key(text: bytes) -> None:
    assert StaticKey.from_text(text) == StaticKey.from_text(STOCK)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no static key"),
        (STOCK.replace(HEAD.encode(), b""), "no static key"),
        (STOCK.replace(FOOT.encode(), b""), "no static key"),
        (STOCK.replace(FOOT.encode(), b"00\n" + FOOT.encode()), "this one has 257"),
        (f"{HEAD}\n{FOOT}\n".encode(), "this one has 0"),
        (f"{HEAD}\n0g\n{FOOT}\n".encode(), "hexadecimal"),
        (f"{HEAD}\n012\n{FOOT}\n".encode(), "hexadecimal"),
        (b"\xff\xfe\x00", "no static key"),
    ],
)
def test_what_is_no_key_is_told(text: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StaticKey.from_text(text)


@given(st.binary() | st.binary().map(lambda inside: HEAD.encode() + b"\n" + inside + b"\n" + FOOT.encode()))
def test_any_bytes_are_a_key_or_a_mistake(text: bytes) -> None:
    with pytest.raises(ConfigError):
        StaticKey.from_text(text)


def test_generated_keys_differ_and_do_not_show() -> None:
    key = StaticKey.generate()
    assert key != StaticKey.generate()
    assert key.data.hex()[:8] not in repr(key)
    assert repr(key.data)[2:10] not in repr(key)


@pytest.mark.parametrize(("option", "outgoing", "incoming"), [(None, 0, 0), (0, 0, 1), (1, 1, 0)])
def test_key_directions(option: int | None, outgoing: int, incoming: int) -> None:
    direction = KeyDirection.from_option(option)
    assert (direction.outgoing, direction.incoming) == (outgoing, incoming)
