"""A proxy that wants a login, HTTP on port 3128 and SOCKS 5 on 1080.

python -m tests.interop.proxy NAME:PASSWORD [RELAY]     RELAY is the address that datagrams are relayed at
"""

from __future__ import annotations

import base64
import socketserver
import sys
import threading
from contextlib import suppress
from select import select
from socket import AF_INET, SHUT_WR, SOCK_DGRAM, create_connection, inet_aton, inet_ntoa
from socket import socket as Socket  # noqa: N812  a class
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socket import socket

LOGIN, *RELAYS = sys.argv[1:]
UDP_ASSOCIATE = 3


def copy(source: socket, sink: socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(SHUT_WR)


class Proxying(socketserver.StreamRequestHandler):
    request: socket
    rbufsize = 0

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.rfile.read(size - len(data))
            assert more, "the client has left"
            data += more
        return data

    def hand_through(self, host: str, port: int, agreement: bytes) -> None:
        sys.stdout.write(f"to {host}:{port}\n")
        with create_connection((host, port)) as there:
            self.wfile.write(agreement)
            back = threading.Thread(target=copy, args=(there, self.request))
            back.start()
            copy(self.request, there)
            back.join()


class Http(Proxying):
    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode().split()
        headers = dict(line.split(": ", 1) for line in iter(lambda: self.rfile.readline().decode().strip(), ""))
        if method != "CONNECT":
            return
        if headers.get("Proxy-Authorization") != "Basic " + base64.b64encode(LOGIN.encode()).decode():
            self.wfile.write(b'HTTP/1.0 407 Login\r\nProxy-Authenticate: Basic realm="interop"\r\n\r\n')
            return
        sys.stdout.write(f"for {headers.get('User-Agent')}\n")
        host, _, port = target.rpartition(":")
        self.hand_through(host, int(port), b"HTTP/1.0 200 OK\r\n\r\n")


class Socks(Proxying):
    def handle(self) -> None:
        _, count = self.exactly(2)
        assert 2 in self.exactly(count)
        self.wfile.write(b"\5\2")
        self.exactly(1)
        login = [self.exactly(self.exactly(1)[0]).decode() for _ in range(2)]
        if ":".join(login) != LOGIN:
            self.wfile.write(b"\1\1")
            return
        self.wfile.write(b"\5\0")  # the version is 1 in RFC 1929, and some stock clients want 5
        _, command, _, kind = self.exactly(4)
        if command == UDP_ASSOCIATE:
            self.exactly(4 + 2)
            self.relay()
            return
        assert kind == 3
        host = self.exactly(self.exactly(1)[0]).decode()
        self.hand_through(host, int.from_bytes(self.exactly(2), "big"), b"\5\0\0\1\x7f\0\0\1\0\0")

    def relay(self) -> None:
        """Carry datagrams as long as the connection stands; all answers go to whom the first one came from."""
        with Socket(AF_INET, SOCK_DGRAM) as inside, Socket(AF_INET, SOCK_DGRAM) as outside:
            inside.bind((RELAYS[0] if RELAYS else self.request.getsockname()[0], 0))
            outside.bind(("", 0))
            address, port = inside.getsockname()
            self.wfile.write(b"\5\0\0\1" + inet_aton(address) + port.to_bytes(2, "big"))
            client = None
            with self.request:
                while True:
                    ready, _, _ = select([self.request, inside, outside], [], [])
                    if self.request in ready and not self.request.recv(1):
                        sys.stdout.write("relays no longer\n")
                        return
                    if inside in ready:
                        datagram, client = inside.recvfrom(1 << 16)
                        assert datagram[:4] == b"\0\0\0\1"
                        there = (inet_ntoa(datagram[4:8]), int.from_bytes(datagram[8:10], "big"))
                        sys.stdout.write(f"datagram to {there[0]}:{there[1]}\n")
                        outside.sendto(datagram[10:], there)
                    if outside in ready and client is not None:
                        datagram, source = outside.recvfrom(1 << 16)
                        header = b"\0\0\0\1" + inet_aton(source[0]) + source[1].to_bytes(2, "big")
                        inside.sendto(header + datagram, client)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    http, socks = Server(("", 3128), Http), Server(("", 1080), Socks)
    threading.Thread(target=socks.serve_forever, daemon=True).start()
    sys.stdout.write("proxying\n")
    http.serve_forever()


if __name__ == "__main__":
    main()
