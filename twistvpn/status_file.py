"""Writing the file that tells how things are, for whoever reads it at any moment."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from twistvpn.verbosity import Logger

_log = Logger()


def write_status_file(path: str, text: str) -> None:
    """Replace the file in one step; write into it where we may not change its folder.  Raises `OSError`."""
    temporary = Path(f"{path}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        # The folder may be everybody's: nothing that somebody else has put there is followed or written to.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except PermissionError:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        _write(fd, text)
        return
    _write(fd, text)
    temporary.replace(path)


def refresh_status_file(path: str, text: str) -> None:
    """The same; that it cannot be written is logged."""
    try:
        write_status_file(path, text)
    except OSError as error:
        _log.warn("cannot write the status file {path}: {why}", path=path, why=error.strerror)


def hand_over_status_file(path: str, uid: int, gid: int) -> None:
    """Make sure that the file is there and is a user's; -1 leaves user or group as it is.  Raises `OSError`.

    A file that is there already may be another one's second name, and may cease to be it at any moment, where others
    can write in the folder: there nothing that is not the user's already is given away.
    """
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd, is_ours = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644), True
    except FileExistsError:
        fd, is_ours = os.open(path, flags), False
    try:
        there = os.fstat(fd)
        if not stat.S_ISREG(there.st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        if uid in {-1, there.st_uid} and gid in {-1, there.st_gid}:
            return
        if not is_ours and (there.st_nlink > 1 or _is_shared(Path(path).parent)):
            raise OSError(errno.EPERM, "somebody else may have put it there; remove it")
        _give_away(fd, uid, gid)
    finally:
        os.close(fd)


def hand_over_folder(path: str, uid: int, gid: int) -> None:
    """Make the folder, a user's, where it is not there; -1 leaves user or group as it is.  Raises `OSError`."""
    try:
        os.mkdir(path)  # noqa: PTH102  text in, text out
    except FileExistsError:
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if (uid, gid) != (-1, -1):
            _give_away(fd, uid, gid)
    finally:
        os.close(fd)


def _give_away(fd: int, uid: int, gid: int) -> None:
    try:
        os.fchown(fd, uid, gid)
    except PermissionError as error:
        why = f"it cannot be given to another user ({error.strerror}), which takes CAP_CHOWN"
        raise PermissionError(error.errno, f"{why}; under systemd name that in CapabilityBoundingSet") from error


def _is_shared(folder: Path) -> bool:
    """Whether others than root and ourselves may put files there."""
    found = folder.stat()
    return found.st_uid not in {0, os.geteuid()} or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _write(fd: int, text: str) -> None:
    with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
