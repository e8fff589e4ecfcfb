"""What data packets look like, and what seals and opens each kind."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from twistvpn.crypto.ciphers import AEAD_CIPHERS, AES_BLOCK_SIZE, CBC_CIPHERS
from twistvpn.crypto.digests import hashlib_name
from twistvpn.data import kernel, pure
from twistvpn.wire.opcodes import Opcode, first_byte
from twistvpn.wire.options import IvProto

if TYPE_CHECKING:
    from twistvpn.config.settings import DataSettings
    from twistvpn.data.keyring import DataKey


class PacketFormat(Enum):
    """How packets are numbered and where their authentication stands; see the module that each member names."""

    CLASSIC = auto()
    """32 bits number a key's packets: `aead`, or `cbc` where the cipher does not authenticate."""
    EPOCH = auto()
    """Keys change by epochs (`protocol-flags aead-epoch`): `epoch`.  Only with ciphers that authenticate."""


def describe(cipher: str, auth: str, packet_format: PacketFormat) -> str:
    """Name what data packets are protected by, for people."""
    if cipher in CBC_CIPHERS:
        return f"{cipher} with {auth}"
    return f"{cipher} by epochs" if packet_format is PacketFormat.EPOCH else cipher


def agreed_format(data: DataSettings, can: IvProto, cipher: str) -> PacketFormat:
    """How packets under `cipher` are numbered with a peer that can what IV_PROTO has told."""
    has_epochs = data.epochs and cipher in AEAD_CIPHERS and IvProto.EPOCH | IvProto.DATA_V2 in can
    return PacketFormat.EPOCH if has_epochs else PacketFormat.CLASSIC


def make_epochs(key: DataKey) -> tuple[kernel.AnyEpochSealer, kernel.AnyEpochOpener]:
    """Return both directions of a key in the epoch format."""
    keys = key.keys
    return (
        kernel.EpochSealer(key.cipher, keys.encrypt.cipher, _prefix(key)),
        kernel.EpochOpener(key.cipher, keys.decrypt.cipher, key.replay_window, key.replay_time),
    )


def make_classic(key: DataKey) -> tuple[kernel.AnySealer, kernel.AnyOpener]:
    """Return both directions of a key in the classic format."""
    keys, prefix = key.keys, _prefix(key)
    if key.cipher in AEAD_CIPHERS:
        return (
            kernel.Sealer(key.cipher, keys.encrypt.cipher, keys.encrypt.hmac, prefix),
            kernel.Opener(key.cipher, keys.decrypt.cipher, keys.decrypt.hmac, key.replay_window, key.replay_time),
        )
    # Of the old ciphers the compiled kernel has only the one that is still in use.
    chosen = kernel if CBC_CIPHERS[key.cipher].block_size == AES_BLOCK_SIZE else pure
    digest = hashlib_name(key.auth)
    encrypt, decrypt = keys.encrypt, keys.decrypt
    return (
        chosen.CbcSealer(key.cipher, encrypt.cipher, digest, encrypt.hmac, prefix),
        chosen.CbcOpener(key.cipher, decrypt.cipher, digest, decrypt.hmac, key.replay_window, key.replay_time),
    )


def largest_packet(datagram_size: int, cipher: str, auth: str) -> int:
    """Return the bytes of the largest packet whose datagram has at most `datagram_size`, in either format."""
    none, prefix = bytes(64), bytes(4)
    if cipher in AEAD_CIPHERS:
        return pure.EpochSealer(cipher, none, prefix).largest_text(datagram_size)
    return pure.CbcSealer(cipher, none, hashlib_name(auth), none, prefix).largest_text(datagram_size)


def _prefix(key: DataKey) -> bytes:
    if key.peer_id is None:
        return bytes((first_byte(Opcode.P_DATA_V1, key.key_id),))
    return bytes((first_byte(Opcode.P_DATA_V2, key.key_id),)) + (key.peer_id & 0xFFFFFF).to_bytes(3, "big")
