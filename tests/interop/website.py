"""A website of one page: `python -m tests.interop.website ADDRESS PORT PEM`, PEM being a file, or '' for plain HTTP."""

from __future__ import annotations

import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

READY = "serving"
PAGE = b"a page " * 100_000


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        sys.stdout.write(f"GET from {self.client_address[0]}:{self.client_address[1]}\n")


def main(address: str, port: str, pem: str) -> None:
    server = ThreadingHTTPServer((address, int(port)), Handler)
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    sys.stdout.write(f"{READY}\n")
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
