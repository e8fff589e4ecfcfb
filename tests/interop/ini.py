"""Configurations of ours in our own syntax, with their certificates and keys in files beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.interop.tunnel import DEVICE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.interop.material import Authority, Identity
    from tests.interop.tunnel import Tunnel


def write_material(folder: Path, authority: Authority, identity: Identity, static_key: str) -> None:
    """Make `folder` with the files that a configuration in it names."""
    folder.mkdir()
    texts = {"ca": authority.cert, "cert": identity.cert, "key": identity.key, "static.key": static_key}
    for name, text in texts.items():
        (folder / name).write_text(text)


def server_ini(folder: Path, tunnel: Tunnel, listen: Sequence[str]) -> list[str]:
    """A server's; its networks are those of every test."""
    return [
        "[server]",
        "listen =",
        *(f"    {end}" for end in listen),
        "network = 10.8.0.0/24",
        "network6 = fd08:8::/64",
        "keepalive = 1 4",
        *_common(folder, tunnel, 0),
    ]


def client_ini(folder: Path, tunnel: Tunnel, remotes: Sequence[str]) -> list[str]:
    """A client's."""
    return [
        "[client]",
        "remote =",
        *(f"    {remote}" for remote in remotes),
        "connect-retry = 1 1",
        "connect-timeout = 5",
        *_common(folder, tunnel, 1),
        "remote-cert-tls = server",  # in [tls], which comes last
    ]


def _common(folder: Path, tunnel: Tunnel, direction: int) -> list[str]:
    wrapping = {
        "plain": [],
        "tls-auth": [f"tls-auth = {folder}/static.key {direction}", "auth = SHA256"],
        "tls-crypt": [f"tls-crypt = {folder}/static.key"],
    }
    return [
        "[device]",
        f"dev = {DEVICE}",
        "[data]",
        f"data-ciphers = {tunnel.cipher}",
        "[control]",
        "hand-window = 10",
        *wrapping[tunnel.wrapping],
        "[tls]",
        *(f"{name} = {folder}/{name}" for name in ("ca", "cert", "key")),
        "tls-version-min = 1.2",
        f"tls-version-max = {tunnel.tls}",
    ]
