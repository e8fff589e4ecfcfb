"""The two ways in: a configuration file, or its text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from twistvpn.config.ini import read_ini
from twistvpn.config.ini_lexer import is_ini
from twistvpn.config.ovpn import read_ovpn
from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from twistvpn.config.settings import Settings


def load(path: str) -> Settings:
    """Read a configuration file of either syntax; relative paths in it are taken from its directory.

    Raises `ConfigError`, one line that names file, line and option, for any mistake and any file that cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration: {error.strerror}", file=path) from None
    except ValueError:
        raise ConfigError("is not UTF-8 text", file=path) from None
    return parse(text, path, str(Path(path).absolute().parent))


def parse(text: str, file: str, directory: str) -> Settings:
    """Read a configuration's text: INI where its first line that says anything is a [section], else OpenVPN's syntax.

    `file` is what messages call it; relative paths are taken from `directory`.  Raises `ConfigError`.
    """
    lines = [line for line in map(str.strip, text.removeprefix("\ufeff").splitlines()) if line and line[0] not in "#;"]
    if not lines:
        raise ConfigError("has no options; twistvpn init makes a server.ini, client add a profile", file=file)
    if lines[0].startswith("-----BEGIN "):
        raise ConfigError("is a key or a certificate, no configuration; name the file that names it", file=file)
    return read_ini(text, file, directory) if is_ini(text) else read_ovpn(text, file, directory)
