"""The lines of our own syntax: sections of `name = value`, read into directives.

Comments begin with `#` or `;` at the start of a line or after white space, outside double quotes.  Options that
take several values have one on each line; the lines after the first are indented deeper than the option.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from twistvpn.config.directive import Directive
from twistvpn.config.lexer import split_words
from twistvpn.config.options import ALIASES, OPTIONS, Treatment, nearest
from twistvpn.config.settings import Origin
from twistvpn.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Form(Enum):
    """How an option's value is read."""

    WHOLE = "one value, spaces included"
    WORDS = "words; double quotes hold one together"
    WHOLE_LINES = "one value a line"
    WORD_LINES = "words, one set a line"
    FLAG = "yes or no"


_COMMON = {
    "ifconfig": Form.WORDS,
    "ifconfig-ipv6": Form.WORDS,
    "keepalive": Form.WORDS,
    "ping": Form.WHOLE,
    "ping-restart": Form.WHOLE,
    "ping-exit": Form.WHOLE,
    "explicit-exit-notify": Form.WHOLE,
    "inactive": Form.WORDS,
    "session-timeout": Form.WHOLE,
    "route": Form.WORD_LINES,
    "route-noexec": Form.FLAG,
    "ifconfig-noexec": Form.FLAG,
    "block-ipv6": Form.FLAG,
    "user": Form.WHOLE,
    "group": Form.WHOLE,
    "mark": Form.WHOLE,
    "bind-dev": Form.WHOLE,
    "sndbuf": Form.WHOLE,
    "rcvbuf": Form.WHOLE,
    "mtu-disc": Form.WHOLE,
    "passtos": Form.FLAG,
}

