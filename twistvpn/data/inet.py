"""The Internet checksum (RFC 1071) and its incremental update (RFC 1624), on Python's big integers.

A buffer read as one big-endian integer is congruent, modulo 0xFFFF, to the sum of its 16-bit
words: that is the ones' complement sum without a loop over the words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistvpn.interfaces import Buffer

PROTOCOL_TCP = 6
PROTOCOL_UDP = 17

ETHERNET_HEADER_SIZE = 14
IPV4_HEADER_SIZE = 20
IPV6_HEADER_SIZE = 40
TCP_HEADER_SIZE = 20
UDP_HEADER_SIZE = 8

TCP_FIN = 0x01
TCP_SYN = 0x02
TCP_RST = 0x04
TCP_PSH = 0x08
TCP_ACK = 0x10
TCP_URG = 0x20
TCP_ECE = 0x40
TCP_CWR = 0x80


_FOLDS = tuple((bits, (1 << bits) - 1) for bits in (393216, 196608, 98304, 49152, 24576, 12288, 6144, 3072, 1536, 768))
_SMALL_FOLDS = _FOLDS[-4:]
"""Where to fold a number without changing it modulo 0xFFFF, which costs less than dividing a long one."""


def word_sum(data: Buffer) -> int:
    """Return the sum of the 16-bit big-endian words of `data` modulo 0xFFFF.

    An odd byte at the end counts as the high half of a word (RFC 1071).
    """
    return folded(int.from_bytes(data, "big"), len(data))


def folded(data: int, length: int) -> int:
    """Return what `word_sum` does for `length` bytes that have been read as one big-endian integer."""
    if length > 200:
        for bits, mask in _SMALL_FOLDS if length <= 1536 else _FOLDS:
            data = (data >> bits) + (data & mask)
    data %= 0xFFFF
    return (data << 8) % 0xFFFF if length & 1 else data


def checksum(total: int) -> int:
    """Return the Internet checksum for a sum of words, of which at least one is not zero.

    The sum of no real header is zero, so the residue 0 stands for 0xFFFF and gives checksum 0.
    """
    return -total % 0xFFFF


def updated_checksum(old_checksum: int, old_word: int, new_word: int) -> int:
    """Return the checksum after one 16-bit word has changed (RFC 1624, equation 3)."""
    total = (~old_checksum & 0xFFFF) + (~old_word & 0xFFFF) + new_word
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_sum(packet: Buffer, protocol: int, length: int) -> int:
    """Return the sum of the pseudo-header of an IP packet (RFC 9293 section 3.1, RFC 8200 section 8.1).

    `length` is that of the transport header and its payload in bytes.
    """
    addresses = packet[12:20] if packet[0] >> 4 == 4 else packet[8:40]
    return int.from_bytes(addresses, "big") % 0xFFFF + protocol + (length >> 16) + (length & 0xFFFF)
