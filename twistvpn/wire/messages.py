"""The control channel's text messages: one NUL-terminated string in one TLS record each.

The NUL is not part of the text here.  Source: wire-protocol draft, "Control channel messages".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, overload

from twistvpn.errors import ConfigError
from twistvpn.wire.options import split_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_BUNDLE = 940
"""Bytes of one push message before its continuation mark: stock cuts a bundle of 1024 here."""
MAX_OPTION = 255
"""Bytes of one pushed option that stock clients take."""
MORE_FOLLOWS = 2
LAST_OF_SEVERAL = 1

_CONTINUATION = "push-continuation "
_ONE_DIGIT = frozenset("0123456789")


@dataclass(frozen=True)
class PushRequest:
    """A client asks for its options."""

    def encode(self) -> str:
        """See `encode_message`."""
        return "PUSH_REQUEST"


@dataclass(frozen=True)
class PushReply:
    """The options a client is to use.

    `continuation` is 2 where more replies follow, 1 on the last of several, None on the only one.
    """

    options: tuple[str, ...] = ()
    continuation: int | None = None

    def encode(self) -> str:
        """See `encode_message`."""
        return _join("PUSH_REPLY", *self.options, *_mark(self.continuation))


@dataclass(frozen=True)
class PushUpdate:
    """Options that change on a live session: `-option` removes, `?option` may be ignored."""

    options: tuple[str, ...] = ()
    continuation: int | None = None

    def encode(self) -> str:
        """See `encode_message`."""
        return _join("PUSH_UPDATE", *self.options, *_mark(self.continuation))


@dataclass(frozen=True)
class AuthFailed:
    """The client may not come in.

    `temporary` is None where that is final; otherwise it holds the flags that say when and where to
    try again, for example {'backoff': '42', 'advance': 'no'}.
    """

    reason: str = ""
    temporary: Mapping[str, str] | None = None

    def encode(self) -> str:
        """See `encode_message`."""
        if self.temporary is None:
            return _join("AUTH_FAILED", self.reason)
        flags = ",".join(f"{name} {value}".rstrip() for name, value in self.temporary.items())
        return f"AUTH_FAILED,TEMP{f'[{flags}]' if flags else ''}{f':{self.reason}' if self.reason else ''}"


@dataclass(frozen=True)
class AuthPending:
    """The decision takes longer, `timeout` seconds at most; other keywords are kept as they came."""

    timeout: int | None = None
    keywords: tuple[str, ...] = ()

    def encode(self) -> str:
        """See `encode_message`."""
        timeout = [] if self.timeout is None else [f"timeout {self.timeout}"]
        return _join("AUTH_PENDING", *timeout, *self.keywords)


@dataclass(frozen=True)
class InfoPre:
    """Something for the user before the session is up: WEB_AUTH:..., CR_TEXT:..., OPEN_URL:..."""

    text: str

    def encode(self) -> str:
        """See `encode_message`."""
        return f"INFO_PRE,{self.text}"


@dataclass(frozen=True)
class Info:
    """Something for the user while the session is up."""

    text: str

    def encode(self) -> str:
        """See `encode_message`."""
        return f"INFO,{self.text}"


@dataclass(frozen=True)
class CrResponse:
    """A client's answer to a challenge, base64."""

    text: str

    def encode(self) -> str:
        """See `encode_message`."""
        return f"CR_RESPONSE,{self.text}"


@dataclass(frozen=True)
class Restart:
    """The client is to connect anew; the parameters may begin with flags in brackets, N for the next remote."""

    params: str = ""

    def encode(self) -> str:
        """See `encode_message`."""
        return _join("RESTART", self.params)


@dataclass(frozen=True)
class Halt:
    """The client is to end."""

    reason: str = ""

    def encode(self) -> str:
        """See `encode_message`."""
        return _join("HALT", self.reason)


@dataclass(frozen=True)
class Exit:
    """The sender leaves."""

    def encode(self) -> str:
        """See `encode_message`."""
        return "EXIT"


@dataclass(frozen=True)
class Unknown:
    """Any other text."""

    text: str

    def encode(self) -> str:
        """See `encode_message`."""
        return self.text


Message: TypeAlias = (
    PushRequest
    | PushReply
    | PushUpdate
    | AuthFailed
    | AuthPending
    | InfoPre
    | Info
    | CrResponse
    | Restart
    | Halt
    | Exit
    | Unknown
)


