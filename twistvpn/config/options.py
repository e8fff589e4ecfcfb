"""Every option of OpenVPN 2.4 to 2.7, and what becomes of it here: one table.

An option is read into `Settings`, accepted without effect (a note says why), judged by its value, or refused
with a mend.  What protects something is never accepted without effect.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable


class Treatment(Enum):
    """What becomes of an option."""

    READ = "read"
    NO_EFFECT = "accepted without effect"
    JUDGED = "accepted without effect, or refused, by its value"
    REFUSED = "refused"


class Scope(Enum):
    """Where an option may stand."""

    CONFIGURATION = "in the configuration"
    CLIENT = "in what is said about one client (a file in client-config-dir, a section [client NAME])"
    BOTH = "in either"


@dataclass(frozen=True)
class Option:
    """A row of the table."""

    name: str
    treatment: Treatment
    arguments: tuple[int, int] = (0, 99)
    """The least and the most arguments it takes."""
    role: Role | None = None
    """The only role whose configuration may have it; None for both."""
    inline: bool = False
    """May be a block, <name>...</name>."""
    scope: Scope = Scope.CONFIGURATION
    reason: str = ""
    """Why it has no effect; or why it is refused and what to do instead."""


ALIASES = {
    "connect-timeout": "server-poll-timeout",
    "ncp-ciphers": "data-ciphers",
    "udp-mtu": "link-mtu",
    "ecdh-curve": "tls-groups",
    "client-cert-not-required": "verify-client-cert",
}
"""Second names, and the name they are looked up by."""


def _read(*rows: str, role: Role | None = None, inline: bool = False) -> list[Option]:
    """Rows 'name least-most'; no numbers: it takes no argument."""
    options = []
    for row in rows:
        name, _, span = row.partition(" ")
        least, _, most = (span or "0-0").partition("-")
        options.append(Option(name, Treatment.READ, (int(least), int(most)), role, inline))
    return options


def _in_scope(scope: Scope, rows: list[Option]) -> list[Option]:
    return [replace(row, scope=scope) for row in rows]


def _no_effect(reason: str, names: str, role: Role | None = None) -> list[Option]:
    return [Option(name, Treatment.NO_EFFECT, role=role, reason=reason) for name in names.split()]


def _judged(reason: str, names: str) -> list[Option]:
    return [Option(name, Treatment.JUDGED, reason=reason) for name in names.split()]


def _refused(reason: str, names: str) -> list[Option]:
    return [Option(name, Treatment.REFUSED, inline=True, reason=reason) for name in names.split()]


_READ = [
    *_read("proto 1-1", "port 1-1", "lport 1-1", "local 1-3", "bind 0-1", "dev 1-1", "dev-type 1-1", "topology 1-1"),
    *_read("ifconfig 2-2", "ifconfig-ipv6 2-2"),
    *_read("lladdr 1-1", "tun-mtu 1-2", "txqueuelen 1-1", "verb 1-1", "status 1-2", "user 1-1", "group 1-1", "cd 1-1"),
    *_read("keepalive 2-2", "explicit-exit-notify 0-1"),
    *_in_scope(
        Scope.BOTH, _read("ping 1-1", "ping-restart 1-1", "ping-exit 1-1", "inactive 1-2", "session-timeout 1-1")
    ),
    *_read("route 1-4", "route-ipv6 1-3", "route-gateway 1-1", "route-metric 1-1"),
    *_read("route-ipv6-gateway 1-1", "route-noexec", "ifconfig-noexec", "block-ipv6", "dns 2-10", "dhcp-option 1-3"),
    *_read("ca 1-1", "cert 1-1", "key 1-1", "extra-certs 1-1", "pkcs12 1-1", "crl-verify 1-2", inline=True),
    *_read("askpass 0-1", "remote-cert-tls 1-1", "remote-cert-eku 1-1", "verify-x509-name 1-2"),
    *_read("tls-version-min 1-2", "tls-version-max 1-1", "tls-cipher 1-1", "tls-ciphersuites 1-1", "tls-groups 1-1"),
    *_read("tls-cert-profile 1-1", "tls-server", "tls-client", "mode 1-1"),
    *_read("tls-auth 1-2", "tls-crypt 1-1", "tls-crypt-v2 1-2", inline=True),
    *_read("key-direction 1-1", "auth 1-1", "tls-timeout 1-1", "hand-window 1-1", "tran-window 1-1", "reneg-sec 1-2"),
    *_read("reneg-bytes 1-1", "reneg-pkts 1-1", "single-session", "tls-exit"),
    *_read(
        "compat-mode 1-1",
        "cipher 1-1",
        "data-ciphers 1-1",
        "data-ciphers-fallback 1-1",
        "replay-window 1-2",
        "mssfix 0-2",
    ),
    *_read("compress 0-1", "comp-lzo 0-1", "allow-compression 1-1", "fragment 1-2"),
    *_read("max-packet-size 1-1", "auth-nocache", "setenv 1-2", "disable-occ"),
    *_read("mark 1-1", "bind-dev 1-1", "sndbuf 1-1", "rcvbuf 1-1", "mtu-disc 1-1", "multihome 0-1", "float"),
    *_read("passtos"),
]

_READ_SERVER = [
    *_read("server-bridge 0-4", "server 2-3", "server-ipv6 1-1", role=Role.SERVER),
    *_read("ifconfig-pool 2-3", "ifconfig-ipv6-pool 1-1", "client-to-client", role=Role.SERVER),
    *_read("connect-freq 2-2", "connect-freq-initial 2-2", role=Role.SERVER),
    *_read("duplicate-cn", "max-clients 1-1", "verify-client-cert 0-1", role=Role.SERVER),
    *_read("username-as-common-name", "auth-user-pass-optional", "auth-gen-token 0-3", role=Role.SERVER),
    *_read("auth-gen-token-secret 0-1", role=Role.SERVER, inline=True),
    *_read("tls-crypt-v2-max-age 1-1", role=Role.SERVER),
    *_read("tcp-nodelay", "port-share 2-3", "ifconfig-pool-persist 1-2", role=Role.SERVER),
    *_read("client-config-dir 1-1", "ccd-exclusive", "ifconfig-push-constraint 2-2", role=Role.SERVER),
    *_read("vlan-tagging", "vlan-accept 1-1", "stale-routes-check 1-2", role=Role.SERVER),
    *_in_scope(Scope.BOTH, _read("push 1-1", "max-routes-per-client 1-1", "vlan-pvid 1-1", role=Role.SERVER)),
    *_in_scope(
        Scope.CLIENT,
        [
            *_read("ifconfig-push 1-3", "ifconfig-ipv6-push 1-2", "iroute 1-2", "iroute-ipv6 1-1", role=Role.SERVER),
            *_read("push-reset", "push-remove 1-1", "disable", role=Role.SERVER),
        ],
    ),
]

_READ_CLIENT = [
    *_read("client", "pull", "remote 1-3", "remote-random", "rport 1-1", "nobind", "proto-force 1-1", role=Role.CLIENT),
    *_read("server-poll-timeout 1-1", "connect-retry 1-2", "connect-retry-max 1-1", role=Role.CLIENT),
    *_read("http-proxy 2-4", "http-proxy-option 2-3", "socks-proxy 1-3", "outer-name 1-1", role=Role.CLIENT),
    *_read("http-proxy-user-pass 1-1", "outer-ca 1-1", role=Role.CLIENT, inline=True),
    *_read("route-nopull", "redirect-gateway 0-9", "redirect-private 0-9", "auth-retry 1-1", role=Role.CLIENT),
    *_read("pull-filter 2-2", "allow-pull-fqdn", role=Role.CLIENT),
    *_read("auth-user-pass 0-1", "connection 1-1", role=Role.CLIENT, inline=True),
    *_read("static-challenge 2-3", "push-peer-info", role=Role.CLIENT),
]

_NO_EFFECT = [
    *_no_effect("keys and device are kept over restarts anyway", "persist-key persist-tun"),
    *_no_effect("addresses are resolved anew for each connection", "persist-local-ip persist-remote-ip"),
    *_no_effect(
        "names are resolved anew in each round through the remotes",
        "resolv-retry preresolve ip-remote-hint remote-random-hostname",
        Role.CLIENT,
    ),
    *_no_effect("keys are agreed on elliptic curves; DH parameters are not used", "dh"),
    *_no_effect("twistd goes to the background unless it has -n", "daemon"),
    *_no_effect("twistd logs, see its --logfile and --syslog", "log log-append syslog"),
    *_no_effect("twistd writes its own, see its --pidfile", "writepid"),
    *_no_effect(
        "the log is Twisted's",
        "mute suppress-timestamps machine-readable-output errors-to-stderr status-version",
    ),
    *_no_effect("replayed packets are counted, not logged one by one", "mute-replay-warnings"),
    *_no_effect("no script is ever run", "script-security up-restart up-delay down-pre tmp-dir x509-track setenv-safe"),
    *_no_effect(
        "nothing takes exported keying material or messages out of the process", "keying-material-exporter echo"
    ),
    *_no_effect("the process keeps its priority", "nice"),
    *_no_effect(
        "queues and tables size themselves",
        "hash-size bcast-buffers tcp-queue-limit max-routes memstats fast-io",
    ),
    *_no_effect("the tun-mtu alone counts", "tun-mtu-extra tun-mtu-max mtu-test"),
    *_no_effect("IPv6 needs no switch", "tun-ipv6"),
    *_no_effect("the device is /dev/net/tun", "dev-node disable-dco"),
    *_no_effect(
        "addresses and routes are set over netlink", "iproute route-delay ifconfig-nowarn allow-recursive-routing"
    ),
    *_no_effect("the timer starts with the connection, when the other end is known", "ping-timer-rem"),
    *_no_effect("nothing we send is compressed", "comp-noadapt"),
    *_no_effect("the operating system's random numbers are used", "prng use-prediction-resistance"),
    *_no_effect("packets of an earlier run are worthless: session ids and cookies are a run's own", "replay-persist"),
    *_no_effect("ciphers have one key size each", "keysize"),
    *_no_effect("no script is run that would set up name servers", "dns-updown foreign-option"),
    *_no_effect(
        "it is for Windows",
        "route-method ip-win32 tap-sleep dhcp-internal dhcp-pre-release dhcp-release dhcp-renew register-dns "
        "rdns-internal show-net-up pause-exit win-sys windows-driver service msg-channel allow-nonadmin "
        "block-outside-dns",
    ),
    *_no_effect("signals have twistd's meaning", "remap-usr1"),
    *_no_effect("a proxy is tried again like a server", "http-proxy-retry socks-proxy-retry http-proxy-timeout"),
]

_JUDGED = [
    *_judged("key method 2 is the only one", "key-method"),
    *_judged("the common name is the name of a client", "x509-username-field"),
    *_judged("TCP_NODELAY, the only flag, is always set", "socket-flags"),
]

_SCRIPT = "no script is run; remove it, and use twistvpn's Python interfaces where you need a hook"
_PUSHED = "this is what a server pushes, not an option of a configuration; remove it"
_COMMAND = "this is a command, not an option of a configuration; run stock openvpn for it"
_TOKEN = "keys and certificates are read from files; give ca, cert and key"  # noqa: S105 - says where keys come from
_REMOVED = "stock OpenVPN has removed it as well; remove it"

_REFUSED = [
    *_refused(
        _SCRIPT,
        "up down route-up route-pre-down ipchange tls-verify auth-user-pass-verify client-connect client-disconnect "
        "client-crresponse learn-address tls-crypt-v2-verify tls-export-cert plugin",
    ),
    *_refused(
        "static key mode has no TLS and no forward secrecy; use certificates (twistvpn init makes them)", "secret"
    ),
    *_refused("use certificates (twistvpn init makes them)", "allow-deprecated-insecure-static-crypto"),
    *_refused("stock OpenVPN has replaced it by fragment; use that on both sides", "mtu-dynamic"),
    *_refused("the MTU that counts is the device's; use tun-mtu", "link-mtu"),
    *_refused(
        "there is no management interface; remove it",
        "management management-client management-client-auth management-client-group management-client-pf "
        "management-client-user management-external-cert management-external-key management-forget-disconnect "
        "management-hold management-log-cache management-query-passwords management-query-proxy "
        "management-query-remote management-signal management-up-down",
    ),
    *_refused("it is of OpenVPN Connect for mobile devices; use http-proxy", "http-proxy-override"),
    *_refused("there is no script that would give a client another name; remove it", "override-username"),
    *_refused(_PUSHED, "auth-token auth-token-user peer-id push-continuation protocol-flags key-derivation parameter"),
    *_refused("it looks at an obsolete extension; use remote-cert-tls", "ns-cert-type"),
    *_refused("use remote-cert-tls, which asks for key usage too", "remote-cert-ku"),
    *_refused("list the certificates in one file and give it as ca", "capath"),
    *_refused("fingerprints are not compared; give the authority as ca", "peer-fingerprint verify-hash"),
    *_refused(
        _TOKEN,
        "cryptoapicert engine providers pkcs11-cert-private pkcs11-id pkcs11-id-management pkcs11-pin-cache "
        "pkcs11-private-mode pkcs11-protected-authentication pkcs11-providers",
    ),
    *_refused("a replay window is always kept; remove it, or widen it with replay-window", "no-replay"),
    *_refused(_REMOVED, "no-iv no-name-remapping compat-names inetd ifconfig-pool-linear opt-verify"),
    *_refused("ciphers are always negotiated; remove it and set data-ciphers-fallback", "ncp-disable"),
    *_refused("keys are exported by every peer that can; remove it", "force-tls-key-material-export"),
    *_refused("use twistd --chroot, or RootDirectory= in the systemd unit", "chroot"),
    *_refused("use SELinuxContext= in the systemd unit", "setcon"),
    *_refused("memory is not locked; remove it, and encrypt the swap space", "mlock"),
    *_refused("use a policy routing rule for the device's network", "route-table"),
    *_refused("use tc on the tun device", "shaper"),
    *_refused("addresses are not translated; use nftables", "client-nat"),
    *_refused("it is for testing OpenVPN itself; remove it", "gremlin test-crypto"),
    *_refused(
        _COMMAND,
        "help version genkey mktun rmtun show-adapters show-ciphers show-curves show-digests show-engines show-gateway "
        "show-groups show-net show-pkcs11-ids show-tls show-valid-subnets",
    ),
]

_SYNTAX = [*_in_scope(Scope.BOTH, _read("config 1-1")), *_read("ignore-unknown-option 1-99")]

OPTIONS: dict[str, Option] = {
    option.name: option for option in [*_READ, *_READ_SERVER, *_READ_CLIENT, *_SYNTAX, *_NO_EFFECT, *_JUDGED, *_REFUSED]
}
"""Every option under its present name."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The clause that names the known name most like `name`, or nothing."""
    matches = difflib.get_close_matches(name.lower(), list(known), 1, 0.6)
    return f"; did you mean {matches[0]}?" if matches else ""
