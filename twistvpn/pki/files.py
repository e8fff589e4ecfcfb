"""Files that hold secrets, or that a running server reads while they change."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def new_file(path: Path) -> Iterator[TextIO]:
    """Write a new file of mode 0600, on disk when the block ends; raises `FileExistsError` rather than overwrite.

    The mode is given to open(2), so that the file is at no instant readable for others.  An
    exception in the block removes the file.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            yield stream
            _write_through(stream)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def create_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Create all files or none: what was made is removed again where a later one fails."""
    with contextlib.ExitStack() as undo:
        for name, text in texts.items():
            with new_file(folder / name) as stream:
                stream.write(text)
            undo.callback((folder / name).unlink, missing_ok=True)
        _sync_folder(folder)
        undo.pop_all()


def replace_file(path: Path, text: str) -> None:
    """Put `text` in the place of a file in one step, with the old one's owner, group and mode (0600 if there is none).

    A reader sees the whole old or the whole new content, and one that was let in before still is.
    """
    path = Path(os.path.realpath(path))
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            _copy_ownership(path, stream.fileno())
            stream.write(text)
            _write_through(stream)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder of mode 0700, or close an empty one to others; one with content is left as it is."""
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        if not any(path.iterdir()):
            path.chmod(0o700)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes that call this out of `folder` meanwhile (flock(2) on the folder itself)."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _copy_ownership(source: Path, handle: int) -> None:
    try:
        old = source.stat()
    except FileNotFoundError:
        return
    new = os.fstat(handle)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        os.fchown(handle, old.st_uid, old.st_gid)
    os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _write_through(stream: TextIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
