"""Options about names and passwords, in both syntaxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.config_files import SERVER_INI, SERVER_OVPN, make_files
from twistvpn.config.settings import AuthTokenSettings
from twistvpn.crypto.authtoken import TokenSecret

if TYPE_CHECKING:
    from pathlib import Path

    from tests.config_files import ConfigFiles
    from twistvpn.config.settings import ServerSettings, Settings


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    return make_files(tmp_path)


def server(settings: Settings) -> ServerSettings:
    assert settings.server is not None
    return settings.server


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("", AuthTokenSettings()),
        ("0", AuthTokenSettings()),
        ("3600", AuthTokenSettings(3600.0)),
        ("3600 600", AuthTokenSettings(3600.0, 600.0)),
        ("external-auth", AuthTokenSettings(external_auth=True)),
        ("3600 600 external-auth", AuthTokenSettings(3600.0, 600.0, external_auth=True)),
    ],
)
def test_tokens(files: ConfigFiles, words: str, wanted: AuthTokenSettings) -> None:
    assert server(files.parse(f"{SERVER_OVPN}auth-gen-token {words}\n")).auth_tokens == wanted
    ini = SERVER_INI.replace("[tls]", f"auth-gen-token = {words or 'yes'}\n[tls]")
    assert server(files.parse(ini)).auth_tokens == wanted


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("auth-gen-token soon", "'soon' is not a number of seconds"),
        ("auth-gen-token 1 2 3", "'3' is not one of external-auth"),
        ("auth-gen-token\nreneg-sec 0", "needs a renewal time where reneg-sec is 0"),
        ("auth-gen-token\nauth-gen-token-secret ca.crt", "openvpn --genkey auth-token FILE"),
        ("auth-gen-token\nauth-gen-token-secret nowhere", "cannot read"),
    ],
)
def test_mistakes_about_tokens(files: ConfigFiles, lines: str, words: str) -> None:
    assert words in files.line(f"{SERVER_OVPN}{lines}\n")


def test_the_tokens_secret_is_a_file_or_a_block(files: ConfigFiles) -> None:
    secret = TokenSecret.generate().to_text()
    (files.path / "tokens.key").write_text(secret)
    for lines in (
        "auth-gen-token-secret tokens.key",
        f"<auth-gen-token-secret>\n{secret}</auth-gen-token-secret>",
    ):
        tokens = server(files.parse(f"{SERVER_OVPN}auth-gen-token\n{lines}\n")).auth_tokens
        assert tokens is not None
        assert tokens.secret is not None
        assert TokenSecret.from_text(tokens.secret.data).to_text() == secret
        assert secret.splitlines()[1] not in repr(tokens)


def test_a_secret_without_tokens_is_noted(files: ConfigFiles) -> None:
    settings = files.parse(f"{SERVER_OVPN}auth-gen-token-secret\n")
    assert any("auth-gen-token-secret" in note for note in settings.notes)


def test_passwords_may_be_optional(files: ConfigFiles) -> None:
    assert not server(files.parse(SERVER_OVPN)).password_optional
    assert server(files.parse(f"{SERVER_OVPN}auth-user-pass-optional\n")).password_optional
