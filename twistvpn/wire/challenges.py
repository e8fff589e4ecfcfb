"""Questions that a server puts to a user, and the answers, as they travel in passwords and messages.

    SCRV1:<password>:<answer>                  a password with the answer to `static-challenge`, both base64
    CRV1:<flags>:<state id>:<user>:<question>  the reason of an AUTH_FAILED that asks; the user is base64
    CRV1::<state id>::<answer>                 the password of the next try
    CR_TEXT:<flags>:<question>                 an INFO_PRE that asks; the answer is a CR_RESPONSE in base64
    WEB_AUTH:<flags>:<url>, OPEN_URL:<url>     an INFO_PRE that sends the user to a web page

Flags are parted by commas: R, an answer is wanted; E, it may be shown while it is typed.

Source: management-notes.txt of OpenVPN, "Challenge/Response Protocol"; the wire-protocol draft, "AUTH_PENDING".
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

ANSWER_WANTED = "R"
ECHO = "E"

BLANK_PASSWORD = "[[BLANK]]"  # noqa: S105 - what stands for no password at all
"""What clients send with `auth-user-pass username-only`."""

_STATIC = "SCRV1:"
_DYNAMIC = "CRV1:"
_TEXT = "CR_TEXT:"
_WEB_AUTH = "WEB_AUTH:"
_OPEN_URL = "OPEN_URL:"


@dataclass(frozen=True)
class Challenge:
    """A question for the user.  `state_id` and `username` go with the answer of one that AUTH_FAILED has brought."""

    text: str
    flags: frozenset[str] = frozenset({ANSWER_WANTED})
    state_id: str = ""
    username: str = ""

    def dynamic(self) -> str:
        """Write it as the reason of an AUTH_FAILED."""
        return f"{_DYNAMIC}{_join(self.flags)}:{self.state_id}:{_encode(self.username)}:{self.text}"

    def text_message(self) -> str:
        """Write it as the text of an INFO_PRE."""
        return f"{_TEXT}{_join(self.flags)}:{self.text}"

    def password(self, answer: str) -> str:
        """The password that carries the answer to one that AUTH_FAILED has brought."""
        return f"{_DYNAMIC}:{self.state_id}::{answer}"


@dataclass(frozen=True)
class WebPage:
    """A page that the user is to open; `flags` are for clients that show pages themselves."""

    url: str
    flags: str = ""


def parse_dynamic(reason: str) -> Challenge | None:
    """The question in the reason of an AUTH_FAILED; None where there is none."""
    if not reason.startswith(_DYNAMIC):
        return None
    parts = reason.split(":", 4)
    if len(parts) != 5:
        return None
    username = decode_base64(parts[3])
    return None if username is None else Challenge(parts[4], _split(parts[1]), parts[2], username)


def parse_info(text: str) -> Challenge | WebPage | None:
    """The question or the page in an INFO_PRE; None where it is for reading only."""
    if text.startswith(_TEXT):
        flags, colon, question = text.removeprefix(_TEXT).partition(":")
        return Challenge(question, _split(flags)) if colon else None
    if text.startswith(_WEB_AUTH):
        words, colon, url = text.removeprefix(_WEB_AUTH).partition(":")
        return WebPage(url, words) if colon else None
    return WebPage(text.removeprefix(_OPEN_URL)) if text.startswith(_OPEN_URL) else None


def static_password(password: str, answer: str) -> str:
    """The password of a client with a `static-challenge`."""
    return f"{_STATIC}{_encode(password)}:{_encode(answer)}"


def parse_password(password: str) -> tuple[str, str, str]:
    """Part what came as a password into the password, the answer and the state id; '' for what is not there."""
    if password.startswith(_STATIC):
        parts = [decode_base64(part) for part in password.removeprefix(_STATIC).split(":")]
        if len(parts) == 2 and parts[0] is not None and parts[1] is not None:
            return parts[0], parts[1], ""
    if password.startswith(_DYNAMIC):
        fields = password.split(":", 4)
        if len(fields) == 5 and not fields[1] and fields[2] and not fields[3]:
            return "", fields[4], fields[2]
    return password, "", ""


def web_auth(url: str) -> str:
    """The text of an INFO_PRE that sends the user to a page, for clients that have `webauth`."""
    return f"{_WEB_AUTH}:{url}"


def open_url(url: str) -> str:
    """The same for clients that have `openurl` only."""
    return f"{_OPEN_URL}{url}"


def encode_base64(text: str) -> str:
    """Text as base64 of its UTF-8."""
    return _encode(text)


def decode_base64(text: str) -> str | None:
    """The text that is in base64 here; None where that is not so."""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None


def _encode(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()


def _join(flags: frozenset[str]) -> str:
    return ",".join(sorted(flags, reverse=True))


def _split(text: str) -> frozenset[str]:
    return frozenset(flag for flag in text.split(",") if flag)
