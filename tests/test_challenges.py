"""Questions and answers on the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.wire.challenges import (
    Challenge,
    WebPage,
    decode_base64,
    encode_base64,
    open_url,
    parse_dynamic,
    parse_info,
    parse_password,
    static_password,
    web_auth,
)

ASKED = Challenge("Turn the dial: left or right?", frozenset("RE"), "state1", "alice")


def test_a_dynamic_challenge_is_written_as_stock_writes_it() -> None:
    assert ASKED.dynamic() == "CRV1:R,E:state1:YWxpY2U=:Turn the dial: left or right?"
    assert parse_dynamic(ASKED.dynamic()) == ASKED
    assert ASKED.password("left: 1") == "CRV1::state1::left: 1"
    assert parse_password(ASKED.password("left: 1")) == ("", "left: 1", "state1")


@pytest.mark.parametrize("reason", ["", "wrong password", "CRV1:R", "CRV1:R:state:YWxp", "CRV1:R:state:!:what?"])
def test_other_reasons_ask_nothing(reason: str) -> None:
    assert parse_dynamic(reason) is None


def test_a_static_answer_travels_in_the_password() -> None:
    assert static_password("secret", "42") == "SCRV1:c2VjcmV0:NDI="
    assert parse_password("SCRV1:c2VjcmV0:NDI=") == ("secret", "42", "")


@pytest.mark.parametrize("password", ["secret", "", "SCRV1:", "SCRV1:c2VjcmV0", "SCRV1:!:NDI=", "CRV1:R:a::b"])
def test_other_passwords_are_passwords(password: str) -> None:
    assert parse_password(password) == (password, "", "")


def test_questions_and_pages_in_messages() -> None:
    assert parse_info("CR_TEXT:R,E:Your code: please") == Challenge("Your code: please", frozenset("RE"))
    assert Challenge("Your code", frozenset("RE")).text_message() == "CR_TEXT:R,E:Your code"
    assert parse_info(web_auth("https://x.example/?a=1")) == WebPage("https://x.example/?a=1")
    assert parse_info("WEB_AUTH:hidden,external:https://x.example") == WebPage("https://x.example", "hidden,external")
    assert parse_info(open_url("https://x.example")) == WebPage("https://x.example")
    assert parse_info("maintenance at noon") is parse_info("CR_TEXT") is None


@given(st.text(), st.text())
def test_any_password_and_answer_come_back(password: str, answer: str) -> None:
    assume_encodable = password.encode("utf-8", "replace").decode(), answer.encode("utf-8", "replace").decode()
    assert parse_password(static_password(*assume_encodable)) == (*assume_encodable, "")


@given(st.text())
def test_any_text_is_parsed_or_not_there(text: str) -> None:
    parse_password(text)
    parse_dynamic(f"CRV1:{text}")
    parse_info(f"WEB_AUTH:{text}")
    decode_base64(text)


def test_base64_is_of_utf_8() -> None:
    assert encode_base64("grün") == "Z3LDvG4="
    assert decode_base64("Z3LDvG4=") == "grün"
    assert decode_base64("not base64!") is None
