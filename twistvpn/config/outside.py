"""What lies between a client and its server beside the Internet: a proxy, and TLS around the link."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twistvpn.config.directive import Directive
from twistvpn.config.material import read_certificates, read_credentials
from twistvpn.config.settings import OuterTls, Proxy, ProxyKind
from twistvpn.config.values import choice, host, port

if TYPE_CHECKING:
    from twistvpn.config.directive import Directives
    from twistvpn.config.settings import Remote

SOCKS_PORT = "1080"
_HTTP_VERSIONS = ("1.0", "1.1")


def read_outside(remote: Remote, proto: str, own: Directives, general: Directives) -> Remote:
    """The remote with what `proto` and the options put around it; `own` are those of its <connection>, or all."""
    proxy = _proxy(own, general)
    if proxy is not None:
        directive, found = proxy
        if remote.proto == "udp" and found.kind is ProxyKind.HTTP:
            raise directive.error(f"carries TCP alone, and {remote.host} is reached over UDP; write proto tcp")
        remote = replace(remote, proxy=found)
    if proto != "tls":
        return remote
    name, authorities = general.last("outer-name"), read_certificates(general, "outer-ca")
    if name is not None and not _can_be_name(name.args[0]):
        raise name.error(f"{name.args[0]!r} is not the name of a host")
    return replace(remote, outer=OuterTls(name.args[0] if name is not None else remote.host, authorities))


def _can_be_name(text: str) -> bool:
    try:
        return bool(text.encode("idna"))
    except UnicodeError:
        return False


def check_outer(directives: Directives, remotes: tuple[Remote, ...]) -> None:
    """Raise `ConfigError` where TLS around the link is described and no remote has it."""
    directive = directives.last_of("outer-name", "outer-ca")
    if directive is not None and all(remote.outer is None for remote in remotes):
        raise directive.error("no remote has TLS around its link; write proto tls (INI: remote = tls:HOST:PORT)")


def _proxy(own: Directives, general: Directives) -> tuple[Directive, Proxy] | None:
    http, socks = own.last("http-proxy"), own.last("socks-proxy")
    if http is None and socks is None:
        own = general
        http, socks = own.last("http-proxy"), own.last("socks-proxy")
    if http is not None and socks is not None:
        raise socks.contradiction(http)
    if http is not None:
        return http, _http_proxy(http, own, general)
    if socks is not None:
        number, *login = socks.args[1:] or (SOCKS_PORT,)
        credentials = _login(general, replace(socks, args=tuple(login))) if login else None
        return socks, Proxy(ProxyKind.SOCKS, host(socks, socks.args[0]), port(socks, number), credentials)
    lost = general.last_of("http-proxy-option", "http-proxy-user-pass")
    if lost is not None and "connection" not in general:
        raise lost.error("needs http-proxy beside it")
    return None


def _http_proxy(directive: Directive, own: Directives, general: Directives) -> Proxy:
    proxy, number, *how = directive.args
    login = general.last("http-proxy-user-pass")
    if how[1:]:
        choice(directive, how[1], "basic", "none")
    if how[:1] == ["auto-nct"]:
        raise directive.error("Basic is the only authentication, and it goes in the clear; write auto")
    if how and how[0] != "auto" and how[1:] != ["none"]:
        login = replace(directive, args=(how[0],))
    version, headers = "1.0", list[tuple[str, str]]()
    for option in own.every("http-proxy-option") or general.every("http-proxy-option"):
        kind, value = option.args[:2]
        if kind == "VERSION":
            version = choice(option, value, *_HTTP_VERSIONS)
        elif kind == "AGENT":
            headers.append(_header(option, "User-Agent", value))
        elif kind in {"CUSTOM-HEADER", "EXT1", "EXT2"}:
            name, _, text = value.partition(":") if len(option.args) == 2 else (value, "", option.args[2])
            headers.append(_header(option, name.strip(), text.strip()))
        else:
            raise option.error(f"{kind!r} is not one of VERSION, AGENT, CUSTOM-HEADER")
    credentials = _login(general, login) if login is not None else None
    return Proxy(ProxyKind.HTTP, host(directive, proxy), port(directive, number), credentials, version, tuple(headers))


def _header(directive: Directive, name: str, text: str) -> tuple[str, str]:
    if not name or not name.isascii() or not text.isprintable() or not name.replace("-", "").isalnum():
        raise directive.error(f"{name!r} cannot be a header; write CUSTOM-HEADER NAME VALUE")
    return name, text


def _login(directives: Directives, directive: Directive) -> tuple[str, str]:
    name, password = read_credentials(directives, directive)
    if password is None:
        raise directive.error("has no password on line 2; nobody is asked for a proxy's")
    return name, password