SECTIONS: dict[str, dict[str, Form]] = {
    "server": {
        "listen": Form.WHOLE_LINES,
        "network": Form.WHOLE,
        "network6": Form.WHOLE,
        "address": Form.WHOLE,
        "address6": Form.WHOLE,
        "pool": Form.WHOLE,
        "server-bridge": Form.WORDS,
        "vlan-tagging": Form.FLAG,
        "vlan-accept": Form.WHOLE,
        "vlan-pvid": Form.WHOLE,
        "stale-routes-check": Form.WORDS,
        "pool6": Form.WHOLE,
        "topology": Form.WHOLE,
        "ifconfig-pool-persist": Form.WORDS,
        "fixed-address": Form.WORD_LINES,
        "push": Form.WHOLE_LINES,
        "client-to-client": Form.FLAG,
        "duplicate-cn": Form.FLAG,
        "max-clients": Form.WHOLE,
        "max-routes-per-client": Form.WHOLE,
        "client-config-dir": Form.WHOLE,
        "ccd-exclusive": Form.FLAG,
        "ifconfig-push-constraint": Form.WORDS,
        "connect-freq": Form.WORDS,
        "connect-freq-initial": Form.WORDS,
        "single-session": Form.FLAG,
        "auth": Form.WHOLE_LINES,
        "username-as-common-name": Form.FLAG,
        "auth-user-pass-optional": Form.FLAG,
        "auth-gen-token": Form.WORDS,
        "auth-gen-token-secret": Form.WHOLE,
        "multihome": Form.WHOLE,
        "tcp-nodelay": Form.FLAG,
        "port-share": Form.WORDS,
        **_COMMON,
    },
    "client": {
        "remote": Form.WHOLE_LINES,
        "remote-random": Form.FLAG,
        "connect-timeout": Form.WHOLE,
        "connect-retry": Form.WORDS,
        "connect-retry-max": Form.WHOLE,
        "tls-exit": Form.FLAG,
        "auth-user-pass": Form.WHOLE,
        "auth-retry": Form.WHOLE,
        "auth-nocache": Form.FLAG,
        "static-challenge": Form.WORDS,
        "push-peer-info": Form.FLAG,
        "setenv": Form.WORD_LINES,
        "topology": Form.WHOLE,
        "pull-filter": Form.WORD_LINES,
        "route-nopull": Form.FLAG,
        "route-metric": Form.WHOLE,
        "redirect-gateway": Form.WORDS,
        "ifconfig": Form.WORDS,
        "ifconfig-ipv6": Form.WORDS,
        "route-gateway": Form.WHOLE,
        "redirect-private": Form.WORDS,
        "dns": Form.WORD_LINES,
        "dhcp-option": Form.WORD_LINES,
        "local": Form.WHOLE,
        "lport": Form.WHOLE,
        "float": Form.FLAG,
        "http-proxy": Form.WORDS,
        "http-proxy-option": Form.WORD_LINES,
        "http-proxy-user-pass": Form.WHOLE,
        "socks-proxy": Form.WORDS,
        "outer-ca": Form.WHOLE,
        "outer-name": Form.WHOLE,
        **_COMMON,
    },
    "tls": {
        "ca": Form.WHOLE,
        "cert": Form.WHOLE,
        "key": Form.WHOLE,
        "pkcs12": Form.WHOLE,
        "extra-certs": Form.WHOLE,
        "crl-verify": Form.WHOLE,
        "askpass": Form.WHOLE,
        "remote-cert-tls": Form.WHOLE,
        "verify-x509-name": Form.WORDS,
        "verify-client-cert": Form.WHOLE,
        "tls-version-min": Form.WHOLE,
        "tls-version-max": Form.WHOLE,
        "tls-cipher": Form.WHOLE,
        "tls-ciphersuites": Form.WHOLE,
        "tls-groups": Form.WHOLE,
        "tls-cert-profile": Form.WHOLE,
    },
    "control": {
        "tls-crypt": Form.WHOLE,
        "tls-crypt-v2": Form.WORDS,
        "tls-crypt-v2-max-age": Form.WHOLE,
        "tls-auth": Form.WORDS,
        "auth": Form.WHOLE,
        "hand-window": Form.WHOLE,
        "tran-window": Form.WHOLE,
        "tls-timeout": Form.WHOLE,
        "disable-occ": Form.FLAG,
        "reneg-sec": Form.WORDS,
        "reneg-bytes": Form.WHOLE,
        "reneg-pkts": Form.WHOLE,
    },
    "data": {
        "data-ciphers": Form.WHOLE,
        "data-ciphers-fallback": Form.WHOLE,
        "replay-window": Form.WORDS,
        "mssfix": Form.WORDS,
        "fragment": Form.WORDS,
        "compress": Form.WHOLE,
        "comp-lzo": Form.WHOLE,
        "allow-compression": Form.WHOLE,
        "max-packet-size": Form.WHOLE,
    },
    "device": {
        "dev": Form.WHOLE,
        "dev-type": Form.WHOLE,
        "lladdr": Form.WHOLE,
        "tun-mtu": Form.WHOLE,
        "txqueuelen": Form.WHOLE,
        "offload": Form.FLAG,
    },
    "log": {"verb": Form.WHOLE, "status": Form.WORDS},
}
"""Every section and its options."""

ONE_CLIENT: dict[str, Form] = {
    "ifconfig-push": Form.WORDS,
    "ifconfig-ipv6-push": Form.WORDS,
    "iroute": Form.WORD_LINES,
    "push": Form.WHOLE_LINES,
    "push-remove": Form.WHOLE_LINES,
    "push-reset": Form.FLAG,
    "disable": Form.FLAG,
    "vlan-pvid": Form.WHOLE,
    "max-routes-per-client": Form.WHOLE,
    "ping": Form.WHOLE,
    "ping-restart": Form.WHOLE,
    "inactive": Form.WORDS,
    "session-timeout": Form.WHOLE,
    "compress": Form.WHOLE,
    "comp-lzo": Form.WHOLE,
}
"""The options of a section [client NAME]."""

_NAMES = {
    ("server", "auth"): "authenticators",
    ("client", "connect-timeout"): "server-poll-timeout",
    ("device", "offload"): "no-offload",
}
"""Where an option is known by another name than in OpenVPN's syntax."""

