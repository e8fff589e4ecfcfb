"""Key files of OpenVPN's that look like PEM (RFC 7468): base64 between a BEGIN and an END line."""

from __future__ import annotations

import base64
import binascii
import re
import textwrap

from twistvpn.errors import ConfigError

_COLUMNS = 64


def to_pem(label: str, data: bytes) -> str:
    """Write `data` under `label`, as `openvpn --genkey` does."""
    lines = textwrap.wrap(base64.b64encode(data).decode(), _COLUMNS)
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))


def from_pem(label: str, text: bytes | str, what: str) -> bytes:
    """Read what stands under `label`, whatever is around it.

    Raises `ConfigError` (without a place: the caller knows it), which calls it `what`.
    """
    block = find_block(label, text)
    if block is None:
        raise ConfigError(f"no {what}: the line '-----BEGIN {label}-----' is not there")
    try:
        return base64.b64decode("".join(block.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError(f"the {what} is not base64") from None


def find_block(label: str, text: bytes | str) -> str | None:
    """What stands between the lines of `label`; None where they are not there."""
    if not isinstance(text, str):
        text = text.decode("ascii", "replace")
    pattern = rf"^[ \t]*-----BEGIN {label}-----(.*?)^[ \t]*-----END {label}-----"
    found = re.search(pattern, text, re.DOTALL | re.MULTILINE)
    return None if found is None else found[1]
