"""Every kind of data packet, made by either kernel from the same keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twistvpn.data.kernel import AnyOpener, AnySealer, Kernel

KEY, SECOND_KEY = bytes(range(64)), bytes(range(100, 164))
REPLAY_TIME = 15.0


@dataclass(frozen=True)
class Kind:
    """One cipher in one format."""

    cipher: str
    digest: str | None = None
    """The HMAC's, in CBC mode."""
    has_epochs: bool = False

    @property
    def is_random(self) -> bool:
        """Whether sealing twice gives different datagrams."""
        return self.digest is not None

    def sealer(self, kernel: Kernel, prefix: bytes) -> AnySealer:
        if self.has_epochs:
            return kernel.EpochSealer(self.cipher, KEY, prefix)
        if self.digest is not None:
            return kernel.CbcSealer(self.cipher, KEY, self.digest, SECOND_KEY, prefix)
        return kernel.Sealer(self.cipher, KEY, SECOND_KEY, prefix)

    def opener(self, kernel: Kernel, window: int = 64) -> AnyOpener:
        if self.has_epochs:
            return kernel.EpochOpener(self.cipher, KEY, window, REPLAY_TIME)
        if self.digest is not None:
            return kernel.CbcOpener(self.cipher, KEY, self.digest, SECOND_KEY, window, REPLAY_TIME)
        return kernel.Opener(self.cipher, KEY, SECOND_KEY, window, REPLAY_TIME)

    def __str__(self) -> str:
        return "-".join(filter(None, (self.cipher, self.digest, "epochs" if self.has_epochs else None)))


AEADS = ("AES-256-GCM", "AES-192-GCM", "AES-128-GCM", "CHACHA20-POLY1305")
CLASSIC = [Kind(cipher) for cipher in AEADS]
EPOCHS = [Kind(cipher, has_epochs=True) for cipher in AEADS]
CBC = [
    Kind("AES-256-CBC", "sha256"),
    Kind("AES-192-CBC", "sha512"),
    Kind("AES-128-CBC", "sha1"),
    Kind("AES-128-CBC", "md5"),
    Kind("AES-256-CBC", "sha384"),
    Kind("AES-256-CBC", "sha3_256"),
    Kind("AES-256-CBC", "blake2b"),
]
KINDS = [*CLASSIC, *EPOCHS, *CBC]