_WRITTEN = {
    "port": "write listen = udp:PORT, or remote = udp:HOST:PORT",
    "proto": "write listen = udp:PORT, or remote = udp:HOST:PORT",
    "server": "write network = 10.8.0.0/24",
    "server-ipv6": "write network6 = fd00:1:2:3::/64",
    "ifconfig-pool": "write pool = FIRST-LAST",
    "ifconfig-ipv6-pool": "write pool6 = FIRST/BITS",
    "cipher": "write data-ciphers, or data-ciphers-fallback, in [data]",
    "key-direction": "write it behind the key, tls-auth = ta.key 0, in [control]",
    "iroute-ipv6": "write iroute in a section [client NAME]",
    "route-ipv6": "write route = NETWORK/BITS",
    "rport": "write remote = udp:HOST:PORT",
    "server-poll-timeout": "write connect-timeout in [client]",
    "connection": "write a line of remote for each",
    "ncp-ciphers": "write data-ciphers in [data]",
    "ecdh-curve": "write tls-groups in [tls]",
    "remote-cert-eku": "write remote-cert-tls in [tls]",
    "client-cert-not-required": "write verify-client-cert in [tls]",
    **dict.fromkeys(
        ("tls-server", "tls-client", "client", "pull", "mode"), "the section says it: [server] or [client]"
    ),
}
"""How that is written here which OpenVPN's syntax has another name for."""

_FLAGS = {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "off": False, "0": False}

_SPACE = " \t\r\v\f"


@dataclass
class _Raw:
    """An option as it stands in the file: the first line's place, and every line of its value."""

    section: str
    origin: Origin
    indent: int
    lines: list[tuple[int, str]] = field(default_factory=list)

    def error(self, message: str, line: int | None = None) -> ConfigError:
        return ConfigError(message, file=self.origin.file, line=line or self.origin.line, option=self.origin.option)


_HEADERS = frozenset(f"[{name}]" for name in SECTIONS)


def is_ini(text: str) -> bool:
    """Whether the first line that says anything is a section's header, or `NAME = VALUE` with such a header below."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    lines = [line for line in lines if line and line[0] not in "#;"]
    if not lines or lines[0].startswith("["):
        return bool(lines)
    return lines[0].split()[1:2] == ["="] and any(line in _HEADERS for line in lines)


class IniText(NamedTuple):
    """A text as its sections have it: one directive for each line of an option's value."""

    items: list[Directive]
    """The options of all sections but those of single clients, in order."""
    clients: dict[str, list[Directive]]
    """The options of each section [client NAME], by NAME."""
    lines: dict[str, int]
    """Each section's line."""


def lex_ini(text: str, file: str) -> IniText:
    """The options of a text.

    Raises `ConfigError` for what is not in `SECTIONS`, for duplicates and for a value that has not its option's form.
    """
    options, sections = _split(text.removeprefix("\ufeff"), file)
    items: list[Directive] = []
    clients: dict[str, list[Directive]] = {name: [] for section in sections if (name := _client_of(section))}
    for option in options:
        client = _client_of(option.section)
        (clients[client] if client else items).extend(_directives(option))
    return IniText(items, clients, sections)


def _client_of(section: str) -> str:
    """NAME of a section [client NAME], nothing of any other."""
    kind, _, name = section.partition(" ")
    return name.strip(_SPACE) if kind == "client" else ""


def _forms(section: str) -> dict[str, Form]:
    return ONE_CLIENT if _client_of(section) else SECTIONS[section]


def _split(text: str, file: str) -> tuple[list[_Raw], dict[str, int]]:
    options: list[_Raw] = []
    sections: dict[str, int] = {}
    section = ""
    current: _Raw | None = None
    for number, line in enumerate(text.split("\n"), 1):
        content = _without_comment(line).strip(_SPACE)
        indent = len(line) - len(line.lstrip(_SPACE))
        if not content:
            continue
        if current is not None and indent > current.indent:
            current.lines.append((number, content))
        elif content.startswith("["):
            section, current = _header(content, file, number, sections), None
        else:
            current = _option(content, file, number, section)
            current.indent = indent
            _check_duplicate(current, options)
            options.append(current)
    return options, sections


def _without_comment(line: str) -> str:
    quoted = False
    for position, character in enumerate(line):
        if character == '"':
            quoted = not quoted
        elif character in "#;" and not quoted and (position == 0 or line[position - 1] in _SPACE):
            return line[:position]
    return line


