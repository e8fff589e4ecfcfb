"""Going on as an ordinary user once everything that needs root is open: `user` and `group` of the configuration.

Of root's powers CAP_NET_ADMIN alone is kept: a client sets the routes that it is told later, and whoever added routes
takes them back at the end.

Sources: capabilities(7), prctl(2), capset(2), linux/capability.h, linux/prctl.h.
"""

from __future__ import annotations

import ctypes
import errno
import grp
import os
import pwd
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twistvpn.errors import ConfigError, EnvironmentRefusal

if TYPE_CHECKING:
    from twistvpn.config.settings import Origin

CAP_NET_ADMIN = 12

_PR_SET_KEEPCAPS = 8
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_WORDS = 2
"""A capability set has 64 bits, in words of 32."""


class _CapabilityHeader(ctypes.Structure):
    """struct __user_cap_header_struct; pid 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityWord(ctypes.Structure):
    """struct __user_cap_data_struct, of which there are two: the lower 32 capabilities first."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@dataclass(frozen=True)
class Identity:
    """Who to go on as; `uid` is None where only the group changes."""

    uid: int | None
    gid: int
    groups: tuple[int, ...]
    """Supplementary groups."""
    described: str


def find_identity(
    user: str | None, group: str | None, user_origin: Origin | None = None, group_origin: Origin | None = None
) -> Identity | None:
    """Look up `user` and `group`, names or numbers; a user without a group brings its own.  None where both are None.

    Raises `ConfigError`, naming the place where it was written, where the host does not know one of them.
    """
    if user is None and group is None:
        return None
    gid = None if group is None else _find_group(group, group_origin)
    if user is None:
        assert gid is not None
        return Identity(None, gid, (gid,), f"group {group}")
    entry = _find_user(user, user_origin)
    gid = entry.pw_gid if gid is None else gid
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    return Identity(entry.pw_uid, gid, groups, f"user {user}" + ("" if group is None else f", group {group}"))


def _find_user(name: str, origin: Origin | None) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if _is_number(name) else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise _unknown("user", name, origin) from None


def _find_group(name: str, origin: Origin | None) -> int:
    try:
        return (grp.getgrgid(int(name)) if _is_number(name) else grp.getgrnam(name)).gr_gid
    except (KeyError, OverflowError):
        raise _unknown("group", name, origin) from None


def _unknown(kind: str, name: str, origin: Origin | None) -> ConfigError:
    message = f"this host has no {kind} {name!r}; write one that it has"
    if origin is None:
        return ConfigError(message, option=kind)
    return ConfigError(message, file=origin.file, line=origin.line, option=origin.option)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def become(identity: Identity) -> None:
    """Become `identity`, with CAP_NET_ADMIN and nothing else, and with no way to gain more.

    The kernel keeps users and capabilities by the thread.  The C library hands a change of user on to all threads, yet
    not the wish to keep capabilities, so threads that run already lose them all; those started later inherit
    CAP_NET_ADMIN from the caller.  Raises `EnvironmentRefusal`.
    """
    try:
        _change(identity)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        message = f"cannot go on as {identity.described}: {error.strerror}; only root can become somebody else"
        raise EnvironmentRefusal(message) from error


def open_error(path: str) -> int:
    """Why this process cannot read a file or folder, an errno; 0 where it can."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def open_error_as(identity: Identity, path: str) -> int:
    """The same of one that has become `identity`; 0 too where we may not become it.

    A child process tries, so the caller must have no threads.
    """
    if os.geteuid() != 0:
        return 0
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = errno.EPERM
    try:
        _change(identity)
        status = open_error(path)
    finally:
        os._exit(status)


def unreadable(identity: Identity, path: str, error: int) -> str:
    """That `identity` cannot read it, and how its group comes to be able to."""
    try:
        group = grp.getgrgid(identity.gid).gr_name
    except KeyError:
        group = str(identity.gid)
    folder, quoted = shlex.quote(os.path.dirname(path) or "."), shlex.quote(path)  # noqa: PTH120 - text in, text out
    mend = f"chgrp {group} {folder} {quoted} && chmod g+x {folder} && chmod g+rX {quoted}"
    return f"{identity.described} cannot read {path}: {os.strerror(error)}; let its group: {mend}"


def _change(identity: Identity) -> None:
    if identity.gid != os.getgid() or identity.uid != os.getuid():
        os.setgroups(identity.groups)
    os.setresgid(identity.gid, identity.gid, identity.gid)
    if identity.uid is None or identity.uid == os.getuid():
        return
    keeps = has_capability(CAP_NET_ADMIN)
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    _prctl(_PR_SET_KEEPCAPS, 0)
    if identity.uid != 0:
        _set_capabilities(1 << CAP_NET_ADMIN if keeps else 0)


def has_capability(number: int) -> bool:
    """Whether the calling thread has the capability in effect."""
    words = (_CapabilityWord * _WORDS)()
    _check(_libc().capget(ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION_3, 0)), words))
    return bool(words[number // 32].effective >> number % 32 & 1)


def _set_capabilities(bits: int) -> None:
    """Make `bits` the effective and permitted capabilities of this thread; none are handed to programs it starts."""
    words = (_CapabilityWord * _WORDS)()
    for index in range(_WORDS):
        word = bits >> 32 * index & 0xFFFFFFFF
        words[index] = _CapabilityWord(word, word, 0)
    _check(_libc().capset(ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION_3, 0)), words))


def _prctl(option: int, value: int) -> None:
    _check(_libc().prctl(option, *map(ctypes.c_ulong, (value, 0, 0, 0))))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