def decode_message(text: str) -> Message:
    """Find the message that `text` (without its NUL) is; `Unknown` for everything else.  Never raises.

    A text that cannot be printed is no message, as in stock peers since CVE-2024-5594: it ends up in logs.
    """
    command, _, rest = text.partition(",")
    decoder = _DECODERS.get(command) if text.isprintable() else None
    return Unknown(text) if decoder is None else decoder(rest)


def encode_message(message: Message) -> str:
    """Write the message's text, without the closing NUL."""
    return message.encode()


@overload
def split_push(options: Sequence[str], prefix: Literal["PUSH_REPLY"] = "PUSH_REPLY") -> list[PushReply]: ...


@overload
def split_push(options: Sequence[str], prefix: Literal["PUSH_UPDATE"]) -> list[PushUpdate]: ...


def split_push(
    options: Sequence[str], prefix: Literal["PUSH_REPLY", "PUSH_UPDATE"] = "PUSH_REPLY"
) -> list[PushReply] | list[PushUpdate]:
    """Spread options, in order, over messages of at most `MAX_BUNDLE` bytes, not counting the continuation mark.

    Raises `ConfigError` for an option that no client could take: empty, too long, not printable, or with a comma.
    """
    bundles: list[tuple[str, ...]] = []
    bundle: list[str] = []
    room = MAX_BUNDLE - len(prefix)
    for option in options:
        size = 1 + _checked_size(option)
        if size > room:
            bundles.append(tuple(bundle))
            bundle, room = [], MAX_BUNDLE - len(prefix)
        bundle.append(option)
        room -= size
    bundles.append(tuple(bundle))
    marks = [MORE_FOLLOWS] * (len(bundles) - 1) + [LAST_OF_SEVERAL if bundles[1:] else None]
    if prefix == "PUSH_REPLY":
        return [PushReply(*part) for part in zip(bundles, marks, strict=True)]
    return [PushUpdate(*part) for part in zip(bundles, marks, strict=True)]


def _checked_size(option: str) -> int:
    size = len(option.encode("utf-8", "surrogateescape"))
    if not 0 < size <= MAX_OPTION or "," in option or not option.isprintable():
        raise ConfigError(
            f"a pushed option has 1 to {MAX_OPTION} bytes, all printable, and no comma: {option!r}", option="push"
        )
    return size


def _join(*parts: str) -> str:
    return ",".join(part for part in parts if part)


def _mark(continuation: int | None) -> list[str]:
    return [] if continuation is None else [f"{_CONTINUATION}{continuation}"]


def _split_mark(text: str) -> tuple[tuple[str, ...], int | None]:
    """Options without the continuation mark, and the mark; of several marks the last counts."""
    options = split_options(text)
    marks = [option for option in options if _is_mark(option)]
    continuation = int(marks[-1][-1]) if marks else None
    return tuple(option for option in options if not _is_mark(option)), continuation


def _is_mark(option: str) -> bool:
    return option.startswith(_CONTINUATION) and len(option) == len(_CONTINUATION) + 1 and option[-1] in _ONE_DIGIT


def _decode_auth_failed(rest: str) -> AuthFailed:
    text = rest.removeprefix("TEMP")
    if text == rest or text[:1] not in {"", "[", ":"}:
        return AuthFailed(rest)
    flags: dict[str, str] = {}
    if text.startswith("[") and "]" in text:
        inside, _, text = text[1:].partition("]")
        for flag in split_options(inside):
            name, _, value = flag.partition(" ")
            flags[name] = value
    return AuthFailed(text.removeprefix(":"), flags)


def _decode_auth_pending(rest: str) -> AuthPending:
    timeout = None
    keywords = []
    for keyword in split_options(rest):
        name, _, value = keyword.partition(" ")
        if name == "timeout" and 0 < len(value) < 10 and _ONE_DIGIT.issuperset(value):
            timeout = int(value)
        else:
            keywords.append(keyword)
    return AuthPending(timeout, tuple(keywords))


_DECODERS: dict[str, Callable[[str], Message]] = {
    "PUSH_REQUEST": lambda _: PushRequest(),
    "PUSH_REPLY": lambda rest: PushReply(*_split_mark(rest)),
    "PUSH_UPDATE": lambda rest: PushUpdate(*_split_mark(rest)),
    "AUTH_FAILED": _decode_auth_failed,
    "AUTH_PENDING": _decode_auth_pending,
    "INFO_PRE": InfoPre,
    "INFO": Info,
    "CR_RESPONSE": CrResponse,
    "RESTART": Restart,
    "HALT": Halt,
    "EXIT": lambda _: Exit(),
}
