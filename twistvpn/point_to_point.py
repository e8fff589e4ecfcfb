"""What two ends agree on in point-to-point mode, where neither pushes options to the other.

Both tell in the key exchange what they can (IV_PROTO with NCP_P2P, IV_CIPHERS), and each comes to the same result by
itself.  Source: openvpn(8), "Data channel cipher negotiation"; the behaviour of stock 2.6 and 2.7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twistvpn.control.session import KeyDerivation
from twistvpn.data.formats import PacketFormat, agreed_format
from twistvpn.errors import NegotiationError
from twistvpn.keying import DataTerms
from twistvpn.wire.options import IvProto, iv_proto, parse_occ
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twistvpn.config.settings import DataSettings

PEER_ID_LABEL = b"EXPORTER-OpenVPN-p2p-peerid"
PEER_ID_SIZE = 3
COMMON_PEER_ID = 0x76706E
"""The peer-id, both ways, of ends that cannot export keys: 'vpn'."""

_CAPABILITIES = IvProto.DATA_V2 | IvProto.TLS_KEY_EXPORT | IvProto.NCP_P2P | IvProto.CC_EXIT | IvProto.DYN_TLS_CRYPT


def peer_info(data: DataSettings) -> dict[str, str]:
    """What an end tells of itself: as little as stock peers do in this mode."""
    capabilities = _CAPABILITIES | IvProto.EPOCH if data.epochs else _CAPABILITIES
    return {"IV_CIPHERS": ":".join(data.ciphers), "IV_PROTO": str(int(capabilities))}


class Accord(NamedTuple):
    """How data packets look both ways, and what else the two ends can do."""

    terms: DataTerms
    flags: frozenset[str]
    """Of `protocol-flags`: what a server would have pushed."""


def come_to_terms(
    role: Role, data: DataSettings, info: Mapping[str, str], occ: str, export: Callable[[bytes, int], bytes]
) -> Accord:
    """The accord with an end that has told `info` and `occ`; `export` gives keying material of the first key's TLS.

    Raises `NegotiationError` where there is no common cipher.
    """
    can = iv_proto(info)
    if IvProto.NCP_P2P not in can:
        return Accord(DataTerms(_unnegotiated_cipher(data, occ), KeyDerivation.PRF, None), frozenset())
    cipher = _common_cipher(role, data.ciphers, info)
    if cipher is None:
        cipher = _unnegotiated_cipher(data, occ)
    exports = IvProto.TLS_KEY_EXPORT in can
    peer_id = None
    if IvProto.DATA_V2 in can:
        peer_id = int.from_bytes(export(PEER_ID_LABEL, PEER_ID_SIZE), "big") if exports else COMMON_PEER_ID
    packet_format = agreed_format(data, can, cipher)
    dynamic = exports and IvProto.DYN_TLS_CRYPT in can
    flags = {
        "cc-exit": IvProto.CC_EXIT in can,
        "tls-ekm": exports,
        "dyn-tls-crypt": dynamic,
        "aead-epoch": packet_format is PacketFormat.EPOCH,
    }
    derivation = KeyDerivation.EXPORTER if exports else KeyDerivation.PRF
    return Accord(
        DataTerms(cipher, derivation, peer_id, packet_format, dynamic),
        frozenset(name for name, agreed in flags.items() if agreed),
    )


def is_for_many(info: Mapping[str, str], occ: str) -> bool:
    """Whether an end that has told `info` and `occ` is rather a server for many: it waits to be asked for options.

    Such a server tells nothing of itself, and no addresses either.  Neither do ends before 2.6 without `ifconfig`.
    """
    return bool(occ) and IvProto.NCP_P2P not in iv_proto(info) and "ifconfig" not in parse_occ(occ)


def _common_cipher(role: Role, ours: Sequence[str], info: Mapping[str, str]) -> str | None:
    """The first of the TLS server's list that the TLS client has too."""
    theirs = [name.upper() for name in info.get("IV_CIPHERS", "").split(":")]
    preferred, others = (ours, theirs) if role is Role.SERVER else (theirs, ours)
    return next((name for name in preferred if name in others), None)


def _unnegotiated_cipher(data: DataSettings, occ: str) -> str:
    announced = parse_occ(occ).get("cipher", "").upper()
    for name in (data.ciphers_fallback, announced if announced in data.ciphers else None):
        if name is not None:
            return name
    raise NegotiationError("the other end has no cipher of ours; set data-ciphers-fallback at both ends to one")
