"""The construction of tls-crypt, in Python and compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.compiled import find
from twistvpn.crypto.siv import TAG_SIZE, PureSivKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from twistvpn.crypto.siv import SivKeys

_compiled = find("twistvpn.crypto._siv")
MAKERS: dict[str, Callable[[bytes, bytes], SivKeys]] = {"pure": PureSivKeys}
if _compiled is not None:
    MAKERS["compiled"] = cast("Callable[[bytes, bytes], SivKeys]", _compiled.SivKeys)

CIPHER, HMAC = bytes(range(64)), bytes(range(100, 164))
both = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
TEXTS = st.binary(max_size=1500)


@both
def test_the_tag_and_the_text_are_what_openssl_makes_of_them(make: Callable[[bytes, bytes], SivKeys]) -> None:
    # openssl dgst -sha256 -mac HMAC over both, then openssl enc -aes-256-ctr with the tag's first half for its IV
    sealed = make(CIPHER, HMAC).seal(b"header", b"text")
    assert sealed.hex() == ("5f132c5f05bd6ff938594254bcf9d9b4fcf36107510af89029ae7b943a99106ddfb57c14")


@both
@given(TEXTS, TEXTS)
def test_what_is_sealed_opens(make: Callable[[bytes, bytes], SivKeys], associated: bytes, text: bytes) -> None:
    keys = make(CIPHER, HMAC)
    sealed = keys.seal(associated, text)
    assert len(sealed) == TAG_SIZE + len(text)
    assert keys.open(associated, sealed) == text
    assert sealed == PureSivKeys(CIPHER, HMAC).seal(associated, text)


@both
@given(st.data())
def test_another_bit_or_a_cut_end_is_not_authentic(
    make: Callable[[bytes, bytes], SivKeys], data: st.DataObject
) -> None:
    keys = make(CIPHER, HMAC)
    sealed = bytearray(keys.seal(b"header", b"some text"))
    place = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[place // 8] ^= 1 << place % 8
    assert keys.open(b"header", bytes(sealed)) is None
    sealed[place // 8] ^= 1 << place % 8
    assert keys.open(b"heather", bytes(sealed)) is None
    assert keys.open(b"header", bytes(sealed[: data.draw(st.integers(0, len(sealed) - 1))])) is None


@both
def test_of_longer_keys_the_first_bytes_count_and_shorter_ones_are_refused(
    make: Callable[[bytes, bytes], SivKeys],
) -> None:
    assert make(CIPHER, HMAC).seal(b"", b"text") == make(CIPHER[:32], HMAC[:32]).seal(b"", b"text")
    for cipher, hmac in ((CIPHER[:31], HMAC), (CIPHER, HMAC[:31])):
        with pytest.raises(ValueError, match="shorter than 32"):
            make(cipher, hmac)
