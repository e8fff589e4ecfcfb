"""tls-crypt-v2 in configurations of both syntaxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.config_files import CLIENT_INI, CLIENT_OVPN, SERVER_INI, SERVER_OVPN, ConfigFiles, make_files
from twistvpn.config.settings import ControlWrapping
from twistvpn.control.keys import control_key
from twistvpn.errors import ConfigError
from twistvpn.server.control_keys import MAX_UNPROVEN, control_keyring
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.shows("tls-crypt-v2")


@pytest.fixture
def files(tmp_path: Path) -> ConfigFiles:
    return make_files(tmp_path)


@pytest.mark.parametrize("text", [SERVER_OVPN + "tls-crypt-v2 tls-crypt-v2.key", SERVER_INI + "[control]\n{}"])
def test_a_server_opens_its_clients_keys(files: ConfigFiles, text: str) -> None:
    control = files.parse(text.format("tls-crypt-v2 = tls-crypt-v2.key")).control
    assert control.wrapping is ControlWrapping.NONE
    assert control.crypt_v2 is not None
    assert not control.force_cookie
    assert control_keyring(control).max_unproven == MAX_UNPROVEN


def test_a_key_for_many_is_never_taken_for_no_protection(files: ConfigFiles) -> None:
    control = files.parse(SERVER_OVPN + "tls-crypt-v2 tls-crypt-v2.key").control
    with pytest.raises(ConfigError):
        control_key(control, Role.SERVER)


@pytest.mark.parametrize("text", [CLIENT_OVPN + "tls-crypt-v2 client-v2.key", CLIENT_INI + "[control]\n{}"])
def test_a_client_has_its_own(files: ConfigFiles, text: str) -> None:
    control = files.parse(text.format("tls-crypt-v2 = client-v2.key")).control
    assert control_key(control, Role.CLIENT).wrapped_size


def test_it_may_be_inline(files: ConfigFiles) -> None:
    for text, key in ((SERVER_OVPN, "tls-crypt-v2.key"), (CLIENT_OVPN, "client-v2.key")):
        control = files.parse(f"{text}<tls-crypt-v2>\n{files.text(key)}</tls-crypt-v2>\n").control
        assert control.crypt_v2 is not None
        assert "BEGIN" not in repr(control)


@pytest.mark.parametrize(("argument", "most"), [("allow-noncookie", MAX_UNPROVEN), ("force-cookie", 0)])
def test_clients_that_need_state_may_be_refused(files: ConfigFiles, argument: str, most: int) -> None:
    for text, equals in ((SERVER_OVPN, " "), (SERVER_INI + "[control]\n", " = ")):
        control = files.parse(f"{text}tls-crypt-v2{equals}tls-crypt-v2.key {argument}\n").control
        assert control_keyring(control).max_unproven == most


@pytest.mark.shows("tls-crypt-v2-max-age")
def test_the_age_of_keys_is_in_days(files: ConfigFiles) -> None:
    control = files.parse(SERVER_OVPN + "tls-crypt-v2 tls-crypt-v2.key\ntls-crypt-v2-max-age 30\n").control
    assert control.client_key_max_age == 30 * 86400


@pytest.mark.parametrize("other", ["tls-crypt tls-crypt.key", "tls-auth ta.key 0"])
def test_a_server_may_have_a_shared_key_beside_it(files: ConfigFiles, other: str) -> None:
    control = files.parse(SERVER_OVPN + f"tls-crypt-v2 tls-crypt-v2.key\n{other}\n").control
    assert control.crypt_v2 is not None
    assert control.wrapping.value == other.split(maxsplit=1)[0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (CLIENT_OVPN + "tls-crypt tls-crypt.key\ntls-crypt-v2 client-v2.key", "tls-crypt-v2: contradicts tls-crypt ("),
        (CLIENT_OVPN + "tls-auth ta.key\ntls-crypt-v2 client-v2.key", "tls-crypt-v2: contradicts tls-auth (line 8)"),
        (CLIENT_OVPN + "tls-crypt-v2 tls-crypt-v2.key", "tls-crypt-v2.key: this is the tls-crypt-v2 server key"),
        (SERVER_OVPN + "tls-crypt-v2 client-v2.key", "client-v2.key: this is the tls-crypt-v2 client key"),
        (SERVER_OVPN + "tls-crypt-v2 ta.key", "ta.key: no tls-crypt-v2 server key: the line"),
        (
            SERVER_OVPN + "tls-crypt-v2 tls-crypt-v2.key cookies",
            "'cookies' is not one of allow-noncookie, force-cookie",
        ),
        (SERVER_OVPN + "tls-crypt-v2 [inline] force-cookie", "tls-crypt-v2: cannot read"),
        (SERVER_OVPN + "tls-crypt-v2-max-age 3", "there is no tls-crypt-v2 whose keys could be too old"),
        (SERVER_OVPN + "tls-crypt-v2 tls-crypt-v2.key\ntls-crypt-v2-max-age 0", "tls-crypt-v2-max-age: "),
        (CLIENT_OVPN + "tls-crypt-v2 client-v2.key\ntls-crypt-v2-max-age 3", "has no meaning for a client"),
        (SERVER_OVPN + "tls-crypt-v2-verify x.sh", "tls-crypt-v2-verify: is not supported: no script is run"),
    ],
)
def test_a_mistake_is_one_line(files: ConfigFiles, text: str, answer: str) -> None:
    assert answer in files.line(text)
