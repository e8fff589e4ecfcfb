"""Key method 2: the message each end sends first inside TLS.

    u32 0, u8 2, 48 bytes pre-master (client only), 32 + 32 random bytes, then strings:
    options (the OCC string), username, password, peer info

A string is a u16 length that counts the closing NUL, then the text; an absent one has length 0.

Source: wire-protocol draft, "Key method 2".
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from twistvpn.errors import MalformedPacket, NegotiationError

PRE_MASTER_SIZE = 48
RANDOM_SIZE = 32
MAX_SENT = 2048
"""Bytes of the message that any peer takes."""
MAX_RECEIVED = 16384
"""Bytes that are collected for one message: the largest TLS record."""

_LEAD = b"\0\0\0\0\x02"
_METHOD_MASK = 0x0F


class IncompleteMessage(MalformedPacket):
    """The message goes on behind the bytes at hand."""


@dataclass(frozen=True, repr=False)
class KeySource:
    """One end's share of the older key derivation; peers that export keys from TLS send it and ignore it."""

    pre_master: bytes
    """48 bytes, none from a server."""
    random1: bytes
    """32 bytes for the master secret."""
    random2: bytes
    """32 bytes for the key expansion."""

    @classmethod
    def generate_client(cls) -> KeySource:
        """Make a fresh client's share."""
        return cls(os.urandom(PRE_MASTER_SIZE), os.urandom(RANDOM_SIZE), os.urandom(RANDOM_SIZE))

    @classmethod
    def generate_server(cls) -> KeySource:
        """Make a fresh server's share."""
        return cls(b"", os.urandom(RANDOM_SIZE), os.urandom(RANDOM_SIZE))


@dataclass(frozen=True)
class KeyMethod2:
    """What one end says; the texts are UTF-8 where the peer kept to it, other bytes survive as surrogates."""

    source: KeySource = field(repr=False)
    options: str
    username: str = ""
    password: str = field(default="", repr=False)
    peer_info: str = ""


def encode_client(message: KeyMethod2) -> bytes:
    """Encode a client's message.  Raises `NegotiationError` when it is longer than a peer takes."""
    return _encode(message)


def encode_server(message: KeyMethod2) -> bytes:
    """Encode a server's message: no pre-master.  Raises `NegotiationError` when it is longer than a peer takes."""
    return _encode(message)


def decode_client(record: bytes) -> tuple[KeyMethod2, bytes]:
    """Decode a client's message; returns it and the bytes behind it.

    Strings missing at the end are taken as empty.  Raises `IncompleteMessage` when the message
    goes on, `MalformedPacket` when it can not become one.
    """
    return _decode(record, PRE_MASTER_SIZE)


def decode_server(record: bytes) -> tuple[KeyMethod2, bytes]:
    """Do the same for a server's message."""
    return _decode(record, 0)


def _encode(message: KeyMethod2) -> bytes:
    source = message.source
    encoded = b"".join(
        (
            _LEAD,
            source.pre_master,
            source.random1,
            source.random2,
            # Old peers take an absent options string for an error, so that one keeps its NUL.
            _encode_string(message.options) or b"\0\x01\0",
            _encode_string(message.username) or b"\0\0",
            _encode_string(message.password) or b"\0\0",
            _encode_string(message.peer_info) or b"\0\0",
        )
    )
    if len(encoded) > MAX_SENT:
        raise NegotiationError(f"the key exchange takes {len(encoded)} bytes, a peer takes {MAX_SENT}")
    return encoded


def _encode_string(text: str) -> bytes:
    if not text:
        return b""
    encoded = text.encode("utf-8", "surrogateescape")
    if len(encoded) >= MAX_SENT or 0 in encoded:
        raise NegotiationError(f"a string of the key exchange has a NUL or more than {MAX_SENT} bytes")
    return (len(encoded) + 1).to_bytes(2, "big") + encoded + b"\0"


def _decode(record: bytes, pre_master_size: int) -> tuple[KeyMethod2, bytes]:
    start = len(_LEAD) + pre_master_size + 2 * RANDOM_SIZE
    if len(record) >= len(_LEAD) and record[len(_LEAD) - 1] & _METHOD_MASK != 2:
        raise MalformedPacket(f"key method {record[len(_LEAD) - 1] & _METHOD_MASK}")
    if len(record) < start:
        raise IncompleteMessage("the key exchange ends inside its random bytes")
    random2 = start - RANDOM_SIZE
    random1 = random2 - RANDOM_SIZE
    source = KeySource(record[len(_LEAD) : random1], record[random1:random2], record[random2:start])
    options, end = _decode_string(record, start)
    texts = ["", "", ""]
    for index in range(len(texts)):
        if end == len(record):
            break
        texts[index], end = _decode_string(record, end)
    return KeyMethod2(source, options, *texts), record[end:]


def _decode_string(record: bytes, start: int) -> tuple[str, int]:
    """Return the string at `start` and where it ends."""
    begin = start + 2
    end = begin + int.from_bytes(record[start:begin], "big")
    if end > MAX_RECEIVED:
        raise MalformedPacket(f"a key exchange of more than {MAX_RECEIVED} bytes")
    if len(record) < max(begin, end):
        raise IncompleteMessage("the key exchange ends inside a string")
    text = record[begin : max(begin, end - 1)].split(b"\0", 1)[0]
    return text.decode("utf-8", "surrogateescape"), end
