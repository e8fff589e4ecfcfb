from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twistvpn.errors import ConfigError
from twistvpn.wire.messages import (
    AuthFailed,
    AuthPending,
    CrResponse,
    Exit,
    Halt,
    Info,
    InfoPre,
    Message,
    PushReply,
    PushRequest,
    PushUpdate,
    Restart,
    Unknown,
    decode_message,
    encode_message,
    split_push,
)

OPTIONS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_characters=","), min_size=1).filter(
    lambda option: option.isprintable() and not option.startswith("push-continuation") and len(option.encode()) <= 255
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PUSH_REQUEST", PushRequest()),
        ("PUSH_REPLY", PushReply()),
        (
            "PUSH_REPLY,ping 10,peer-id 0,cipher AES-256-GCM,protocol-flags cc-exit tls-ekm dyn-tls-crypt,tun-mtu 1500",
            PushReply(
                (
                    "ping 10",
                    "peer-id 0",
                    "cipher AES-256-GCM",
                    "protocol-flags cc-exit tls-ekm dyn-tls-crypt",
                    "tun-mtu 1500",
                )
            ),
        ),
        ("PUSH_REPLY,ping 10,push-continuation 2", PushReply(("ping 10",), 2)),
        ("PUSH_REPLY,ping 10,push-continuation 1", PushReply(("ping 10",), 1)),
        ("PUSH_UPDATE,-dns,?route 10.0.0.0", PushUpdate(("-dns", "?route 10.0.0.0"))),
        ("AUTH_FAILED", AuthFailed()),
        ("AUTH_FAILED,wrong password, sorry", AuthFailed("wrong password, sorry")),
        ("AUTH_FAILED,CRV1:R,E:id:dXNlcg==:Enter the code", AuthFailed("CRV1:R,E:id:dXNlcg==:Enter the code")),
        ("AUTH_FAILED,TEMP", AuthFailed("", {})),
        ("AUTH_FAILED,TEMP:later", AuthFailed("later", {})),
        ("AUTH_FAILED,TEMP[backoff 42,advance no]:later", AuthFailed("later", {"backoff": "42", "advance": "no"})),
        ("AUTH_FAILED,TEMPORARILY closed", AuthFailed("TEMPORARILY closed")),
        ("AUTH_PENDING", AuthPending()),
        ("AUTH_PENDING,timeout 60", AuthPending(60)),
        ("AUTH_PENDING,timeout 60,other", AuthPending(60, ("other",))),
        ("INFO_PRE,WEB_AUTH::https://example.org/?a,b", InfoPre("WEB_AUTH::https://example.org/?a,b")),
        ("INFO,hello", Info("hello")),
        ("CR_RESPONSE,bXkgYW5zd2Vy", CrResponse("bXkgYW5zd2Vy")),
        ("RESTART", Restart()),
        ("RESTART,[N]maintenance, until five", Restart("[N]maintenance, until five")),
        ("HALT,goodbye", Halt("goodbye")),
        ("EXIT", Exit()),
        ("PUSH_REPLYING,x", Unknown("PUSH_REPLYING,x")),
        ("", Unknown("")),
    ],
)
def test_texts_and_their_messages(text: str, message: Message) -> None:
    assert decode_message(text) == message
    assert encode_message(message) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PUSH_REPLY,", PushReply()),
        ("PUSH_REPLY,,ping 10,,", PushReply(("ping 10",))),
        ("PUSH_REPLY,push-continuation 2,ping 10", PushReply(("ping 10",), 2)),
        ("PUSH_REPLY,push-continuation x", PushReply(("push-continuation x",))),
        ("AUTH_FAILED,TEMP[backoff 42", AuthFailed("[backoff 42", {})),
        ("AUTH_FAILED,TEMP[unknown]", AuthFailed("", {"unknown": ""})),
        ("AUTH_PENDING,timeout soon", AuthPending(None, ("timeout soon",))),
        ("AUTH_PENDING,timeout " + "9" * 5000, AuthPending(None, ("timeout " + "9" * 5000,))),
        ("INFO", Info("")),
        ("EXIT,now", Exit()),
    ],
)
def test_odd_texts_decode_sensibly(text: str, message: Message) -> None:
    assert decode_message(text) == message


@given(
    st.text()
    | st.sampled_from(["PUSH_REPLY", "AUTH_FAILED", "AUTH_PENDING"]).flatmap(
        lambda command: st.text(st.sampled_from("TEMP[],: timeout123")).map(lambda rest: f"{command},{rest}")
    )
)
def test_any_text_is_a_message_that_says_the_same_again(text: str) -> None:
    message = decode_message(text)
    assert decode_message(encode_message(message)) == message


@given(st.lists(OPTIONS, max_size=60))
def test_a_push_is_split_within_bounds_and_in_order(options: list[str]) -> None:
    replies = split_push(options)
    assert [option for reply in replies for option in reply.options] == options
    assert [reply.continuation for reply in replies[:-1]] == [2] * (len(replies) - 1)
    assert replies[-1].continuation == (1 if len(replies) > 1 else None)
    for reply in replies:
        assert len(encode_message(PushReply(reply.options)).encode()) <= 940
        assert decode_message(encode_message(reply)) == reply


def test_a_push_that_just_fits_is_not_split() -> None:
    options = ["x" * 255] * 3 + ["y" * (940 - len("PUSH_REPLY") - 3 * 256 - 1)]
    assert split_push(options) == [PushReply(tuple(options))]
    options[-1] += "y"
    assert split_push(options) == [PushReply(tuple(options[:3]), 2), PushReply(tuple(options[3:]), 1)]


def test_an_empty_push_is_still_a_reply() -> None:
    assert split_push([]) == [PushReply()]


def test_updates_split_alike() -> None:
    updates = split_push(["x" * 255] * 5, "PUSH_UPDATE")
    assert [(len(update.options), update.continuation) for update in updates] == [(3, 2), (2, 1)]
    assert encode_message(updates[0]).startswith("PUSH_UPDATE,x")


@pytest.mark.parametrize("option", ["", "a,b", "a\0b", "x" * 256, "é" * 128])
def test_an_option_that_no_client_takes_is_the_admins_mistake(option: str) -> None:
    with pytest.raises(ConfigError, match="push"):
        split_push(["ping 10", option])
