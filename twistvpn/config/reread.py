"""The files that a running process reads again, perhaps as another user than the one that has started it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twistvpn.config.login import NAMES_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twistvpn.config.settings import Settings


def files_read_again(settings: Settings) -> Iterator[tuple[str, str]]:
    """Each with its option: (option, path)."""
    crl, server = settings.tls.crl, settings.server
    if isinstance(crl, str):
        yield "crl-verify", crl
    if server is None:
        return
    for description in server.authenticators:
        kind, _, path = description.partition(":")
        if kind == NAMES_FILE:
            yield "auth", path
    if server.client_config_dir is not None:
        yield "client-config-dir", server.client_config_dir