def _header(content: str, file: str, number: int, sections: dict[str, int]) -> str:
    name = content[1:].removesuffix("]").strip()
    if not content.endswith("]"):
        raise ConfigError("the section's closing bracket is missing", file=file, line=number, option=content)
    if client := _client_of(name):
        name = f"client {client}"
    elif name not in SECTIONS:
        known = ", ".join(f"[{known}]" for known in SECTIONS)
        raise ConfigError(
            f"unknown section{nearest(name, SECTIONS) or f'; there are {known}'}",
            file=file,
            line=number,
            option=content,
        )
    if name in sections:
        raise ConfigError(
            f"the section is there already (line {sections[name]}); join them", file=file, line=number, option=content
        )
    sections[name] = number
    return name


def _option(content: str, file: str, number: int, section: str) -> _Raw:
    name, equals, value = content.partition("=")
    name, value = name.strip(_SPACE), value.strip(_SPACE)
    raw = _Raw(section, Origin(file, number, name), 0)
    if not section:
        raise raw.error("stands before the first section")
    if not equals:
        raise raw.error("has no value; write it as NAME = VALUE")
    if name not in _forms(section):
        raise raw.error(_unknown(name, section))
    if value:
        raw.lines.append((number, value))
    return raw


def _unknown(name: str, section: str) -> str:
    """What is wrong with an option that the section does not have."""
    option = OPTIONS.get(ALIASES.get(name, name))
    if option is not None and option.treatment is Treatment.REFUSED:
        return f"is not supported: {option.reason}"
    if option is not None and option.treatment is Treatment.NO_EFFECT:
        return f"changes nothing here: {option.reason}; remove it"
    return f"unknown option in [{section}]{_mend_unknown(name, section)}"


def _mend_unknown(name: str, section: str) -> str:
    for other, names in SECTIONS.items():
        if name in names:
            return f"; it belongs in [{other}]"
    if name in _WRITTEN:
        return f"; {_WRITTEN[name]}"
    if name in ONE_CLIENT:
        return "; it belongs in a section [client NAME]"
    if ALIASES.get(name, name) in OPTIONS:
        return "; it has no place in this syntax, remove it"
    return nearest(name, _forms(section)) or nearest(name, (n for names in SECTIONS.values() for n in names))


def _check_duplicate(option: _Raw, earlier: list[_Raw]) -> None:
    for other in earlier:
        if (other.section, other.origin.option) == (option.section, option.origin.option):
            raise option.error(f"is there already (line {other.origin.line}); keep one of them")


def _directives(option: _Raw) -> Iterator[Directive]:
    """The option's value as directives: one for each line, none for `no`."""
    name = option.origin.option
    form = _forms(option.section)[name]
    key = _NAMES.get((option.section, name), name)
    if not option.lines:
        raise option.error("has no value")
    if form in {Form.WHOLE, Form.WORDS, Form.FLAG} and len(option.lines) > 1:
        raise option.error("takes one value on one line", option.lines[1][0])
    if form is Form.FLAG:
        if _flag(option) is not key.startswith("no-"):
            yield Directive(key, (), option.origin)
        return
    for number, value in option.lines:
        origin = Origin(option.origin.file, number, name)
        yield Directive(key, _words(form, value, origin, key), origin)


def _flag(option: _Raw) -> bool:
    value = option.lines[0][1].lower()
    if value not in _FLAGS:
        raise option.error(f"{option.lines[0][1]!r} is neither yes nor no")
    return _FLAGS[value]


def _words(form: Form, value: str, origin: Origin, key: str) -> tuple[str, ...]:
    place = {"file": origin.file, "option": origin.option}
    if form in {Form.WHOLE, Form.WHOLE_LINES}:
        quoted = len(value) > 1 and value[0] == value[-1] == '"'
        return (value[1:-1] if quoted else value,)
    try:
        words = tuple(split_words(value))
    except ConfigError as error:
        raise ConfigError(error.message, line=origin.line, **place) from None
    least, most = OPTIONS[key].arguments if key in OPTIONS and form is Form.WORDS else (1, 99)
    if not least <= len(words) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise ConfigError(f"takes {wanted} words, this has {len(words)}", line=origin.line, **place)
    return words
