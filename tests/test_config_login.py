"""Options about names and passwords, in both syntaxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.config_files import CLIENT_INI, CLIENT_OVPN, SERVER_INI, SERVER_OVPN, make_files
from twistvpn.config.settings import AuthTokenSettings, LoginSettings, StaticChallenge
from twistvpn.crypto.authtoken import TokenSecret

if TYPE_CHECKING:
    from pathlib import Path

    from tests.config_files import ConfigFiles
    from twistvpn.config.settings import ClientSettings, ServerSettings, Settings


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


def test_lines_of_a_password_file_that_mean_something_else_are_told_without_them(files: ConfigFiles) -> None:
    (files.path / "names").write_text("# NAME:PASSWORD\n\nalice:secret\nbob hush\ncarol:a:b\n")
    settings = files.parse(SERVER_INI.replace("[tls]", "auth = file:names\n[tls]"))
    told = [note.partition(": auth: ")[2] for note in settings.notes if ": auth: " in note]
    assert told == [
        f"line 4 of {files.path / 'names'} is not NAME:PASSWORD, nobody comes in by it",
        f"line 5 of {files.path / 'names'} is not NAME:PASSWORD, the password ends at the second colon",
    ]


@pytest.mark.parametrize(
    "text",
    [
        SERVER_INI + "verify-client-cert = none\n",
        SERVER_INI.replace("[tls]", "username-as-common-name = yes\n[tls]"),
        SERVER_OVPN + "verify-client-cert none\n",
        SERVER_OVPN + "username-as-common-name\n",
    ],
)
def test_who_is_to_look_at_passwords_is_told_in_both_syntaxes(files: ConfigFiles, text: str) -> None:
    assert files.line(text).endswith(
        "without an authenticator; add auth = file:PASSWORDS to [server], which INI syntax alone has"
    )


# A client's


def client(settings: Settings) -> ClientSettings:
    assert settings.client is not None
    return settings.client


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("", None),
        ("auth-user-pass", LoginSettings()),
        ("auth-user-pass stdin", LoginSettings()),
        ("auth-user-pass username-only", LoginSettings(None, "[[BLANK]]")),
        ("auth-user-pass login.txt", LoginSettings("alice", "secret password")),
        ("auth-user-pass password", LoginSettings("open sesame")),
        ("<auth-user-pass>\nalice\n</auth-user-pass>", LoginSettings("alice")),
        ("<auth-user-pass>\nalice\nx\n</auth-user-pass>\nauth-nocache", LoginSettings("alice", "x", cache=False)),
        (
            'auth-user-pass login.txt\nstatic-challenge "Your code?" 1',
            LoginSettings("alice", "secret password", static_challenge=StaticChallenge("Your code?", echo=True)),
        ),
        (
            "auth-user-pass\nstatic-challenge Code 0 concat",
            LoginSettings(static_challenge=StaticChallenge("Code", concatenate=True)),
        ),
    ],
)
def test_what_a_client_shows(files: ConfigFiles, lines: str, wanted: LoginSettings | None) -> None:
    assert client(files.parse(f"{CLIENT_OVPN}{lines}\n")).login == wanted


def test_where_nothing_is_kept_only_the_path_is(files: ConfigFiles) -> None:
    login = client(files.parse(f"{CLIENT_OVPN}auth-user-pass login.txt\nauth-nocache\n")).login
    assert login == LoginSettings(path=str(files.path / "login.txt"), cache=False)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("static-challenge Code 0", "goes with a password; add auth-user-pass"),
        ("auth-user-pass\nstatic-challenge Code 2", "'2' is not one of 0, 1"),
        ("auth-user-pass\nstatic-challenge Code 0 base64", "'base64' is not one of scrv1, concat"),
        ("auth-user-pass username-only\nstatic-challenge Code 0", "contradicts auth-user-pass"),
        ("auth-user-pass nowhere\nauth-nocache", "cannot read"),
        ("setenv GENERIC_CONFIG", "generic profile"),
        ("setenv UV_Ä x", "is not a name that a server understands"),
    ],
)
def test_mistakes_about_logins(files: ConfigFiles, lines: str, words: str) -> None:
    assert words in files.line(f"{CLIENT_OVPN}{lines}\n")


def test_what_is_told_besides(files: ConfigFiles) -> None:
    settings = files.parse(f"{CLIENT_OVPN}push-peer-info\nsetenv UV_SITE lab\nsetenv IV_GUI_VER 'a 1'\nsetenv X y\n")
    assert client(settings).push_peer_info
    assert client(settings).peer_info == {"UV_SITE": "lab", "IV_GUI_VER": "a 1"}
    assert any("setenv" in note for note in settings.notes)


def test_all_of_it_in_ini(files: ConfigFiles) -> None:
    lines = """\
auth-user-pass = stdin
auth-nocache = yes
auth-retry = interact
static-challenge = "Your code?" 0
push-peer-info = yes
setenv =
    UV_SITE lab
    UV_DESK 7
[tls]"""
    read = client(files.parse(CLIENT_INI.replace("[tls]", lines)))
    assert read.login == LoginSettings(cache=False, static_challenge=StaticChallenge("Your code?"))
    assert (read.auth_retry, read.push_peer_info) == ("interact", True)
    assert read.peer_info == {"UV_SITE": "lab", "UV_DESK": "7"}
