"""What both ends of a tunnel agree on, in OpenVPN's syntax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.material import Authority, Identity

DEVICE = "tun0"


@dataclass(frozen=True)
class Tunnel:
    """What both ends of a tunnel agree on."""

    proto: str = "udp"
    """'udp' or 'tcp'."""
    family: int = 4
    """IP version outside, 4 or 6."""
    wrapping: str = "tls-crypt"
    """'plain', 'tls-auth' or 'tls-crypt'."""
    cipher: str = "AES-256-GCM"
    tls: str = "1.3"
    dev: str = DEVICE

    def __str__(self) -> str:
        return f"{self.proto}{self.family}-{self.wrapping}-{self.cipher}-tls{self.tls}"

    def options(self) -> list[str]:
        """The options that both ends have, in OpenVPN's syntax."""
        lines = [
            f"dev {self.dev}",
            "verb 3",
            f"data-ciphers {self.cipher}",
            "tls-version-min 1.2",
            f"tls-version-max {self.tls}",
            "hand-window 10",
        ]
        if self.wrapping == "tls-auth":
            lines.append("auth SHA256")
        return lines

    def wrapping_options(self, key: str, direction: int) -> list[str]:
        """The options of one end that wrap its control packets with the static key `key`."""
        if self.wrapping == "plain":
            return []
        lines = block(self.wrapping, key)
        return [f"key-direction {direction}", *lines] if self.wrapping == "tls-auth" else lines


def block(name: str, text: str) -> list[str]:
    """`text` as an inline block."""
    return [f"<{name}>", text.rstrip("\n"), f"</{name}>"]


def credentials(authority: Authority, identity: Identity) -> list[str]:
    """The inline blocks of a CA, a certificate and its key."""
    return [*block("ca", authority.cert), *block("cert", identity.cert), *block("key", identity.key)]
