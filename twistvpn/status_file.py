"""Writing the file that tells how things are, for whoever reads it at any moment."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import Logger

from twistvpn.verbosity import log_observer

_log = Logger(observer=log_observer)


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
    """Make sure that the file is there and is a user's; -1 leaves user or group as it is.  Raises `OSError`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def _write(fd: int, text: str) -> None:
    with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
