"""Files that are written while we run, in folders where others may have been before."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from twistvpn.status_file import hand_over_folder, hand_over_status_file, write_status_file

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder like /tmp."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@AS_ROOT
def test_a_file_that_is_not_there_is_made_and_handed_over(shared: Path) -> None:
    for _ in range(2):
        hand_over_status_file(str(shared / "status"), NOBODY, NOBODY)
        found = (shared / "status").stat()
        assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)


@AS_ROOT
def test_a_file_in_a_folder_of_our_own_is_handed_over_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    path.write_text("alice,10.8.0.2")
    hand_over_status_file(str(path), NOBODY, -1)
    assert (path.stat().st_uid, path.read_text()) == (NOBODY, "alice,10.8.0.2")


@AS_ROOT
@pytest.mark.parametrize("folder", ["shared", "theirs", "own"])
def test_what_somebody_may_have_put_there_is_not_given_away(tmp_path: Path, shared: Path, folder: str) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("secret")
    place = shared if folder == "shared" else tmp_path / folder
    place.mkdir(exist_ok=True)
    if folder == "theirs":
        os.chown(place, NOBODY, NOBODY)
    path = place / "status"
    path.hardlink_to(secret)
    with pytest.raises(OSError, match="somebody else may have put it there; remove it"):
        hand_over_status_file(str(path), NOBODY, NOBODY)
    if folder != "own":
        secret.unlink()  # a second name may go between two looks
        with pytest.raises(OSError, match="somebody else may have put it there; remove it"):
            hand_over_status_file(str(path), NOBODY, NOBODY)
    assert path.stat().st_uid == 0


@AS_ROOT
def test_a_folder_is_made_for_its_user_and_one_that_is_there_stays(tmp_path: Path) -> None:
    hand_over_folder(str(tmp_path / "journal"), NOBODY, -1)
    assert (tmp_path / "journal").stat().st_uid == NOBODY
    hand_over_folder(str(tmp_path), NOBODY, NOBODY)
    assert tmp_path.stat().st_uid == 0


def test_what_cannot_be_given_away_names_the_capability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    for give in (hand_over_folder, hand_over_status_file):
        with pytest.raises(PermissionError, match="takes CAP_CHOWN"):
            give(str(tmp_path / give.__name__), NOBODY, NOBODY)


def test_neither_links_nor_pipes_are_followed_or_waited_for(shared: Path, tmp_path: Path) -> None:
    (shared / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(shared / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=name):
            hand_over_status_file(str(shared / name), -1, -1)
    assert not (tmp_path / "elsewhere").exists()
    write_status_file(str(shared / "link"), "told")
    assert not (shared / "link").is_symlink()
    assert not (tmp_path / "elsewhere").exists()
