"""Lets containers reach what listens on this machine's loopback interface only, for as long as they need it."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

READ_BYTES = 65_536


class _Relay(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], port: int) -> None:
        super().__init__(address, _Connection)
        self.target = ("127.0.0.1", port)


class _Connection(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        try:
            target = socket.create_connection(self.server.target)
        except ConnectionRefusedError:
            return  # nobody is there: to hang up says the same
        with target:
            back = threading.Thread(target=_pass_on, args=(target, self.request), daemon=True)
            back.start()
            _pass_on(self.request, target)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    # Whoever goes away in the middle ends the conversation for both.
    with suppress(OSError):
        while data := source.recv(READ_BYTES):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay(host: str, port: int) -> Iterator[None]:
    """Pass connections to a port of another of this machine's addresses on to the same port of 127.0.0.1."""
    with _Relay((host, port), port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
