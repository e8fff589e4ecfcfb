"""Sealing and opening runs of data packets, in pure Python (wire-protocol draft, "Data channel packets").

    P_DATA_V2:  op | key id (1) · peer id (3) · packet id (4) · tag (16) · ciphertext
    P_DATA_V1:  op | key id (1) · packet id (4) · tag (16) · ciphertext

The associated data is everything before the tag for V2 and the packet id alone for V1.  The nonce
is the packet id and the first 8 bytes of the direction's HMAC key.  All integers are big-endian.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from twistvpn.crypto.ciphers import CIPHERS
from twistvpn.crypto.replay import ReplayWindow
from twistvpn.data.mss import clamp_mss
from twistvpn.data.offload import segment
from twistvpn.data.opened import Opened, sort_out
from twistvpn.errors import MalformedPacket, PacketIdExhausted
from twistvpn.interfaces import NO_OFFLOAD, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.interfaces import Buffer, Frame

TAG_SIZE = 16
PACKET_ID_SIZE = 4
IMPLICIT_IV_SIZE = 8

MAX_RUN_DATAGRAMS = 64
"""UDP_MAX_SEGMENTS of linux/udp.h, as kernels before 6.9 have it."""
MAX_RUN_SIZE = 65400
"""Bytes of a run that still lies below a device's usual gso_max_size of 65536 once it has Ethernet, VLAN, IPv6 and UDP
headers.  A send with UDP_SEGMENT takes up to 65507, but the kernel then cuts the run up before the device."""

MAX_PACKET_ID = 0xFFFFFFFF


class Sealer:
    """One direction of one key: frames in, runs of data packets out, each packet under its own packet id."""

    __slots__ = ("_associated_from", "_encrypt", "_implicit_iv", "_prefix", "blocks", "packet_id")

    def __init__(self, cipher: str, key: bytes, implicit_iv: bytes, prefix: bytes) -> None:
        """Seal under `prefix`: 4 bytes (opcode, key id and peer id) for P_DATA_V2, 1 byte for P_DATA_V1.

        `cipher` is OpenVPN's upper-case name.  Of `key` and `implicit_iv` only the first bytes are used, as many as
        the cipher takes and 8.
        """
        self._encrypt = CIPHERS[cipher].open(key).encrypt
        self._implicit_iv = implicit_iv[:IMPLICIT_IV_SIZE]
        self._prefix = prefix
        self._associated_from = 0 if len(prefix) == 4 else len(prefix)
        self.packet_id = 0
        """The packet id used last, 0 before the first."""
        self.blocks = 0
        """Plaintext blocks of 16 bytes sealed so far, for the AEAD limit."""

    @property
    def overhead(self) -> int:
        """Bytes that sealing adds to a packet."""
        return len(self._prefix) + PACKET_ID_SIZE + TAG_SIZE

    def seal(self, frames: Sequence[Frame], largest_mss: int = 0, /) -> tuple[list[Run], int]:
        """Segment and seal `frames` in order, and lower their handshakes' MSS to `largest_mss` unless it is 0.

        Neighbours of one size, and a shorter one behind them, share a run of at most 64 datagrams and 65400 bytes.
        Frames that do not fit their virtio-net header are left out; how many is the second part of the result.
        Raises `PacketIdExhausted`, with nothing sealed, where there are not packet ids enough for all.
        """
        packets: list[Buffer] = []
        malformed = 0
        for frame in frames:
            if frame[1] == NO_OFFLOAD:
                packets.append(frame[0])
                continue
            try:
                packets += segment(frame)
            except MalformedPacket:
                malformed += 1
        if largest_mss:
            clamp_mss(packets, largest_mss)
        return self._seal(packets), malformed

    def _seal(self, packets: list[Buffer]) -> list[Run]:
        packet_id = self.packet_id
        if packet_id + len(packets) > MAX_PACKET_ID:
            raise PacketIdExhausted("the key has no packet id left")
        encrypt, implicit_iv, prefix = self._encrypt, self._implicit_iv, self._prefix
        associated_from, overhead = self._associated_from, self.overhead
        runs = []
        sealed: list[bytes] = []
        size = room = length = blocks = 0
        for packet in packets:
            length = len(packet)
            if room <= 0 or length > size:
                if sealed:
                    runs.append(Run(b"".join(sealed), size + overhead))
                sealed = []
                size = length
                room = min(MAX_RUN_DATAGRAMS, MAX_RUN_SIZE // (size + overhead))
            packet_id += 1
            wire_id = packet_id.to_bytes(PACKET_ID_SIZE, "big")
            header = prefix + wire_id
            ciphertext = encrypt(wire_id + implicit_iv, packet, header[associated_from:])
            sealed += (header, ciphertext[-TAG_SIZE:], ciphertext[:-TAG_SIZE])
            room = room - 1 if length == size else 0
            blocks += (length + 15) >> 4
        if sealed:
            runs.append(Run(b"".join(sealed), size + overhead))
        self.packet_id = packet_id
        self.blocks += blocks
        return runs


class Opener:
    """The other direction of one key: runs of data packets in, plaintexts out, each packet id once."""

    __slots__ = ("_decrypt", "_implicit_iv", "_window", "blocks", "failures")

    def __init__(self, cipher: str, key: bytes, implicit_iv: bytes, replay_window: int, replay_time: float) -> None:
        """Take cipher, key and IV as `Sealer` does, the window's size and time as `crypto.replay.ReplayWindow` does."""
        self._decrypt = CIPHERS[cipher].open(key).decrypt
        self._implicit_iv = implicit_iv[:IMPLICIT_IV_SIZE]
        self._window = ReplayWindow(replay_window, replay_time)
        self.blocks = 0
        """Plaintext blocks of 16 bytes opened so far, for the AEAD limit."""
        self.failures = 0
        """Datagrams whose tag did not verify."""

    @property
    def highest_packet_id(self) -> int:
        """The highest packet id that was authentic, 0 before the first."""
        return self._window.highest

    def open(self, data: Buffer, size: int, prefix_size: int, now: float, largest_mss: int = 0, /) -> Opened:
        """Open the datagrams of one run, which all have the same opcode and key id.

        `prefix_size` is 4 for P_DATA_V2 and 1 for P_DATA_V1, `now` a monotonic time in seconds.  Handshakes' MSS is
        lowered to `largest_mss` unless that is 0.  Raises `ValueError` where a datagram, the last too, is not longer
        than its header and tag.
        """
        texts, forged, replayed = self._admitted(data, size, prefix_size, now)
        packets, messages = sort_out(texts)
        if largest_mss:
            clamp_mss(packets, largest_mss)
        return Opened(packets, messages, forged, replayed, sum(map(len, texts)))

    def open_unsorted(self, data: Buffer, size: int, prefix_size: int, now: float, /) -> Opened:
        """Open the datagrams of one run as `open` does, and leave all plaintexts as they are, among the packets.

        For plaintexts that are not IP packets: a framing around them, or Ethernet frames.
        """
        texts, forged, replayed = self._admitted(data, size, prefix_size, now)
        return Opened(texts, [], forged, replayed, sum(map(len, texts)))

    def _admitted(self, data: Buffer, size: int, prefix_size: int, now: float) -> tuple[list[Buffer], int, int]:
        """Return the plaintexts that are authentic and new, and how many datagrams were forged and replayed."""
        text_from = prefix_size + PACKET_ID_SIZE + TAG_SIZE
        if not data or size <= text_from or 0 < len(data) % size <= text_from:
            raise ValueError("a run that does not consist of data packets")
        packet_ids, texts = self._decrypted(bytes(data), size, prefix_size)
        self._window.expire(now)
        verdicts = self._window.check_run(packet_ids)
        forged, replayed = -(-len(data) // size) - len(texts), 0
        self.failures += forged
        if not all(verdicts):
            replayed = verdicts.count(False)
            texts = list(compress(texts, verdicts))
        return texts, forged, replayed

    def _decrypted(self, wire: bytes, size: int, prefix_size: int) -> tuple[list[int], list[Buffer]]:
        """Return packet ids and plaintexts, in order, of the authentic datagrams."""
        decrypt, implicit_iv = self._decrypt, self._implicit_iv
        associated_from = 0 if prefix_size == 4 else prefix_size
        tag_from = prefix_size + PACKET_ID_SIZE
        text_from = tag_from + TAG_SIZE
        packet_ids: list[int] = []
        texts: list[Buffer] = []
        blocks = 0
        for start in range(0, len(wire), size):
            wire_id = wire[start + prefix_size : start + tag_from]
            text_at = start + text_from
            try:
                text = decrypt(
                    wire_id + implicit_iv,
                    wire[text_at : start + size] + wire[start + tag_from : text_at],
                    wire[start + associated_from : start + tag_from],
                )
            except InvalidTag:
                continue
            texts.append(text)
            packet_ids.append(int.from_bytes(wire_id, "big"))
            blocks += (len(text) + 15) >> 4
        self.blocks += blocks
        return packet_ids, texts
