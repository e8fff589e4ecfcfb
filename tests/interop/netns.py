"""Network namespaces: a host of its own for each peer, joined by veth pairs."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from pyroute2 import netns as pyroute2_netns

from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(*command: str, timeout: float = 30.0) -> str:
    """The standard output of a command; AssertionError with all it said when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


class Namespace:
    """One network namespace with its loopback up."""

    def __init__(self, label: str) -> None:
        self.name = f"twistvpn-{secrets.token_hex(4)}-{label}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> str:
        """Run `ip` in the namespace."""
        return run("ip", "-n", self.name, *arguments)

    def ip_json(self, *arguments: str) -> list[dict[str, Any]]:
        """What `ip -j` says in the namespace."""
        text = self.ip("-j", *arguments)
        answer: list[dict[str, Any]] = json.loads(text) if text.strip() else []
        return answer

    def command(self, *arguments: str) -> list[str]:
        """The command line that runs `arguments` in the namespace, under the same process id."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def open_socket(self, family: int, kind: int) -> socket.socket:
        """A socket that lives in the namespace, for this process to use."""
        made: list[socket.socket] = []

        def make() -> None:
            # The namespace is a thread's own: this one ends with it.
            pyroute2_netns.setns(self.name, flags=0)
            made.append(socket.socket(family, kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert made, f"no socket in {self.name}"
        made[0].settimeout(30.0)
        return made[0]

    def addresses(self, device: str) -> list[str]:
        """The addresses of `device` without link-local ones; none when there is no such device."""
        return [
            entry["local"]
            for link in self.ip_json("addr")
            if link.get("ifname") == device
            for entry in link["addr_info"]
            if entry["scope"] == "global"
        ]

    def footprint(self) -> dict[str, list[str]]:
        """All links, addresses, routes and rules, to compare before and after."""
        questions = {
            "links": ("link",),
            "addresses": ("addr",),
            "routes": ("route", "show", "table", "all"),
            "routes6": ("-6", "route", "show", "table", "all"),
            "rules": ("rule",),
        }
        return {name: sorted(map(_lasting, self.ip_json(*words))) for name, words in questions.items()}

    def answers(self, target: str, timeout: float = 1.0) -> bool:
        """Whether `target` answers one ping from here."""
        ping = self.command("ping", "-n", "-c", "1", "-W", str(timeout), target)
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        """Remove the namespace and all devices in it."""
        run("ip", "netns", "del", self.name)


def _lasting(entry: dict[str, Any]) -> str:
    """`entry` without what changes by itself."""
    volatile = {"expires", "operstate", "flags", "ifindex"}
    return json.dumps({key: value for key, value in entry.items() if key not in volatile})


def join(left: tuple[Namespace, str], right: tuple[Namespace, str], subnets: Sequence[tuple[str, str]]) -> None:
    """A veth pair between two (namespace, device name) ends; each subnet has both addresses, with prefix length."""
    (left_namespace, left_device), (right_namespace, right_device) = left, right
    left_namespace.ip(
        *("link", "add", left_device, "type", "veth"),
        *("peer", "name", right_device, "netns", right_namespace.name),
    )
    for left_address, right_address in subnets:
        for namespace, device, address in (
            (left_namespace, left_device, left_address),
            (right_namespace, right_device, right_address),
        ):
            nodad = ["nodad"] if ":" in address else []
            namespace.ip("addr", "add", address, "dev", device, *nodad)
    for namespace, device in (left, right):
        # Link-local addresses come when they like, and here they would only blur what a peer leaves behind.
        namespace.ip("link", "set", device, "up", "addrgenmode", "none")
    for namespace, device in (left, right):
        wait_until(lambda: _is_up(namespace, device), f"{device} is up")  # noqa: B023  waits within the turn


def _is_up(namespace: Namespace, device: str) -> bool:
    return [link["operstate"] for link in namespace.ip_json("link", "show", device)] == ["UP"]
