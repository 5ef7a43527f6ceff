"""Lets containers reach a server that listens on this machine's loopback interface only."""

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
            return  # nothing listens, so hang up
        with target:
            back = threading.Thread(target=_pass_on, args=(target, self.request), daemon=True)
            back.start()
            _pass_on(self.request, target)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    # If one side goes away, the connection ends for both.
    with suppress(OSError):
        while data := source.recv(READ_BYTES):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay(host: str, port: int) -> Iterator[None]:
    """Within the block, pass connections to `host` and `port` on to the same port of 127.0.0.1."""
    with _Relay((host, port), port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
