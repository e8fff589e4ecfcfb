"""A client's whole configuration as one inline `.ovpn` text.

Every option is one that stock OpenVPN from 2.4 on and OpenVPN 3 know, or ignore on request; a tls-crypt-v2 key
needs 2.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twistvpn.pki.authority import Issued


@dataclass(frozen=True)
class RemoteEntry:
    """One place the server listens at, as clients see it."""

    host: str
    port: int
    proto: str
    """'udp' or 'tcp'; or 'tls' (TCP inside of TLS), which our own client alone can dial."""


@dataclass(frozen=True)
class ControlBlock:
    """The key that wraps the control channel."""

    option: str
    """'tls-crypt-v2' (the client's own), 'tls-crypt' or 'tls-auth'."""
    key: str = field(repr=False)
    """The key file's text."""
    key_direction: int | None = None
    """The client's direction of tls-auth."""
    auth: str | None = None
    """The digest of tls-auth."""


def client_profile(
    issued: Issued | None,
    *,
    remotes: Sequence[RemoteEntry],
    ca: str,
    server_name: str,
    control: ControlBlock | None,
    ciphers: Sequence[str],
    login: Sequence[str] = (),
    dev: str = "tun",
) -> str:
    """Write the configuration of the client that `issued` belongs to, None for one without a certificate.

    `ca` is PEM, `server_name` the common name the server's certificate must have, `ciphers` the server's
    data-ciphers, `login` options about names and passwords, `dev` 'tun' or 'tap' as at the server.  The text holds the
    client's private key.
    """
    lines = [
        "client",
        f"dev {dev}",
        *(f"remote {remote.host} {remote.port} {remote.proto}" for remote in remotes),
        "resolv-retry infinite",
        "nobind",
        "persist-key",
        "persist-tun",
        "remote-cert-tls server",
        f"verify-x509-name {_quoted(server_name)} name",
        "tls-version-min 1.2",
        *_cipher_lines(ciphers),
        *_exit_lines(remotes),
        *_control_lines(control),
        *login,
        # OpenVPN 3 asks its user for a certificate otherwise.
        *(["setenv CLIENT_CERT 0"] if issued is None else []),
        "verb 3",
    ]
    blocks = [("ca", ca)]
    if issued is not None:
        blocks += [("cert", issued.certificate_pem), ("key", issued.key_pem)]
    if control is not None:
        blocks.append((control.option, control.key))
    return "\n".join(lines) + "\n" + "".join(_inline(tag, text) for tag, text in blocks)


def _cipher_lines(ciphers: Sequence[str]) -> list[str]:
    # 2.4 does not know data-ciphers and would stop at it; it negotiates by itself once `cipher` is an AEAD one.
    lines = ["ignore-unknown-option data-ciphers", f"data-ciphers {':'.join(ciphers)}"]
    known_to_all = [name for name in ciphers if name.startswith("AES-") and name.endswith("-GCM")]
    return lines + [f"cipher {name}" for name in known_to_all[:1]]


def _exit_lines(remotes: Sequence[RemoteEntry]) -> list[str]:
    # 2.4 refuses this option where any of the remotes is TCP.
    return ["explicit-exit-notify 1"] if all(remote.proto == "udp" for remote in remotes) else []


def _control_lines(control: ControlBlock | None) -> list[str]:
    if control is None or control.option != "tls-auth":
        return []
    lines = [] if control.key_direction is None else [f"key-direction {control.key_direction}"]
    return lines if control.auth is None else [*lines, f"auth {control.auth}"]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _inline(tag: str, text: str) -> str:
    return f"<{tag}>\n{text.strip()}\n</{tag}>\n"
