"""The one place that wires a configuration to the operating system.

`make_service` is what `twistd vpn` runs.  Applications call `make_server_service` or `make_client_service`, or give
`VpnServerService` and `VpnClientService` parts of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.strcred import StrcredException, makeChecker

from twistvpn.client.service import VpnClientService
from twistvpn.config.client_config import configured_client_settings
from twistvpn.errors import ConfigError
from twistvpn.server.auth import CertificateAuthenticator, CredAuthenticator
from twistvpn.server.factory import VpnFactory
from twistvpn.server.service import VpnServerService
from twistvpn.tun.device import ALL_OFFLOADS, open_tun
from twistvpn.tun.netlink import NetworkConfigurator

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from twistvpn.config.settings import ServerSettings, Settings
    from twistvpn.interfaces import IAuthenticator, IClientKeyVerifier, IPool, ITun, IUserPrompt
    from twistvpn.nameservers import IDnsConfigurator
    from twistvpn.overrides import IClientSettings


def make_service(
    reactor: Any,
    settings: Settings,
    on_fatal: Callable[[str], None],
    *,
    open_device: Callable[[], ITun] | None = None,
    prompt: IUserPrompt | None = None,
) -> VpnServerService | VpnClientService:
    """The service that `settings` describe, by `make_server_service` or `make_client_service`."""
    if settings.client is not None:
        return make_client_service(reactor, settings, on_fatal, open_device=open_device, prompt=prompt)
    return make_server_service(reactor, settings, on_fatal, open_device=open_device)


def make_server_service(
    reactor: Any,
    settings: Settings,
    on_fatal: Callable[[str], None],
    *,
    open_device: Callable[[], ITun] | None = None,
    authenticator: IAuthenticator | None = None,
    factory_class: type[VpnFactory] = VpnFactory,
    pool: IPool | None = None,
    client_key_verifier: IClientKeyVerifier | None = None,
    client_settings: IClientSettings | None = None,
) -> VpnServerService:
    """The server that `settings` describe.

    Its `privilegedStartService` and `startService` raise `EnvironmentRefusal` where the host refuses a device, a
    port or an address; `on_fatal` is called with one line when it cannot go on later.  `open_device` puts another
    device in the place of the host's tun (`tun.null.NullTun` for none); the host's addresses and routes are then
    left alone.  `authenticator`, `pool` and `client_settings` replace the configured ones; `client_key_verifier` is
    asked about clients with tls-crypt-v2 keys before they may begin TLS.  `factory_class`, a subclass with a
    `protocol` of its own, says what becomes of the clients' packets.  Raises `ConfigError` where the settings
    cannot work together.
    """
    assert settings.server is not None
    configurator = NetworkConfigurator() if open_device is None else None
    opener = open_device or _tun_opener(reactor, settings, on_fatal)
    chosen = authenticator or make_authenticator(settings.server)
    return VpnServerService(
        reactor,
        settings,
        opener,
        configurator,
        chosen,
        on_fatal,
        factory_class=factory_class,
        pool=pool,
        client_key_verifier=client_key_verifier,
        client_settings=client_settings or configured_client_settings(settings),
    )


def make_client_service(
    reactor: Any,
    settings: Settings,
    on_fatal: Callable[[str], None],
    *,
    open_device: Callable[[], ITun] | None = None,
    prompt: IUserPrompt | None = None,
    dns: IDnsConfigurator | None = None,
) -> VpnClientService:
    """The client that `settings` describe; `on_fatal`, `open_device` and errors as in `make_server_service`.

    `prompt` speaks for the user where something is missing that the user knows, or the server asks.  `dns` tells the
    host whom to ask for names; without it the log says what the server wants.
    """
    configurator = NetworkConfigurator() if open_device is None else None
    opener = open_device or _tun_opener(reactor, settings, on_fatal)
    return VpnClientService(reactor, settings, opener, configurator, on_fatal, prompt=prompt, dns=dns)


def _tun_opener(reactor: Any, settings: Settings, on_fatal: Callable[[str], None]) -> Callable[[], ITun]:
    device = settings.device

    def open_device() -> ITun:
        offload = ALL_OFFLOADS if device.offload else ()
        tun = open_tun(reactor, device.dev, device.dev_type, mtu=device.mtu, offload=offload)
        tun.on_lost = lambda _: on_fatal(f"the interface {tun.name} is gone: somebody has removed it")
        return tun

    return open_device


def make_authenticator(server: ServerSettings) -> IAuthenticator:
    """The authenticator a server's settings ask for; raises `ConfigError` for one Twisted cred does not know."""
    if not server.authenticators:
        return CertificateAuthenticator()
    checkers = []
    for description in server.authenticators:
        try:
            checkers.append(_make_checker(description))
        except (StrcredException, ValueError, OSError) as error:
            message = f"{description!r} is no authentication that Twisted knows: {error or type(error).__name__}"
            raise ConfigError(message, option="auth") from error
    identify = "username" if server.username_as_common_name else "common-name"
    return CredAuthenticator(checkers, identify, CertificateAuthenticator() if server.password_optional else None)


def _make_checker(description: str) -> ICredentialsChecker:
    checker: ICredentialsChecker = makeChecker(description)
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        # `memory:` keeps text, and compares it with bytes.
        checker.users = {_bytes(name): _bytes(password) for name, password in checker.users.items()}
    return checker


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
