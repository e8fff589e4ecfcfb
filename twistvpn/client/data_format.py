"""How data packets to a server look, by what it has pushed and what our own admin wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.control.session import KeyDerivation
from twistvpn.crypto.ciphers import AEAD_CIPHERS, canonical_name
from twistvpn.data.formats import PacketFormat
from twistvpn.errors import NegotiationError
from twistvpn.keying import DataTerms
from twistvpn.wire.options import parse_occ

if TYPE_CHECKING:
    from twistvpn.config.settings import DataSettings
    from twistvpn.control.push import PushedOptions
    from twistvpn.wire.compression import Compression


def data_terms(data: DataSettings, pushed: PushedOptions, server_occ: str) -> DataTerms:
    """Raises `NegotiationError` where the server wants what we do not, or what cannot be."""
    cipher = _choose_cipher(data, pushed, server_occ)
    return DataTerms(
        cipher,
        KeyDerivation.EXPORTER if pushed.exporter_keys else KeyDerivation.PRF,
        pushed.peer_id,
        _packet_format(pushed, cipher),
        "dyn-tls-crypt" in pushed.protocol_flags,
    )


def _choose_cipher(data: DataSettings, pushed: PushedOptions, server_occ: str) -> str:
    """The cipher that is pushed, or else the one of the server's options, or else our fallback.

    Raises `NegotiationError` where it is one that we do not want.
    """
    if pushed.cipher is not None:
        cipher = canonical_name(pushed.cipher)
        if cipher not in data.ciphers and cipher != data.ciphers_fallback:
            raise NegotiationError(f"the server pushes the cipher {cipher}, which data-ciphers does not have")
        return cipher
    announced = parse_occ(server_occ).get("cipher", "").upper()
    if announced in {*data.ciphers, data.ciphers_fallback}:
        return announced
    if announced:
        raise NegotiationError(f"the server's cipher is {announced}; add it to data-ciphers if that is what you want")
    if data.ciphers_fallback is not None:
        return data.ciphers_fallback
    raise NegotiationError("the server negotiates no cipher; set data-ciphers-fallback to the one it uses")


def choose_compression(data: DataSettings, pushed: PushedOptions) -> Compression:
    """What frames packets: as pushed, or else as configured.  Raises `NegotiationError` where it may not compress."""
    compression = data.compression if pushed.compression is None else pushed.compression
    if compression.compresses and data.allow_compression == "no":
        raise NegotiationError(
            f"the server pushes {compression.value}, and allow-compression is no; "
            "remove it there, or set allow-compression asym to take compressed packets"
        )
    return compression


def _packet_format(pushed: PushedOptions, cipher: str) -> PacketFormat:
    """Raises `NegotiationError` where epochs are pushed without what they need."""
    if "aead-epoch" not in pushed.protocol_flags:
        return PacketFormat.CLASSIC
    if cipher not in AEAD_CIPHERS or pushed.peer_id is None:
        raise NegotiationError("the server pushes aead-epoch, which needs a peer-id and an AEAD cipher beside it")
    return PacketFormat.EPOCH
