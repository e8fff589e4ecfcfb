"""The options of the control and the data channel, the same in both syntaxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twistvpn.config.ciphers import NO_DIGEST, read_ciphers
from twistvpn.config.framing import read_framing
from twistvpn.config.material import read_control_key
from twistvpn.config.point_to_point import is_point_to_point
from twistvpn.config.settings import ControlSettings, ControlWrapping, DataSettings
from twistvpn.config.values import MAX_COUNT, choice, inactivity, integer, integer_of, positive_of, seconds, seconds_of
from twistvpn.crypto.clientkey import ClientKey, ServerKey
from twistvpn.crypto.digests import hashlib_name
from twistvpn.crypto.statickey import StaticKey
from twistvpn.errors import ConfigError
from twistvpn.wire.roles import Role

if TYPE_CHECKING:
    from twistvpn.config.directive import Directive, Directives
    from twistvpn.config.settings import Material

_DAY = 86400.0

PULL_PING_RESTART = 120.0
"""Seconds after which a client that pulls counts a silent server as gone, until it is told otherwise."""


@dataclass(frozen=True)
class Keepalive:
    """Seconds; 0 is never."""

    ping: float = 0.0
    ping_restart: float = 0.0
    ping_exit: float = 0.0
    push_ping: float = 0.0
    push_ping_restart: float = 0.0


def read_control(directives: Directives, role: Role) -> ControlSettings:
    """What wraps control packets, and their timers."""
    tls_auth, tls_crypt = directives.last("tls-auth"), directives.last("tls-crypt")
    if tls_auth is not None and tls_crypt is not None:
        raise tls_crypt.contradiction(tls_auth)
    wrapping = ControlWrapping.NONE
    if tls_auth is not None:
        wrapping = ControlWrapping.TLS_AUTH
    elif tls_crypt is not None:
        wrapping = ControlWrapping.TLS_CRYPT
    key = tls_auth or tls_crypt
    reneg_sec, reneg_jitter = _reneg_sec(directives, role)
    return ControlSettings(
        wrapping=wrapping,
        key=read_control_key(directives, key, StaticKey.from_text) if key is not None else None,
        crypt_v2=_crypt_v2(directives, role, key),
        force_cookie=_force_cookie(directives),
        client_key_max_age=_client_key_max_age(directives),
        key_direction=_key_direction(directives, tls_auth),
        auth=_digest(directives, wrapping),
        max_packet_size=integer_of(directives, "max-packet-size", ControlSettings.max_packet_size, 154, 2048),
        disable_occ="disable-occ" in directives,
        tls_timeout=positive_of(directives, "tls-timeout", ControlSettings.tls_timeout),
        hand_window=positive_of(directives, "hand-window", ControlSettings.hand_window),
        tran_window=seconds_of(directives, "tran-window", ControlSettings.tran_window),
        reneg_sec=reneg_sec,
        reneg_jitter=reneg_jitter,
        reneg_bytes=integer_of(directives, "reneg-bytes", ControlSettings.reneg_bytes, most=MAX_COUNT),
        reneg_pkts=integer_of(directives, "reneg-pkts", ControlSettings.reneg_pkts, most=MAX_COUNT),
    )


def _crypt_v2(directives: Directives, role: Role, other: Directive | None) -> Material | None:
    """The key file of tls-crypt-v2; a client with it can have no other key, a server can."""
    directive = directives.last("tls-crypt-v2")
    if directive is None:
        return None
    if role is Role.SERVER:
        return read_control_key(directives, directive, ServerKey.from_text)
    if other is not None:
        raise directive.contradiction(other)
    return read_control_key(directives, directive, ClientKey.from_text)


def _force_cookie(directives: Directives) -> bool:
    directive = directives.last("tls-crypt-v2")
    if directive is None or len(directive.args) < 2:
        return False
    return choice(directive, directive.args[1], "allow-noncookie", "force-cookie") == "force-cookie"


def _client_key_max_age(directives: Directives) -> float | None:
    directive = directives.last("tls-crypt-v2-max-age")
    if directive is None:
        return None
    if "tls-crypt-v2" not in directives:
        raise directive.error("there is no tls-crypt-v2 whose keys could be too old; add it, or remove this")
    return integer(directive, directive.args[0], 1, 0x7FFFFFFF) * _DAY


def _key_direction(directives: Directives, tls_auth: Directive | None) -> int | None:
    """The second argument of `tls-auth`, or `key-direction`; the later one holds."""
    directive = directives.last("key-direction")
    if tls_auth is None:
        if directive is not None:
            directives.note(directive, "changes nothing here: it belongs to tls-auth, which is not there")
        return None
    if len(tls_auth.args) > 1:
        direction = int(choice(tls_auth, tls_auth.args[1], "0", "1"))
        if directive is not None and directive.args[0] != str(direction):
            raise directive.contradiction(tls_auth)
        return direction
    return None if directive is None else int(choice(directive, directive.args[0], "0", "1"))


def _digest(directives: Directives, wrapping: ControlWrapping) -> str:
    directive = directives.last("auth")
    if directive is None:
        return ControlSettings.auth
    name = directive.args[0]
    if name.lower() in NO_DIGEST:
        if wrapping is ControlWrapping.TLS_AUTH:
            raise directive.error("tls-auth needs a digest; use SHA256")
        directives.note(directive, "changes nothing here: the data ciphers authenticate by themselves")
        return ControlSettings.auth
    try:
        hashlib_name(name)
    except ConfigError as error:
        raise directive.error(error.message) from None
    return name


def _reneg_sec(directives: Directives, role: Role) -> tuple[float, float]:
    """The longest time between two renegotiations, and by how much one may come earlier.

    As in stock: down to the second argument; without one, a tenth on servers and nothing on clients.
    """
    directive = directives.last("reneg-sec")
    most = ControlSettings.reneg_sec if directive is None else seconds(directive, directive.args[0])
    if directive is None or len(directive.args) == 1:
        return most, most / 10 if role is Role.SERVER else 0.0
    least = seconds(directive, directive.args[1])
    if least > most:
        raise directive.error("the second number is the smaller one; use reneg-sec 3600 3000")
    return most, most - least


def read_data(directives: Directives, keepalive: Keepalive) -> DataSettings:
    """Ciphers, replay window, keepalive, framing and the bound on TCP segments."""
    window, time = _replay_window(directives)
    idle = directives.last("inactive")
    inactive, inactive_bytes = (0.0, 0) if idle is None else inactivity(idle)
    mssfix, mssfix_mode = _mssfix(directives)
    ciphers, fallback = read_ciphers(directives)
    compression, allow_compression, fragment = read_framing(directives)
    return DataSettings(
        ciphers=ciphers,
        ciphers_fallback=fallback,
        replay_window=window,
        replay_time=time,
        ping=keepalive.ping,
        ping_restart=keepalive.ping_restart,
        ping_exit=keepalive.ping_exit,
        passtos="passtos" in directives,
        inactive=inactive,
        inactive_bytes=inactive_bytes,
        session_timeout=seconds_of(directives, "session-timeout", DataSettings.session_timeout),
        mssfix=mssfix,
        mssfix_mode=mssfix_mode,
        compression=compression,
        allow_compression=allow_compression,
        fragment=fragment,
    )


def read_keepalive(directives: Directives, role: Role) -> Keepalive:
    """`keepalive N M`, which on a server means N and 2 M here and N and M at the clients; or the single options."""
    directive = directives.last("keepalive")
    single = directives.last_of("ping", "ping-restart", "ping-exit")
    is_alone = is_point_to_point(directives)
    if directive is not None:
        if single is not None:
            raise single.contradiction(directive)
        return _expand_keepalive(directive, Role.CLIENT if is_alone else role)
    restart = directives.last_of("ping-restart", "ping-exit")
    if restart is None:
        pulled = PULL_PING_RESTART if role is Role.CLIENT and not is_alone else 0.0
        return Keepalive(ping=seconds_of(directives, "ping", 0.0), ping_restart=pulled)
    silence = seconds(restart, restart.args[0])
    ping = seconds_of(directives, "ping", 0.0)
    if restart.name == "ping-exit":
        return Keepalive(ping=ping, ping_exit=silence)
    return Keepalive(ping=ping, ping_restart=silence)


def _expand_keepalive(directive: Directive, role: Role) -> Keepalive:
    ping, restart = (seconds(directive, text) for text in directive.args)
    if not ping or not restart:
        raise directive.error("both numbers must be more than 0; use keepalive 10 60")
    if restart < 2 * ping:
        raise directive.error("the second number must be at least twice the first; use keepalive 10 60")
    if role is Role.CLIENT:
        return Keepalive(ping=ping, ping_restart=restart)
    return Keepalive(ping=ping, ping_restart=2 * restart, push_ping=ping, push_ping_restart=restart)


def _replay_window(directives: Directives) -> tuple[int, float]:
    directive = directives.last("replay-window")
    if directive is None:
        return DataSettings.replay_window, DataSettings.replay_time
    # A window of none and of one are the same: nothing may be overtaken.
    size = max(1, integer(directive, directive.args[0], 0, 65536))
    time = float(integer(directive, directive.args[1], 0, 600)) if len(directive.args) > 1 else DataSettings.replay_time
    return size, time


def _mssfix(directives: Directives) -> tuple[int | None, str]:
    """The bound and what it bounds; no bound without a number, as in stock.  `max-packet-size` implies one."""
    directive = directives.last("mssfix")
    largest = directives.last("max-packet-size")
    if directive is None and largest is not None:
        return integer(largest, largest.args[0], 154, 2048), "mtu"
    if directive is None or not directive.args:
        return DataSettings.mssfix, DataSettings.mssfix_mode
    mode = DataSettings.mssfix_mode
    if len(directive.args) > 1:
        mode = choice(directive, directive.args[1], "mtu", "fixed")
    return integer(directive, directive.args[0], 0, 65535), mode
