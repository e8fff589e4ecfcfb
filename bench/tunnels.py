"""Two hosts, each a network namespace, and the tunnel between them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench.configs import GATEWAY, OUTSIDE, PORT, client_command, server_command
from bench.plan import NO_LINK, OURS, TLS
from tests.interop.netns import Namespace, join
from tests.interop.process import Process
from tests.interop.tunnel import DEVICE
from tests.interop.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self

    from bench.configs import Trust
    from bench.plan import Pair

PATIENCE = 20.0
"""Seconds for a process to be ready."""


class Hosts:
    """A server's and a client's host; closing it ends every process that was entered and removes both."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.server = self._namespace("server")
        self.client = self._namespace("client")

    def _namespace(self, label: str) -> Namespace:
        try:
            namespace = Namespace(label)
        except BaseException:
            self.close()
            raise
        self._stack.callback(namespace.close)
        return namespace

    def __enter__(self) -> Self:
        """Connect the two."""
        join((self.server, "outside"), (self.client, "outside"), [(f"{OUTSIDE}/24", "10.99.1.2/24")])
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def process(self, label: str, host: Namespace, command: list[str], directory: Path) -> Process:
        """A process on `host`, not started yet, that ends with the hosts."""
        process = Process(label, host, command, directory)
        self._stack.callback(process.close)
        return process

    def close(self) -> None:
        """End and remove everything."""
        self._stack.close()


def with_kernel(kernel: str, command: list[str]) -> list[str]:
    """The command under the kernel of that name."""
    return ["env", f"TWISTVPN_KERNEL={kernel}", *command] if kernel else command


def start_server(hosts: Hosts, pair: Pair, link: str, trust: Trust, directory: Path) -> Process:
    """Run the server of `pair` until it has its device and listens."""
    kernel = pair.kernel if pair.server == OURS else ""
    command = with_kernel(kernel, server_command(pair.server, link, trust, directory))
    server = hosts.process("server", hosts.server, command, directory)
    server.start()
    await_server(server, link)
    return server


def await_server(server: Process, link: str) -> None:
    """Wait until a server that was started has its device and listens."""
    proto = "tcp" if link == TLS else link

    def is_ready() -> bool:
        return listens(server, proto, PORT) and bool(server.namespace.addresses(DEVICE))

    wait_until(is_ready, "the server is ready", PATIENCE)


def listens(process: Process, proto: str, port: int) -> bool:
    """Whether a process that was started has its port; AssertionError when it has ended."""
    try:
        return alive(process) and port in process.ports(proto)
    except FileNotFoundError:  # it has just ended: the next call says so
        return False


def alive(process: Process) -> bool:
    """Always true: AssertionError with the end of the log when the process has ended."""
    if not process.running():
        last = process.log().strip().splitlines()[-1:] or ["no output"]
        raise AssertionError(f"the {process.label} has ended: {last[0]}")
    return True


class Tunnel:
    """A pair's tunnel over one kind of link; without one, the bare path between the hosts."""

    def __init__(self, pair: Pair, link: str, trust: Trust, directory: Path) -> None:
        self.pair = pair
        self.link = link
        self.hosts = Hosts()
        self.directory = directory
        self.server: Process | None = None
        self._trust = trust
        self._client: Process | None = None

    def __str__(self) -> str:
        return self.pair.key if self.link == NO_LINK else f"{self.link} {self.pair.key}"

    @property
    def target(self) -> str:
        """The server's address, inside the tunnel if there is one."""
        return GATEWAY if self.pair.server else OUTSIDE

    def __enter__(self) -> Self:
        """Bring it up."""
        with ExitStack() as undo:
            undo.enter_context(self.hosts)
            if self.pair.server:
                self._connect()
            undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.hosts.close()

    def _connect(self) -> None:
        pair, hosts = self.pair, self.hosts
        self.server = start_server(hosts, pair, self.link, self._trust, self.directory)
        kernel = pair.kernel if pair.client == OURS else ""
        command = with_kernel(kernel, client_command(pair.client, self.link, self._trust, self.directory))
        self._client = hosts.process("client", hosts.client, command, self.directory)
        self._client.start()
        self._await_client()

    def _await_client(self) -> None:
        client = self._client
        assert client is not None
        wait_until(lambda: alive(client) and self._answers(), "the client is connected", PATIENCE)

    def _answers(self) -> bool:
        return self.hosts.client.answers(GATEWAY, timeout=0.3)

    def mend(self) -> None:
        """Start what has ended or no longer answers anew; AssertionError where that does not help."""
        if self.server is None or self._client is None:
            return
        if self.server.running() and self._client.running() and any(self._answers() for _ in range(10)):
            return
        for process in (self._client, self.server):
            process.close()
        self.server.start()
        await_server(self.server, self.link)
        self._client.start()
        self._await_client()
