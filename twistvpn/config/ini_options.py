"""The options of our own syntax: in which section each stands, and what form its value has."""

from __future__ import annotations

from enum import Enum

from twistvpn.config.options import ALIASES, OPTIONS, Treatment, nearest

SPACE = " \t\r\v\f"
"""White space within a line."""


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
        "allow-pull-fqdn": Form.FLAG,
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

DIRECTIVES = {
    ("server", "auth"): "authenticators",
    ("client", "connect-timeout"): "server-poll-timeout",
    ("device", "offload"): "no-offload",
}
"""Which directive an option is where that has another name."""

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


def client_of(section: str) -> str:
    """NAME of a section [client NAME], nothing of any other."""
    kind, _, name = section.partition(" ")
    return name.strip(SPACE) if kind == "client" else ""


def forms_of(section: str) -> dict[str, Form]:
    """The options of a section that there is, or of [client NAME]."""
    return ONE_CLIENT if client_of(section) else SECTIONS[section]


def what_is_wrong(name: str, section: str) -> str:
    """What is wrong with an option that the section does not have."""
    option = OPTIONS.get(ALIASES.get(name, name))
    if option is not None and option.treatment is Treatment.REFUSED:
        return f"is not supported: {option.reason}"
    if option is not None and option.treatment is Treatment.NO_EFFECT:
        return f"changes nothing here: {option.reason}; remove it"
    return f"unknown option in [{section}]{_mend(name, section)}"


def _mend(name: str, section: str) -> str:
    for other, names in SECTIONS.items():
        if name in names:
            return f"; it belongs in [{other}]"
    if name in _WRITTEN:
        return f"; {_WRITTEN[name]}"
    if name in ONE_CLIENT:
        return "; it belongs in a section [client NAME]"
    if ALIASES.get(name, name) in OPTIONS:
        return "; it has no place in this syntax, remove it"
    return nearest(name, forms_of(section)) or nearest(name, (n for names in SECTIONS.values() for n in names))
