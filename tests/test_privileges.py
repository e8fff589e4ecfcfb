"""Who the process goes on as, and what it may still do: each case in a process of its own."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.netns import needs_tun
from twistvpn.config.settings import Origin
from twistvpn.errors import ConfigError
from twistvpn.privileges import CAP_NET_ADMIN, find_identity

NOBODY = pwd.getpwnam("nobody")

SHED = """
import json, os, threading
from twistvpn.privileges import become, find_identity, has_capability, CAP_NET_ADMIN
from twistvpn.errors import EnvironmentRefusal
from twistvpn.tun.netlink import NetworkConfigurator

def state():
    lines = open("/proc/thread-self/status").read().splitlines()
    return dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)

def attempt(call):
    try:
        call()
    except (OSError, EnvironmentRefusal) as error:
        return type(error).__name__
    return "done"

%s
print(json.dumps(told))
"""


def in_process(script: str) -> dict[str, Any]:
    """What `told` holds at the end of a script that runs as root in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", SHED % script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.interop
@needs_tun
def test_only_the_network_may_still_be_administered() -> None:
    told = in_process(
        """
become(find_identity("nobody", "nogroup"))
told = state()
told["kill init"] = attempt(lambda: os.kill(1, 0))
told["root again"] = attempt(lambda: os.setuid(0))
told["read shadow"] = attempt(lambda: open("/etc/shadow"))
"""
    )
    assert told["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert told["Gid"].split() == [str(NOBODY.pw_gid)] * 4
    assert set(told["Groups"].split()) <= {str(NOBODY.pw_gid)}
    for kind in ("CapEff", "CapPrm"):
        assert int(told[kind], 16) == 1 << CAP_NET_ADMIN
    assert int(told["CapInh"], 16) == 0
    assert told["NoNewPrivs"] == "1"
    assert told["kill init"] == told["root again"] == told["read shadow"] == "PermissionError"


@pytest.mark.interop
@needs_tun
def test_threads_started_later_may_set_routes() -> None:
    told = in_process(
        """
import ctypes
assert ctypes.CDLL(None).unshare(0x40000000) == 0  # a network namespace of our own
become(find_identity("nobody", None))
told = {"up": attempt(lambda: NetworkConfigurator().set_up("lo"))}
"""
    )
    assert told["up"] == "done"


@pytest.mark.interop
@needs_tun
def test_threads_that_ran_before_have_no_capability_left() -> None:
    told = in_process(
        """
shed, told = threading.Event(), {}
def watch():
    shed.wait()
    told.update(state())
thread = threading.Thread(target=watch)
thread.start()
become(find_identity("nobody", None))
shed.set()
thread.join()
"""
    )
    assert told["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert int(told["CapEff"], 16) == int(told["CapPrm"], 16) == 0


@pytest.mark.interop
@needs_tun
def test_a_group_alone_leaves_the_user() -> None:
    told = in_process("become(find_identity(None, 'nogroup')); told = state()")
    assert told["Uid"].split() == ["0"] * 4
    assert told["Gid"].split() == [str(NOBODY.pw_gid)] * 4
    assert told["Groups"].split() == [str(NOBODY.pw_gid)]


@pytest.mark.interop
@needs_tun
def test_who_is_not_root_cannot_become_another() -> None:
    told = in_process(
        """
become(find_identity("nobody", None))
told = {"daemon": attempt(lambda: become(find_identity("daemon", None))),
        "nobody": attempt(lambda: become(find_identity("nobody", None))),
        "kept": has_capability(CAP_NET_ADMIN)}
"""
    )
    assert told == {"daemon": "EnvironmentRefusal", "nobody": "done", "kept": True}


def test_nobody_asked_for_is_nobody() -> None:
    assert find_identity(None, None) is None


def test_users_go_by_name_and_by_number() -> None:
    by_name, by_number = find_identity("nobody", None), find_identity(str(NOBODY.pw_uid), None)
    assert by_name is not None
    assert by_number is not None
    assert (by_name.uid, by_name.gid) == (by_number.uid, by_number.gid) == (NOBODY.pw_uid, NOBODY.pw_gid)


@pytest.mark.parametrize(("user", "group", "option"), [("nobdy", None, "user"), ("nobody", "nogrp", "group")])
def test_an_unknown_name_is_told_in_one_line(user: str, group: str | None, option: str) -> None:
    with pytest.raises(ConfigError) as refused:
        find_identity(user, group, Origin("server.conf", 7, "user"), Origin("server.conf", 7, "group"))
    line = str(refused.value)
    assert line.startswith(f"server.conf:7: {option}: this host has no {option} ")
    assert "\n" not in line


@pytest.mark.parametrize("number", ["4294967295", "99999999999999999999", "٣"])
def test_a_number_that_is_nobodys_is_refused(number: str) -> None:
    with pytest.raises(ConfigError):
        find_identity(number, None)
